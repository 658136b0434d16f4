"""Every metric of every held-out photograph: from a RenderFn and Views to named columns.

Full-image columns leave padding and *ignore* pixels out (metrics that look through windows get the photo's own pixels
there). Columns that end in `_masked` look at the object alone: PSNR over its pixels, the others on photo and render
both composited on white by the photo's mask (the RegNeRF family's convention, spec 5.2). Columns that end in
`_visible`, `_occluded` or `_outside` look at what training photos saw, what was hidden from all of them, and what none
had in its frame.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.views import Views
from diorama.errors import InputError, MissingExtraError
from diorama.eval import metrics
from diorama.eval.perceptual import Lpips, flip_error
from diorama.types import DensityFn, RenderFn, Rendering

Values = Mapping[str, float | None]
"""Column name -> number, None where it was not measured."""

LPIPS_UNMEASURED = "lpips"
"""Column that says so where no LPIPS weights were given."""


LEAST_PIXELS = 32
"""A part of a photograph with fewer pixels has no figures: they would be chance."""


@dataclass(frozen=True)
class Columns:
    """What to measure besides PSNR, SSIM and depth."""

    lpips: tuple[Lpips, ...] = ()
    """Nets with weights; none: the column `lpips` says "not measured"."""
    flip: bool = True
    """The FLIP column (extra `metrics`)."""
    signed_ssim: bool = False
    """Also `ssim_signed7`, the form of DiffusioNeRF's own tables."""
    metres_per_unit: float | None = None
    """Adds `depth_median_abs_m` where the size of a user unit is known."""
    baseline: Float[Tensor, "rgb=3"] | None = None
    """The training photos' mean colour: adds `psnr_mean_colour`."""
    density: DensityFn | None = None
    """Density per user unit: lets `near_mass` see thin fog; without it rendered depth decides."""
    near: float = 0.0
    """Planar depth at which the scene's rays begin, user units; for `near_mass`."""
    parts: "PartsFn | None" = None
    """Splits a photograph's pixels; adds the share, PSNR and depth errors of each part."""


@dataclass(frozen=True)
class HeldOut:
    """One photograph at its true size. keep: False at ignored pixels. surface: first-percentile depth, user units."""

    name: str
    photo: Float[Tensor, "3 h w"]
    camera: Cameras
    keep: Bool[Tensor, "h w"] | None = None
    object: Float[Tensor, "h w"] | None = None
    depth: Float[Tensor, "h w"] | None = None
    surface: float | None = None


PartsFn = Callable[[HeldOut, Rendering], Mapping[str, Bool[Tensor, "h w"]]]
"""From a photograph and its render to its parts by name, as `scenes.visibility.Observed.parts` names them."""


@dataclass(frozen=True)
class ViewResult:
    """The numbers of one photograph; size is (width, height)."""

    name: str
    size: tuple[int, int]
    values: Values


@dataclass(frozen=True)
class SceneResult:
    """The numbers of one scene. facts: what every table must name (method, seed, split hash, resolution, ...);
    missing: why a column was not measured."""

    title: str
    views: tuple[ViewResult, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean(self) -> dict[str, float | None]:
        """Mean over the views in which a column was measured; None where there is none."""
        columns = dict.fromkeys(column for view in self.views for column in view.values)
        return {column: mean_measured([view.values.get(column) for view in self.views]) for column in columns}

    @property
    def resolution(self) -> str:
        """`360x640`, or the range of sizes."""
        sizes = sorted({view.size for view in self.views})
        return " to ".join(f"{w}x{h}" for w, h in (sizes if len(sizes) < 3 else (sizes[0], sizes[-1])))


def mean_measured(values: list[float | None]) -> float | None:
    """Mean of the numbers that exist; None if none does."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def held_out(views: Views, surface: Float[Tensor, "view"] | None = None) -> Iterator[HeldOut]:
    """The photographs one by one, padding cut away."""
    if views.cameras is None:
        raise InputError("these photos have no cameras, so nothing can be rendered from them. Run `diorama pose`.")
    for index, name in enumerate(views.names):
        width, height = views.cameras.size[index].tolist()

        def crop(plane: Tensor | None, i: int = index, w: int = width, h: int = height) -> Tensor | None:
            return None if plane is None else plane[i, ..., :h, :w]

        ignore = crop(views.ignore)
        depth_near = _surface_depth(crop(views.depth), None if surface is None else float(surface[index]))
        yield HeldOut(
            name=name,
            photo=views.images[index, :3, :height, :width],
            camera=views.cameras[index : index + 1],
            keep=None if ignore is None else ~ignore,
            object=crop(views.object),
            depth=crop(views.depth),
            surface=depth_near,
        )


def measured_views(
    render: RenderFn, photos: Iterator[HeldOut], columns: Columns
) -> Iterator[tuple[HeldOut, Rendering, ViewResult]]:
    """Render and measure one photograph after the other; the caller keeps the pictures it wants to show."""
    for held in photos:
        with torch.no_grad():
            full = render(held.camera)
        height, width = held.photo.shape[-2:]
        rendering = Rendering(
            full.colour[:, :, :height, :width], full.depth[:, :height, :width], full.opacity[:, :height, :width]
        )
        if rendering.depth.shape[1:] != held.photo.shape[1:] or not rendering.colour.isfinite().all():
            found = f"{tuple(full.colour.shape)}, finite: {bool(full.colour.isfinite().all())}"
            raise RuntimeError(f"the render of {held.name} is {found}; needed finite colours, {height} by {width}.")
        values = measure_view(held, rendering, columns)
        yield held, rendering, ViewResult(held.name, (width, height), values)


def measure_view(held: HeldOut, rendering: Rendering, columns: Columns) -> dict[str, float | None]:
    """All columns of one photograph and its render (a batch of one)."""
    photo, colour = held.photo, rendering.colour[0].clamp(0, 1).to(held.photo)
    keep = None if held.keep is None else held.keep.to(photo)
    values: dict[str, float | None] = {"psnr": _number(metrics.psnr(colour, photo, keep))}
    if held.object is not None:
        solid = (held.object >= 0.5).to(photo) if keep is None else (held.object >= 0.5).to(photo) * keep
        values["psnr_masked"] = _number(metrics.psnr(colour, photo, solid))
    seen = colour if held.keep is None else torch.where(held.keep, colour, photo)
    values |= windowed(seen, photo, columns, psnr=values["psnr"])
    if held.object is not None:
        cover = held.object.to(photo)
        on_white = [image * cover + (1 - cover) for image in (seen, photo)]
        masked = windowed(on_white[0], on_white[1], columns, psnr=values["psnr_masked"])
        values |= {f"{column}_masked": value for column, value in masked.items()}
    if held.depth is not None:
        errors = metrics.depth_errors(rendering.depth[0].to(held.depth), held.depth)
        values |= {name: errors.get(name) for name in ("depth_abs_rel", "depth_median_abs", "depth_inliers")}
        if columns.metres_per_unit is not None and "depth_median_abs" in errors:
            values["depth_median_abs_m"] = errors["depth_median_abs"] * columns.metres_per_unit
    if columns.parts is not None:
        values |= parts_apart(held, rendering, columns.parts(held, rendering))
    values["near_mass"] = _near_mass(held, rendering, columns)
    if columns.baseline is not None:
        flat = columns.baseline.to(photo)[:, None, None].expand_as(photo)
        values["psnr_mean_colour"] = _number(metrics.psnr(flat, photo, keep))
    return values


def parts_apart(
    held: HeldOut, rendering: Rendering, parts: Mapping[str, Bool[Tensor, "h w"]]
) -> dict[str, float | None]:
    """Share of the pixels, PSNR and depth errors of each part of a photograph, ignored pixels left out.

    None where a part has fewer than `LEAST_PIXELS`."""
    photo, colour = held.photo, rendering.colour[0].clamp(0, 1).to(held.photo)
    values: dict[str, float | None] = {}
    for name, part in parts.items():
        kept = part if held.keep is None else part & held.keep
        enough = int(kept.sum()) >= LEAST_PIXELS
        values[f"share_{name}"] = float(kept.double().mean())
        values[f"psnr_{name}"] = _number(metrics.psnr(colour, photo, kept.to(photo))) if enough else None
        if held.depth is not None:
            errors = metrics.depth_errors(rendering.depth[0].to(held.depth), held.depth * kept) if enough else {}
            values |= {f"{column}_{name}": errors.get(column) for column in ("depth_abs_rel", "depth_median_abs")}
    return values


def windowed(
    render: Float[Tensor, "3 h w"], photo: Float[Tensor, "3 h w"], columns: Columns, psnr: float | None
) -> dict[str, float | None]:
    """SSIM in its forms, FLIP, LPIPS and "Average"; None where the image is too small for the window.

    "Average" (named after its LPIPS net) takes `psnr` and `ssim_uniform7`, and exists only where LPIPS was measured."""
    side = min(photo.shape[-2:])
    values: dict[str, float | None] = {
        "ssim_uniform7": _number(metrics.ssim_uniform7(render, photo)) if side >= 7 else None,
        "ssim_gaussian11": _number(metrics.ssim_gaussian11(render, photo)) if side >= 11 else None,
        "ms_ssim": _number(metrics.ms_ssim(render, photo)) if side >= metrics.MS_SSIM_SMALLEST else None,
    }
    if columns.signed_ssim:
        values["ssim_signed7"] = _number(metrics.ssim_signed7(render, photo)) if side >= 7 else None
    values["flip"] = float(flip_error(render, photo).mean()) if columns.flip else None
    if not columns.lpips:
        values[LPIPS_UNMEASURED] = None
    for net in columns.lpips:
        with torch.no_grad():
            lpips = _number(net(render.float()[None], photo.float()[None])[0]) if side >= 32 else None
        values[net.column] = lpips
        ssim = values["ssim_uniform7"]
        if lpips is not None and psnr is not None and ssim is not None:
            three = (torch.tensor(x, dtype=torch.float64) for x in (psnr, ssim, lpips))
            values[f"average_{net.net}"] = float(metrics.average_error(*three))
    return values


def columns_with_reasons(columns: Columns) -> tuple[Columns, dict[str, str]]:
    """The columns this machine can measure, and for each of the others the reason and the cure."""
    missing = {}
    if not columns.lpips:
        missing[LPIPS_UNMEASURED] = "no weights were given: --lpips FILE (nothing is downloaded)"
    if columns.flip:
        try:
            flip_error(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))
        except MissingExtraError as error:
            missing["flip"] = str(error)
            columns = Columns(**{**vars(columns), "flip": False})
    return columns, missing


def _number(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def _surface_depth(truth: Float[Tensor, "h w"] | None, triangulated: float | None) -> float | None:
    """First-percentile depth of a view: of its true depth where there is one, else of the points it sees."""
    if truth is not None and (truth > 0).any():
        known = truth[truth > 0]
        return float(known.kthvalue(max(1, round(0.01 * len(known)))).values)
    return None if triangulated is None or math.isnan(triangulated) else triangulated


def _near_mass(held: HeldOut, rendering: Rendering, columns: Columns) -> float | None:
    if held.surface is None:
        return None
    limit = 0.5 * held.surface
    if columns.density is not None:
        return metrics.near_mass(columns.density, held.camera, limit, columns.near)
    return metrics.near_mass_of_depth(rendering.depth[0], rendering.opacity[0], limit)
