"""Named run settings of the fit, each a plain object that can be overridden."""

from dataclasses import dataclass, replace
from typing import Literal

from diorama.cameras.poses import CaptureShape
from diorama.fields.hashgrid import GridConfig, HashFieldConfig
from diorama.priors.guide import PriorConfig
from diorama.priors.schedule import Ramp, constant
from diorama.priors.score import InjectionConfig
from diorama.rendering.render import SamplingConfig
from diorama.systems.diffusionerf import CoarseToFine, DiffusioNeRFConfig, LossConfig, Smoothness
from diorama.training.optim import OptimConfig

PresetName = Literal["auto", "laptop", "few", "paper"]

FEW_PHOTOS = 12
"""Up to this many photos `auto` means `few`."""

SEEN_AROUND, SEEN_FROM_ONE_SIDE = Ramp(0.3, 0.001, 0.0, 0.6), Ramp(0.03, 0.0003, 0.0, 0.6)
"""Weight of the stereo depth: it places the surfaces, then leaves them to the photos. Photos that all look one way
agree on depth by themselves and need less of it."""

PAPER_RAYS = 1024
"""The published terms are sums over this many rays; here every term is a mean."""


@dataclass(frozen=True)
class FitPreset:
    """Everything that steers one fit."""

    field: HashFieldConfig = HashFieldConfig()
    fit: DiffusioNeRFConfig = DiffusioNeRFConfig()
    optim: OptimConfig = OptimConfig()
    steps: int = 4000
    stereo: bool = False
    """(g) Measure depth by triangulation and plane-sweep stereo over the training photos."""


SMALL_MACHINE_PRIOR = PriorConfig(
    tau=Ramp(0.1, 0.045, 0.0, 0.5),
    weight=Ramp(1.0, 0.0, 0.55, 0.6),
    injection=InjectionConfig(slowest=3),
    draws=1,
    every=8,
    coarse=None,
    fine=16,
    empty_is_far=True,
    gradient_share=0.1,
    measure_every=2,
    settled_below=0.0,
)
"""The published patch is ten times a photo batch; here one is rendered every eighth step, with few samples from the
current proposals, and its weight is found by measuring gradients: the published sums belong to the published batch and
units. The photos' gradient falls fast while a fit begins, so it is measured often: every 32 steps, the prior was up to
three times as loud as asked for over the first third. Twice as many patches of twice as many samples gained nothing
(`docs/papers/diffusionerf.md`). Which levels and waves it is believed in: `python -m benchmarks.push`."""


def laptop(shape: CaptureShape = "inward") -> FitPreset:
    """A few minutes on two cores, many photos; stereo tells where the surfaces begin."""
    losses = LossConfig(
        table_decay=0.0,
        distortion=Ramp(0.0, 1e-3, 0.2, 0.6),
        near_field=Ramp(1e-2, 1e-3),
        depth=SEEN_FROM_ONE_SIDE if shape == "forward-facing" else SEEN_AROUND,
    )
    return FitPreset(
        field=HashFieldConfig(density_bias=-3.0),
        fit=DiffusioNeRFConfig(losses=losses, prior=SMALL_MACHINE_PRIOR),
        optim=OptimConfig(table_rate=1e-2, head_rate=5e-3, decay=0.05, warm_up=100, table_eps=1e-15),
        steps=6000,
        stereo=True,
    )


def few(shape: CaptureShape, masked: bool) -> FitPreset:
    """Up to a dozen photos: decay of the tables, near-field, distortion, smoothness and stereo, each a switch.

    Opening the hash levels from coarse to fine and the entropy of rays are switches that stay off (`SPARE_PARTS`):
    once stereo has placed the surfaces they cost more than they give (`python -m benchmarks.few_views`).
    """
    base = laptop(shape)
    frustum = Ramp(1e-2, 1e-4, 0.01, 0.01) if shape == "forward-facing" else Ramp(1e-2, 1e-3)
    losses = LossConfig(
        table_decay=0.1,
        near_field=Ramp(1e-2, 1e-3),
        frustum=constant(0.0) if masked else frustum,
        frustum_near_only=shape != "forward-facing",
        distortion=Ramp(0.0, 1e-2, 0.2, 0.6),
        depth=base.fit.losses.depth,
        smoothness=Smoothness(weight=constant(1e-3)),
    )
    return replace(base, fit=replace(base.fit, losses=losses), steps=3000)


FEW_PARTS = ("table-decay", "near-field", "distortion", "smoothness", "stereo")
"""The parts of preset `few`, by the names `without` takes."""

SPARE_PARTS = ("coarse-to-fine", "entropy")
"""Parts that `few` could have and does not, by the names `extended` takes."""


def extended(preset: FitPreset, part: str) -> FitPreset:
    """A preset plus one of the parts that are off: for ablations."""
    match part:
        case "coarse-to-fine":
            return replace(preset, fit=replace(preset.fit, coarse_to_fine=CoarseToFine(enabled=True)))
        case "entropy":
            losses = replace(preset.fit.losses, entropy=Ramp(0.0, 1e-3, 0.4, 0.4))
            return replace(preset, fit=replace(preset.fit, losses=losses))
        case _:
            raise ValueError(f"the spare parts are {SPARE_PARTS}, not {part!r}")


def without(preset: FitPreset, part: str) -> FitPreset:
    """A preset minus one of its parts: for ablations."""
    off, losses = constant(0.0), preset.fit.losses
    match part:
        case "table-decay":
            losses = replace(losses, table_decay=0.0)
        case "near-field":
            losses = replace(losses, near_field=off, frustum=off)
        case "distortion":
            losses = replace(losses, distortion=off)
        case "smoothness":
            losses = replace(losses, smoothness=replace(losses.smoothness, weight=off))
        case "stereo":
            return replace(preset, stereo=False, fit=replace(preset.fit, losses=replace(losses, depth=off)))
        case _:
            raise ValueError(f"preset `few` has the parts {FEW_PARTS}, not {part!r}")
    return replace(preset, fit=replace(preset.fit, losses=losses))


def paper(shape: CaptureShape) -> FitPreset:
    """The numbers of DiffusioNeRF (spec, sections 2 to 4), defects fixed; without a prior, its geometric baseline.

    Sums over 1,024 rays [code] are means here, so weights carry a factor of 1,024.
    """
    grid = GridConfig(levels=17, features=2, log2_table_size=21, base_resolution=16, finest_resolution=15360)
    field = HashFieldConfig(
        grid=grid, hidden=64, geometry=15, colour_hidden=128, colour_layers=3, sh_degree=3, density_bias=0.0,
        space="sphere", radius=7.5, proposal=None,
    )  # fmt: skip
    sampling = SamplingConfig(
        coarse=512, fine=128, union=True, spacing="linear", near=0.2, last_opaque=False, padding=1e-5
    )
    forward = shape == "forward-facing"
    losses = LossConfig(
        must_hit=constant(1e-3 * PAPER_RAYS),
        frustum=Ramp(1e-5 * PAPER_RAYS, 1e-7 * PAPER_RAYS, 100.0, 100.0, "steps") if forward else constant(0.0),
        distortion=Ramp(0.0, (1.5e-5 if forward else 1e-4) * PAPER_RAYS, 3000.0, 8000.0, "steps"),
        distortion_metric=True,
        distortion_cutoff=1e-3,
        density_decay=1e-7,
        interlevel=0.0,
    )
    fit = DiffusioNeRFConfig(
        rays=1024, one_photo_per_step=True, background="grey", sampling=sampling, losses=losses, anneal=0.0
    )
    optim = OptimConfig(table_rate=1e-2, head_rate=1e-2, decay=0.1, table_eps=1e-15)
    return FitPreset(field=field, fit=fit, optim=optim, steps=12_000)  # 12,000 [paper]; 10,000 [code]


def choose_preset(name: PresetName, photos: int, shape: CaptureShape, masked: bool) -> tuple[FitPreset, str]:
    """The preset of a name, and the name `auto` stood for."""
    if name == "auto":
        name = "few" if photos <= FEW_PHOTOS else "laptop"
    match name:
        case "laptop":
            return laptop(shape), name
        case "few":
            return few(shape, masked), name
        case "paper":
            return paper(shape), name
