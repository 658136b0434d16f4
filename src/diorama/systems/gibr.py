"""GIBR: one diffusion model that generates scenes and reconstructs them from any number of photographs.

In the order of the algorithm: views of a scene, some noisy, some clean -> a U-Net that reads them together ->
IB-planes -> each view rendered from the planes of the others -> clean views. The planes of the last step are the scene.

Source: Anciukevicius et al., Denoising Diffusion via Image-Based Rendering (arXiv 2402.03445); spec of GIBR. What is
fixed by the paper is marked [paper]; every other number and choice is ours, and a setting.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from diorama.cameras.rays import Rays, camera_rays
from diorama.data.multiview import MultiViews
from diorama.diffusion.grids import even_times
from diorama.diffusion.guidance import guided
from diorama.diffusion.noise import Schedule, discrete_cosine
from diorama.diffusion.objective import MinSnr, Objective, TimeLaw, UniformTimes, Weight, draw_times, weights
from diorama.diffusion.parameterize import add_noise
from diorama.diffusion.samplers import NoiseSource, ddim, dpm_solver
from diorama.errors import DioramaError, InputError
from diorama.fields.ib_planes import IBPlaneField, IBPlanesConfig, KeptPlanes, Planes, split_maps
from diorama.nets.multiview import MultiViewUNet
from diorama.nets.multiview_config import MultiViewConfig, gibr_small
from diorama.nets.pretrained import assign_strict, read_pretrained, save_pretrained
from diorama.rendering.render import Background, RayRendering, SamplingConfig, background_colour, render_rays
from diorama.scenes.config import from_json
from diorama.types import Denoiser

KIND = "gibr"
"""The word by which `config.json` names the model."""

OwnPlane = Literal["drop", "keep"]
"""Whether a view may be rendered from its own plane; dropping it is representation dropout [paper]."""


@dataclass(frozen=True)
class GIBRConfig:
    """What a model is: network, planes, and how rays are sampled. Lengths: a camera is 1 from what it looks at."""

    network: MultiViewConfig = field(default_factory=gibr_small)
    planes: IBPlanesConfig = IBPlanesConfig()
    sampling: SamplingConfig = SamplingConfig(
        coarse=24, fine=16, union=True, spacing="mixed", knee=2.0, near=0.1, far=100.0, colour_threshold=0.0
    )
    """The last bin is opaque: there is always a sky."""
    background: Background = "none"
    """What shows where nothing stops the light; for objects that were cut out `last_opaque` of the sampling is off."""
    steps: int = 1000
    """Of the discrete cosine schedule."""

    def __post_init__(self) -> None:
        if self.network.out_channels != self.planes.maps:
            raise InputError(
                f"the network makes {self.network.out_channels} channels and the planes have {self.planes.maps}. "
                "They must be equal."
            )

    @property
    def schedule(self) -> Schedule:
        """Signal and noise over time."""
        return discrete_cosine(self.steps)


@dataclass(frozen=True)
class NoisyViews:
    """What the network reads of some scenes: views at their noise levels, and cameras.

    images: in [-1, 1] plus noise. time: of each view, 0 for clean ones. clean: views that are given. present: False for
    views that only fill up a batch.
    """

    images: Float[Tensor, "scene view 3 h w"]
    time: Float[Tensor, "scene view"]
    clean: Bool[Tensor, "scene view"]
    present: Bool[Tensor, "scene view"]
    pose: Float[Tensor, "scene view numbers"]
    rays: Float[Tensor, "scene view pluecker=6 h w"]
    world_to_camera: Float[Tensor, "scene view 3 4"]
    intrinsics: Float[Tensor, "scene view 4"]

    @staticmethod
    def of(
        views: MultiViews,
        images: Float[Tensor, "scene view 3 h w"],
        time: Float[Tensor, "scene view"],
        clean: Bool[Tensor, "scene view"],
        present: Bool[Tensor, "scene view"] | None = None,
    ) -> "NoisyViews":
        """Noisy images in place of those of the views."""
        present = torch.ones_like(clean) if present is None else present
        return NoisyViews(
            images, time * ~clean, clean, present, views.pose_numbers(), views.pluecker(), views.world_to_camera(),
            views.intrinsics(),
        )  # fmt: skip


class GIBR(nn.Module):
    """The model: everything that is learned."""

    def __init__(self, config: GIBRConfig) -> None:
        super().__init__()
        self.config = config
        self.network = MultiViewUNet(config.network)
        self.field = IBPlaneField(config.planes)

    def planes(self, noisy: NoisyViews) -> Planes:
        """All views read together; one perspective and one polar map for each [paper]."""
        maps = self.network(
            noisy.images, noisy.time, noisy.clean, pose=noisy.pose, rays=noisy.rays, present=noisy.present
        )
        perspective, polar = split_maps(maps, self.config.planes)
        return Planes(perspective, polar, noisy.world_to_camera, noisy.intrinsics, noisy.present)

    def render(
        self,
        planes: Planes,
        rays: Rays,
        keep: Bool[Tensor, "scene view ray"] | None = None,
        *,
        sampling: SamplingConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> RayRendering:
        """Volume-render rays (scene, ray) of the normalised frames [paper]; jittered with a generator."""
        chosen, flat = sampling or self.config.sampling, rays.reshape(-1)
        near, far = (torch.full_like(flat.cosine, limit) for limit in (chosen.near, chosen.far))
        background = background_colour(self.config.background, len(near), generator, flat.origins)
        field_of_rays = KeptPlanes(self.field, planes, keep)
        return render_rays(field_of_rays, flat, near, far, chosen, background, generator)

    def forward(
        self,
        noisy: NoisyViews,
        rays: Rays,
        keep: Bool[Tensor, "scene view ray"] | None,
        generator: torch.Generator | None = None,
    ) -> RayRendering:
        """Noisy views to the colours of some rays: one denoising step, as training runs it."""
        return self.render(self.planes(noisy), rays, keep, generator=generator)

    def save_pretrained(self, folder: Path | str, *, card: str = "", half: bool = False, force: bool = False) -> Path:
        """Write `config.json`, `model.safetensors` and the card; see `nets.pretrained.save_pretrained`."""
        return save_pretrained(
            folder,
            KIND,
            asdict(self.config),
            self.state_dict(),
            card=card,
            licence="apache-2.0",
            half=half,
            force=force,
        )

    @staticmethod
    def from_pretrained(place: Path | str, device: str | torch.device = "cpu") -> "GIBR":
        """A model from its folder, or from the name of one shipped inside the package, ready for sampling.

        Raises InputError where the folder is none, is damaged, or its weights do not fit its config (with the names).
        """
        found = read_pretrained(place, [KIND])
        with torch.device("meta"):
            model = GIBR(from_json(GIBRConfig, found.settings))
        assign_strict(model, found.tensors(device=device), found.weights)
        return model.eval().requires_grad_(False)


# Representation dropout ----------------------------------------------------------------------------------------------


def others_of(target: Int[Tensor, "scene ray"], views: int, own: OwnPlane = "drop") -> Bool[Tensor, "scene view ray"]:
    """Which planes may paint each ray: with `drop`, all but that of the view whose ray it is [paper].

    target: number of the view that a ray belongs to; `views` or more for views that were never encoded.
    """
    every = torch.arange(views, device=target.device)[:, None]
    if own == "keep":
        return torch.ones(len(target), views, target.shape[1], dtype=torch.bool, device=target.device)
    return target[:, None] != every


def drop_some(
    keep: Bool[Tensor, "scene view ray"],
    target: Int[Tensor, "scene ray"],
    present: Bool[Tensor, "scene view"],
    share: float,
    generator: torch.Generator,
) -> Bool[Tensor, "scene view ray"]:
    """Each other plane is left out with this probability for all rays of a target view; one always stays."""
    if share <= 0:
        return keep
    targets = int(target.max()) + 1
    drawn = torch.rand(len(keep), keep.shape[1], targets, generator=generator, device=generator.device) < share
    dropped = drawn.to(keep.device).gather(2, target[:, None].expand(-1, keep.shape[1], -1))
    left = keep & ~dropped
    alive = (left & present[..., None]).any(1, keepdim=True)
    return torch.where(alive, left, keep)


# Training ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GIBRTraining:
    """What a model is asked during training."""

    held_out: int = 1
    """The last so many views of each scene are never given to the network, and rendered all the same."""
    rays: int = 96
    """Random pixels of each target view; the loss over all pixels is estimated without bias."""
    patch: int = 0
    """Side of a square of neighbouring pixels in place of single ones; 0: single ones."""
    regression: bool = False
    """All encoded views are clean and nothing is denoised: a network that regresses, to compare with."""
    no_clean: float = 0.15
    """Probability that no view is clean; otherwise their number is uniform from 1 to two less than the views."""
    times: TimeLaw = UniformTimes()
    """Of the noisy views of a scene, which share one time."""
    views_shift: float = 0.0
    """log-SNR is lowered by this times the logarithm of the number of noisy views: redundant views are easier."""
    weight: Weight = MinSnr(5.0, plus=1.0)
    """Of the squared error of the clean estimate. min(SNR, 5) gives high noise, where generation is decided, none."""
    clean_weight: float = 1.0
    """Factor for rays of clean views."""
    held_out_weight: float = 1.0
    """Factor for rays of views that the network never saw."""
    own_plane: OwnPlane = "drop"
    drop_other: float = 0.1
    """Probability that another view's plane is left out too, for one target view."""


@dataclass(frozen=True)
class Targets:
    """Rays to be rendered, and what they should look like."""

    rays: Rays
    view: Int[Tensor, "scene ray"]
    colour: Float[Tensor, "scene ray rgb=3"]
    """In [0, 1]."""


def draw_targets(views: MultiViews, training: GIBRTraining, generator: torch.Generator) -> Targets:
    """Random pixels of every view; with `patch`, a square of them."""
    scenes, count, _, height, width = views.images.shape
    if training.patch:
        side = min(training.patch, height, width)
        corner = torch.rand(scenes, count, 2, generator=generator) * torch.tensor([width - side + 1, height - side + 1])
        step = torch.arange(side)
        x = corner[..., :1].long() + step.repeat(side)
        y = corner[..., 1:].long() + step.repeat_interleave(side)
    else:
        pixel = torch.randint(height * width, (scenes, count, training.rays), generator=generator)
        x, y = pixel % width, pixel // width
    x, y = x.to(views.images.device), y.to(views.images.device)
    return targets_at(views, x, y)


def targets_at(views: MultiViews, x: Int[Tensor, "scene view n"], y: Int[Tensor, "scene view n"]) -> Targets:
    """The pixels (x, y) of every view as targets, view after view."""
    rays = camera_rays(views.cameras(), torch.stack([x, y], dim=-1) + 0.5)
    index = (y * views.images.shape[-1] + x)[:, :, None].expand(-1, -1, 3, -1)
    colour = views.images.flatten(3).gather(3, index).mT
    view = torch.arange(x.shape[1], device=x.device)[None, :, None].expand(x.shape)
    return Targets(rays.reshape(len(x), -1), view.flatten(1), colour.flatten(1, 2))


def draw_clean(scenes: int, views: int, no_clean: float, generator: torch.Generator) -> Bool[Tensor, "scene view"]:
    """Which views are given: none, or the first 1 ... views - 2 (order means nothing to the network) [ours]."""
    most = max(views - 2, 1)
    count = torch.randint(1, most + 1, (scenes,), generator=generator)
    none = torch.rand(scenes, generator=generator) < no_clean
    return torch.arange(views)[None] < torch.where(none, 0, count)[:, None]


def draw_noisy(
    config: GIBRConfig, training: GIBRTraining, views: MultiViews, generator: torch.Generator
) -> tuple[NoisyViews, Float[Tensor, "scene"]]:
    """The encoded views at a random time, and that time."""
    encoded = views.first(views.images.shape[1] - training.held_out)
    scenes, count = encoded.images.shape[:2]
    schedule, device = config.schedule, views.images.device
    clean = draw_clean(scenes, count, training.no_clean, generator) | training.regression
    time = draw_times(training.times, schedule, scenes, generator)
    if training.views_shift:
        noisy_count = (~clean).sum(1).float()
        time = schedule.time_at(schedule.log_snr(time) - training.views_shift * noisy_count.log())
    noise = torch.randn(encoded.images.shape, generator=generator, device=generator.device).to(encoded.images)
    each = (time[:, None] * ~clean).to(device)
    images = add_noise(to_signed(encoded.images), noise, each, schedule)
    return NoisyViews.of(encoded, images, each, clean.to(device)), time


def training_loss(
    model: nn.Module, views: MultiViews, config: GIBRConfig, training: GIBRTraining, generator: torch.Generator
) -> dict[str, Float[Tensor, ""]]:
    """The weighted squared error of rendered rays of noisy, clean and held-out views, a term for each.

    model: a GIBR or what wraps one. Their sum is the mean over scenes of weight(t) times the mean over all rays.
    """
    noisy, time = draw_noisy(config, training, views, generator)
    targets = draw_targets(views, training, generator)
    encoded = noisy.clean.shape[1]
    keep = others_of(targets.view, encoded, training.own_plane)
    keep = drop_some(keep, targets.view, noisy.present, training.drop_other, generator)
    seen = model(noisy, targets.rays, keep, generator)
    error = (2.0 * (seen.colour.reshape(targets.colour.shape) - targets.colour)).square().mean(-1)
    loud = weights(Objective("clean", "l2", training.weight), time.double(), config.schedule).to(error)
    held = targets.view >= encoded
    clean = noisy.clean.gather(1, targets.view.clamp(max=encoded - 1)) & ~held
    parts = {
        "noisy": (~held & ~clean, 1.0), "clean": (clean, training.clean_weight),
        "held_out": (held, training.held_out_weight),
    }  # fmt: skip
    return {name: factor * (loud[:, None] * error * which).mean() for name, (which, factor) in parts.items()}


def to_signed(images: Float[Tensor, "*image"]) -> Float[Tensor, "*image"]:
    """[0, 1] to [-1, 1], in which diffusion works."""
    return 2.0 * images - 1.0


def from_signed(images: Float[Tensor, "*image"]) -> Float[Tensor, "*image"]:
    """[-1, 1] to [0, 1]."""
    return 0.5 * images + 0.5


# Sampling ------------------------------------------------------------------------------------------------------------


class SamplingError(DioramaError):
    """Sampling made something that is not a number."""


@dataclass(frozen=True)
class GIBRSampling:
    """How scenes are drawn from a model."""

    sampler: Literal["dpm", "ddim"] = "dpm"
    steps: int = 10
    eta: float = 0.0
    """Of DDIM: 0 deterministic, 1 ancestral."""
    guidance: float = 0.0
    """w of (1 + w) conditional - w unconditional; 0 asks the network once a step."""
    own_plane: OwnPlane = "drop"
    """While views are denoised."""
    final: OwnPlane = "keep"
    """When the sampled scene is rendered."""
    coarse: int = 16
    fine: int = 16
    """Samples of a ray while views are denoised."""
    half_until: float = 0.5
    """For this share of the steps views are rendered at half their side and enlarged."""


@dataclass(frozen=True)
class Sample:
    """Scenes drawn from a model: denoised views, and the planes of the last step."""

    images: Float[Tensor, "scene view 3 h w"]
    """In [0, 1]; given views as they were."""
    planes: Planes


StepSeen = Callable[[int, int, Tensor, Planes], None]
"""(step from 0, steps, clean estimate in [0, 1], planes): called after every denoising step."""


@torch.no_grad()
def sample(
    model: GIBR,
    views: MultiViews,
    given: Bool[Tensor, "scene view"],
    noise: NoiseSource,
    sampling: GIBRSampling = GIBRSampling(),
    *,
    chunk: int = 4096,
    seen: StepSeen | None = None,
) -> Sample:
    """Denoise the views that are not given, all together, and keep the scene behind them.

    views: cameras of all views; images of those that are not given are not looked at. noise: see `samplers`; one seed a
    scene makes a scene the same in any batch. chunk: rays at a time. Raises SamplingError where a network answers
    with what is not a number, and InputError where a scene has a single view.
    """
    if views.images.shape[1] < 2:
        raise InputError("a scene of a single view: each is rendered from the others. Add noisy cameras.")
    schedule = model.config.schedule
    known = to_signed(views.images)
    start = schedule.sigma(torch.ones((), dtype=torch.float64)).to(known) * noise(known)
    x = torch.where(given[..., None, None, None], known, start)
    times = even_times(sampling.steps)[:, None, None] * ~given.cpu()
    last: list[Planes] = []
    step = count()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        index = next(step)
        half = index < sampling.half_until * sampling.steps
        planes, clean = denoised(model, views, given, x, t, sampling, half=half, chunk=chunk)
        check_finite(clean, index)
        last[:] = [planes]
        if seen is not None:
            seen(index, sampling.steps, from_signed(clean), planes)
        return clean

    denoiser: Denoiser = denoise
    if sampling.guidance and bool(given.any()):
        blind = torch.zeros_like(given)

        def without(x: Tensor, t: Tensor) -> Tensor:
            present = ~given | given.all(1, keepdim=True)
            return denoised(model, views, blind, x, t, sampling, present=present, chunk=chunk)[1]

        denoiser = guided(denoise, without, 1.0 + sampling.guidance)
    if sampling.sampler == "dpm":
        x = dpm_solver(denoiser, x, schedule, times)
    else:
        x = ddim(denoiser, x, schedule, times, eta=sampling.eta, noise=noise if sampling.eta else None)
    images = torch.where(given[..., None, None, None], views.images, from_signed(x).clamp(0.0, 1.0))
    return Sample(images, last[0])


def denoised(
    model: GIBR,
    views: MultiViews,
    given: Bool[Tensor, "scene view"],
    x: Float[Tensor, "scene view 3 h w"],
    t: Float[Tensor, "scene view"],
    sampling: GIBRSampling,
    *,
    present: Bool[Tensor, "scene view"] | None = None,
    half: bool = False,
    chunk: int = 4096,
) -> tuple[Planes, Float[Tensor, "scene view 3 h w"]]:
    """One denoising step: the planes of noisy views, and each view rendered from those of the others, in [-1, 1].

    Given views come back as they are.
    """
    planes = model.planes(NoisyViews.of(views, x, t, given, present))
    side = max(1, x.shape[-1] // 2) if half else x.shape[-1]
    pictures = render_views(
        model, planes, views.resized(side), sampling.own_plane, chunk=chunk,
        sampling=replace(model.config.sampling, coarse=sampling.coarse, fine=sampling.fine),
    ).colour  # fmt: skip
    if side != x.shape[-1]:
        flat = torch.nn.functional.interpolate(
            pictures.flatten(0, 1), size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        pictures = flat.unflatten(0, pictures.shape[:2])
    clean = to_signed(pictures).clamp(-1.0, 1.0)
    return planes, torch.where(given[..., None, None, None], x, clean)


def check_finite(clean: Float[Tensor, "scene view 3 h w"], step: int) -> None:
    """SamplingError that names step and view where an estimate is not finite."""
    wrong = ~clean.isfinite().all(-1).all(-1).all(-1)
    if bool(wrong.any()):
        scene, view = wrong.nonzero()[0].tolist()
        raise SamplingError(
            f"step {step} of sampling made view {view} of scene {scene} not a number. Check the weights and the "
            "cameras; fewer steps or full precision may help."
        )


@dataclass(frozen=True)
class Pictures:
    """Whole pictures of some scenes, rendered."""

    colour: Float[Tensor, "scene view 3 h w"]
    depth: Float[Tensor, "scene view h w"]
    """Planar, normalised units."""
    opacity: Float[Tensor, "scene view h w"]
    near_mass: Float[Tensor, "scene view h w"]
    """Share of each ray's light that is stopped nearer than `near_limit` of the true depth; zero without truth."""


@torch.no_grad()
def render_views(
    model: GIBR,
    planes: Planes,
    views: MultiViews,
    own: OwnPlane,
    *,
    sampling: SamplingConfig | None = None,
    chunk: int = 4096,
    near_limit: float = 0.5,
) -> Pictures:
    """All pixels of all views. own: whether view number k is painted by plane number k too."""
    scenes, count, _, height, width = views.images.shape
    encoded = planes.present.shape[1]
    pixel = torch.arange(height * width, device=views.images.device).expand(scenes, count, -1)
    targets = targets_at(views, pixel % width, pixel // width)
    truth = views.depth.flatten(1)
    size = max(1, chunk // scenes)
    parts: list[Tensor] = []
    for start in range(0, targets.view.shape[1], size):
        here = slice(start, start + size)
        rays, view = targets.rays[:, here], targets.view[:, here]
        out = model.render(planes, rays, others_of(view, encoded, own), sampling=sampling)
        planar = out.distance.reshape(view.shape) * rays.cosine
        middle = 0.5 * (out.edges[:, 1:] + out.edges[:, :-1]).reshape(*view.shape, -1) * rays.cosine[..., None]
        near = (out.weights.reshape(middle.shape) * (middle < near_limit * truth[:, here, None])).sum(-1)
        numbers = (planar, out.opacity.reshape(view.shape), near)
        parts.append(torch.cat([out.colour.reshape(*view.shape, 3), torch.stack(numbers, dim=-1)], dim=-1))
    whole = torch.cat(parts, dim=1).reshape(scenes, count, height, width, 6)
    return Pictures(whole[..., :3].movedim(-1, 2).clamp(0, 1), whole[..., 3], whole[..., 4], whole[..., 5])
