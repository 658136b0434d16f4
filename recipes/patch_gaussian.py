"""The Gaussian patch prior: mean and covariance of patches of procedural worlds.

    python -m recipes.patch_gaussian -o src/diorama/weights/rgbd-patch-gaussian --patches 16384

About 30 patches a second on one core. What comes of it is `--prior gaussian` once it lies there, and what a trained
network is held against on its card (`recipes.patch_prior_card`).
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.patches import PatchWindow
from diorama.pipelines.patch_prior import median_depths
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.prior import PatchEncoding
from diorama.worlds.dataset import PatchGroup, Worlds, WorldsConfig


@dataclass(frozen=True)
class Options:
    """Fit a Gaussian to patches of procedural worlds and write it as a folder of weights."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The folder to write."""
    patches: int = 16384
    seed: int = 0
    """Of the worlds; the same as in the training of the network it is held against."""
    textures: Path | None = None
    """Photos that a part of the materials show crops of; as in `diorama train`."""
    force: bool = False
    """Replace the folder."""


def main(options: Options) -> int:
    """Fit and write; what it cost goes to the terminal and to the card."""
    start = time.perf_counter()
    worlds = Worlds(WorldsConfig(seed=options.seed, textures=options.textures))
    prior = fit_gaussian(worlds, PatchEncoding(), options.patches, say=print)
    textures = "" if options.textures is None else f", textures of {options.textures.name}"
    card = (
        f"Made by\n\n    python -m recipes.patch_gaussian -o {options.output} --patches {options.patches} "
        f"--seed {options.seed}\n\nfrom {options.patches} patches of procedural worlds (seed {options.seed}{textures}; "
        f"median depth {prior.encoding.median_depth:.2f} m), in {time.perf_counter() - start:.0f} s."
    )
    prior.save_pretrained(options.output, card=card, licence="apache-2.0", force=options.force)
    print(f"{options.output}: a Gaussian of {options.patches} patches, {prior.checksum[:12]}")
    return 0


def fit_gaussian(
    worlds: Worlds, encoding: PatchEncoding, count: int, say: Callable[[str], None] | None = None
) -> GaussianPrior:
    """A Gaussian fitted to `count` patches (rounded up to whole worlds) of the worlds from number 0 on.

    Its encoding is the given one with the median depth of these patches.
    """
    medians: list[float] = []

    def batches() -> Iterator[Float[Tensor, "n 4 size size"]]:
        for done, batch in world_patches(worlds, encoding.window, count):
            medians.extend(median_depths(batch, encoding).tolist())
            if say is not None and done * 10 // count > (done - len(batch)) * 10 // count:
                say(f"{done} of {count} patches")
            yield batch

    fitted = GaussianPrior.fit(batches(), encoding)
    near = float(torch.tensor(medians).median())
    fitted.encoding = replace(encoding, median_depth=round(near, 3))
    return fitted


def world_patches(
    worlds: Worlds, window: PatchWindow, count: int, first: int = 0
) -> Iterator[tuple[int, Float[Tensor, "n 4 size size"]]]:
    """Encoded patches of worlds number `first` and following, world by world, and how many there are by then."""
    group, done, number = PatchGroup(worlds, window), 0, first
    while done < count:
        batch = torch.stack(list(group(number)))
        done, number = done + len(batch), number + 1
        yield done, batch


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
