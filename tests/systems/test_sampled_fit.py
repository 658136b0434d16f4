"""A fit that hears sampled views: what they say where photographs are silent is what it shows there."""

from dataclasses import replace

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.data.scale import scene_scale
from diorama.pipelines.fit import Geometry, build, plan_fit
from diorama.pipelines.presets import laptop
from diorama.priors.sampled import SampledConfig, SampledViews
from diorama.priors.schedule import constant
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential
from tests.oracles import exact_views, ring_cameras
from tests.systems.test_diffusionerf import tiny

RED = torch.tensor([0.9, 0.1, 0.1])


@pytest.fixture(scope="module")
def plan():
    views = replace(
        exact_views(ring_cameras(3, 32, 24, arc=40.0)), depth=None, bounds=torch.tensor([[1.0, 8.0]]).repeat(3, 1)
    )
    always = SampledConfig(weight=constant(1.0), depth=constant(1.0), depth_alone=constant(1.0), pixels=16, every=1)
    preset = tiny(laptop())
    preset = replace(preset, optim=replace(preset.optim, warm_up=0))
    return plan_fit(
        views, Geometry(scene_scale(views), None, None, ()), replace(preset, fit=replace(preset.fit, sampled=always))
    )


def behind(plan, *, observed, placed):
    """A red wall two metres from a camera that looks away from what the photographs show."""
    pose = plan.views.cameras.camera_to_world[:1].clone()
    pose[:, :3, [0, 2]] *= -1.0
    side = 8
    cameras = Cameras.pinhole(
        pose.float(), torch.full((1, 2), 8.0), torch.full((1, 2), side / 2.0), torch.full((1, 2), side)
    )
    flat = torch.ones(1, side, side)
    return SampledViews(
        cameras,
        RED[None, :, None, None] * flat[:, None],
        0.0 * flat,
        2.0 * flat,
        flat * observed > 0,
        flat * placed > 0,
    )


def fitted(plan, sampled, steps=120):
    system = build(replace(plan, sampled=sampled), steps, 0, "cpu")
    rate = exponential(plan.preset.optim, steps)
    history = [terms for _, terms in train_steps(system, adam(system, plan.preset.optim), rate, range(steps))]
    return system, history


@torch.no_grad()
def looked(system, sampled):
    """Mean colour and depth of the fit from the sampled camera."""
    batch = system.sampled.draw(0, system.steps, torch.Generator().manual_seed(0)) if system.sampled else sampled
    seen = system.render(batch.rays, None, torch.ones(len(batch.rays), 3))
    return seen.colour.mean(0), float((seen.distance * batch.rays.cosine).mean())


def test_unseen_places_take_the_samples_colour_and_depth(plan):
    wall = behind(plan, observed=0, placed=0)
    heard, history = fitted(plan, wall)
    deaf, silent = fitted(plan, None)
    assert {"sampled", "sampled_depth"} <= history[0].keys()
    assert not {"sampled", "sampled_depth"} & silent[0].keys()
    batch = heard.sampled.draw(0, 120, torch.Generator().manual_seed(0))
    (near, depth), (far, other) = looked(heard, batch), looked(deaf, batch)
    assert float((near - RED).abs().max()) < 0.5 * float((far - RED).abs().max())
    assert abs(depth - 2.0) < 0.5 * abs(other - 2.0)


def test_what_photographs_show_takes_no_colour_and_what_stereo_placed_no_depth(plan):
    placed = fitted(plan, behind(plan, observed=0, placed=1), steps=1)[1][0]
    assert placed["sampled"] > 0
    assert placed["sampled_depth"] == 0
    observed = fitted(plan, behind(plan, observed=1, placed=0), steps=1)[1][0]
    assert observed["sampled"] == 0
    assert observed["sampled_depth"] > 0
    assert "sampled" not in fitted(plan, behind(plan, observed=1, placed=1), steps=1)[1][0]


def test_white_samples_of_what_is_cut_out_ask_for_no_matter(plan):
    white = replace(behind(plan, observed=0, placed=0), colour=torch.ones(1, 3, 8, 8))
    preset = plan.preset
    sampling = replace(preset.fit.sampling, last_opaque=False)
    fit = replace(preset.fit, background="random", sampling=sampling)
    empty = replace(preset, field=replace(preset.field, density_bias=-30.0), fit=fit)

    def asked(cut_out):
        sampled = replace(white, cut_out=cut_out)
        losses = build(replace(plan, preset=empty, sampled=sampled), 10, 0, "cpu").imagined(0)
        return {name: float(value.detach()) for name, value in losses.items()}

    assert asked(cut_out=True) == pytest.approx({"sampled": 0.0, "sampled_depth": 0.0}, abs=1e-10)
    assert asked(cut_out=False)["sampled"] > 0.01, "before colours of chance, what is empty is not white"
