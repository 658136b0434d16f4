"""The training of GIBR: recipes, where scenes come from, what is looked at, what is written."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.data.multiview import LEAST_SHARE, MultiViews, SceneBatches, Squares
from diorama.data.scene_sets import SceneSet, open_scenes
from diorama.data.targets import draw_targets
from diorama.diffusion.objective import UniformTimes
from diorama.diffusion.parameterize import add_noise
from diorama.diffusion.samplers import noise_from_seeds
from diorama.errors import InputError
from diorama.eval.measure import mean_measured
from diorama.eval.metrics import depth_rank_corr, mean_colour, psnr
from diorama.fields.ib_planes import IBPlanesConfig, others_of
from diorama.nets.multiview_config import gibr_base, gibr_large, gibr_small, gibr_tiny
from diorama.pipelines.curves import write_curves
from diorama.pipelines.looks import add_figures, add_sheet, picture_row, read_figures
from diorama.rendering.false_colour import colour_depth
from diorama.scenes.pictures import render_views
from diorama.streams import stream
from diorama.systems.gibr import (
    GIBR,
    GIBRConfig,
    GIBRSampling,
    GIBRTraining,
    NoisyViews,
    from_signed,
    sample,
    to_signed,
    training_loss,
)
from diorama.training.distributed import Share, wait_for_all
from diorama.training.gradient import LossFn
from diorama.training.network import EmaConfig, TrainingConfig
from diorama.training.optim import AdamWConfig
from diorama.training.schedule import ScheduleConfig
from diorama.training.weights import Weights, save_raw
from diorama.worlds.layouts import Kind

Size = Literal["tiny", "small", "base", "large"]


@dataclass(frozen=True)
class GIBRRecipe:
    """One way to train the model."""

    config: GIBRConfig
    training: GIBRTraining
    batch: int
    """Scenes a step, over all ranks."""
    steps: int
    """Of a whole run, where neither steps nor a budget are given."""
    loop: TrainingConfig


def gibr_recipe(size: Size) -> GIBRRecipe:
    """The recipe of a size. `small` is for two cores, `base` for one GPU, `large` for several; `tiny` is for tests."""
    loop = TrainingConfig(
        optim=AdamWConfig(rate=4e-4, betas=(0.9, 0.99)), schedule=ScheduleConfig(warm_up=300),
        ema=EmaConfig(decay=0.999), clip=1.0,
    )  # fmt: skip
    match size:
        case "tiny":
            planes = IBPlanesConfig(channels=16, polar_channels=8, hidden=32)
            return GIBRRecipe(GIBRConfig(gibr_tiny(), planes, pixels=32), GIBRTraining(), 8, 2_000, loop)
        case "small":
            training = GIBRTraining(rays=64, coarse=16)  # less of each scene, and more scenes in the same time
            return GIBRRecipe(GIBRConfig(gibr_small(), IBPlanesConfig()), training, 8, 40_000, loop)
        case "base":
            planes = IBPlanesConfig(channels=32, polar_channels=16, hidden=64)
            training = GIBRTraining(rays=192, held_out=2)
            config = GIBRConfig(gibr_base(), planes, pixels=96, views=6)
            return GIBRRecipe(config, training, 32, 100_000, loop)
        case "large":
            planes = IBPlanesConfig(channels=32, polar_channels=16, hidden=64)
            slow = replace(loop, optim=replace(loop.optim, rate=1e-4), ema=EmaConfig(decay=0.9999))
            training = GIBRTraining(rays=512, held_out=2)
            config = GIBRConfig(gibr_large(), planes, pixels=256, views=6)
            return GIBRRecipe(config, training, 64, 500_000, slow)
        case _:
            assert_never(size)


TIME_LAWS = {"uniform": UniformTimes(), "high": UniformTimes(0.5, 1.0)}
"""Times of noisy views by name. `high` is nearly a regression from the clean views: noise outweighs the picture."""


def scene_loss(config: GIBRConfig, training: GIBRTraining) -> LossFn:
    """The objective as the loop wants it."""

    def loss(network: nn.Module, batch: dict[str, Tensor], generator: torch.Generator, /) -> dict[str, Tensor]:
        return training_loss(network, MultiViews.from_batch(batch), config, training, generator)

    return loss


# Where scenes come from ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SceneData:
    """Scenes to learn from, by step, and others to be judged by."""

    batch_at: Callable[[int], dict[str, Tensor]]
    held_out: MultiViews
    facts: dict[str, Any]
    """What it is, as JSON; must be the same when a run is resumed."""


HELD_OUT = 16
"""Scenes that are judged by."""
EVERY_TENTH = 10
"""Of real scenes, one in this many is held out."""
HELD_OUT_WORLDS = 64
"""Worlds that they are chosen from; stored worlds come in files of so many."""
WORLD_VIEWS = 10
"""Cameras that stand in each world; stored worlds have a photograph by each."""
WORLD_KINDS: tuple[Kind, ...] = ("object", "object", "room", "outdoor")
"""What the worlds of a run are; see `worlds.dataset.WorldsConfig`."""
ZOOM = (0.8, 1.6)
"""Focal lengths of worlds, in widths of the picture: 64 to 35 degrees across."""
ZOOM_OF_LARGER = (0.65, 1.3)
"""The same of pictures that squares are cut from anywhere: 75 to 42 degrees across, of which a square shows a part."""


@dataclass(frozen=True)
class PassedOver:
    """Says why a scene is not used, once for each scene; processes that make batches ahead say it on their own."""

    say: Callable[[str], None]
    known: set[str] = field(default_factory=set)

    def __call__(self, scene: str, why: str) -> None:
        """Say it, if that scene is new."""
        if scene not in self.known:
            self.known.add(scene)
            self.say(f"scene {scene} is passed over: {why}")


def scenes_of_folder(
    place: Path, recipe: GIBRRecipe, seed: int, share: Share, squares: Squares, say: Callable[[str], None]
) -> SceneData:
    """Real scenes of a folder; every tenth is held out (`data.scene_sets.open_scenes`)."""
    scenes = open_scenes(place)
    if len(scenes) < 2:
        raise InputError(f"{place} holds {len(scenes)} scene; at least 2 are needed, one to be judged by.")
    held = tuple(range(0, len(scenes), EVERY_TENTH))
    rest = tuple(number for number in range(len(scenes)) if number not in set(held))
    facts = {"scenes": place.name, "learned": len(rest), "held_out": len(held), "seed": seed}
    return scene_data(scenes.subset(rest), scenes.subset(held), recipe, seed, share, facts, say, squares)


def scenes_of_worlds(
    folder: Path, recipe: GIBRRecipe, seed: int, share: Share, *, worlds: int, kinds: Sequence[Kind],
    textures: Path | None, squares: Squares, say: Callable[[str], None],
) -> SceneData:  # fmt: skip
    """Photographs of procedural worlds, drawn once into a folder (every rank its part); held-out ones in another.

    worlds: how many are stored; 0 draws new ones at every step, and stores none. Held out are worlds of another seed.
    squares: anywhere draws the photographs that are learned from half as large again, so that squares can be cut.
    """
    from diorama.worlds.dataset import EndlessScenes, ViewGroup, Worlds, WorldsConfig
    from diorama.worlds.shards import Shards
    from diorama.worlds.stored import StoredMultiViews, recipe_of, write_scenes

    if worlds < 0:
        raise InputError(f"{worlds} worlds were asked for. Needed: some to be stored, or 0 for new ones at every step.")
    side = max(recipe.config.pixels, 64)
    learned = WorldsConfig(kinds=tuple(kinds), seed=seed, textures=textures)
    held_out = replace(learned, seed=seed + 1)
    larger = side if squares == "middle" else math.ceil(side / LEAST_SHARE)
    zoom = ZOOM if squares == "middle" else ZOOM_OF_LARGER
    groups = [
        ViewGroup(Worlds(learned), WORLD_VIEWS, larger, larger, float(larger), zoom),
        ViewGroup(Worlds(held_out), WORLD_VIEWS, side, side, float(side), ZOOM),
    ]
    facts = recipe_of(Worlds(learned), "scenes")
    if worlds == 0:
        say("new worlds are drawn at every step; --workers N draws them ahead")
        endless, held = EndlessScenes(groups[0]), EndlessScenes(groups[1], HELD_OUT_WORLDS)
        return scene_data(endless, held, recipe, seed, share, facts | {"stored": 0}, say, squares)
    shards = -(-worlds // HELD_OUT_WORLDS)
    say(f"{HELD_OUT_WORLDS * shards} worlds are drawn into {folder}, once")
    sets = []
    for part, group, count in zip(("learned", "held_out"), groups, (shards, 1), strict=True):
        write_scenes(
            folder / part, group, count, per_shard=HELD_OUT_WORLDS, rank=share.rank, ranks=share.count,
            told=counted(say, part, count),
        )  # fmt: skip
        wait_for_all()
        sets.append(StoredMultiViews(Shards.open(folder / part)))
    facts |= {"stored": HELD_OUT_WORLDS * shards}
    return scene_data(sets[0], sets[1], recipe, seed, share, facts, say, squares)


def counted(say: Callable[[str], None], part: str, count: int) -> Callable[[int], None]:
    """Says which shard of how many was written."""
    return lambda shard: say(f"{part}: shard {shard + 1} of {count}")


def scene_data(
    learned: SceneSet, held: SceneSet, recipe: GIBRRecipe, seed: int, share: Share, facts: dict[str, Any],
    say: Callable[[str], None], squares: Squares,
) -> SceneData:  # fmt: skip
    """Batches of the ones, and a batch of the others, of which the squares in the middle are judged."""
    pixels, views = recipe.config.pixels, recipe.config.views + recipe.training.held_out
    if recipe.batch % share.count:
        raise InputError(f"a batch of {recipe.batch} cannot be shared by {share.count} ranks. Give --batch N.")
    told = PassedOver(say)
    batches = SceneBatches(
        learned, recipe.batch // share.count, views, pixels, seed, squares=squares, rank=share.rank, ranks=share.count,
        told=told,
    )  # fmt: skip
    judged = SceneBatches(held, HELD_OUT, views, pixels, seed, scale=(1.0, 1.0), depth=True, told=told)(0)
    if squares != "middle":
        facts = facts | {"squares": squares}
    return SceneData(batches, MultiViews.from_batch(judged), facts)


# What is looked at ---------------------------------------------------------------------------------------------------


DIAGNOSED_TIME = 0.7
"""Time of the noisy views when a model is diagnosed."""
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Where the loss is looked at by time."""


@dataclass(frozen=True)
class Diagnosis:
    """What a model does with scenes that it never saw; spec of GIBR, section 9.1. PSNR in dB.

    Some views are clean, the others at time `DIAGNOSED_TIME`. own_in, own_out: encoded views rendered with their own
    plane and without. held_out: views that were not encoded. mean_colour: held-out views against the mean colour of
    the encoded ones. near_mass: share of light that is stopped nearer than half of the true depth, in held-out views.
    depth_rank_corr: see `eval.metrics`; mean over held-out views. Both are None where no depth is known, and what is
    measured of held-out views where there are none.
    loss_by_t: plain squared error (signed images) of noisy views, own plane left out.
    """

    psnr_own_in: float | None
    psnr_own_out: float | None
    psnr_held_out: float | None
    psnr_mean_colour: float | None
    near_mass: float | None
    depth_rank_corr: float | None
    loss_by_t: dict[str, float]


@torch.no_grad()
def diagnose(model: GIBR, scenes: MultiViews, training: GIBRTraining) -> Diagnosis:
    """Look at a model; the same scenes and model give the same numbers."""
    count = scenes.images.shape[1] - training.held_out
    encoded, held = scenes.first(count), scenes.last(training.held_out)
    planes = model.planes(noisy_at(model, encoded, DIAGNOSED_TIME, training, "diagnosis"))
    own_in, own_out = (render_views(model, planes, encoded, own) for own in ("keep", "drop"))
    new = render_views(model, planes, held, "keep")
    flat = torch.stack([mean_colour(views)[:, None, None].expand_as(views[0]) for views in encoded.images])
    known = held.depth > 0
    ranks = [depth_rank_corr(a, b) for a, b in zip(new.depth.flatten(0, 1), held.depth.flatten(0, 1), strict=True)]
    return Diagnosis(
        psnr_own_in=mean_psnr(own_in.colour, encoded.images),
        psnr_own_out=mean_psnr(own_out.colour, encoded.images),
        psnr_held_out=mean_psnr(new.colour, held.images),
        psnr_mean_colour=mean_psnr(flat[:, None].expand_as(held.images), held.images),
        near_mass=float(new.near_mass[known].mean()) if bool(known.any()) else None,
        depth_rank_corr=mean_measured([None if math.isnan(rank) else rank for rank in ranks]),
        loss_by_t={str(time): loss_at(model, encoded, time, training) for time in TIMES},
    )


def noisy_at(model: GIBR, views: MultiViews, time: float, training: GIBRTraining, purpose: str) -> NoisyViews:
    """All but two of the views at a time (all clean for a regression), the first ones clean."""
    scenes, count = views.images.shape[:2]
    given = count if training.regression else max(count - 2, 1)
    clean = (torch.arange(count) < given).expand(scenes, -1).to(views.images.device)
    each = torch.where(clean, 0.0, time)
    noise = torch.randn(views.images.shape, generator=stream(0, purpose)).to(views.images)
    return NoisyViews.of(views, add_noise(to_signed(views.images), noise, each, model.config.schedule), each, clean)


def loss_at(model: GIBR, views: MultiViews, time: float, training: GIBRTraining) -> float:
    """Mean squared error over random pixels of noisy views, none of the views being clean."""
    each = torch.full(views.images.shape[:2], time, device=views.images.device)
    noise = torch.randn(views.images.shape, generator=stream(0, "loss by time")).to(views.images)
    images = add_noise(to_signed(views.images), noise, each, model.config.schedule)
    noisy = NoisyViews.of(views, images, each, torch.zeros_like(each, dtype=torch.bool))
    targets = draw_targets(views, training.rays, training.patch, stream(0, "pixels by time"))
    seen = model(noisy, targets.rays, others_of(targets.view, each.shape[1], poses=views.camera_to_world))
    return float((2.0 * (seen.colour.reshape(targets.colour.shape) - targets.colour)).square().mean())


def mean_psnr(made: Float[Tensor, "scene view 3 h w"], true: Float[Tensor, "scene view 3 h w"]) -> float | None:
    """Mean over all pictures of their PSNR, dB; None where there are none."""
    return float(psnr(made.flatten(0, 1), true.flatten(0, 1)).mean()) if made.shape[:2].numel() else None


@dataclass(frozen=True)
class LookAtScenes:
    """Looks at the averaged network: figures, a sheet of pictures, and curves of both."""

    folder: Path
    training: GIBRTraining
    held_out: MultiViews
    say: Callable[[str], None]

    def __call__(self, network: nn.Module, step: int, /) -> None:
        """Write `samples/STEP.png`, a line of `held_out.json`, and `curves.html`."""
        assert isinstance(network, GIBR)
        device = next(network.parameters()).device
        scenes = self.held_out.to(device)
        found = diagnose(network, scenes, self.training)
        figures = {
            "held out": (found.psnr_held_out, ".2f", " dB"), "mean colour": (found.psnr_mean_colour, ".2f", " dB"),
            "own plane in": (found.psnr_own_in, ".2f", " dB"), "out": (found.psnr_own_out, ".2f", " dB"),
            "depth rank": (found.depth_rank_corr, ".2f", ""), "near mass": (found.near_mass, ".3f", ""),
        }  # fmt: skip
        known = [f"{name} {v:{form}}{unit}" for name, (v, form, unit) in figures.items() if v is not None]
        self.say(f"step {step}: {', '.join(known)}")
        add_figures(self.folder, step, asdict(found))
        write_curves(self.folder)
        add_sheet(self.folder, step, scene_sheet(network, scenes.each(lambda part: part[:4]), self.training))


@torch.no_grad()
def scene_sheet(model: GIBR, scenes: MultiViews, training: GIBRTraining) -> Float[Tensor, "3 h w"]:
    """For each scene five rows: true views, as the network got them, one step of denoising, then a scene sampled from
    the first view alone, and its depth. The last columns are the held-out views, rendered from all planes."""
    count = scenes.images.shape[1] - training.held_out
    encoded, held = scenes.first(count), scenes.last(training.held_out)
    noisy = noisy_at(model, encoded, DIAGNOSED_TIME, training, "sheet")
    planes = model.planes(noisy)
    once = torch.cat(
        [render_views(model, planes, encoded, "drop").colour, render_views(model, planes, held, "keep").colour], dim=1
    )
    given = torch.zeros(scenes.images.shape[0], count, dtype=torch.bool, device=scenes.images.device)
    given[:, : count if training.regression else 1] = True
    drawn = sample(model, encoded, given, noise_from_seeds(range(len(given))), GIBRSampling())
    whole = render_views(model, drawn.planes, scenes, "keep")
    shown = torch.cat([drawn.images, whole.colour[:, count:]], dim=1)
    got = torch.cat([from_signed(noisy.images).clamp(0, 1), torch.ones_like(held.images)], dim=1)
    rows = []
    for index in range(len(scenes)):
        known = scenes.depth[index][scenes.depth[index] > 0]
        near, far = (float(known.quantile(share)) if len(known) else share + 0.5 for share in (0.02, 0.98))
        depth = colour_depth(whole.depth[index], whole.opacity[index], near, max(far, 1.01 * near)).movedim(0, 1)
        rows += [picture_row(part[index]) for part in (scenes.images, got, once, shown)] + [picture_row(depth)]
    return torch.cat(rows, dim=1).cpu()


# What is written at the end ------------------------------------------------------------------------------------------


def save_gibr(config: GIBRConfig, weights: Weights, folder: Path, card: str) -> None:
    """The averaged weights as a model in half precision, and the raw ones beside it to go on from."""
    model = GIBR(config)
    model.load_state_dict(weights.average)
    model.save_pretrained(folder, card=card, half=True, force=True)
    save_raw(folder, weights)


def gibr_card(command: str, facts: dict[str, Any], step: int, seconds: float, hardware: str, run: Path) -> str:
    """The card: how the weights were made, and what they do with scenes they never saw."""
    lines = [
        "Made by", "", f"    {command}", "",
        f"{step} steps, the last {seconds / 3600:.2f} hours of them on {hardware}. "
        f"Data: `{json.dumps(facts, sort_keys=True)}`.", "",
    ]  # fmt: skip
    if found := read_figures(run).get(str(step)):
        lines += [f"On {HELD_OUT} held-out scenes of the same kind:", "", "| figure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.3f} |" for name, value in found.items() if isinstance(value, float)] + [""]
    lines += [
        "`raw.safetensors` holds the weights before averaging: `diorama train --continue-from` goes on from them."
    ]
    return "\n".join(lines)
