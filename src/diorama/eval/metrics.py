"""How far a render is from a photograph, and a rendered depth from the true one.

Images are float in [0, 1], channels first, any batch in front; every function returns one number per image, computed
in float64. Weights leave pixels out (0) or keep them (1); an image of which no pixel is kept has no answer: NaN, which
`eval.measure` turns into "not measured".
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diorama.cameras.pinhole import Cameras
from diorama.cameras.rays import camera_rays
from diorama.types import DensityFn

PSNR_CEILING = 100.0
"""dB given to a perfect copy, so that means stay finite; rounding to 8 bits alone costs more (58.9 dB)."""
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, fine to coarse. Source: Wang et al. 2003, section 3.2."""
MS_SSIM_SMALLEST = 176
"""Pixels: the shorter side must still hold an 11-pixel window after four halvings (as in torchmetrics)."""


def mean_squared_error(
    render: Float[Tensor, "*view c h w"],
    photo: Float[Tensor, "*view c h w"],
    weight: Float[Tensor, "*view h w"] | None = None,
) -> Float[Tensor, "*view"]:
    """Squared difference, mean over channels and (weighted) pixels."""
    error = (render.double() - photo.double()).square().mean(-3)
    if weight is None:
        return error.mean((-2, -1))
    weight = weight.double()
    return (error * weight).sum((-2, -1)) / weight.sum((-2, -1))


def psnr(
    render: Float[Tensor, "*view c h w"],
    photo: Float[Tensor, "*view c h w"],
    weight: Float[Tensor, "*view h w"] | None = None,
) -> Float[Tensor, "*view"]:
    """Peak signal-to-noise ratio in dB for a peak of 1: -10 log10 MSE, at most `PSNR_CEILING`."""
    floor = 10 ** (-PSNR_CEILING / 10)
    return -10 * mean_squared_error(render, photo, weight).clamp(min=floor).log10()


def ssim_uniform7(
    render: Float[Tensor, "*view c h w"], photo: Float[Tensor, "*view c h w"], data_range: float = 1.0
) -> Float[Tensor, "*view"]:
    """SSIM with a uniform 7x7 window and sample covariance, as scikit-image computes it by default.

    Mean over channels and the windows that lie inside the image, which must be at least 7 pixels in each direction.
    `data_range` is the span of possible values: 1 for images in [0, 1], 2 for images in [-1, 1]."""
    kernel = torch.full((7,), 1 / 7, dtype=torch.float64)
    return _ssim_and_contrast(render, photo, kernel, data_range, covariance_scale=49 / 48)[0]


def ssim_signed7(render: Float[Tensor, "*view c h w"], photo: Float[Tensor, "*view c h w"]) -> Float[Tensor, "*view"]:
    """`ssim_uniform7` of images mapped to [-1, 1]: the form in DiffusioNeRF's tables (its code; spec 5.4).

    SSIM changes with the zero point, so this is another number than `ssim_uniform7`, not another name for it."""
    return ssim_uniform7(2 * render.double() - 1, 2 * photo.double() - 1, data_range=2.0)


def ssim_gaussian11(
    render: Float[Tensor, "*view c h w"], photo: Float[Tensor, "*view c h w"], data_range: float = 1.0
) -> Float[Tensor, "*view"]:
    """SSIM with a Gaussian 11x11 window of sigma 1.5 and population covariance, as in Wang et al. 2004.

    Mean over channels and all pixels, borders mirrored as in torchmetrics (at least 11 pixels in each direction)."""
    return _ssim_and_contrast(render, photo, _gaussian_window(), data_range, mirror=True)[0]


def ms_ssim(
    render: Float[Tensor, "*view c h w"], photo: Float[Tensor, "*view c h w"], data_range: float = 1.0
) -> Float[Tensor, "*view"]:
    """Multi-scale SSIM: five scales, halved by 2x2 means, Gaussian 11x11 windows, negative terms set to 0.

    Both sides of the image must have at least `MS_SSIM_SMALLEST` pixels. Source: Wang et al. 2003, eq. 7."""
    batch = render.shape[:-3]
    first, second = (image.double().reshape(-1, *image.shape[-3:]) for image in (render, photo))
    product = first.new_ones(len(first))
    for scale, exponent in enumerate(MS_SSIM_WEIGHTS):
        similarity, contrast = _ssim_and_contrast(first, second, _gaussian_window(), data_range, mirror=True)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        product = product * (similarity if last else contrast).clamp(min=0) ** exponent
        first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product.reshape(batch)


def average_error(
    psnr: Float[Tensor, "*view"], ssim: Float[Tensor, "*view"], lpips: Float[Tensor, "*view"]
) -> Float[Tensor, "*view"]:
    """Geometric mean of MSE, sqrt(1 - SSIM) and LPIPS: the "Average" column (lower is better).

    Source: spec 5.4 and 9.11; of an image or a scene first, then averaged (it is not the value of mean metrics)."""
    return (10 ** (-psnr / 10) * (1 - ssim).clamp(min=0).sqrt() * lpips).pow(1 / 3)


def depth_errors(rendered: Float[Tensor, "h w"], truth: Float[Tensor, "h w"]) -> dict[str, float]:
    """Errors of planar depth over the pixels where the truth is known (> 0); both in the same units.

    depth_abs_rel: mean |d - d*| / d*. depth_median_abs: median |d - d*|, in those units. depth_inliers: share of
    pixels with max(d / d*, d* / d) < 1.25. A pixel that the scene left empty (depth 0) counts as wrong by all of d*."""
    known = truth > 0
    if not known.any():
        return {}
    depth, true = rendered[known].double(), truth[known].double()
    error = (depth - true).abs()
    ratio = torch.maximum(depth / true, true / depth.clamp(min=1e-12))
    return {
        "depth_abs_rel": float((error / true).mean()),
        "depth_median_abs": float(error.median()),
        "depth_inliers": float((ratio < 1.25).double().mean()),
    }


def depth_rank_corr(rendered: Float[Tensor, "h w"], truth: Float[Tensor, "h w"]) -> float:
    """Spearman correlation of rendered and true planar depth over the pixels where the truth is known (> 0, finite).

    1: the same order of near and far, whatever the scale; 0: no idea, which includes a flat picture. Equal depths share
    their mean rank; a pixel that the scene left empty (depth 0) counts as farthest. NaN where the truth is flat."""
    known = (truth > 0) & truth.isfinite()
    depth, true = rendered[known], truth[known]
    ranks = torch.stack([_mean_ranks(torch.where(depth > 0, depth, torch.inf)), _mean_ranks(true)])
    ranks = ranks - ranks.mean(1, keepdim=True)
    length = ranks.norm(dim=1)
    if not len(true) or length[1] == 0:
        return float("nan")
    return float((ranks[0] @ ranks[1]) / (length[0] * length[1])) if length[0] > 0 else 0.0


def near_mass(
    density: DensityFn, camera: Cameras, limit: float, start: float = 0.0, rays: int = 1024, samples: int = 64
) -> float:
    """Share of light stopped between the planar depths `start` and `limit` of one camera: fog before the lens.

    The mean over a regular grid of about `rays` pixels of 1 - exp(-integral of density), by the midpoint rule with
    `samples` points. `limit` is half of the view's first-percentile surface depth (as `data.scale` finds it), nearer
    than which nothing should be; `start` is where the scene's rays begin. User units; 0 is clean, 1 is blind."""
    if limit <= start:
        return 0.0
    width, height = camera.size.reshape(2).tolist()
    columns = max(1, round((rays * width / height) ** 0.5))
    rows = max(1, round(rays / columns))
    x = (torch.arange(columns) + 0.5) * width / columns
    y = (torch.arange(rows) + 0.5) * height / rows
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, -1, 2).to(camera.focal)
    bundle = camera_rays(camera, pixels)
    origins, directions, cosine = (
        bundle.origins.reshape(-1, 3),
        bundle.directions.reshape(-1, 3),
        bundle.cosine.flatten(),
    )
    depth = start + (limit - start) * (torch.arange(samples) + 0.5).to(origins) / samples
    along = depth / cosine[:, None]
    points = origins[:, None] + along[..., None] * directions[:, None]
    with torch.no_grad():
        optical = density(points.reshape(-1, 3)).reshape(along.shape).double().sum(-1)
    optical = optical * (limit - start) / samples / cosine.double()
    return float(-torch.expm1(-optical).mean())


def near_mass_of_depth(depth: Float[Tensor, "h w"], opacity: Float[Tensor, "h w"], limit: float) -> float:
    """Share of the opacity that sits at pixels whose rendered depth is nearer than `limit`.

    The stand-in for `near_mass` where only pictures are at hand. Blind to thin fog: expected depth hides it."""
    mass = opacity.double().sum()
    return float((opacity.double() * ((depth < limit) & (depth > 0))).sum() / mass) if mass > 0 else 0.0


def opacity_entropy(opacity: Float[Tensor, "*view h w"]) -> Float[Tensor, "*view"]:
    """Mean binary entropy of the pixels' opacity in bits: 0 where all is solid or empty, 1 for a veil of one half."""
    share = opacity.double().clamp(0, 1)
    return -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).mean((-2, -1)) / math.log(2)


def ray_entropy(weights: Float[Tensor, "*ray sample"]) -> Float[Tensor, "*ray"]:
    """Over how many samples of a ray its light is spread, as entropy over that of an even spread: 0 for one surface, 1
    for fog all along. Sees the fog that `opacity_entropy` cannot: that which stops all light in the end.

    weights: light stopped at each sample, not negative. A ray that stops none gives 0. After InfoNeRF (arXiv
    2112.15399), which takes the samples' own opacities."""
    weights = weights.double()
    share = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
    return -torch.xlogy(share, share).sum(-1) / math.log(max(2, weights.shape[-1]))


def mean_colour(
    photos: Float[Tensor, "view c h w"], weight: Float[Tensor, "view h w"] | None = None
) -> Float[Tensor, "c"]:
    """The one colour that explains a set of photos best: what every scene must beat."""
    if weight is None:
        return photos.double().mean((0, 2, 3)).to(photos)
    weight = weight.double()[:, None]
    return ((photos.double() * weight).sum((0, 2, 3)) / weight.sum()).to(photos)


def _mean_ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Rank of each value from 1; equal values share the mean of theirs."""
    _, group, count = torch.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2).double()[group]


def _gaussian_window() -> Float[Tensor, "tap"]:
    offset = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-offset.square() / (2 * 1.5**2))
    return window / window.sum()


def _ssim_and_contrast(
    first: Float[Tensor, "*view c h w"],
    second: Float[Tensor, "*view c h w"],
    window: Float[Tensor, "tap"],
    data_range: float,
    covariance_scale: float = 1.0,
    mirror: bool = False,
) -> tuple[Float[Tensor, "*view"], Float[Tensor, "*view"]]:
    """Mean SSIM and mean contrast-structure term over channels (Wang et al. 2004, eq. 13).

    Both over the windows that lie inside the image; with `mirror` the SSIM also over those that reach beyond it."""
    x, y = (image.double().reshape(-1, *image.shape[-3:]) for image in (first, second))
    reach = len(window) // 2
    if mirror:
        x, y = (functional.pad(image, (reach,) * 4, mode="reflect") for image in (x, y))
    mean_x, mean_y, square_x, square_y, cross = _smoothed(torch.stack([x, y, x * x, y * y, x * y]), window)
    variances = covariance_scale * ((square_x - mean_x**2).clamp(min=0) + (square_y - mean_y**2).clamp(min=0))
    covariance = covariance_scale * (cross - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    contrast = (2 * covariance + c2) / (variances + c2)
    similarity = contrast * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    inside = contrast[..., reach:-reach, reach:-reach] if mirror else contrast
    batch = first.shape[:-3]
    return similarity.mean((-3, -2, -1)).reshape(batch), inside.mean((-3, -2, -1)).reshape(batch)


def _smoothed(
    planes: Float[Tensor, "*batch h w"], window: Float[Tensor, "tap"]
) -> Float[Tensor, "*batch rows columns"]:
    """Planes under a separable symmetric window, where it fits whole (faster than a convolution in float64)."""
    for axis in (-1, -2):
        length = planes.shape[axis] - len(window) + 1
        total = planes.narrow(axis, 0, length) * window[0]
        for tap in range(1, len(window)):
            total.add_(planes.narrow(axis, tap, length), alpha=float(window[tap]))
        planes = total
    return planes
