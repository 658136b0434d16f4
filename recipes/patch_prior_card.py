"""What a trained patch prior is worth, for its card: measured on worlds and on pictures it never saw.

    python -m recipes.patch_prior_card rgbd-patch-small --data ../shared/data

Per noise level t: by how many dB one step of denoising brings a noisy patch nearer to the clean one, against a Gaussian
fitted to patches and the same network untrained; and the score test: how often the score of a damaged patch points back
to the whole one (chance is a half). Held-out worlds have exact depth. Of the real captures, rgbd_apc_box counts with
colour and depth; of 7-Scenes, whose colour is not registered to its depth, depth alone counts. Sensors leave holes:
those get the depth of their neighbours, and are not judged.

The tables go to the terminal, into the README.md of the prior's folder between two markers, and as JSON beside it
(card.json). The same seed gives the same figures; some minutes on one core.
"""

import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from jaxtyping import Bool, Float
from torch import Tensor

import diorama
from diorama.cameras.patches import PatchWindow
from diorama.data.images import write_png
from diorama.data.rgbd_patches import CropConfig, RgbdFrames, crop_patches, open_rgbd
from diorama.errors import InputError
from diorama.eval.patch_prior import DAMAGES, LEVELS, SCORE_LEVELS, Damage, denoising_gain, repair_rate
from diorama.files import write_json, write_text
from diorama.nets.pretrained import find_pretrained, shipped
from diorama.pipelines.patch_prior import HELD_OUT_WORLDS, contact_sheet
from diorama.pipelines.priors import FITTED_GAUSSIAN
from diorama.priors.prior import PatchEncoding, Prior
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.streams import stream
from diorama.worlds.dataset import Worlds, WorldsConfig
from recipes.card import table, with_section
from recipes.patch_gaussian import fit_gaussian, world_patches

SHEET = "sheet.png"
"""Patches to look at, beside the card."""

FIRST_WORLD = HELD_OUT_WORLDS + (1 << 20)
"""Held out as those are that training looks at, but others."""

Part = Literal["joint", "colour", "disparity"]

SPARSE = CropConfig(per_picture=16, most_unknown=0.2, known_from=0.1, flip=False)
"""Depth that was projected into a finer picture leaves gaps between its points."""
DENSE = CropConfig(per_picture=8, most_unknown=0.05, flip=False)


@dataclass(frozen=True)
class Capture:
    """A real capture with depth: its folder, its crops, and what of it counts."""

    folder: str
    crops: CropConfig
    parts: tuple[Part, ...]
    note: str


CAPTURES = (
    Capture("rgbd_apc_box", SPARSE, ("joint", "colour", "disparity"), "real, colour and depth"),
    Capture("rgbd_7scenes_redkitchen", DENSE, ("disparity",), "real, depth alone: colour is not registered"),
)


@dataclass(frozen=True)
class PatchSet:
    """Patches to be judged by, where their depth is known (None: everywhere), and which parts of a gain count."""

    name: str
    patches: Float[Tensor, "n 4 size size"]
    known: Bool[Tensor, "n size size"] | None
    parts: tuple[Part, ...]
    note: str


@dataclass(frozen=True)
class Options:
    """Measure a patch prior and write the figures onto its card."""

    prior: tyro.conf.Positional[Path]
    """Folder of the prior, or the name of one that comes with diorama."""
    data: Path | None = None
    """Folder of the captures rgbd_apc_box and rgbd_7scenes_redkitchen; unset: worlds alone."""
    gaussian: Path | None = None
    """Folder of a fitted Gaussian; unset: the one that comes with diorama, else one is fitted here."""
    patches: int = 192
    """Of every set, at most."""
    gaussian_patches: int = 2048
    """Patches that a Gaussian is fitted to here."""
    textures: Path | None = None
    """As the network was trained: photos that a part of the worlds' materials show crops of."""
    seed: int = 0
    """Of the worlds (as in training; the numbers of the worlds are others), of the crops and of the noise."""


def main(options: Options) -> int:
    """Measure, print, write."""
    folder = find_pretrained(options.prior)
    trained = Prior.from_pretrained(folder)
    worlds = Worlds(WorldsConfig(seed=options.seed, textures=options.textures))
    gaussian, fitted = gaussian_beside(trained.encoding, worlds, options)
    priors = {"trained": trained, "Gaussian": gaussian}
    if isinstance(trained, RgbdPatchPrior):
        priors["untrained"] = untrained_like(trained, options.seed)
    sets = patch_sets(trained.encoding.window, worlds, options)
    found = measure(priors, sets, options.seed, say=lambda line: print(line, flush=True))
    found["made"] = {
        "command": command_of(options),
        "version": diorama.__version__,
        "torch": torch.__version__,
        "seed": options.seed,
        "textures": None if options.textures is None else options.textures.name,
        "checksums": {name: prior.checksum for name, prior in priors.items()},
        "gaussian_patches": fitted,
    }
    text = markdown(found)
    print("\n" + text)
    readme = folder / "README.md"
    write_text(readme, with_section(readme.read_text(encoding="utf-8") if readme.is_file() else "", text))
    write_json(folder / "card.json", found)
    if isinstance(trained, RgbdPatchPrior):
        plain = Worlds(WorldsConfig(seed=options.seed))  # no photo's texture is shown
        patches = torch.cat([batch for _, batch in world_patches(plain, trained.encoding.window, 8, FIRST_WORLD)])
        write_png(folder / SHEET, contact_sheet(trained, trained.network, patches[:8]))
    return 0


def command_of(options: Options) -> str:
    """The words that measure this again: the prior, and every option that is not as it is by default."""
    words = ["python", "-m", "recipes.patch_prior_card", str(options.prior)]
    for each in fields(Options):
        value = getattr(options, each.name)
        if each.name != "prior" and value != each.default:
            words += [f"--{each.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


# What is measured, and against what ----------------------------------------------------------------------------------


def gaussian_beside(encoding: PatchEncoding, worlds: Worlds, options: Options) -> tuple[Prior, int | None]:
    """The Gaussian of the options, the shipped one if it knows such patches, or one that is fitted to training worlds;
    and to how many patches, if it was fitted here."""
    if options.gaussian is not None:
        found = Prior.from_pretrained(options.gaussian)
        if found.encoding.window != encoding.window:
            raise InputError(f"the Gaussian knows patches of {found.encoding.window}, the prior of {encoding.window}.")
        return found, None
    if FITTED_GAUSSIAN in shipped():
        found = Prior.from_pretrained(FITTED_GAUSSIAN)
        if found.encoding.window == encoding.window:
            return found, None
    return fit_gaussian(worlds, encoding, options.gaussian_patches, say=print).frozen(), options.gaussian_patches


def untrained_like(prior: RgbdPatchPrior, seed: int) -> Prior:
    """The same network as it is before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RgbdPatchPrior.from_settings(prior.settings(), prior.encoding).frozen()


def patch_sets(window: PatchWindow, worlds: Worlds, options: Options) -> list[PatchSet]:
    """Held-out worlds, and the captures that are there."""
    batches = [batch for _, batch in world_patches(worlds, window, options.patches, FIRST_WORLD)]
    everything: tuple[Part, ...] = ("joint", "colour", "disparity")
    sets = [PatchSet("held-out worlds", torch.cat(batches)[: options.patches], None, everything, "exact depth")]
    for capture in CAPTURES if options.data is not None else ():
        assert options.data is not None
        place = options.data / capture.folder
        if not place.is_dir():
            raise InputError(f"{place} is not there. --data needs the folder that holds {capture.folder}.")
        sets.append(picture_patches(open_rgbd(place), capture, window, options.patches, options.seed))
    return sets


def picture_patches(frames: RgbdFrames, capture: Capture, window: PatchWindow, count: int, seed: int) -> PatchSet:
    """Crops of a capture, spread evenly over its pictures; InputError where there are none."""
    patches, known = [], []
    for index in range(len(frames)):
        generator = stream(seed, f"card {capture.folder}", index)
        crops, there = crop_patches(*frames.read(index), window, capture.crops, generator)
        patches.append(crops)
        known.append(there)
    every, masks = torch.cat(patches), torch.cat(known)
    if not len(every):
        raise InputError(f"{capture.folder} gave no patch of {window.size} pixels with depth nearly everywhere.")
    chosen = torch.linspace(0, len(every) - 1, min(count, len(every))).round().long()
    return PatchSet(capture.folder, every[chosen], masks[chosen], capture.parts, capture.note)


def where_known(damage: Damage, known: Bool[Tensor, "n size size"] | None) -> Damage:
    """A damage that leaves disparity alone where nobody knows it, so that such pixels decide nothing."""
    if known is None:
        return damage

    def damaged(patches: Tensor, generator: torch.Generator) -> Tensor:
        changed = damage(patches, generator)
        return torch.cat([changed[:, :3], torch.where(known[:, None], changed[:, 3:], patches[:, 3:])], dim=1)

    return damaged


def measure(
    priors: Mapping[str, Prior], sets: Sequence[PatchSet], seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Gains and repair rates of every prior on every set, as JSON; all priors meet the same noise and damage."""
    found: dict[str, Any] = {"levels": list(LEVELS), "score_levels": list(SCORE_LEVELS), "sets": []}
    for one in sets:
        gains, rates = {}, {}
        for name, prior in priors.items():
            say(f"{one.name}: {name}")
            gains[name] = [
                asdict(denoising_gain(prior, one.patches, level, stream(seed, "card", level), one.known))
                for level in LEVELS
            ]
            rates[name] = {
                what: [rate(prior, one, damage, level, seed) for level in SCORE_LEVELS]
                for what, damage in DAMAGES.items()
            }
        parts = {"name": one.name, "note": one.note, "patches": len(one.patches), "parts": list(one.parts)}
        found["sets"].append(parts | {"gains": gains, "repair": rates})
    return found


def rate(prior: Prior, one: PatchSet, damage: Damage, level: int, seed: int) -> float | None:
    """Share of damaged patches whose score points back; None where the damage left all as they were."""
    found = repair_rate(prior, one.patches, where_known(damage, one.known), level, stream(seed, "damage", level))
    return None if math.isnan(found) else found


# How it is shown -----------------------------------------------------------------------------------------------------


def markdown(found: Mapping[str, Any]) -> str:
    """Everything as tables."""
    made = found["made"]
    shown = (
        "procedural textures alone" if made["textures"] is None else f"crops of {made['textures']} among the textures"
    )
    lines = ["## Measured on what it never saw", "", f"By `{made['command']}`, seed {made['seed']};"]
    lines += [f"held-out worlds with {shown}."]
    lines += ["", "What one step of denoising gains over the noisy patch, dB of PSNR, at noise level t:"]
    for one in found["sets"]:
        lines += ["", f"**{one['name']}** ({one['note']}; {one['patches']} patches)", "", *gain_table(found, one)]
    lines += ["", "How often the score of a damaged patch points back to the whole one (chance is 0.5; blur is only"]
    lines += ["reported, since smoothing raises density under most priors):"]
    for one in found["sets"]:
        if "colour" in one["parts"]:
            lines += ["", f"**{one['name']}**", "", *repair_table(found, one)]
            lines += [f"\nThe {next(iter(one['repair']))} prior fails this test, below chance: {failed}."
                      for failed in failures(one)]  # fmt: skip
    lines += ["", f"![Colour over disparity: clean, noisy (t = 99), denoised in one step, and samples]({SHEET})"]
    return "\n".join(lines)


def gain_table(found: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    """A row per level, a column per prior and part."""
    columns = [(name, part) for name in one["gains"] for part in one["parts"]]
    rows = [
        [str(level), *(f"{one['gains'][name][place][part]:+.2f}" for name, part in columns)]
        for place, level in enumerate(found["levels"])
    ]
    return table(["t", *(f"{name}: {part}" for name, part in columns)], rows)


def repair_table(found: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    """A row per damage, a column per prior and level."""
    columns = [(name, place) for name in one["repair"] for place in range(len(found["score_levels"]))]
    rows = [
        [what, *("-" if (r := one["repair"][name][what][place]) is None else f"{r:.2f}" for name, place in columns)]
        for what in DAMAGES
    ]
    return table(["damage", *(f"{name}, t = {found['score_levels'][place]}" for name, place in columns)], rows)


def failures(one: Mapping[str, Any]) -> list[str]:
    """Damages from which the first prior's score points back in less than half of the patches, with its rates."""
    rates = next(iter(one["repair"].values()))
    return [
        f"{what} ({', '.join('-' if rate is None else f'{rate:.2f}' for rate in rates[what])})"
        for what in DAMAGES
        if what != "blur" and any(rate is not None and rate < 0.5 for rate in rates[what])
    ]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
