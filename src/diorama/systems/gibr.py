"""GIBR: one diffusion model that generates scenes and reconstructs them from any number of photographs.

In the order of the algorithm: views of a scene, some noisy, some clean -> a U-Net that reads them together ->
IB-planes -> each view rendered from the planes of the others -> clean views. The planes of the last step are the scene.

Source: Anciukevicius et al., Denoising Diffusion via Image-Based Rendering (arXiv 2402.03445); spec of GIBR. What is
fixed by the paper is marked [paper]; every other number and choice is ours, and a setting.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from diorama.cameras.conditioning import fundamental_matrices
from diorama.cameras.rays import Rays
from diorama.data.multiview import MultiViews
from diorama.data.targets import draw_targets
from diorama.diffusion.grids import even_times
from diorama.diffusion.noise import Schedule, discrete_cosine
from diorama.diffusion.objective import (
    MinSnr,
    Objective,
    TimeLaw,
    UniformTimes,
    UniformWeight,
    Weight,
    draw_times,
    weights,
)
from diorama.diffusion.parameterize import add_noise
from diorama.diffusion.samplers import NoiseSource, ddim, dpm_solver
from diorama.errors import DioramaError, InputError, MemoryLimitError, out_of_memory
from diorama.fields.build import PlanesConfig, build_planes, planes_of_maps
from diorama.fields.ib_planes import IBPlanesConfig, KeptPlanes, OwnPlane, Planes, drop_some, others_of
from diorama.nets.epipolar import epipolar_mask
from diorama.nets.multiview import AttentionMask, MultiViewUNet
from diorama.nets.multiview_config import MultiViewConfig, gibr_small
from diorama.nets.pretrained import assign_strict, read_pretrained, save_pretrained
from diorama.rendering.chunk import Chunk
from diorama.rendering.render import Background, RayRendering, SamplingConfig, background_colour, render_rays
from diorama.scenes.config import from_json
from diorama.scenes.pictures import render_views

KIND = "gibr"
"""The word by which `config.json` names the model."""


@dataclass(frozen=True)
class GIBRConfig:
    """What a model is: network, planes, and how rays are sampled. Lengths: a camera is 1 from what it looks at."""

    network: MultiViewConfig = field(default_factory=gibr_small)
    planes: PlanesConfig = IBPlanesConfig()
    sampling: SamplingConfig = SamplingConfig(
        coarse=24, fine=16, union=True, spacing="mixed", knee=2.0, near=0.1, far=100.0, colour_threshold=0.0
    )
    """The last bin is opaque: there is always a sky."""
    background: Background = "none"
    """What shows where nothing stops the light; for objects that were cut out `last_opaque` of the sampling is off."""
    steps: int = 1000
    """Of the discrete cosine schedule."""
    pixels: int = 48
    """Side of the pictures that it learned from; photographs become squares of it."""
    views: int = 4
    """Views that it was given at once while it learned, clean or noisy; any number will do."""
    denoises: bool = field(default=True, repr=False)
    """False: it learned to regress, from clean views alone (`GIBRTraining.regression`), and can invent none."""

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

    kind = KIND

    def __init__(self, config: GIBRConfig) -> None:
        super().__init__()
        self.config = config
        self.network = MultiViewUNet(config.network)
        self.field = build_planes(config.planes)

    def planes(self, noisy: NoisyViews) -> Planes:
        """All views read together; one perspective and one polar map for each [paper]."""
        present = None if bool(noisy.present.all()) else noisy.present  # attention without a mask is faster
        maps = self.network(
            noisy.images, noisy.time, noisy.clean, pose=noisy.pose, rays=noisy.rays, present=present,
            mask=looked_at(self.config.network, noisy),
        )  # fmt: skip
        perspective, polar = planes_of_maps(maps, self.config.planes)
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
        sampling: SamplingConfig | None = None,
    ) -> RayRendering:
        """Noisy views to the colours of some rays: one denoising step, as training runs it."""
        return self.render(self.planes(noisy), rays, keep, sampling=sampling, generator=generator)

    def save_pretrained(self, folder: Path | str, *, card: str = "", half: bool = False, force: bool = False) -> Path:
        """Write `config.json`, `model.safetensors` and the card; see `nets.pretrained.save_pretrained`."""
        return save_pretrained(
            folder, KIND, asdict(self.config), self.state_dict(), card=card, licence="apache-2.0", half=half,
            force=force,
        )  # fmt: skip

    @property
    def checksum(self) -> str:
        """SHA-256 over config and weights: what a scene notes of the model that it was drawn from."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

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


def looked_at(config: MultiViewConfig, noisy: NoisyViews) -> AttentionMask | None:
    """Who may look at whom, by the cameras, where the network asks for that; None: all at all."""
    if config.looks_at == "all" or not config.cross_view:
        return None
    fundamental = fundamental_matrices(noisy.world_to_camera, noisy.intrinsics)
    return partial(epipolar_mask, fundamental, band=config.epipolar_band)


# Training ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GIBRTraining:
    """What a model is asked during training."""

    held_out: int = 1
    """The last so many views of each scene are never given to the network, and rendered all the same."""
    rays: int = 96
    """Random pixels of each target view; the loss over all pixels is estimated without bias."""
    coarse: int | None = None
    fine: int | None = None
    """Samples of a ray while it learns; None: as many as when it is rendered (`GIBRConfig.sampling`)."""
    patch: int = 0
    """Side of a square of neighbouring pixels in place of single ones; 0: single ones."""
    regression: bool = False
    """All encoded views are clean, nothing is denoised and every scene weighs the same: to compare with."""
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


def draw_clean(scenes: int, views: int, no_clean: float, generator: torch.Generator) -> Bool[Tensor, "scene view"]:
    """Which views are given: none, or the first 1 ... views - 2 (order means nothing to the network) [ours]."""
    most = max(views - 2, 1)
    count = torch.randint(1, most + 1, (scenes,), generator=generator)
    none = torch.rand(scenes, generator=generator) < no_clean
    return torch.arange(views)[None] < torch.where(none, 0, count)[:, None]


def draw_noisy(
    config: GIBRConfig, training: GIBRTraining, views: MultiViews, generator: torch.Generator
) -> tuple[NoisyViews, Float[Tensor, "scene"]]:
    """The encoded views at a random time, and that time. InputError where fewer than two views are encoded."""
    scenes, count = len(views), views.images.shape[1] - training.held_out
    if count < 2:
        raise InputError(
            f"{views.images.shape[1]} views, {training.held_out} of them held out. Views are rendered from each other: "
            "at least two more than are held out are needed."
        )
    encoded = views.first(count)
    schedule, device = config.schedule, views.images.device
    clean = draw_clean(scenes, count, training.no_clean, generator) | training.regression
    time = draw_times(training.times, schedule, scenes, generator)
    if training.views_shift:
        noisy_count = (~clean).sum(1).clamp_min(1)
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
    with torch.autocast(views.images.device.type, enabled=False):  # where things are is not for bf16
        noisy, time = draw_noisy(config, training, views, generator)
        targets = draw_targets(views, training.rays, training.patch, generator)
    encoded = noisy.clean.shape[1]
    keep = others_of(targets.view, encoded, training.own_plane, poses=views.camera_to_world)
    keep = drop_some(keep, targets.view, noisy.present, training.drop_other, generator)
    usual = config.sampling
    sampling = replace(usual, coarse=training.coarse or usual.coarse, fine=training.fine or usual.fine)
    seen = model(noisy, targets.rays, keep, generator, sampling)
    error = (2.0 * (seen.colour.reshape(targets.colour.shape) - targets.colour)).square().mean(-1)
    weight = UniformWeight() if training.regression else training.weight
    loud = weights(Objective("clean", "l2", weight), time.double(), config.schedule).to(error)
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
    final_own_plane: OwnPlane = "keep"
    """In pictures of the finished scene from where one of its views was taken; other pictures ask all planes anyway."""
    given_first: bool = True
    """In the finished scene two or more given views are asked alone about what they have in their frames: what was
    invented says less of it, and blurs it. A single view cannot tell depth, so with one all are asked."""
    coarse: int = 16
    fine: int = 16
    """Samples of a ray while views are denoised."""
    half_until: float = 0.5
    """For this share of the steps views are rendered at half their side and enlarged."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta < math.inf:
            raise InputError(f"an eta of {self.eta} was given; it is 0 or more.")
        if self.eta and self.sampler != "ddim":
            raise InputError(f"an eta of {self.eta} is of the sampler ddim, and {self.sampler} was to draw. Name ddim.")


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
    say: Callable[[str], None] | None = None,
    seen: StepSeen | None = None,
) -> Sample:
    """Denoise the views that are not given, all together, and keep the scene behind them.

    views: cameras of all views; images of those that are not given are not looked at. noise: see `samplers`; one seed a
    scene makes a scene the same in any batch. chunk: rays at a time; halved where memory does not suffice, which `say`
    is told. Where all views are given, one look at them makes the scene. Raises InputError for a question that has no
    answer, SamplingError where the network answers with what is not a number, MemoryLimitError.
    """
    check_question(views, given, sampling, denoises=model.config.denoises)
    known, rays = to_signed(views.images), Chunk(chunk, say)
    if bool(given.all()):
        planes = read_together(model, NoisyViews.of(views, known, torch.zeros_like(known[:, :, 0, 0, 0]), given))
        check_finite(planes.perspective, 1)
        if seen is not None:
            seen(0, 1, views.images, planes)
        return Sample(views.images, planes)
    schedule, still = model.config.schedule, given[..., None, None, None]
    start = schedule.sigma(torch.ones((), dtype=torch.float64)).to(known) * noise(known)
    times = even_times(sampling.steps)[:, None, None] * ~given.cpu()
    first = asked_first(given) if sampling.given_first else None
    last: list[Planes] = []
    step = count()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        index = next(step)
        half = index < sampling.half_until * (sampling.steps - 1)
        planes, clean = denoised(model, views, given, x, t, sampling, half=half, chunk=rays)
        if sampling.guidance and bool(given.any()):
            without = denoised(model, views, given, x, t, sampling, blind=True, half=half, chunk=rays)[1]
            clean = (without + (1.0 + sampling.guidance) * (clean - without)).clamp(-1.0, 1.0)
        check_finite(clean, index + 1)
        last[:] = [replace(planes, first=first)]
        if seen is not None:
            seen(index, sampling.steps, from_signed(clean), last[0])
        return clean

    x = torch.where(still, known, start)
    if sampling.sampler == "dpm":
        x = dpm_solver(denoise, x, schedule, times)
    else:
        x = ddim(denoise, x, schedule, times, eta=sampling.eta, noise=noise if sampling.eta else None)
    return Sample(torch.where(still, views.images, from_signed(x).clamp(0.0, 1.0)), last[0])


def asked_first(given: Bool[Tensor, "scene view"]) -> Bool[Tensor, "scene view"] | None:
    """The given views of scenes that have two of them or more (see `GIBRSampling.given_first`); None where none has."""
    first = given & (given.sum(1, keepdim=True) >= 2)
    return first if bool(first.any()) else None


def check_question(
    views: MultiViews, given: Bool[Tensor, "scene view"], sampling: GIBRSampling, *, denoises: bool = True
) -> None:
    """InputError where a scene cannot be drawn from what is given. denoises: see `GIBRConfig.denoises`."""
    scenes, number = views.images.shape[:2]
    if number < 2:
        raise InputError("a scene of a single view: each is rendered from the others. Add noisy cameras.")
    if given.shape != (scenes, number):
        raise InputError(f"{scenes} scenes of {number} views, but answers for {tuple(given.shape)} to which are given.")
    wrong = given & ~views.images.flatten(2).isfinite().all(-1)
    if bool(wrong.any()):
        scene, view = wrong.nonzero()[0].tolist()
        raise InputError(f"given view {view} of scene {scene} has pixels that are not numbers. Leave it out.")
    if not denoises and not bool(given.all()):
        raise InputError(
            f"{int((~given).sum())} views were to be invented, by a model that learned to regress (`diorama train gibr "
            "--regression`) and never saw noise. Give two photos or more and --extra-views 0, or take another model."
        )
    if sampling.guidance and bool(given.all()):
        raise InputError(
            "guidance compares with views that are not given, and here all are. Let cameras be added (--extra-views), "
            "or set guidance to 0."
        )
    if sampling.guidance and bool((given.any(1) & ((~given).sum(1) == 1)).any()):
        raise InputError(
            "guidance compares with the views that are not given, each rendered from the others of them; here there is "
            "only one. Add a noisy camera, or set guidance to 0."
        )


def denoised(
    model: GIBR,
    views: MultiViews,
    given: Bool[Tensor, "scene view"],
    x: Float[Tensor, "scene view 3 h w"],
    t: Float[Tensor, "scene view"],
    sampling: GIBRSampling,
    *,
    blind: bool = False,
    half: bool = False,
    chunk: Chunk | int = 4096,
) -> tuple[Planes, Float[Tensor, "scene view 3 h w"]]:
    """One denoising step: the planes of noisy views, and each view rendered from those of the others, in [-1, 1].

    Given views come back as they are. blind: the network is not shown them. half: rendered at half the side, enlarged.
    """
    clean = torch.zeros_like(given) if blind else given
    present = ~given | given.all(1, keepdim=True) if blind else None
    planes = read_together(model, NoisyViews.of(views, x, t, clean, present))
    asked = (~given).any(0).nonzero()[:, 0]
    pictures = render_views(
        model, planes, views.resized(max(1, x.shape[-1] // 2)) if half else views, sampling.own_plane, which=asked,
        sampling=replace(model.config.sampling, coarse=sampling.coarse, fine=sampling.fine), chunk=chunk,
    ).colour  # fmt: skip
    if pictures.shape[-2:] != x.shape[-2:]:
        flat = interpolate(pictures.flatten(0, 1), x.shape[-2:], mode="bilinear", align_corners=False)
        pictures = flat.unflatten(0, pictures.shape[:2])
    estimate = x.index_copy(1, asked, to_signed(pictures).clamp(-1.0, 1.0))
    return planes, torch.where(given[..., None, None, None], x, estimate)


def read_together(model: GIBR, noisy: NoisyViews) -> Planes:
    """The planes of all views, which the network reads at once. MemoryLimitError, with what helps, where it cannot."""
    try:
        return model.planes(noisy)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        scenes, number, _, height, width = noisy.images.shape
        said = str(error).partition("\n")[0] or type(error).__name__
        raise MemoryLimitError(
            f"the network does not fit into memory ({said}) with {scenes} x {number} views of {width} x {height} px. "
            "It reads all views of a scene at once, and --max-memory is of rays alone: invent fewer (--extra-views), "
            "give fewer photos, or take a device with more memory (--device cpu)."
        ) from error


def check_finite(made: Float[Tensor, "scene view *map"], step: int) -> None:
    """SamplingError that names step (from 1) and view where what was made of a view is not finite."""
    wrong = ~made.flatten(2).isfinite().all(-1)
    if bool(wrong.any()):
        scene, view = wrong.nonzero()[0].tolist()
        raise SamplingError(
            f"step {step} of sampling made view {view} of scene {scene} not a number. Check the weights and the "
            "cameras; fewer steps or full precision may help."
        )
