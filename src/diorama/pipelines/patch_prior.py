"""The training of the RGBD patch prior: recipes, where patches come from, what is looked at, what is written."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.cameras.patches import PatchWindow
from diorama.data.rgbd_coding import to_depth
from diorama.data.rgbd_patches import RgbdFrames, RgbdPatches, open_rgbd
from diorama.diffusion.grids import even_times
from diorama.diffusion.guidance import clamped
from diorama.diffusion.noise import discrete_cosine
from diorama.diffusion.objective import TimeLaw
from diorama.diffusion.parameterize import as_denoiser
from diorama.diffusion.samplers import ddim, noise_from_seeds, pure_noise
from diorama.errors import InputError
from diorama.eval.patch_prior import LEVELS, denoising_gain
from diorama.nets.config import UNetConfig
from diorama.pipelines.looks import add_figures, add_sheet, picture_row, read_figures
from diorama.priors.levels import STEPS, noise_level
from diorama.priors.prior import PatchEncoding, Prior
from diorama.priors.rgbd_patch import PAPER, PAPER_TIMES, SMALL, SMALL_TIMES, RgbdPatchPrior, training_loss
from diorama.streams import stream
from diorama.training.distributed import Share, wait_for_all
from diorama.training.gradient import LossFn
from diorama.training.network import EmaConfig, TrainingConfig
from diorama.training.optim import AdamWConfig
from diorama.training.schedule import ScheduleConfig
from diorama.training.weights import Weights, save_raw

Size = Literal["small", "paper"]


@dataclass(frozen=True)
class PatchRecipe:
    """One way to train the prior."""

    network: UNetConfig
    detail: bool
    """Whether the network is shown detail in units of the noise; see `priors.rgbd_patch.DetailUNet`."""
    times: TimeLaw
    """At which noise levels."""
    batch: int
    """Patches a step, over all ranks."""
    steps: int
    """Of a whole run, where neither steps nor a budget are given."""
    training: TrainingConfig


def recipe(size: Size) -> PatchRecipe:
    """The recipe of a size: `small` is ours, about six hours on two cores; `paper` the published one, for a GPU."""
    match size:
        case "small":
            training = TrainingConfig(
                optim=AdamWConfig(rate=1e-3, betas=(0.9, 0.99)), schedule=ScheduleConfig(warm_up=500),
                ema=EmaConfig(decay=0.999), clip=1.0,
            )  # fmt: skip
            return PatchRecipe(SMALL, True, SMALL_TIMES, 64, 12_000, training)
        case "paper":  # all of it [code], but for batch and steps [paper]; its rate never falls
            training = TrainingConfig(
                optim=AdamWConfig(rate=1e-4, betas=(0.9, 0.99)), schedule=ScheduleConfig(warm_up=0, decay_share=0.0),
                ema=EmaConfig(decay=0.995, every=10), clip=None, precision="full",
            )  # fmt: skip
            return PatchRecipe(PAPER, False, PAPER_TIMES, 32, 650_000, training)
        case _:
            assert_never(size)


def noise_loss(times: TimeLaw) -> LossFn:
    """The objective as the loop wants it."""

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator, /) -> dict[str, Tensor]:
        return {"noise": training_loss(network, batch, times, generator)}

    return loss


# Where patches come from ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatchData:
    """Patches to learn from, by step, and others to be judged by."""

    batch_at: Callable[[int], Tensor]
    held_out: Float[Tensor, "patch 4 size size"]
    facts: dict[str, Any]
    """What it is, as JSON; must be the same when a run is resumed."""


@dataclass(frozen=True)
class GroupBatches:
    """Batches by step out of groups by number; every step has groups of its own, so it can be entered anywhere."""

    group: Callable[[int], Iterable[Tensor]]
    batch: int
    share: Share

    def __call__(self, step: int) -> Float[Tensor, "patch 4 size size"]:
        """The batch of a step; InputError where its groups are empty."""
        first, most = (step * self.share.count + self.share.rank) * 4 * self.batch, 4 * self.batch
        patches: list[Tensor] = []
        for number in range(first, first + most):
            patches.extend(self.group(number))
            if len(patches) >= self.batch:
                return torch.stack(patches[: self.batch])
        raise InputError(
            f"{most} pictures gave {len(patches)} patches where {self.batch} were needed. Needed: pictures with depth "
            "nearly everywhere, large enough to shrink to a patch's focal length."
        )


@dataclass(frozen=True)
class SomeFrames:
    """A part of some frames."""

    frames: RgbdFrames
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, index: int) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"], Float[Tensor, "xy=2"]]:
        """Colour, depth and focal length; see `RgbdFrames`."""
        return self.frames.read(self.numbers[index])


HELD_OUT = 128
"""Patches that are judged by."""
EVERY_TENTH = 10
"""Of real pictures, one in this many is held out."""


def patches_of_pictures(place: Path, window: PatchWindow, batch: int, seed: int, share: Share) -> PatchData:
    """Crops of real pictures with depth; every tenth picture is held out (`data.rgbd_patches.open_rgbd`)."""
    frames = open_rgbd(place)
    if len(frames) < 2:
        raise InputError(f"{place} holds {len(frames)} picture with depth; at least 2 are needed, one to be judged by.")
    held = tuple(range(0, len(frames), EVERY_TENTH))
    rest = tuple(number for number in range(len(frames)) if number not in set(held))
    learned = RgbdPatches(SomeFrames(frames, rest), window, seed=seed)
    judged = GroupBatches(RgbdPatches(SomeFrames(frames, held), window, seed=seed).group, HELD_OUT, Share())(0)
    facts = {"pictures": place.name, "learned": len(rest), "held_out": len(held), "seed": seed}
    return PatchData(GroupBatches(learned.group, batch, share), judged, facts)


WORLDS_A_SHARD = 64
"""Worlds in one file of stored windows."""
HELD_OUT_WORLDS = 1 << 40
"""World numbers from here on are held out."""


def patches_of_worlds(
    folder: Path, window: PatchWindow, batch: int, seed: int, share: Share, *, worlds: int, textures: Path | None,
    say: Callable[[str], None],
) -> PatchData:  # fmt: skip
    """Windows of procedural worlds, drawn once into a folder (every rank its part) and cut anew at every step.

    worlds: how many are stored; 0 draws new ones at every step. Held-out patches are of worlds with other numbers.
    """
    from diorama.worlds.dataset import PatchGroup, Worlds, WorldsConfig
    from diorama.worlds.shards import Shards
    from diorama.worlds.stored import StoredPatches, recipe_of, write_windows

    every = Worlds(WorldsConfig(seed=seed, textures=textures))
    group = PatchGroup(every, window)
    judged = torch.stack([p for index in range(HELD_OUT // group.per_world) for p in group(HELD_OUT_WORLDS + index)])
    facts = {**recipe_of(every, "patches"), "stored": worlds}
    if worlds == 0:
        return PatchData(GroupBatches(group, batch, share), judged, facts)
    shards = -(-worlds // WORLDS_A_SHARD)
    say(f"{WORLDS_A_SHARD * shards} worlds are drawn into {folder}, once")
    write_windows(
        folder, every, shards, per_shard=WORLDS_A_SHARD, rank=share.rank, ranks=share.count,
        told=lambda shard: say(f"shard {shard + 1} of {shards}"),
    )  # fmt: skip
    wait_for_all()
    stored = StoredPatches(Shards.open(folder), batch, window.size, seed, rank=share.rank, ranks=share.count)
    return PatchData(stored, judged, facts)


def median_depths(
    patches: Float[Tensor, "patch 4 size size"], encoding: PatchEncoding
) -> Float[Tensor, "patch"]:  # fmt: skip
    """The median depth of each encoded patch, metres; infinite where most of it is sky."""
    return to_depth(0.5 * (patches[:, 3] + 1.0), encoding.depth_floor).flatten(1).median(1).values


MEASURED = 256
"""Patches whose depth is measured."""


def as_trained_on(encoding: PatchEncoding, batch_at: Callable[[int], Tensor]) -> PatchEncoding:
    """The encoding with the median depth of the first `MEASURED` patches that are trained on; the same every time.

    As it was where most of them are of the sky.
    """
    batches, step = [batch_at(0)], 1
    while sum(map(len, batches)) < MEASURED:
        batches.append(batch_at(step))
        step += 1
    near = float(median_depths(torch.cat(batches)[:MEASURED], encoding).median())
    return replace(encoding, median_depth=round(near, 3)) if math.isfinite(near) else encoding


# What is looked at ---------------------------------------------------------------------------------------------------


class PriorOn(Prior):
    """A prior on its own device, asked and answering on the CPU."""

    kind = "elsewhere"

    def __init__(self, network: nn.Module, recipe: PatchRecipe, encoding: PatchEncoding) -> None:
        super().__init__()
        with torch.device("meta"):
            self.prior = RgbdPatchPrior(recipe.network, encoding, detail=recipe.detail)
        self.prior.network = network  # type: ignore[assignment]
        self.encoding, self.device = encoding, next(network.parameters()).device

    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """The score, back on the patch's device."""
        return self.prior.score(patch.to(self.device), level).to(patch.device)


@dataclass(frozen=True)
class Look:
    """Looks at the averaged network: a sheet of pictures, and by how many dB it denoises held-out patches."""

    folder: Path
    recipe: PatchRecipe
    encoding: PatchEncoding
    held_out: Float[Tensor, "patch 4 size size"]
    say: Callable[[str], None]

    def __call__(self, network: nn.Module, step: int, /) -> None:
        """Write `samples/STEP.png` and a line of `held_out.json`."""
        prior = PriorOn(network, self.recipe, self.encoding)
        gains = [denoising_gain(prior, self.held_out, level, stream(0, "held out", level)) for level in LEVELS]
        add_figures(self.folder, step, [asdict(gain) for gain in gains])
        listed = ", ".join(f"{gain.joint:+.2f} dB at {gain.level}" for gain in gains)
        self.say(f"step {step}: one step of denoising brings held-out patches nearer by {listed}")
        sheet = contact_sheet(prior, network, self.held_out[:: -(-len(self.held_out) // 8)])
        add_sheet(self.folder, step, sheet)


def contact_sheet(
    prior: Prior, network: nn.Module, clean: Float[Tensor, "n 4 size size"], level: int = 99, sampled: int = 25
) -> Float[Tensor, "3 h w"]:
    """Colour over disparity of patches: clean, noisy, denoised in one step; and as many samples out of noise.

    Disparity is stretched from the least to the largest of the clean patches, or of the samples.
    """
    signal, sigma = noise_level(level, prior.encoding.steps)
    noisy = signal * clean + sigma * torch.randn(clean.shape, generator=stream(0, "sheet"))
    estimate = (noisy + sigma**2 * prior.score(noisy, level)) / signal
    schedule = discrete_cosine(STEPS)
    device = next(network.parameters()).device
    start = pure_noise(clean.shape, schedule, noise_from_seeds(range(len(clean))), device)
    made = ddim(clamped(as_denoiser(network, schedule)), start, schedule, even_times(sampled)).cpu()
    rows = []
    for patches in (clean, noisy / signal, estimate, made):
        low, high = (clean if patches is not made else made)[:, 3].aminmax()
        grey = (patches[:, 3:] - low) / (high - low).clamp_min(1e-3)
        rows += [picture_row(0.5 * patches[:, :3] + 0.5), picture_row(grey.expand(-1, 3, -1, -1))]
    return torch.cat(rows, dim=1).clamp(0.0, 1.0)


# What is written at the end ------------------------------------------------------------------------------------------


def save_prior(prior: RgbdPatchPrior, weights: Weights, folder: Path, card: str) -> None:
    """The averaged weights as a prior in half precision, and the raw ones beside it to go on from."""
    prior.network.load_state_dict(weights.average)
    prior.save_pretrained(folder, card=card, licence="apache-2.0", half=True, force=True)
    save_raw(folder, weights)


def card_of(
    command: str, facts: dict[str, Any], step: int, seconds: float, hardware: str, run: Path, encoding: PatchEncoding
) -> str:
    """The card: how the weights were made, and how well they denoise."""
    lines = [
        "Made by", "", f"    {command}", "",
        f"{step} steps in {seconds / 3600:.2f} hours on {hardware}. Data: `{json.dumps(facts, sort_keys=True)}`.", "",
        f"Median depth of {MEASURED} patches of it: {encoding.median_depth:.3g} m.", "",
    ]  # fmt: skip
    if gains := read_figures(run).get(str(step)):
        lines += [
            f"What one step of denoising gains on {HELD_OUT} held-out patches of the same data, dB of PSNR:", "",
            "| level | colour and disparity | colour | disparity |", "|---|---|---|---|",
            *(f"| {g['level']} | {g['joint']:.2f} | {g['colour']:.2f} | {g['disparity']:.2f} |" for g in gains), "",
        ]  # fmt: skip
    lines += [
        "`raw.safetensors` holds the weights before averaging: `diorama train --continue-from` goes on from them."
    ]
    return "\n".join(lines)
