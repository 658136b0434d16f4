"""`diorama train`: data to the weights of a prior."""

import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from diorama.errors import InputError, OutputError
from diorama.nets.pretrained import find_pretrained, kind_of
from diorama.pipelines.gibr import (
    GIBRRecipe,
    LookAtScenes,
    gibr_card,
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
    save_prior,
)
from diorama.pipelines.reconstruct import Say, choose_device, quiet
from diorama.pipelines.train_options import (
    Options,
    asked_settings,
    check_counts,
    length_of,
    settled_gibr,
    settled_patch_prior,
)
from diorama.priors.prior import PatchEncoding
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.scenes.config import to_json
from diorama.systems.gibr import GIBR
from diorama.training.batches import batches_at
from diorama.training.checkpoint import seconds_of_run, weights_of_run
from diorama.training.distributed import Share, process_group
from diorama.training.gradient import LossFn, autocast, lacks_bf16
from diorama.training.log import Record
from diorama.training.network import Keeping, SampleFn, TrainingConfig, train
from diorama.training.progress import with_bar
from diorama.training.run import ASKED, Length
from diorama.training.weights import Weights, load_weights


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


def train_patch_prior(options: Options, share: Share, device: torch.device, say: Say) -> str:
    """Train until the end, and write the prior; returns how it ended, in words."""
    out = options.folder
    check_run_place(out)
    chosen = settled_patch_prior(options)
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
    if task.config.precision == "bf16" and lacks_bf16(device):
        say("this CPU has no instructions for bf16, so a step takes many times as long as with --precision full")
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
