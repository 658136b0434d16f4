"""`diorama train`: data to the weights of a prior."""

import platform
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from diorama.errors import InputError, OutputError
from diorama.nets.pretrained import find_pretrained
from diorama.pipelines.patch_prior import (
    Look,
    PatchData,
    PatchRecipe,
    Size,
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
from diorama.training.batches import batches_at
from diorama.training.checkpoint import weights_of_run
from diorama.training.distributed import Share, process_group
from diorama.training.gradient import Precision
from diorama.training.log import Record
from diorama.training.network import Keeping, train
from diorama.training.progress import with_bar
from diorama.training.run import ASKED, Length
from diorama.training.weights import load_weights


@dataclass(frozen=True)
class Options:
    """Train a prior. The output folder holds the run; the same command goes on with it, a longer budget extends it.

    On several GPUs: torchrun --nproc-per-node 8 -m diorama.cli.main train patch-prior ...
    """

    what: tyro.conf.Positional[Literal["patch-prior"]]
    """What is trained: `patch-prior`, the prior over RGBD patches of DiffusioNeRF."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o", "--out"])]
    """Folder of the run: checkpoints, log.jsonl, samples/, held_out.json and, at the end, prior/."""
    size: Size = "small"
    """small: 6.7 million weights, trained where a fit asks. paper: 36 million, the published numbers, for a GPU."""
    budget: str | None = None
    """How long: 20m, 6h. The learning rate falls over the last fifth of it."""
    steps: int | None = None
    """Number of steps in all, instead of a budget."""
    data: Path | None = None
    """Hypersim, or any layout of pictures with depth; by default procedural worlds."""
    textures: Path | None = None
    """A folder of photos, crops of which 30 to 50 % of the worlds' materials show."""
    worlds: int = 1024
    """How many worlds are drawn before training (75 MB a hundred, in OUTPUT/windows); 0: new ones at every step."""
    continue_from: Path | None = None
    """Folder or shipped name of the weights of a prior to go on from."""
    batch: int | None = None
    """Patches a step, instead of the recipe's number."""
    parts: int = 1
    """A batch goes through the network in this many parts; more need less memory."""
    precision: Precision | None = None
    """auto, bf16 or full, instead of the recipe's."""
    seed: int = 0
    """Decides every random choice."""
    workers: int = 0
    """Processes that make batches ahead."""
    sample_every: int = 1000
    """Steps between two sample sheets with the gain on held-out patches."""
    tensorboard: bool = False
    """Write the log for tensorboard too."""
    device: str | None = None
    """cpu or cuda; by default CUDA where there is one."""


def command(options: Options) -> int:
    """Run the verb; progress goes to the terminal of the first rank."""
    from tqdm import tqdm

    with process_group(torch.device(choose_device(options.device))) as (share, device):
        last = train_patch_prior(options, share, device, tqdm.write if share.rank == 0 else quiet)
    if share.rank == 0:
        print(f"{options.output}: {last}. Look at {options.output}/samples, and use it:")
        print(f"  diorama reconstruct PHOTOS --method diffusionerf --prior {options.output / 'prior'}")
    return 0


def train_patch_prior(options: Options, share: Share, device: torch.device, say: Say) -> str:
    """Train until the end, and write the prior; returns how it ended, in words."""
    out = options.output
    check_run_place(out)
    chosen = settled(options)
    if chosen.batch < 1 or chosen.batch % share.count:
        raise InputError(
            f"a batch of {chosen.batch} cannot be shared by {share.count} ranks; each needs as many. Give --batch N."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)
        prior = RgbdPatchPrior(chosen.network, PatchEncoding(), detail=chosen.detail)
    encoding = prior.encoding
    data = open_data(options, chosen, share, encoding, say)
    start = (
        None
        if options.continue_from is None
        else load_weights(find_pretrained(options.continue_from), inside="network.")
    )
    records = train(
        prior.network.to(device),
        noise_loss(chosen.times),
        batches_at(data.batch_at, workers=options.workers, pin=device.type != "cpu"),
        chosen.training,
        length_of(options, chosen),
        out,
        about={"what": options.what, "size": options.size, "batch": chosen.batch, "data": data.facts},
        continue_from=start,
        sample=Look(out, chosen, encoding, data.held_out, say),
        keeping=Keeping(sample_every=options.sample_every, tensorboard=options.tensorboard),
        say=say,
    )
    last: Record | None = None
    for record in with_bar(records, show=share.rank == 0):
        last = record
    weights = weights_of_run(out)
    if last is None:
        return f"was finished before, at step {weights.step}"
    if share.rank == 0:
        card = card_of(
            shlex.join(["diorama", *sys.argv[1:]]), data.facts, weights.step, last.seconds, hardware(device, share),
            out / "held_out.json",
        )  # fmt: skip
        save_prior(RgbdPatchPrior(chosen.network, encoding, detail=chosen.detail), weights, out / "prior", card)
    return f"{weights.step} steps in {last.seconds:.0f} s, loss {last.loss:.4g}"


def settled(options: Options) -> PatchRecipe:
    """The recipe with what the options change in it."""
    chosen = recipe(options.size)
    training = replace(chosen.training, seed=options.seed, parts=options.parts)
    if options.precision is not None:
        training = replace(training, precision=options.precision)
    return replace(chosen, training=training, batch=chosen.batch if options.batch is None else options.batch)


def length_of(options: Options, chosen: PatchRecipe) -> Length:
    """Steps or a budget as asked, else the recipe's steps."""
    if options.budget is not None:
        return Length(options.steps, parse_seconds(options.budget))
    return Length(chosen.steps if options.steps is None else options.steps)


def open_data(options: Options, chosen: PatchRecipe, share: Share, encoding: PatchEncoding, say: Say) -> PatchData:
    """Pictures where a folder is given, else worlds."""
    batch, window = chosen.batch // share.count, encoding.window
    if options.data is not None:
        return patches_of_pictures(options.data, window, batch, options.seed, share)
    return patches_of_worlds(
        options.output / "windows", window, batch, options.seed, share,
        worlds=options.worlds, textures=options.textures, say=say,
    )  # fmt: skip


def check_run_place(folder: Path) -> None:
    """OutputError where the folder holds something that is not a run."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / ASKED).is_file()):
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"windows"}:
            return
        raise OutputError(f"{folder} exists and is not the folder of a training. Choose another -o.")


def hardware(device: torch.device, share: Share) -> str:
    """What it ran on, for the card."""
    if device.type == "cuda":
        return f"{share.count} x {torch.cuda.get_device_name(device)}"
    return f"{share.count} x {torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"
