import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.lens import WIDEST, beyond_fold, distort, fold, undistort
from tests.cameras.made_up import MILD, cameras, few, lenses, normal, seeds, uniform


def bent(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def inside_fold(seed, distortion, lens, share=0.9):
    """Ideal points at up to a share of the fold, within a view of 62 degrees off the axis at most."""
    limit = fold(distortion, lens).clamp_max(1.1 if lens == "fisheye" else 2.0)
    along = share * limit[..., None] * uniform(seed, 0, 1, *distortion.shape[:-1], 50)
    radius = torch.tan(along) if lens == "fisheye" else along
    angle = uniform(seed + 1, 0, 2 * math.pi, *radius.shape)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


@given(seeds, lenses)
@few
def test_undistort_inverts_distort_within_a_millionth_of_a_pixel(seed, lens):
    distortion = torch.tensor(MILD, dtype=torch.float64) * uniform(seed, -1, 1, 8, 6)
    ideal = inside_fold(seed, distortion, lens)
    again = undistort(distort(ideal, distortion, lens), distortion, lens)
    assert (again - ideal).abs().max() * 1000 < 1e-6


@given(seeds, lenses)
@few
def test_distort_inverts_undistort_over_the_whole_image(seed, lens):
    camera = cameras(seed, 4, lens=lens, strength=0.5)
    pixels = uniform(seed + 9, 0, 1, 4, 200, 2) * camera.size[:, None]
    again = camera.project_local(camera.unproject(pixels))
    assert (again - pixels).abs().max() < 1e-6


@pytest.mark.parametrize("lens", ["opencv", "fisheye"])
def test_float32_stays_within_a_thousandth_of_a_pixel(lens):
    camera = cameras(3, 20, lens=lens, strength=0.5).to(torch.float32)
    pixels = uniform(4, 0, 1, 20, 200, 2).float() * camera.size[:, None]
    directions = camera.unproject(pixels)
    assert directions.dtype == torch.float32
    assert (camera.project_local(directions) - pixels).abs().max() < 1e-3


@given(seeds, st.sampled_from(["opencv", "fisheye"]), st.floats(0.1, 30))
@few
def test_any_polynomial_gives_finite_rays_and_pixels(seed, lens, strength):
    distortion = strength * normal(seed, 16, 6) * torch.tensor([1, 1, 1, 1, 0.02, 0.02])
    points = uniform(seed + 1, -3, 3, 16, 100, 2)
    assert undistort(points, distortion, lens).isfinite().all()
    assert distort(points, distortion, lens).isfinite().all()
    far = 1e6 * points.float()
    assert undistort(far, distortion.float(), lens).isfinite().all()
    assert distort(far, distortion.float(), lens).isfinite().all()


def test_the_fold_is_where_the_polynomial_stops_rising():
    distortion = bent([[-0.3, 0.0, 0, 0, 0, 0], [0.1, 0, -0.2, 0, 0, 0], [0, 0, 0, -0.5, 0, 0], [0.3, 0.1, 0, 0, 0, 0]])
    limits = fold(distortion, "opencv")
    assert limits[0] == pytest.approx(math.sqrt(1 / 0.9))
    for k, limit in zip(distortion[1:3].numpy(), limits[1:3].numpy(), strict=True):
        radius = np.linspace(0, limit * 1.01, 100_001)
        value = radius * (1 + k[0] * radius**2 + k[1] * radius**4 + k[2] * radius**6 + k[3] * radius**8)
        assert radius[value.argmax()] == pytest.approx(limit, rel=1e-3)
    assert limits[3] == WIDEST


@given(seeds, st.sampled_from(["opencv", "fisheye"]))
@few
def test_beyond_the_fold_nothing_comes_back_into_the_image(seed, lens):
    k = uniform(seed, -0.6, -0.2, 1)
    distortion = torch.cat([k, torch.zeros(5, dtype=torch.float64)])[None]
    radius = torch.linspace(0, 20, 400, dtype=torch.float64)
    line = torch.stack([radius, torch.zeros_like(radius)], dim=-1)[None]
    landed = distort(line, distortion, lens)[0, :, 0]
    assert (landed.diff() >= -1e-12).all()
    folded = beyond_fold(line, distortion, lens)[0]
    assert folded.any()
    assert not folded[0]
    assert (folded.long().diff() >= 0).all()
    again = undistort(distort(line, distortion, lens), distortion, lens)
    calm = (radius < 0.95 * radius[folded][0]) | (radius > 1.05 * radius[folded][0])
    assert (again - line)[0, calm].abs().max() < 1e-6


@given(seeds)
@few
def test_opencv_terms_are_those_of_its_documentation(seed):
    k1, k2, k3, k4, p1, p2 = (0.1 * normal(seed, 6)).tolist()
    x, y = uniform(seed + 1, -0.2, 0.2, 2).tolist()
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + k4 * r2**4
    expected = [
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    ]
    found = distort(bent([[x, y]]), bent([k1, k2, k3, k4, p1, p2]), "opencv")
    torch.testing.assert_close(found[0], bent(expected), atol=1e-14, rtol=0)


@given(st.floats(0.01, 1.5), st.floats(-0.05, 0.05), st.floats(-0.01, 0.01))
@few
def test_fisheye_radius_is_the_angle_times_its_polynomial(angle, k1, k2):
    found = distort(bent([[math.tan(angle), 0.0]]), bent([k1, k2, 0, 0, 0, 0]), "fisheye")
    assert float(found[0, 0]) == pytest.approx(angle * (1 + k1 * angle**2 + k2 * angle**4), rel=1e-9)


def test_fisheye_without_coefficients_is_equidistant_and_not_a_pinhole():
    found = distort(bent([[1.0, 0.0]]), torch.zeros(6, dtype=torch.float64), "fisheye")
    assert float(found[0, 0]) == pytest.approx(math.pi / 4)


@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_the_axis_is_a_fixed_point_with_finite_gradients(lens):
    centre = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    distortion = bent([0.1, -0.05, 0, 0, 0.001, 0.001])
    for mapping in (distort, undistort):
        out = mapping(centre, distortion, lens)
        assert (out == 0).all()
        gradient = torch.autograd.grad(out.sum(), centre)[0]
        assert gradient.isfinite().all()


@pytest.mark.parametrize("lens", ["opencv", "fisheye"])
def test_gradients_of_distort_are_exact(lens):
    ideal = (0.3 * normal(5, 6, 2)).requires_grad_()
    distortion = bent([0.1, -0.05, 0.01, 0, 0.002, -0.001]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, d: distort(x, d, lens), (ideal, distortion))


def test_nan_coefficients_do_not_raise_before_validation_can_say_so():
    assert fold(torch.full((2, 6), math.nan), "opencv").isfinite().all()


@pytest.mark.colmap
@pytest.mark.parametrize(("lens", "model"), [("opencv", "OPENCV"), ("fisheye", "OPENCV_FISHEYE")])
def test_pixels_are_those_of_colmap(lens, model):
    pycolmap = pytest.importorskip("pycolmap", reason="needs the extra `colmap`")
    made = cameras(11, 1, lens=lens)
    made.distortion[:, 2:4] *= 0 if lens == "opencv" else 1
    made.distortion[:, 4:] *= 0 if lens == "fisheye" else 1
    k, p = made.distortion[0, :4].tolist(), made.distortion[0, 4:].tolist()
    parameters = [*made.focal[0].tolist(), *made.centre[0].tolist(), *(k[:2] + p if lens == "opencv" else k)]
    theirs = pycolmap.Camera(model=model, width=640, height=480, params=parameters)
    local = normal(12, 1, 200, 3).abs() * torch.tensor([0.3, 0.3, 1.0]) + torch.tensor([0.0, 0.0, 1.0])
    expected = torch.from_numpy(theirs.img_from_cam(local[0].numpy()))
    torch.testing.assert_close(made.project_local(local)[0], expected, atol=1e-9, rtol=0)
