"""From posed training photos to a fitted field: where it lies, how it is set up, how long it runs."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.patches import largest_fit
from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import CaptureShape, Similarity, capture_shape, focus_point, mean_up, upright_rotation
from diorama.data.pixels import PixelPool
from diorama.data.scale import SceneScale, scene_scale
from diorama.data.structure_from_motion import triangulate
from diorama.data.views import Views
from diorama.errors import MemoryLimitError, MissingExtraError, ViewsError
from diorama.fields.hashgrid import HashField
from diorama.pipelines.presets import FitPreset, PresetName, choose_preset
from diorama.priors.guide import scale_warning
from diorama.priors.photometric import exposure_spread
from diorama.priors.prior import NullPrior, Prior
from diorama.priors.sampled import SampledViews
from diorama.priors.stereo import plane_sweep_stereo
from diorama.rendering.render import Background
from diorama.scenes.scene import Scene
from diorama.streams import stream
from diorama.systems.diffusionerf import DiffusioNeRF, FitFrame
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential

LEAST_CONFIDENCE = 0.3
"""Of stereo, from which on it places a surface."""


@dataclass(frozen=True)
class Geometry:
    """What is known of a scene before anything is fitted; stored with unfinished work, so that it is measured once.

    depth, confidence: stereo over the training photos alone, user units; None when not measured. notes: one line each,
    to be printed and stored.
    """

    scale: SceneScale
    depth: Float[Tensor, "view a b"] | None
    confidence: Float[Tensor, "view a b"] | None
    notes: tuple[str, ...]


def measure_geometry(train: Views, *, stereo: bool, scale: float | None = None) -> Geometry:
    """Near, far and scale of the training photos and, if asked, their stereo depth; never from a test photo."""
    if train.cameras is None:
        raise ViewsError("photos without cameras cannot be fitted. Run `diorama pose PHOTOS -o POSED` first.")
    notes, points = [], None
    shipped = train.bounds is not None or train.points is not None or train.depth is not None
    if len(train) > 1 and (stereo or not shipped):
        try:
            points = triangulate(train).xyz
            notes.append(f"{len(points)} SIFT points triangulated over the {len(train)} training photos")
        except MissingExtraError as missing:
            notes.append(f"no SIFT points: {missing}")
    measured = scene_scale(train, triangulated=points, scale=scale)
    notes.append(f"near, far and scale from {measured.source}")
    if not stereo or len(train) < 2:
        return Geometry(measured, None, None, tuple(notes))
    bounds = measured if "camera geometry" not in measured.source else None
    if points is not None and len(points) >= 100:
        bounds = scene_scale(replace(train, bounds=None, points=None, depth=None), triangulated=points)
    found = plane_sweep_stereo(train, near=bounds.near if bounds else None, far=bounds.far if bounds else None)
    share = float((found.confidence > LEAST_CONFIDENCE).float().mean())
    notes.append(f"plane-sweep stereo: {share:.0%} of the pixels with confidence above {LEAST_CONFIDENCE:g}")
    if bounds is None and share > 0.02:
        measured = scene_scale(
            replace(train, bounds=None, points=None, depth=sure_depth(found.depth, found.confidence, train)),
            scale=scale,
        )
        notes.append(f"near, far and scale from stereo: median depth {measured.median_depth:.4g} user units")
    return Geometry(measured, found.depth, found.confidence, tuple(notes))


def sure_depth(
    depth: Float[Tensor, "view a b"], confidence: Float[Tensor, "view a b"], views: Views
) -> Float[Tensor, "view h w"]:
    """Low-resolution stereo depth at the photos' size, by nearest neighbour; 0 where its confidence is too low."""
    sure, size = depth * (confidence > LEAST_CONFIDENCE), tuple(views.images.shape[-2:])
    return torch.nn.functional.interpolate(sure[:, None], size=size, mode="nearest")[:, 0]


@dataclass(frozen=True)
class Plan:
    """A fit that is ready to run: the photos in the normalised frame and every choice that was made, with its reason.

    similarity leads from the user's frame to the normalised one, where the median depth is about 3 metres.
    """

    views: Views
    similarity: Similarity
    shape: CaptureShape
    preset: FitPreset
    preset_name: str
    frame: FitFrame
    depth: Float[Tensor, "view a b"] | None
    confidence: Float[Tensor, "view a b"] | None
    notes: tuple[str, ...]
    prior: Prior | None = None
    sampled: SampledViews | None = None
    """Views that a generative model imagined, in the normalised frame."""


def plan_fit(
    train: Views,
    geometry: Geometry,
    preset: PresetName | FitPreset,
    *,
    pose_error: float | None = None,
    prior: Prior | None = None,
) -> Plan:
    """Normalise the photos and choose preset, space and spacing by the shape of the capture.

    pose_error: mean reprojection error in pixels of poses found by structure from motion; None for given poses, which
    are never moved. Found poses are refined if they are off by more than a pixel or there are ten photos or more.
    prior: what is asked where there are no photos; None and the null prior leave the plan as it is without one.
    """
    if train.cameras is None:
        raise ViewsError("photos without cameras cannot be fitted. Run `diorama pose PHOTOS -o POSED` first.")
    shape = capture_shape(train.cameras)
    masked = train.object is not None
    chosen, name = (preset, "given") if isinstance(preset, FitPreset) else choose_preset(
        preset, len(train), shape, masked
    )  # fmt: skip
    similarity, origin = normalise(train.cameras, geometry.scale, shape)
    cameras = similarity.apply_cameras(train.cameras).to(torch.float32)
    scale = similarity.scale
    near = (geometry.scale.near * scale).to(torch.float32)
    median = geometry.scale.median_depth * scale
    reach = float(cameras.origins.norm(dim=-1).median())
    bounded = chosen.field.space == "sphere" or masked
    radius = chosen.field.radius
    if bounded:
        far = float((geometry.scale.far * scale).median())
        outermost = 1.05 * float(cameras.origins.norm(dim=-1).max())
        radius = 0.6 * reach if masked else max(radius, outermost, far)
    else:
        radius = max(reach, median)
    notes = [
        f"capture: {shape}; origin at {origin}; {scale:.4g} metres per user unit",
        f"space: {'a ball' if bounded else 'contracted beyond'} of {radius:.3g} m; "
        + ("an object in front of a random background" if masked else "the last interval is opaque sky"
           if not bounded else "grey background"),
    ]  # fmt: skip
    settled = settle(chosen, shape, bounded, masked, radius, median, near)
    if pose_error is not None and (pose_error > 1.0 or len(train) >= 10):
        settled = replace(settled, fit=replace(settled.fit, pose_after=0.3))
        notes.append(
            f"poses are refined after 30 % of the steps: they were found, with an error of {pose_error:.2f} px"
        )
    if len(train) >= 6:
        usable = torch.ones_like(train.images[:, 0]) if train.ignore is None else (~train.ignore).float()
        spread = exposure_spread(train.images, usable)
        if spread > 0.15 and not isinstance(preset, FitPreset):
            settled = replace(settled, fit=replace(settled.fit, exposure=True))
            notes.append(f"photos differ in exposure (spread {spread:.2f}): a gain per photo is fitted")
    prior = None if isinstance(prior, NullPrior) else prior
    if prior is not None:
        notes += prior_notes(prior, cameras, median)
    frame = FitFrame(near, median, radius if bounded else None)
    depth = None if geometry.depth is None else geometry.depth * scale
    views = replace(train, cameras=cameras, points=None, bounds=None, depth=None)
    return Plan(views, similarity, shape, settled, name, frame, depth, geometry.confidence, tuple(notes), prior)


def prior_notes(prior: Prior, cameras: Cameras, median: float) -> list[str]:
    """What there is to say of a prior and the scene it is asked about: scale, and photos narrower than a patch."""
    window = prior.encoding.window
    notes = [
        f"prior: {prior.kind} ({prior.checksum[:12]}), patches of {window.size} pixels and "
        f"{math.degrees(window.angle):.1f} degrees; median depth {median:.3g} m here, "
        f"{prior.encoding.median_depth:.3g} m in what it was made from"
    ]
    if warning := scale_warning(prior, median):
        notes.append(warning)
    narrow = sum(not largest_fit(window, cameras[index]) for index in range(len(cameras)))
    if narrow:
        notes.append(f"{narrow} of {len(cameras)} photos are narrower than a patch: none is cut out of them")
    return notes


def normalise(cameras: Cameras, scale: SceneScale, shape: CaptureShape) -> tuple[Similarity, str]:
    """User frame -> metre-like frame with z up, and where its origin was put.

    forward-facing: the focus point if it lies in front of all cameras, else the median depth on the mean axis.
    inward: the focus point. inside-out: the centroid of the cameras.
    """
    origins, axes = cameras.origins.double(), cameras.axes.double()
    centroid = origins.mean(0)
    focus = focus_point(cameras).double()
    in_front = bool((((focus - origins) * axes).sum(-1) > 0).all()) and bool(torch.isfinite(focus).all())
    near_enough = float((focus - centroid).norm()) < 5 * scale.median_depth
    match shape:
        case "inside-out":
            origin, where = centroid, "the centroid of the cameras"
        case _ if in_front and near_enough:
            origin, where = focus, "the focus point"
        case _:
            axis = torch.nn.functional.normalize(axes.mean(0), dim=0)
            origin, where = centroid + axis * scale.median_depth, "the median depth on the mean axis"
    rotation = upright_rotation(mean_up(cameras)).double()
    return Similarity(scale.scale, rotation, -scale.scale * (rotation @ origin)), where


def settle(
    preset: FitPreset,
    shape: CaptureShape,
    bounded: bool,
    masked: bool,
    radius: float,
    median: float,
    near: Float[Tensor, "view"],
) -> FitPreset:
    """A preset's field and sampling, fitted to where this scene lies."""
    field = replace(preset.field, space="sphere" if bounded else "contracted", radius=radius)
    sampling = preset.fit.sampling
    if preset.field.space == "sphere":  # the published numbers stay as they are
        return replace(preset, field=field)
    sampling = replace(
        sampling,
        near=max(0.5 * float(near.min()), 1e-3 * median),
        far=100.0 * median,
        spacing="linear" if bounded else "inverse" if shape == "forward-facing" else "mixed",
        knee=radius,
        last_opaque=not bounded,
    )
    background: Background = "random" if masked else "none"
    return replace(preset, field=field, fit=replace(preset.fit, sampling=sampling, background=background))


def within_memory(plan: Plan, limit: int) -> Plan:
    """The plan with as many rays a step as fit into `limit` bytes: field, optimiser, photos and samples together.

    Raises MemoryLimitError where even 64 rays do not fit. The estimate counts floats that autograd keeps.
    """
    field, sampling = plan.preset.field, plan.preset.fit.sampling
    grids = [field.grid] + ([field.proposal] if field.proposal is not None else [])
    entries = sum(grid.layout().entries * grid.features for grid in grids)
    fixed = 4 * (4 * entries + plan.views.images.numel()) + (400 << 20)
    samples = sampling.fine + (sampling.coarse if sampling.union else 0)
    wide = 6 * field.grid.levels * field.grid.features + 4 * field.hidden + 6 * field.colour_hidden
    per_ray = 4 * (sampling.coarse * 120 + samples * wide)
    if plan.prior is not None:
        asked = plan.preset.fit.prior
        coarse = asked.coarse or sampling.coarse
        drawn = asked.fine + (coarse if sampling.union else 0)
        fixed += 4 * plan.prior.encoding.window.size**2 * (coarse * 120 + drawn * wide)
    rays = plan.preset.fit.rays
    while fixed + rays * per_ray > limit and rays > 64:
        rays //= 2
    if fixed + rays * per_ray > limit:
        raise MemoryLimitError(
            f"about {(fixed + rays * per_ray) / 2**30:.1f} GB are needed, {limit / 2**30:.1f} GB were allowed. "
            "Allow more with --max-memory, or use smaller photos (--max-side 320) or fewer (--views)."
        )
    if rays == plan.preset.fit.rays:
        return plan
    note = f"{rays} rays a step instead of {plan.preset.fit.rays}, to stay within {limit / 2**30:.1f} GB"
    preset = replace(plan.preset, fit=replace(plan.preset.fit, rays=rays))
    return replace(plan, preset=preset, notes=(*plan.notes, note))


def build(plan: Plan, steps: int, seed: int, device: str) -> DiffusioNeRF:
    """The system of a plan at step 0; the same seed gives the same numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = HashField(plan.preset.field).to(device)
    pool = PixelPool(plan.views, plan.depth, plan.confidence)
    prior = None if plan.prior is None else plan.prior.to(device)
    return DiffusioNeRF(plan.preset.fit, field, pool, plan.frame, steps, seed, prior, plan.sampled).to(device)


TIMED = (96, 296, 496, 696, 896)
"""Where steps are timed in a run of a thousand: all over it, since a prior speaks in a part of it alone."""
STRETCH = 8
"""Steps that are timed at each place: as many of them with a patch, of a prior or of smoothness, as in a whole run."""


def seconds_per_step(plan: Plan, seed: int, device: str, stretch: int = STRETCH) -> float:
    """Seconds that a step takes on this machine, a mean over the run; timed on a throw-away copy that has warmed up.

    stretch: steps that are timed at each place; with fewer than `STRETCH` a patch weighs too much or too little.
    """
    system = build(plan, 1000, seed, device)
    optimizer = adam(system, plan.preset.optim)
    rate = exponential(plan.preset.optim, 1000)

    def seconds(first: int) -> float:
        start = time.perf_counter()
        for _ in train_steps(system, optimizer, rate, range(first, first + stretch)):
            pass
        return time.perf_counter() - start

    seconds(TIMED[0])
    return sum(map(seconds, TIMED)) / (len(TIMED) * stretch)


@dataclass(frozen=True)
class HeldOut:
    """A fixed sample of held-out pixels, to watch the fit by; never trained on."""

    pool: PixelPool
    count: int = 2048

    @torch.no_grad()
    def psnr(self, system: DiffusioNeRF) -> float:
        """PSNR (dB) over the sample."""
        batch = self.pool.draw(self.count, stream(0, "held out")).to(system.device)
        background = torch.full_like(batch.colour, 1.0)
        out = system.render(batch.rays, None, background)
        target = batch.colour * batch.coverage[:, None] + background * (1 - batch.coverage)[:, None]
        error = (out.colour.clamp(0, 1) - target).square().mean(-1)
        mean = float((error * batch.usable).sum() / batch.usable.sum().clamp_min(1.0))
        return -10.0 * math.log10(max(mean, 1e-10))


def held_out(test: Views, plan: Plan) -> HeldOut | None:
    """The held-out photos in the plan's frame; None when there are none."""
    if not len(test) or test.cameras is None:
        return None
    cameras = plan.similarity.apply_cameras(test.cameras).to(torch.float32)
    return HeldOut(PixelPool(replace(test, cameras=cameras)))


def as_scene(
    plan: Plan,
    system: DiffusioNeRF,
    train: Views,
    test: Views,
    scale: SceneScale,
    provenance: dict[str, Any],
) -> Scene:
    """The fitted field as a scene in the user's frame."""
    assert train.cameras is not None
    small = torch.nn.functional.interpolate(
        train.images, scale_factor=min(1.0, 128.0 / max(train.images.shape[-2:])), mode="area"
    )
    background = plan.preset.fit.background
    return Scene(
        field=system.field,
        sampling=plan.preset.fit.sampling,
        background="white" if background == "random" else background,
        sphere=plan.frame.sphere,
        similarity=plan.similarity,
        cameras=train.cameras,
        names=train.names,
        frame=train.frame,
        near=float(scale.near.min()),
        far=float(scale.far.max()),
        provenance=provenance,
        thumbnails=small.clamp(0, 1),
        held_out=test.cameras if len(test) else None,
    )
