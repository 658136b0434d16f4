"""How much memory a step of GIBR takes: what is said before against what it took."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diorama.pipelines.gibr import gibr_recipe
from diorama.pipelines.gibr_memory import step_memory
from diorama.systems.gibr import GIBR

GROWTH = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from diorama.pipelines.gibr import gibr_recipe
from diorama.pipelines.gibr_memory import step_memory
from diorama.systems.gibr import GIBR, training_loss
from tests.systems.drawn import balls

def resident(what):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) << 10

def step(scenes):
    views = balls(scenes, config.views + recipe.training.held_out, config.pixels)
    terms = training_loss(model, views, config, recipe.training, torch.Generator().manual_seed(0))
    sum(terms.values()).backward()

recipe = gibr_recipe("tiny")
config = replace(recipe.config, network=replace(recipe.config.network, looks_at=sys.argv[1]))
model = GIBR(config)
needed = step_memory(model, recipe.training, 8)
step(1)  # what is compiled takes memory once
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = resident("VmRSS")
step(8)
print(resident("VmHWM") - before, needed.all - needed.state)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
@pytest.mark.parametrize("looks_at", ["all", "epipolar"])
def test_a_step_takes_as_much_memory_as_was_said_before(looks_at):
    """What a step of 8 scenes takes, within a factor of 2."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, looks_at], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    grown, said = map(int, done.stdout.split())
    assert 0.5 < said / grown < 2.0


def test_memory_grows_with_scenes_and_rays_and_is_known_of_large_without_having_it():
    recipe = gibr_recipe("large")
    with torch.device("meta"):
        numbers = sum(parameter.numel() for parameter in GIBR(recipe.config).parameters())
    tiny = gibr_recipe("tiny")
    model, training = GIBR(tiny.config), tiny.training
    one, four = (step_memory(model, training, scenes) for scenes in (1, 4))
    assert four.all - four.state == 4 * (one.all - one.state)
    double = step_memory(model, replace(training, rays=2 * training.rays), 1)
    assert double.rays == 2 * one.rays
    assert double.network == one.network
    assert step_memory(model, training, 1, bf16=True).network < one.network
    masked = replace(tiny.config, network=replace(tiny.config.network, looks_at="epipolar"))
    assert step_memory(GIBR(masked), training, 1).network > one.network
    needed = step_memory(GIBR(recipe.config), recipe.training, 1)
    assert needed.state == 5 * 4 * numbers
    assert needed.network > 2 << 30
