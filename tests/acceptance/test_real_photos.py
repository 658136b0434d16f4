"""Does the straight road reach its goals on real photos? Slow at full size, with a one-seed miniature of each.

Fits take a number of steps, never a time, so that a busy machine changes nothing. Full-size runs leave their figures in
`benchmarks/results/acceptance.json`.
"""

import json
from pathlib import Path

import pytest
import torch

import diorama
from benchmarks.machine import machine
from diorama.eval.metrics import mean_colour, psnr

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "acceptance.json"


def measured(folder, side, steps, count=None):
    """Held-out PSNR of a fit and of the training photos' mean colour, dB."""
    views = diorama.open_views(folder, max_side=side)
    scene = diorama.reconstruct(views, split="every8", count=count, steps=steps)
    split = scene.provenance["split"]
    test, train = (views[views.index_of(split[role])] for role in ("test", "train"))
    seen = scene.render(test.cameras)
    flat = mean_colour(train.images)[None, :, None, None].expand_as(test.images)
    return float(psnr(seen.colour, test.images).mean()), float(psnr(flat, test.images).mean())


def record(name, value, **setting):
    """Write one figure beside those that were measured before."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[name] = {"psnr": round(value, 2), **setting, "seed": 0, "machine": machine()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1))


def test_many_photos_in_miniature(photos):
    value, flat = measured(photos("fox"), 80, 240)
    assert value > flat + 3.0


def test_three_photos_in_miniature(photos):
    value, flat = measured(photos("llff_fern"), 80, 120, count=3)
    assert value > flat + 3.0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_photos_reach_24_5_db(photos):
    value, _ = measured(photos("fox"), 240, 2000)
    record("fox", value, side=240, steps=2000, split="every8")
    assert value > 24.5


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("count", "goal"), [(3, 19.88), (6, 21.0), (9, 22.0)])
def test_few_photos_of_a_forward_facing_scene(photos, count, goal):
    """With 3 photos the goal is the mean of the paper's baseline over eight scenes, of which this is one."""
    value, _ = measured(photos("llff_fern"), 504, 3000, count=count)
    record(f"fern {count} views", value, side=504, steps=3000, split="every8")
    assert value > goal


def test_the_mean_colour_is_a_floor_to_measure_from():
    grey = torch.full((2, 3, 4, 4), 0.5)
    assert torch.equal(mean_colour(grey), torch.full((3,), 0.5))
