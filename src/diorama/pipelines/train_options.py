"""Options of `diorama train`, and the recipe that they settle."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from diorama.data.multiview import Squares
from diorama.errors import InputError
from diorama.nets.multiview_config import LooksAt
from diorama.pipelines.gibr import TIME_LAWS, WORLD_KINDS, GIBRRecipe, gibr_recipe
from diorama.pipelines.patch_prior import PatchRecipe, recipe
from diorama.pipelines.quantities import parse_seconds
from diorama.scenes.config import changed
from diorama.training.gradient import Precision
from diorama.training.network import TrainingConfig
from diorama.training.run import Length
from diorama.worlds.layouts import Kind


@dataclass(frozen=True)
class Options:
    """Train a prior. The output folder holds the run; the same command goes on with it, a longer budget extends it.

    On several GPUs: torchrun --nproc-per-node 8 -m diorama.cli.main train gibr ...
    """

    what: tyro.conf.Positional[Literal["patch-prior", "gibr"]]
    """What is trained: `patch-prior`, the prior over RGBD patches of DiffusioNeRF; `gibr`, the multi-view model."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o", "--out"])] = None
    """Folder of the run: checkpoints, log.jsonl, samples/, held_out.json and, at the end, the weights. Unset:
    runs/WHAT-SIZE."""
    size: Literal["tiny", "small", "base", "large", "paper"] = "small"
    """small: trained on a CPU, 6.7 million weights. patch-prior: small or paper (36 million, the published numbers, for
    a GPU). gibr: tiny (tests), small, base (96 px, one GPU), large (256 px, several)."""
    budget: str | None = None
    """How long: 20m, 6h. The learning rate falls over the last fifth of it."""
    steps: int | None = None
    """Number of steps in all, instead of a budget."""
    data: str = "worlds"
    """worlds: procedural ones; or a folder. patch-prior: Hypersim, or any layout of pictures with depth. gibr: many
    scenes: CO3Dv2, MVImgNet, ShapeNet-SRN, RealEstate10K, or folders of any layout with cameras."""
    textures: Path | None = None
    """A folder of photos, crops of which 30 to 50 % of the worlds' materials show."""
    worlds: int = 1024
    """How many worlds are drawn before training, into OUTPUT/windows (75 MB a hundred) or OUTPUT/scenes (20 MB a
    hundred at 64 pixels). 0 draws new ones at every step and stores none: endless, at the price of drawing while
    training (--workers draws ahead)."""
    kinds: tuple[Kind, ...] = WORLD_KINDS
    """gibr: what the worlds are; name a kind twice to have it twice as often."""
    scenes: Path | None = None
    """gibr: where drawn worlds lie or will lie, instead of OUTPUT/scenes, so that several runs can share them."""
    pixels: int | None = None
    """gibr: side of the pictures, instead of the recipe's."""
    squares: Squares = "middle"
    """gibr: which square of its photo a view shows: the largest in the middle; or (anywhere) one of two thirds of its
    side or more wherever it lies, as long photos are read when they are reconstructed. Worlds are then drawn larger."""
    views: int | None = None
    """gibr: views that the network reads, instead of the recipe's."""
    no_clean: float | None = None
    """gibr: probability that none of them is clean, instead of the recipe's."""
    times: Literal["uniform", "high"] | None = None
    """gibr: how noisy views are: any time alike, or the noisier half alone, instead of the recipe's."""
    looks_at: LooksAt = "all"
    """gibr: which pixels of other views a pixel may look at: all, or (epipolar) those near its line there."""
    settings: Path | None = None
    """gibr: a JSON file with settings in place of the recipe's, by their names in docs/papers/gibr.md:
    {"training": {"drop_other": 0}, "config": {"planes": {"pool": "mean"}}}."""
    regression: bool = False
    """gibr: all views are clean and nothing is denoised: a network that regresses, to compare with."""
    continue_from: Path | None = None
    """Folder or shipped name of weights to go on from."""
    batch: int | None = None
    """Patches or scenes a step, instead of the recipe's number."""
    rate: float | None = None
    """Learning rate, instead of the recipe's."""
    parts: int = 1
    """A batch goes through the network in this many parts; more need less memory."""
    precision: Precision | None = None
    """auto, bf16 or full, instead of the recipe's."""
    compile: bool = False
    """Let torch compile the network: a slow first step, then quicker ones. Needs g++ or clang++; on a GPU triton."""
    seed: int = 0
    """Decides every random choice."""
    workers: int = 0
    """Processes that make batches ahead."""
    sample_every: int = 1000
    """Steps between two sample sheets with figures on held-out data."""
    tensorboard: bool = False
    """Write the log for tensorboard too."""
    device: str | None = None
    """cpu or cuda; by default CUDA where there is one."""

    @property
    def folder(self) -> Path:
        """Where the run is: as said, else by what is trained and its size."""
        return Path("runs") / f"{self.what}-{self.size}" if self.output is None else self.output


def check_counts(options: Options) -> None:
    """InputError for what cannot be counted from 0."""
    counts = {
        "--batch": options.batch, "--pixels": options.pixels, "--views": options.views, "--parts": options.parts,
        "--sample-every": options.sample_every,
    }  # fmt: skip
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} {count} was asked for. Give 1 or more.")


def settled_patch_prior(options: Options) -> PatchRecipe:
    """The recipe with what the options change in it."""
    if options.size not in ("small", "paper"):
        raise InputError(f"the patch prior comes in the sizes small and paper, not {options.size}.")
    chosen = recipe(options.size)
    batch = chosen.batch if options.batch is None else options.batch
    return replace(chosen, training=settled_loop(options, chosen.training), batch=batch)


def settled_gibr(options: Options) -> GIBRRecipe:
    """The recipe with what the options change in it."""
    if options.size == "paper":
        raise InputError("nothing is known of the size of GIBR's own network; the sizes are tiny, small, base, large.")
    chosen = changed(gibr_recipe(options.size), asked_settings(options))
    training = replace(chosen.training, regression=chosen.training.regression or options.regression)
    if options.no_clean is not None:
        training = replace(training, no_clean=options.no_clean)
    if options.times is not None:
        training = replace(training, times=TIME_LAWS[options.times])
    config = chosen.config
    config = replace(
        config, pixels=options.pixels or config.pixels, views=options.views or config.views,
        denoises=not training.regression,
    )  # fmt: skip
    if options.looks_at != "all":
        config = replace(config, network=replace(config.network, looks_at=options.looks_at))
    multiple = max(config.network.multiple, 2)
    if config.pixels < multiple or config.pixels % multiple or config.views < 2:
        raise InputError(
            f"{config.views} views of {config.pixels} pixels. Needed: at least 2 views, and a multiple of {multiple}."
        )
    return replace(
        chosen, config=config, training=training, loop=settled_loop(options, chosen.loop),
        batch=options.batch or chosen.batch,
    )  # fmt: skip


def asked_settings(options: Options) -> dict[str, Any]:
    """What the file of settings says; nothing without one."""
    if options.settings is None:
        return {}
    try:
        found = json.loads(options.settings.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--settings {options.settings} is no JSON file ({error}). Give one.") from error
    if not isinstance(found, dict):
        raise InputError(f"--settings {options.settings} holds no settings by name. Write {{'training': {{...}}}}.")
    return found


def settled_loop(options: Options, loop: TrainingConfig) -> TrainingConfig:
    """The loop with what the options change in it."""
    loop = replace(loop, seed=options.seed, parts=options.parts)
    if options.rate is not None:
        loop = replace(loop, optim=replace(loop.optim, rate=options.rate))
    return loop if options.precision is None else replace(loop, precision=options.precision)


def length_of(options: Options, steps: int) -> Length:
    """Steps or a budget as asked, else the recipe's steps."""
    if options.budget is not None:
        return Length(options.steps, parse_seconds(options.budget))
    return Length(steps if options.steps is None else options.steps)
