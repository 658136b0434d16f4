"""Lenses: what glass does to a ray between the scene and the pixel.

Everything here is in normalised coordinates: (x / z, y / z) in the camera frame. *Ideal* is what a pinhole would see,
*bent* is where the light lands. Both models share one radial polynomial, a (1 + k1 a2 + k2 a4 + k3 a6 + k4 a8): of the
ideal radius for `opencv`, of the angle to the optical axis for `fisheye`.

Such polynomials turn back at some radius, the *fold*: two rays would land on one pixel, and points far outside the
view would reappear inside the image. No photo holds that light. Beyond the fold the mapping goes on with slope one
instead, so that it stays continuous, finite and invertible; `beyond_fold` tells where.
Source: OpenCV documentation, "Camera Calibration and 3D Reconstruction" and "Fisheye camera model".
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Lens = Literal["pinhole", "opencv", "fisheye"]
"""pinhole: no distortion. opencv: radial polynomial 1 + k1 r2 + k2 r4 + k3 r6 + k4 r8 and tangential p1 p2.
fisheye: the OpenCV equidistant model, theta (1 + k1 th2 + k2 th4 + k3 th6 + k4 th8)."""

WIDEST = 50.0
"""Largest ideal radius that is modelled: the tangent of 88.85 degrees off the axis."""

NEWTON_STEPS = 16
"""Most guarded Newton steps for the radius; five are enough for all but the last hundredth before a fold."""

TANGENTIAL_STEPS = 12
"""Most Newton steps in the plane, started at the radial solution."""


def distort(
    ideal: Float[Tensor, "*#view n xy=2"], distortion: Float[Tensor, "*#view 6"], lens: Lens
) -> Float[Tensor, "*all n xy=2"]:
    """Where the light of ideal normalised coordinates lands.

    distortion: (k1, k2, k3, k4, p1, p2); p1 and p2 count for `opencv` only.
    """
    match lens:
        case "pinhole":
            return ideal
        case "opencv":
            radius = _length(ideal)
            inner = ideal * _ratio(fold(distortion, lens)[..., None, None], radius)
            return _opencv(inner, distortion) + (ideal - inner)
        case "fisheye":
            radius = _length(ideal)
            angle, limit = torch.atan(radius), fold(distortion, lens)[..., None, None]
            inner = torch.minimum(angle, limit)
            bent = _radial(inner, distortion[..., None, :4]) + (angle - inner)
            return ideal * _quotient(bent, radius)


def undistort(
    bent: Float[Tensor, "*#view n xy=2"], distortion: Float[Tensor, "*#view 6"], lens: Lens
) -> Float[Tensor, "*all n xy=2"]:
    """The inverse of `distort`, by Newton iteration; finite everywhere.

    Fisheye rays stop at 88.85 degrees off the axis.
    """
    if lens == "pinhole":
        return bent
    length = _length(bent)
    limit = fold(distortion, lens)[..., None, None]
    length, limit = torch.broadcast_tensors(length, limit)
    inner = _solve_radius(length, limit, distortion[..., None, :4])
    outside = (length - _radial(limit, distortion[..., None, :4])).clamp_min(0.0)
    if lens == "fisheye":
        angle = (inner + outside).clamp_max(math.atan(WIDEST))
        return bent * _quotient(torch.tan(angle), length)
    ideal = bent * _quotient(inner + outside, length)
    if bool((distortion[..., 4:] != 0).any()):
        ideal = _settle_tangential(ideal, bent, distortion, limit)
    return ideal


def beyond_fold(
    ideal: Float[Tensor, "*#view n xy=2"], distortion: Float[Tensor, "*#view 6"], lens: Lens
) -> Bool[Tensor, "*all n"]:
    """True where no photo holds the light of these ideal coordinates: beyond the lens polynomial's turning point."""
    radius = _length(ideal)[..., 0]
    if lens == "pinhole":
        return torch.zeros_like(radius, dtype=torch.bool)
    along = torch.atan(radius) if lens == "fisheye" else radius
    return along >= fold(distortion, lens)[..., None] * (1 - 1e-6)


def fold(distortion: Float[Tensor, "*view 6"], lens: Lens) -> Float[Tensor, "*view"]:
    """The ideal radius (fisheye: angle) at which the radial polynomial stops rising; `WIDEST` if it never does.

    The slope 1 + 3 k1 t + 5 k2 t2 + 7 k3 t3 + 9 k4 t4 (t = radius squared) becomes monic in 1 / t, so its first root
    is one over the largest real eigenvalue of a companion matrix, whichever coefficients are zero.
    """
    widest = math.atan(WIDEST) if lens == "fisheye" else WIDEST
    weights = torch.tensor([3.0, 5.0, 7.0, 9.0], dtype=torch.float64)
    slope = distortion[..., :4].detach().cpu().to(torch.float64).nan_to_num(0.0, 0.0, 0.0) * weights
    if not bool((slope < 0).any()):
        return distortion.new_full(distortion.shape[:-1], widest)
    companion = torch.zeros(*slope.shape[:-1], 4, 4, dtype=torch.float64)
    companion[..., 0, :] = -slope
    companion[..., 1, 0] = companion[..., 2, 1] = companion[..., 3, 2] = 1.0
    roots = torch.linalg.eigvals(companion)
    real = (roots.imag.abs() <= 1e-9 * roots.abs()) & (roots.real > 0)
    largest = torch.where(real, roots.real, 0.0).amax(-1)
    return largest.clamp_min(widest**-2).rsqrt().to(distortion)


def _radial(along: Tensor, k: Tensor) -> Tensor:
    """The radial polynomial of a radius or an angle (last axis of size one)."""
    t = along * along
    return along * (1 + t * (k[..., 0:1] + t * (k[..., 1:2] + t * (k[..., 2:3] + t * k[..., 3:4]))))


def _radial_slope(along: Tensor, k: Tensor) -> Tensor:
    t = along * along
    return 1 + t * (3 * k[..., 0:1] + t * (5 * k[..., 1:2] + t * (7 * k[..., 2:3] + t * 9 * k[..., 3:4])))


def _solve_radius(length: Tensor, limit: Tensor, k: Tensor) -> Tensor:
    """The radius in [0, limit] whose polynomial has this length: Newton steps, bisection where they would leave."""
    low, high = torch.zeros_like(length), limit
    guess = torch.minimum(length, 0.5 * limit)
    beyond = length >= _radial(limit, k)
    enough = torch.finfo(length.dtype).eps * (1 + length)
    for _ in range(NEWTON_STEPS):
        error = _radial(guess, k) - length
        if not bool(((error.abs() > enough) & ~beyond).any()):
            break
        low, high = torch.where(error < 0, guess, low), torch.where(error < 0, high, guess)
        step = guess - error / _radial_slope(guess, k).clamp_min(1e-12)
        inside = (step >= low) & (step <= high)
        guess = torch.where(inside, step, 0.5 * (low + high))
    return torch.where(beyond, limit, guess)


def _opencv(ideal: Tensor, distortion: Tensor) -> Tensor:
    """OpenCV's radial and tangential terms, as written in its documentation."""
    k, p = distortion[..., None, :4], distortion[..., None, 4:]
    x, y = ideal[..., 0:1], ideal[..., 1:2]
    t = x * x + y * y
    radial = 1 + t * (k[..., 0:1] + t * (k[..., 1:2] + t * (k[..., 2:3] + t * k[..., 3:4])))
    shift_x = 2 * p[..., 0:1] * x * y + p[..., 1:2] * (t + 2 * x * x)
    shift_y = 2 * p[..., 1:2] * x * y + p[..., 0:1] * (t + 2 * y * y)
    return torch.cat([x * radial + shift_x, y * radial + shift_y], dim=-1)


def _settle_tangential(ideal: Tensor, bent: Tensor, distortion: Tensor, limit: Tensor) -> Tensor:
    """Newton steps in the plane from the radial solution; a step that does not help is halved and tried again."""

    def residual(at: Tensor) -> Tensor:
        inner = at * _ratio(limit, _length(at))
        return bent - _opencv(inner, distortion) - (at - inner)

    missing, pace = residual(ideal), torch.ones_like(limit)
    enough = 4 * torch.finfo(bent.dtype).eps * (1 + _length(bent))
    for _ in range(TANGENTIAL_STEPS):
        open_ends = _length(missing) > enough
        if not bool(open_ends.any()):
            break
        xx, xy, yx, yy = _jacobian(ideal, distortion, limit).unbind(-1)
        determinant = xx * yy - xy * yx
        usable = determinant > 1e-6
        determinant = torch.where(usable, determinant, 1.0)
        dx = (yy * missing[..., 0] - xy * missing[..., 1]) / determinant
        dy = (xx * missing[..., 1] - yx * missing[..., 0]) / determinant
        step = torch.where(usable[..., None], torch.stack([dx, dy], dim=-1), missing)
        trial = ideal + pace * step
        left = residual(trial)
        better = open_ends & (_length(left) < _length(missing))
        ideal, missing = torch.where(better, trial, ideal), torch.where(better, left, missing)
        pace = torch.where(better, (2 * pace).clamp_max(1.0), 0.5 * pace)
    return ideal


def _jacobian(ideal: Tensor, distortion: Tensor, limit: Tensor) -> Tensor:
    """Of the extended opencv mapping, row by row (xx, xy, yx, yy).

    Inside the fold it is that of the polynomial, J. Outside, at a point q = limit / radius of the way out, it is one
    along the ray and q J + (1 - q) across it.
    """
    k, (p1, p2) = distortion[..., None, :4], distortion[..., None, 4:].unbind(-1)
    radius = _length(ideal)
    ratio = _ratio(limit, radius)
    at = ideal * ratio
    x, y = at.unbind(-1)
    t = at.square().sum(-1, keepdim=True)
    ring = 1 + t * (k[..., 0:1] + t * (k[..., 1:2] + t * (k[..., 2:3] + t * k[..., 3:4])))
    lean = 2 * (k[..., 0:1] + t * (2 * k[..., 1:2] + t * (3 * k[..., 2:3] + t * 4 * k[..., 3:4])))
    ring, lean, q = ring[..., 0], lean[..., 0], ratio[..., 0]
    xx = ring + lean * x * x + 2 * p1 * y + 6 * p2 * x
    xy = lean * x * y + 2 * p1 * x + 2 * p2 * y
    yy = ring + lean * y * y + 2 * p2 * x + 6 * p1 * y
    xx, xy, yx, yy = q * xx + 1 - q, q * xy, q * xy, q * yy + 1 - q
    ux, uy = (ideal / radius.clamp_min(1e-30)).unbind(-1)
    outside = q < 1
    along_x, along_y = ux - (xx * ux + xy * uy), uy - (yx * ux + yy * uy)
    outer = [xx + along_x * ux, xy + along_x * uy, yx + along_y * ux, yy + along_y * uy]
    return torch.stack([torch.where(outside, o, i) for o, i in zip(outer, (xx, xy, yx, yy), strict=True)], dim=-1)


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length, last axis kept; the gradient at zero is zero, not NaN."""
    square = vectors.square().sum(-1, keepdim=True)
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)


def _ratio(limit: Tensor, radius: Tensor) -> Tensor:
    """limit / radius, at most one: shrinks what lies outside a disc onto its border."""
    return torch.where(radius > limit, limit / radius.clamp_min(1e-30), 1.0)


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    """above / below where both go to zero together with ratio one."""
    tiny = below < torch.finfo(below.dtype).tiny ** 0.5
    return torch.where(tiny, 1.0, above / torch.where(tiny, 1.0, below))
