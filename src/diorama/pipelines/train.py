"""`diorama train`: data to the weights of a prior."""

import json
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from diorama.data.multiview import Squares
from diorama.errors import InputError, OutputError
from diorama.nets.multiview_config import LooksAt
from diorama.nets.pretrained import find_pretrained, kind_of
from diorama.pipelines.gibr import (
    TIME_LAWS,
    WORLD_KINDS,
    GIBRRecipe,
    LookAtScenes,
    gibr_card,
    gibr_recipe,
    save_gibr,
    scene_loss,
    scenes_of_folder,
    scenes_of_worlds,
)
from diorama.pipelines.gibr_memory import step_memory
from diorama.pipelines.patch_prior import (
    Look,
    PatchData,
    PatchRecipe,
    as_trained_on,
    card_of,
    noise_loss,
    patches_of_pictures,
    patches_of_worlds,
    recipe,
    save_prior,
)
from diorama.pipelines.quantities import parse_seconds
from diorama.pipelines.reconstruct import Say, choose_device, quiet
from diorama.priors.prior import PatchEncoding
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.scenes.config import changed, to_json
from diorama.systems.gibr import GIBR
from diorama.training.batches import batches_at
from diorama.training.checkpoint import seconds_of_run, weights_of_run
from diorama.training.distributed import Share, process_group
from diorama.training.gradient import LossFn, Precision, autocast
from diorama.training.log import Record
from diorama.training.network import Keeping, SampleFn, TrainingConfig, train
from diorama.training.progress import with_bar
from diorama.training.run import ASKED, Length
from diorama.training.weights import Weights, load_weights
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


def command(options: Options) -> int:
    """Run the verb; progress goes to the terminal of the first rank."""
    from tqdm import tqdm

    check_counts(options)
    run = train_patch_prior if options.what == "patch-prior" else train_gibr
    with process_group(torch.device(choose_device(options.device))) as (share, device):
        last = run(options, share, device, tqdm.write if share.rank == 0 else quiet)
    if share.rank == 0:
        print(f"{options.folder}: {last}. Look at {options.folder / 'samples'}, and use it:")
        if options.what == "patch-prior":
            print(f"  diorama reconstruct PHOTOS --method diffusionerf --prior {options.folder / 'prior'}")
        else:
            print(f"  diorama reconstruct PHOTOS --method gibr --prior {options.folder / 'model'}")
    return 0


def check_counts(options: Options) -> None:
    """InputError for what cannot be counted from 0."""
    counts = {
        "--batch": options.batch, "--pixels": options.pixels, "--views": options.views, "--parts": options.parts,
        "--sample-every": options.sample_every,
    }  # fmt: skip
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} {count} was asked for. Give 1 or more.")


def train_patch_prior(options: Options, share: Share, device: torch.device, say: Say) -> str:
    """Train until the end, and write the prior; returns how it ended, in words."""
    out = options.folder
    check_run_place(out)
    chosen = settled(options)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)
        prior = RgbdPatchPrior(chosen.network, PatchEncoding(), detail=chosen.detail)
    encoding = prior.encoding
    data = open_data(options, chosen, share, encoding, say)
    task = Task(
        prior.network.to(device), noise_loss(chosen.times), data.batch_at, chosen.training,
        length_of(options, chosen.steps), data.facts, chosen.batch, "network.",
        Look(out, chosen, encoding, data.held_out, say), out / "prior",
    )  # fmt: skip

    def save(weights: Weights, seconds: float) -> None:
        made = shlex.join(["diorama", *sys.argv[1:]])
        measured = as_trained_on(encoding, data.batch_at)
        card = card_of(made, data.facts, weights.step, seconds, hardware(device, share), out, measured)
        save_prior(RgbdPatchPrior(chosen.network, measured, detail=chosen.detail), weights, task.result, card)

    return run_to_the_end(options, task, share, device, save, say)


def train_gibr(options: Options, share: Share, device: torch.device, say: Say) -> str:
    """Train until the end, and write the model; returns how it ended, in words."""
    out = options.folder
    check_run_place(out)
    chosen = settled_gibr(options)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)
        model = GIBR(chosen.config)
    if options.data == "worlds":
        data = scenes_of_worlds(
            options.scenes or out / "scenes", chosen, options.seed, share, worlds=options.worlds, kinds=options.kinds,
            textures=options.textures, squares=options.squares, say=say,
        )  # fmt: skip
    else:
        data = scenes_of_folder(Path(options.data), chosen, options.seed, share, options.squares, say)
    say_memory(model, chosen, share, device, say)
    asked = {"pixels": chosen.config.pixels, "views": chosen.config.views, "training": to_json(chosen.training)}
    if options.looks_at != "all":
        asked["looks_at"] = options.looks_at
    if options.settings is not None:
        asked["settings"] = asked_settings(options)
    network = convert_conv2d_weight_memory_format(model.to(device), torch.channels_last)
    task = Task(
        network, scene_loss(chosen.config, chosen.training), data.batch_at, chosen.loop,
        length_of(options, chosen.steps), data.facts | asked, chosen.batch, "",
        LookAtScenes(out, chosen.training, data.held_out, say), out / "model",
    )  # fmt: skip

    def save(weights: Weights, seconds: float) -> None:
        made = shlex.join(["diorama", *sys.argv[1:]])
        facts = data.facts | asked
        card = gibr_card(made, facts, weights.step, seconds, hardware(device, share), out)
        save_gibr(chosen.config, weights, task.result, card)

    return run_to_the_end(options, task, share, device, save, say)


def say_memory(model: GIBR, chosen: GIBRRecipe, share: Share, device: torch.device, say: Say) -> None:
    """How much memory each rank will need, before it is needed."""
    scenes = max(1, -(-chosen.batch // (share.count * chosen.loop.parts)))
    bf16 = isinstance(autocast(device, chosen.loop.precision), torch.autocast)
    needed = step_memory(model, chosen.training, scenes, bf16=bf16)
    say(f"memory of a step, {scenes} scenes at a time{' in bf16' if bf16 else ''}: {needed}")


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how."""

    network: nn.Module
    loss: LossFn
    batch_at: Callable[[int], Any]
    config: TrainingConfig
    length: Length
    facts: dict[str, Any]
    batch: int
    inside: str
    """What the network's names begin with in a folder of weights."""
    look: SampleFn
    result: Path
    """The folder of the trained weights."""


def run_to_the_end(
    options: Options,
    task: Task,
    share: Share,
    device: torch.device,
    save: Callable[[Weights, float], None],
    say: Say,
) -> str:
    """Take all steps with a progress bar, and save the weights on the first rank; how it ended there, in words.

    A run that ended before its weights were saved, whole and of its last step, has them saved now.
    """
    if task.batch < 1 or task.batch % share.count:
        raise InputError(
            f"a batch of {task.batch} cannot be shared by {share.count} ranks; each needs as many. Give --batch N."
        )
    start = None
    if options.continue_from is not None:
        start = load_weights(find_pretrained(options.continue_from), inside=task.inside)
    records = train(
        task.network,
        task.loss,
        batches_at(task.batch_at, workers=options.workers, pin=device.type != "cpu"),
        task.config,
        task.length,
        options.folder,
        about={"what": options.what, "size": options.size, "batch": task.batch, "data": task.facts},
        continue_from=start,
        sample=task.look,
        keeping=Keeping(sample_every=options.sample_every, tensorboard=options.tensorboard),
        compile=options.compile,
        say=say,
    )
    last: Record | None = None
    for record in with_bar(records, show=share.rank == 0):
        last = record
    if share.rank != 0:  # the first rank may still be looking and writing
        return "ended on this rank"
    weights = weights_of_run(options.folder)
    if last is None:
        if is_saved(task, weights):
            return f"was finished before, at step {weights.step}"
        save(weights, seconds_of_run(options.folder))
        return f"was finished before, at step {weights.step}, and its weights are saved now"
    save(weights, last.seconds)
    return f"{weights.step} steps in {last.seconds:.0f} s, loss {last.loss:.4g}"


def is_saved(task: Task, weights: Weights) -> bool:
    """Whether the folder of the result is whole, and of the step that these weights of the run are of."""
    try:
        kind_of(task.result)
        saved = load_weights(task.result, inside=task.inside)
    except InputError:
        return False
    return saved.step == weights.step


def settled(options: Options) -> PatchRecipe:
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


def open_data(options: Options, chosen: PatchRecipe, share: Share, encoding: PatchEncoding, say: Say) -> PatchData:
    """Pictures where a folder is given, else worlds."""
    batch, window = chosen.batch // share.count, encoding.window
    if options.data != "worlds":
        return patches_of_pictures(Path(options.data), window, batch, options.seed, share)
    return patches_of_worlds(
        options.folder / "windows", window, batch, options.seed, share,
        worlds=options.worlds, textures=options.textures, say=say,
    )  # fmt: skip


def check_run_place(folder: Path) -> None:
    """OutputError where the folder holds something that is not a run."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / ASKED).is_file()):
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"windows", "scenes"}:
            return
        raise OutputError(f"{folder} exists and is not the folder of a training. Choose another -o.")


def hardware(device: torch.device, share: Share) -> str:
    """What it ran on, for the card."""
    if device.type == "cuda":
        return f"{share.count} x {torch.cuda.get_device_name(device)}"
    return f"{share.count} x {torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"
