import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.undistortion import undistort_images, undistorted_cameras
from tests.cameras.made_up import cameras, few, seeds

WIDTH, HEIGHT = 96, 72


def small(lens, k1, **more):
    """One 96 x 72 camera with a little of everything."""
    bent = torch.tensor([[k1, 0.01, 0.0, 0.0, 0.002, -0.001]])
    return Cameras(
        torch.eye(4)[None],
        torch.tensor([[80.0, 82.0]]),
        torch.tensor([[47.0, 37.0]]),
        torch.tensor([[WIDTH, HEIGHT]]),
        bent if lens != "pinhole" else 0 * bent,
        lens,
    )


def painted(made):
    """What a camera sees of a smooth picture painted on the directions of space."""
    height, width = int(made.size[0, 1]), int(made.size[0, 0])
    directions = made.unproject(pixel_grid(width, height).reshape(1, -1, 2))[..., :2]
    waves = torch.cat([torch.sin(5 * directions), torch.cos(3 * directions.sum(-1, keepdim=True))], dim=-1)
    return (0.5 + 0.5 * waves).reshape(1, height, width, 3).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("lens", "k1"), [("opencv", -0.2), ("opencv", 0.15), ("fisheye", 0.05), ("pinhole", 0.0)])
def test_an_undistorted_photo_is_the_one_a_pinhole_would_have_taken(lens, k1):
    made = small(lens, k1)
    images, straight, valid = undistort_images(painted(made), made)
    assert straight.lens == "pinhole"
    error = (images - painted(straight)).abs().amax(1)[valid]
    assert error.max() < 0.02
    assert error.mean() < 1e-3
    assert valid.double().mean() > 0.9
    assert (images.amax(1)[~valid] == 0).all()


@given(seeds, st.sampled_from(["opencv", "fisheye"]))
@few
def test_the_middle_lines_of_the_new_image_reach_the_border_of_the_photo_and_not_beyond(seed, lens):
    made = cameras(seed, 3, lens=lens)
    straight = undistorted_cameras(made)
    width, height = 640.0, 480.0
    ends = torch.tensor([[0.0, 0.5], [1.0, 0.5], [0.5, 0.0], [0.5, 1.0]], dtype=torch.float64)
    ends = ends * torch.tensor([width, height])
    axis = straight.centre[:, None].repeat(1, 4, 1)
    across = torch.where(
        torch.tensor([[[False, True]], [[False, True]], [[True, False]], [[True, False]]])[:, 0], axis, ends
    )
    local = straight.unproject(across)
    source = made.project_local(local)
    slack = 2.0
    assert (source >= -slack).all()
    assert (source <= torch.tensor([width, height]) + slack).all()
    assert torch.equal(straight.camera_to_world, made.camera_to_world)
    torch.testing.assert_close(straight.focal[:, 0] / straight.focal[:, 1], made.focal[:, 0] / made.focal[:, 1])


def test_photos_of_several_sizes_keep_their_padding_out():
    one, two = small("opencv", -0.1), small("opencv", -0.1).resize(48, 36)
    images = torch.zeros(2, 3, HEIGHT, WIDTH)
    images[:1] = painted(one)
    images[1:, :, :36, :48] = painted(two)
    images[1:, :, 36:] = 9.0
    images[1:, :, :, 48:] = 9.0
    both = Cameras(
        *(
            torch.cat([getattr(one, k), getattr(two, k)])
            for k in ("camera_to_world", "focal", "centre", "size", "distortion")
        ),
        "opencv",
    )
    out, _, valid = undistort_images(images, both)
    assert not valid[1, 36:].any()
    assert not valid[1, :, 48:].any()
    assert out.max() <= 1.0
    alone, _, mask = undistort_images(painted(two), two)
    torch.testing.assert_close(out[1:, :, :36, :48], alone)
    assert torch.equal(valid[1:, :36, :48], mask)


def test_nearest_mixes_no_values_and_depth_stays_planar():
    made = small("opencv", -0.2)
    labels = (painted(made)[:, :1] > 0.5).float() * 7
    out, _, _ = undistort_images(labels, made, mode="nearest")
    assert set(out.unique().tolist()) <= {0.0, 7.0}


def test_a_fisheye_wider_than_half_space_gives_a_finite_flat_image():
    made = Cameras(
        torch.eye(4)[None],
        torch.tensor([[30.0, 30.0]]),
        torch.tensor([[48.0, 36.0]]),
        torch.tensor([[WIDTH, HEIGHT]]),
        torch.zeros(1, 6),
        "fisheye",
    )
    images, straight, valid = undistort_images(torch.rand(1, 3, HEIGHT, WIDTH), made)
    assert images.isfinite().all()
    assert (straight.focal > 10).all()
    assert valid.all()
