"""What the parts of GIBR are worth: small networks that differ in one thing each and learn equally long.

All read the same worlds of one to four objects. Asked about held-out worlds, each is given the same two views; all but
the regression and `full-alone` denoise two more, as they learned to; then views that were neither given nor denoised
are rendered. All ask all planes about every point of the finished scene, but for `full-first`, which asks the given
ones first, as `reconstruct` does (`GIBRSampling.given_first`). The regression learned from two to four clean views at a
time, so that it is not at a loss with two.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.gibr_figures import MEASURES, rounded
from benchmarks.gibr_rows import Bench, Job, Options, one_thread
from benchmarks.gibr_worlds import HELD_OUT, drawn_worlds, measure, strip, world_views, worlds_identity
from benchmarks.machine import machine
from benchmarks.rows import Row, code_digest, locked, row_key
from diorama.data.multiview import TENSORS, MultiViews, SceneBatches
from diorama.data.tensors import load_tensors
from diorama.errors import InputError
from diorama.fields.ib_planes import IBPlanesConfig
from diorama.fields.tri_planes import TriPlanesConfig
from diorama.pipelines.gibr import GIBRRecipe, diagnose, gibr_recipe, scene_loss
from diorama.scenes.config import to_json
from diorama.systems.gibr import GIBR, GIBRSampling
from diorama.training.batches import batches_at
from diorama.training.checkpoint import weights_of_run
from diorama.training.gradient import LossFn
from diorama.training.network import Keeping, TrainingConfig, train
from diorama.training.run import CHECKPOINT, Length
from diorama.worlds.layouts import Kind
from diorama.worlds.shards import Shards
from diorama.worlds.stored import StoredMultiViews

KINDS: tuple[Kind, ...] = ("object",)
IN_QUESTION = ("full", "no-own-dropout", "regression")
"""Trained with every seed."""
ALONE, FIRST = "full-alone", "full-first"
"""The network of `full`, asked otherwise. full-alone: about the given views alone, as the regression is; nothing is
denoised then. full-first: as `reconstruct` asks it, the given planes first."""
REST = (
    "no-cross-view", "no-polar", "no-agreement", "mean-pool", "tri-planes", "no-held-out", "no-held-out-no-own-dropout",
    "views-shift",
)  # fmt: skip
"""Trained with the first. no-held-out: no view that the network did not read is rendered in training, as a model that
only denoises; own-plane dropout is then all that tells space from billboards. views-shift: the more views are noisy,
the noisier they are (`GIBRTraining.views_shift` 1)."""
VARIANTS = (*IN_QUESTION, ALONE, FIRST, *REST)
INPUTS = 2
"""Views that are given when a network is measured."""

LEARNING = ("diorama.systems.gibr", "diorama.training.network")
"""Modules that decide what is learned."""


def jobs(options: Options) -> Iterator[Job]:
    """Every network, and the whole one twice more, asked otherwise."""
    for variant in options.variants or VARIANTS:
        if variant in VARIANTS:
            for seed in options.seeds[:1] if variant in REST else options.seeds:
                yield Job("ablation", "objects", INPUTS, variant, seed)


def recipe_of(variant: str, pixels: int) -> GIBRRecipe:
    """The recipe `tiny` in minutes, changed in one thing.

    All networks but that without polar maps have equally many outputs.
    """
    whole = in_minutes(gibr_recipe("tiny"))
    config, training = replace(whole.config, pixels=pixels), whole.training
    planes = config.planes
    assert isinstance(planes, IBPlanesConfig)
    match variant:
        case "full":
            pass
        case "no-own-dropout":
            training = replace(training, own_plane="keep")
        case "regression":
            training = replace(training, regression=True)
        case "no-held-out":
            training = replace(training, held_out=0)
        case "no-held-out-no-own-dropout":
            training = replace(training, held_out=0, own_plane="keep")
        case "views-shift":
            training = replace(training, views_shift=1.0)
        case "no-cross-view":
            config = replace(config, network=replace(config.network, cross_view=False))
        case "no-polar":
            network = replace(config.network, out_channels=planes.channels)
            config = replace(config, network=network, planes=replace(planes, polar_channels=0))
        case "no-agreement":
            config = replace(config, planes=replace(planes, agreement=False))
        case "mean-pool":
            config = replace(config, planes=replace(planes, pool="mean"))
        case "tri-planes":
            config = replace(config, planes=TriPlanesConfig(channels=planes.maps // 3, hidden=planes.hidden))
        case _:
            raise InputError(f"unknown: {variant}. Variants are {list(VARIANTS)}.")
    return replace(whole, config=config, training=training)


def in_minutes(recipe: GIBRRecipe) -> GIBRRecipe:
    """Fewer scenes, rays and samples a step, and larger steps: ten minutes of a core are some 1,200 of them."""
    optim = replace(recipe.loop.optim, rate=2e-3)
    return replace(
        recipe, batch=4, training=replace(recipe.training, rays=64),
        config=replace(recipe.config, sampling=replace(recipe.config.sampling, coarse=16, fine=8)),
        loop=replace(recipe.loop, optim=optim, schedule=replace(recipe.loop.schedule, warm_up=100)),
    )  # fmt: skip


def code() -> str:
    """What stands for the code that makes a row."""
    return code_digest((*LEARNING, "diorama.pipelines.gibr", *MEASURES))


def row_of(job: Job, bench: Bench) -> Row | None:
    """Train and measure one network; `full-alone` and `full-first` are `full`, asked otherwise."""
    options, network = bench.options, "full" if job.variant in (ALONE, FIRST) else job.variant
    recipe = recipe_of(network, options.pixels)
    length = {"steps": options.steps} if options.minutes is None else {"minutes": options.minutes}
    learns = {
        "variant": network, "seed": job.seed, "config": decides_of(recipe),
        "training": to_json(recipe.training), "loop": to_json(recipe.loop), "batch": recipe.batch,
        "views": recipe.config.views, "worlds": data_identity(options),
        "machine": None if options.minutes is None else machine_of_one_thread(), **length,
    }  # fmt: skip
    decides = {"learns": learns, "measured": worlds_identity(KINDS, options.worlds, held_out=True)}
    by = row_key(learns | {"code": code_digest(LEARNING)})
    run = options.work / "runs" / f"{replace(job, variant=network).title}_{by}"
    denoise = not recipe.training.regression and job.variant != ALONE

    def make(place: Path) -> Row:
        with one_thread():
            with locked(run):
                model, facts = trained(recipe, job.seed, run, options)
            held = drawn_worlds(options.work, KINDS, options.worlds, held_out=True)
            found = measure(
                model, held, options.worlds, INPUTS, place, pixels=options.pixels,
                denoise=denoise,
                sampling=GIBRSampling(own_plane=recipe.training.own_plane, given_first=job.variant == FIRST),
            )  # fmt: skip
            asked = replace(recipe.training, held_out=1)  # of those, too, that learned without
            diagnosis = diagnose(model, diagnosed(held, options, recipe), asked)
        strip(options.work, job.title, found)
        own = {"psnr_own_in": diagnosis.psnr_own_in, "psnr_own_out": diagnosis.psnr_own_out,
               "psnr_one_step": diagnosis.psnr_held_out, "psnr_mean_colour": diagnosis.psnr_mean_colour}  # fmt: skip
        row = found.row()
        return {**row, "mean": row["mean"] | rounded(own), "loss_by_t": rounded(diagnosis.loss_by_t), **facts}

    return bench.row(job, decides, code(), make)


def decides_of(recipe: GIBRRecipe) -> Row:
    """The network's settings that decide a row: `denoises` says again what the training's `regression` says."""
    return {name: value for name, value in to_json(recipe.config).items() if name != "denoises"}


def machine_of_one_thread() -> Row:
    """A budget of time is worth what the machine is."""
    with one_thread():
        return machine()


def data_identity(options: Options) -> object:
    """What stands for the worlds that are learned from."""
    if options.drawn is None:
        return worlds_identity(KINDS, options.training_worlds, held_out=False)
    shards = Shards.open(options.drawn)
    return [dict(shards.recipe), len(shards)]


def learned_worlds(options: Options) -> StoredMultiViews:
    """The worlds that are learned from."""
    if options.drawn is not None:
        return StoredMultiViews(Shards.open(options.drawn))
    return drawn_worlds(options.work, KINDS, options.training_worlds, held_out=False)


def trained(recipe: GIBRRecipe, seed: int, run: Path, options: Options) -> tuple[GIBR, Row]:
    """The averaged network of a run, gone on with until it is finished; and its steps and seconds.

    cpu_share: of these seconds, as far as they fell into this process, the share in which it had a core.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = GIBR(recipe.config)
    worlds = learned_worlds(options)
    counts = range(2, recipe.config.views + 1) if recipe.training.regression else (recipe.config.views,)
    sources = [
        SceneBatches(worlds, recipe.batch, count + recipe.training.held_out, recipe.config.pixels, seed)
        for count in counts
    ]

    def batch_at(step: int) -> dict[str, torch.Tensor]:
        return sources[step % len(sources)](step)

    loop: TrainingConfig = replace(recipe.loop, seed=seed)
    length = Length(options.steps) if options.minutes is None else Length(budget=60.0 * options.minutes)
    keeping = Keeping(sample_every=1 << 40)
    loss = scene_loss(recipe.config, recipe.training)
    warm(recipe, loss, batch_at(0))
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in train(model, loss, batches_at(batch_at), loop, length, run, keeping=keeping):
        pass
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    weights, state = weights_of_run(run), load_tensors(run / CHECKPOINT)[1]
    averaged = GIBR(recipe.config)
    averaged.load_state_dict(weights.average)
    size = sum(parameter.numel() for parameter in model.parameters())
    facts = {
        "steps": weights.step, "seconds": round(float(state["seconds"]), 1), "cpu_share": round(share, 2),
        "weights": size,
    }  # fmt: skip
    return averaged.eval().requires_grad_(False), facts


def warm(recipe: GIBRRecipe, loss: LossFn, batch: dict[str, torch.Tensor]) -> None:
    """One step of a network that is thrown away: what is compiled at first use is not paid for out of the budget."""
    with torch.random.fork_rng(devices=[]):
        terms = loss(GIBR(recipe.config), batch, torch.Generator().manual_seed(0))
    sum(terms.values(), torch.zeros(())).backward()


def diagnosed(worlds: StoredMultiViews, options: Options, recipe: GIBRRecipe) -> MultiViews:
    """All held-out worlds as one batch: as many views as were learned from, and one more that is held out."""
    parts = []
    for index in range(options.worlds):
        views = world_views(worlds, index, options.pixels)
        last = views.images.shape[1] - HELD_OUT
        kept = torch.tensor([*range(recipe.config.views), last])
        parts.append(views.each(lambda part, kept=kept: part[:, kept]).to_batch())
    return MultiViews.from_batch({name: torch.cat([part[name] for part in parts]) for name in TENSORS})
