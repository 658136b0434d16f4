from dataclasses import replace

import pytest
import torch

from diorama.data.views import Views
from diorama.errors import ViewsError
from diorama.priors.stereo import StereoOptions, plane_sweep_stereo
from tests.textured import arc_cameras, textured_views


def relative_error(views, stereo, threshold=0.5):
    sure = stereo.confidence > threshold
    return ((stereo.depth - views.depth).abs() / views.depth)[sure], float(sure.float().mean())


@pytest.fixture(scope="module")
def textured():
    return textured_views(arc_cameras(5))


@pytest.mark.parametrize("given", [True, False])
def test_confident_depth_is_right_to_one_percent(textured, given):
    ends = {"near": torch.full((5,), 2.0), "far": torch.full((5,), 4.5)} if given else {}
    stereo = plane_sweep_stereo(replace(textured, depth=None), **ends)
    error, coverage = relative_error(textured, stereo)
    assert float(error.median()) < 0.01
    assert float((error > 0.05).float().mean()) < 0.05
    assert coverage > 0.4
    if not given:
        assert bool((stereo.near > 1.0).all())
        assert bool((stereo.far < 8.0).all())


def test_distorted_photos_give_depth_in_their_own_pixels(textured):
    bent = replace(textured.cameras, lens="opencv", distortion=torch.tensor([[-0.15, 0.02, 0, 0, 0, 0]]).expand(5, 6))
    views = textured_views(bent)
    stereo = plane_sweep_stereo(views, near=torch.full((5,), 2.0), far=torch.full((5,), 4.5))
    error, coverage = relative_error(views, stereo)
    assert float(error.median()) < 0.012
    assert coverage > 0.35


def test_depth_comes_in_the_users_units(textured):
    factor = 1000.0
    poses = textured.cameras.camera_to_world.clone()
    poses[:, :3, 3] *= factor
    large = replace(textured, depth=None, cameras=replace(textured.cameras, camera_to_world=poses))
    ends = torch.full((5,), 2.0), torch.full((5,), 4.5)
    one = plane_sweep_stereo(textured, near=ends[0], far=ends[1])
    thousand = plane_sweep_stereo(large, near=ends[0] * factor, far=ends[1] * factor)
    sure = (one.confidence > 0.5) & (thousand.confidence > 0.5)
    assert float((thousand.depth / factor - one.depth).abs()[sure].median()) < 1e-3


def test_ignored_pixels_and_blank_photos_are_not_believed(textured):
    ignore = torch.zeros(5, 120, 160, dtype=torch.bool)
    ignore[:, :40] = True
    ends = {"near": torch.full((5,), 2.0), "far": torch.full((5,), 4.5)}
    masked = plane_sweep_stereo(replace(textured, ignore=ignore), **ends)
    assert float(masked.confidence[:, :40].max()) == 0
    assert float(masked.confidence[:, 50:].mean()) > 0.2
    blank = plane_sweep_stereo(replace(textured, images=torch.full_like(textured.images, 0.5)), **ends)
    assert float(blank.confidence.max()) == 0


def test_one_view_or_equal_cameras_give_no_confidence_and_no_error(textured):
    assert float(plane_sweep_stereo(textured[[2]]).confidence.max()) == 0
    assert float(plane_sweep_stereo(textured[[2, 2]]).confidence.max()) == 0


def test_photos_are_shrunk_and_cameras_with_them(textured):
    stereo = plane_sweep_stereo(textured, options=StereoOptions(size=80, planes=32))
    assert stereo.depth.shape == (5, 60, 80)
    assert stereo.cameras.size.tolist() == [[80, 60]] * 5
    assert torch.allclose(stereo.cameras.focal, textured.cameras.focal / 2)


def test_views_without_cameras_are_refused_with_advice():
    with pytest.raises(ViewsError, match="diorama pose"):
        plane_sweep_stereo(Views(torch.rand(2, 3, 8, 8), ("a", "b")))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "worst", "least"), [(6, 0.03, 0.15), (9, 0.03, 0.15)])
def test_stereo_agrees_with_a_depth_sensor(photos, count, worst, least):
    from diorama.data.open import open_views

    views = open_views(photos("rgbd_apc_box"))
    views = views[torch.linspace(0, len(views) - 1, count).round().long()]
    stereo = plane_sweep_stereo(replace(views, depth=None))
    truth = torch.nn.functional.interpolate(views.depth[:, None], stereo.depth.shape[1:], mode="nearest")[:, 0]
    both = (truth > 0) & (stereo.confidence > 0.5)
    assert float(((stereo.depth - truth).abs() / truth)[both].median()) < worst
    assert float(both.sum() / (truth > 0).sum()) > least
