"""Trained weights on held-out worlds: what more given views bring, and what the samplers make of how many steps."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.gibr_figures import MEASURES
from benchmarks.gibr_rows import Bench, Job, Options
from benchmarks.gibr_worlds import drawn_worlds, measure, strip, worlds_identity
from benchmarks.machine import machine
from benchmarks.rows import Row, code_digest
from diorama.pipelines.gibr import WORLD_KINDS
from diorama.scenes.config import to_json
from diorama.systems.gibr import GIBRSampling

INPUTS = (0, 1, 2, 4, 6)
SAMPLERS = {
    "ddim-10": GIBRSampling("ddim", 10),
    "ddim-25": GIBRSampling("ddim", 25),
    "ddim-50": GIBRSampling("ddim", 50),
    "dpm-10": GIBRSampling("dpm", 10),
    "dpm-20": GIBRSampling("dpm", 20),
}
SAMPLED_INPUTS = 2
"""Views that are given where samplers are compared."""

DRAWING = ("diorama.systems.gibr", "diorama.pipelines.sampling", *MEASURES)
"""Modules that decide the figures of a sampled world."""


def jobs(options: Options) -> Iterator[Job]:
    """Every number of inputs; every sampler."""
    if "inputs" in options.tables:
        for count in INPUTS:
            yield Job("inputs", "worlds", count, "dpm-10")
    if "samplers" in options.tables:
        for name in SAMPLERS:
            yield Job("samplers", "worlds", SAMPLED_INPUTS, name)


def code() -> str:
    """What stands for the code that makes a row."""
    return code_digest(DRAWING)


def row_of(job: Job, bench: Bench) -> Row | None:
    """Ask the trained model about held-out worlds; None where there is none."""
    model, options, sampling = bench.model, bench.options, SAMPLERS[job.variant]
    if model is None:
        return None
    timed = job.table == "samplers"
    count = min(options.few_worlds, options.worlds) if timed else options.worlds
    decides = {
        "model": model.checksum, "sampling": to_json(sampling), "samples": options.samples,
        "pixels": model.config.pixels, "measured": worlds_identity(WORLD_KINDS, options.worlds, held_out=True),
        "count": count, "machine": machine() if timed else None,
    }  # fmt: skip

    def make(place: Path) -> Row:
        held = drawn_worlds(options.work, WORLD_KINDS, options.worlds, held_out=True)
        found = measure(
            model, held, count, job.views, place, pixels=model.config.pixels, samples=options.samples, sampling=sampling
        )
        strip(options.work, job.title, found)
        return {**found.row(), "model": model.checksum, "samples": options.samples, "pixels": model.config.pixels}

    return bench.row(job, decides, code(), make)
