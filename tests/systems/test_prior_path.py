"""The prior's part of a fit: spec of DiffusioNeRF, section 9, tests 5 and 13 (the null prior), and our loudness."""

from dataclasses import replace

import pytest
import torch

from diorama.data.scale import scene_scale
from diorama.pipelines.fit import STRETCH, Geometry, build, plan_fit, seconds_per_step
from diorama.pipelines.presets import few, laptop, paper
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.guide import PriorConfig, gradient_norms, scale_warning
from diorama.priors.patches import PatchSamplingConfig
from diorama.priors.prior import NullPrior, PatchEncoding
from diorama.priors.schedule import Ramp, constant
from diorama.priors.total_variation import TotalVariationPrior
from diorama.streams import stream
from diorama.systems.diffusionerf import DiffusioNeRF
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential
from tests.oracles import exact_views, ring_cameras
from tests.priors.made_up import TINY
from tests.systems.test_diffusionerf import TINY_FIELD, tiny


@pytest.fixture(scope="module")
def views():
    return replace(exact_views(ring_cameras(3, 48, 36)), depth=None, bounds=torch.tensor([[1.0, 8.0]]).repeat(3, 1))


def asked(preset, **changes):
    fit = tiny(preset)
    prior = replace(fit.fit.prior, coarse=8, fine=8, **changes)
    return replace(fit, fit=replace(fit.fit, prior=prior))


def plan_of(views, preset, prior=None):
    return plan_fit(views, Geometry(scene_scale(views), None, None, ()), preset, prior=prior)


def run(views, preset, steps, prior=None, seed=0):
    plan = plan_of(views, preset, prior)
    system = build(plan, steps, seed, "cpu")
    optimizer = adam(system, plan.preset.optim)
    rate = exponential(plan.preset.optim, steps)
    history = [losses for _, losses in train_steps(system, optimizer, rate, range(steps))]
    return system, history


GAUSSIAN = GaussianPrior.natural(TINY)


def test_spec_13_the_null_prior_is_the_baseline_bit_for_bit(views):
    preset = asked(few("inward", False))
    without, null = run(views, preset, 6)[0], run(views, preset, 6, NullPrior())[0]
    assert null.guide is None
    assert list(without.state_dict()) == list(null.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(without.parameters(), null.parameters(), strict=True))


def test_a_prior_leaves_the_random_numbers_of_the_others_alone(views):
    preset = asked(few("inward", False))
    (with_prior,), (without,) = run(views, preset, 1, GAUSSIAN)[1], run(views, preset, 1)[1]
    assert "prior" in with_prior
    assert {name: with_prior[name] for name in without} == without


def test_patches_come_every_so_often_and_move_the_field(views):
    preset = asked(laptop(), every=3, weight=constant(1.0))
    system, history = run(views, preset, 7, TotalVariationPrior(TINY))
    assert ["prior" in losses for losses in history] == [True, False, False, True, False, False, True]
    plain, _ = run(views, preset, 7)
    assert not torch.equal(system.field.table, plain.field.table)


def test_the_published_preset_asks_at_every_step_with_all_its_terms(views):
    preset = asked(paper("forward-facing"))
    field = replace(TINY_FIELD, space="sphere", radius=7.5, proposal=None)
    _, history = run(views, replace(preset, field=field), 2, GAUSSIAN)
    assert all({"prior", "patch_frustum"} <= losses.keys() for losses in history)
    assert preset.fit.prior.weight.at(0, 10) == 0.2
    assert preset.fit.prior.gradient_share is None


def gradients(system, step=0):
    system.zero_grad()
    system.losses(step)["prior"].backward()
    heads = {"colour": system.field.colour_head, "density": system.field.density_head}
    return {
        name: sum(float(p.grad.abs().sum()) for p in head.parameters() if p.grad is not None)
        for name, head in heads.items()
    }


@pytest.mark.parametrize(("share", "moves_colour"), [(1.0, False), (0.0, True)])
def test_spec_05_a_photo_patch_moves_density_but_no_colour(views, share, moves_colour):
    preset = asked(laptop(), patches=PatchSamplingConfig(photo_share=share))
    system = build(plan_of(views, preset, GAUSSIAN), 100, 0, "cpu")
    assert system.guide.sampler.photo_share == share
    found = gradients(system)
    assert found["density"] > 0
    assert (found["colour"] > 0) == moves_colour


def test_neither_the_prior_nor_its_score_receives_a_gradient(views):
    mean = GAUSSIAN.mean.clone().requires_grad_()
    prior = GaussianPrior(GAUSSIAN.mean, GAUSSIAN.covariance, TINY)
    prior.mean = mean
    system = build(plan_of(views, asked(laptop()), prior), 100, 0, "cpu")
    assert gradients(system)["density"] > 0
    assert mean.grad is None
    assert not any("mean" in name for name in system.state_dict())


def test_the_priors_gradient_is_the_wanted_share_of_the_photos_where_it_is_loudest(views):
    preset = asked(laptop(), gradient_share=0.1, every=1)
    system = build(plan_of(views, preset, GAUSSIAN), 100, 0, "cpu")
    losses = system.losses(0)
    field = system.field
    parts = [[field.table], list(field.density_head.parameters()), list(field.colour_head.parameters())]
    ours, theirs = (gradient_norms(losses[name], parts) for name in ("prior", "photometric"))
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    assert max(ratios) == pytest.approx(0.1, rel=1e-3)
    assert system.measurements() == [(0, 0.1, pytest.approx(0.1, rel=1e-3))]


def test_loudness_is_measured_without_the_ramp_that_fades_the_prior_out(views):
    always = {"gradient_share": 0.1, "every": 1, "measure_every": 1, "smoothing": 0.0, "settled_below": 0.0}
    preset = asked(laptop(), **always, weight=Ramp(1.0, 0.0, 0.5, 1.0))
    plan = plan_of(views, preset, GAUSSIAN)
    field = build(plan, 100, 0, "cpu").field
    parts = [[field.table], list(field.density_head.parameters()), list(field.colour_head.parameters())]
    shares = []
    for step in (40, 75, 95):
        system = build(plan, 100, 0, "cpu")
        system.field = field
        losses = system.losses(step)
        ours, theirs = (gradient_norms(losses[name], parts) for name in ("prior", "photometric"))
        shares.append(max(own / other for own, other in zip(ours, theirs, strict=True)))
    assert shares == pytest.approx([0.1, 0.05, 0.01], rel=1e-3)


def test_every_measurement_of_the_loudness_is_kept_with_its_tau(views):
    preset = asked(laptop(), gradient_share=0.1, every=2, measure_every=2, tau=Ramp(0.1, 0.05, 0.0, 1.0))
    system, _ = run(views, preset, 9, GAUSSIAN)
    kept = system.measurements()
    assert [step for step, _, _ in kept] == [0, 4]
    assert kept[1][1] == pytest.approx(0.1 - 0.05 * 4 / 9)
    assert all(ratio > 0 for _, _, ratio in kept)


def test_the_loudness_stays_once_tau_is_low_and_travels_with_a_checkpoint(views):
    steady = {"tau": Ramp(0.1, 0.0, 0.0, 0.5), "weight": constant(1.0), "settled_below": 0.05}
    preset = asked(laptop(), every=1, measure_every=1, **steady)
    system = build(plan_of(views, preset, GAUSSIAN), 100, 0, "cpu")
    values = []
    for step in (0, 5, 60, 80):
        system.losses(step)
        values.append(float(system.prior_scale))
    assert values[0] != values[1]
    assert values[1] == values[2] == values[3]
    again = build(plan_of(views, preset, GAUSSIAN), 100, 0, "cpu")
    again.load_state_dict(system.state_dict())
    assert torch.equal(again.prior_scale, system.prior_scale)
    assert again.measurements() == system.measurements() != []


def test_the_level_falls_to_three(views):
    system = build(plan_of(views, asked(paper("inward")), GAUSSIAN), 12_000, 0, "cpu")
    assert [system.guide.level(step) for step in (1, 1250, 2500, 9000)] == [99, 47, 3, 3]
    narrow = GaussianPrior(GAUSSIAN.mean, GAUSSIAN.covariance, replace(TINY, levels=(19, 60)))
    system = build(plan_of(views, asked(paper("inward")), narrow), 12_000, 0, "cpu")
    assert [system.guide.level(step) for step in (1, 9000)] == [60, 19]


def test_on_small_machines_the_level_stops_where_the_prior_falls_silent(views):
    system = build(plan_of(views, asked(laptop()), GAUSSIAN), 1000, 0, "cpu")
    assert [system.guide.level(step) for step in (0, 500, 592)] == [99, 43, 43]
    assert [system.guide.speaks_at(step) for step in (0, 4, 592, 600)] == [True, False, True, False]


def test_a_budget_is_timed_on_as_many_patches_as_a_run_has(views, monkeypatch):
    asked_at, losses = [], DiffusioNeRF.losses
    monkeypatch.setattr(DiffusioNeRF, "losses", lambda system, step: asked_at.append(step) or losses(system, step))
    plan = plan_of(views, asked(laptop()), GAUSSIAN)
    seconds_per_step(plan, 0, "cpu")
    warm, timed = asked_at[:STRETCH], asked_at[STRETCH:]
    speaks = build(plan, 1000, 0, "cpu").guide.speaks_at
    assert sum(map(speaks, warm)) == 1
    assert sum(map(speaks, timed)) / len(timed) == sum(map(speaks, range(1000))) / 1000


def test_a_silent_prior_renders_nothing(views):
    preset = asked(laptop(), weight=constant(0.0))
    system = build(plan_of(views, preset, GAUSSIAN), 100, 0, "cpu")
    assert "prior" not in system.losses(0)


def test_what_is_empty_is_far_where_there_is_a_sky(views):
    system = build(plan_of(views, asked(laptop()), GAUSSIAN), 100, 0, "cpu")
    guide = system.guide
    patch = guide.sampler.draw(stream(0, "prior patch", 1))
    seen = []

    class Listening(NullPrior):
        diffuses = False

        def score(self, patch, level):
            seen.append(patch)
            return torch.zeros_like(patch)

    guide.prior = Listening(TINY)
    n = TINY.window.size**2
    depth, grey = torch.full((n,), 2.0), torch.full((n, 3), 0.5)
    for opacity in (1.0, 0.5, 0.0):
        guide.loss(patch, grey, depth, torch.full((n,), opacity), grey, 0)
    disparity = [0.5 * (x[0, 3] + 1.0).mean().item() for x in seen]
    assert disparity == pytest.approx([0.1, 0.05, 0.0], abs=1e-6)


def test_a_patch_in_pieces_is_the_same_patch(views):
    preset = asked(laptop(), every=1, gradient_share=None)
    whole, pieces = (build(plan_of(views, preset, GAUSSIAN), 100, 0, "cpu") for _ in range(2))
    said = [pieces.use_less_memory() for _ in range(3)]
    assert "128 rays are rendered at a time from now on, instead of 256" in said[0]
    assert pieces.at_once == 32
    assert pieces.use_less_memory() is None
    for system in (whole, pieces):
        system.losses(8)["prior"].backward()
    one, two = whole.field.table.grad, pieces.field.table.grad
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_the_prior_never_sees_what_a_mask_says_to_ignore(views):
    preset = asked(laptop(), patches=PatchSamplingConfig(photo_share=1.0))
    ignore = torch.zeros_like(views.images[:, 0], dtype=torch.bool)
    ignore[:, ::4, ::9] = True
    spoilt = replace(views, images=views.images.clone(), ignore=ignore)
    spoilt.images[ignore[:, None].expand(-1, 3, -1, -1)] = 77.0
    system = build(plan_of(spoilt, preset, GAUSSIAN), 100, 0, "cpu")
    guide, seen = system.guide, []
    patch = guide.sampler.draw(stream(0, "prior patch", 1))

    class Listening(NullPrior):
        diffuses = False

        def score(self, patch, level):
            seen.append(0.5 * (patch[0, :3] + 1.0))
            return torch.tensor([1.0, -1.0]).repeat(patch.shape[-1] // 2).expand_as(patch)  # no slow wave, no 0

    guide.prior = Listening(TINY)
    n = TINY.window.size**2
    rendered = torch.full((n, 3), 0.25, requires_grad=True)
    depth = torch.full((n,), 2.0, requires_grad=True)
    guide.loss(patch, rendered, depth, torch.ones(n), torch.zeros(n, 3), 0).backward()
    assert patch.ignored.any()
    assert (seen[0][:, patch.ignored] == 0.25).all()
    assert torch.allclose(seen[0][:, ~patch.ignored], patch.photo[:, ~patch.ignored])
    assert float(seen[0].max()) <= 1.0
    assert rendered.grad is None or not rendered.grad.any(), "no colour is pushed in a patch of a photo"
    assert (depth.grad != 0).all()


def test_a_prior_leaves_the_optimiser_alone(views):
    for preset in (asked(laptop()), asked(paper("inward"))):
        assert plan_of(views, preset, GAUSSIAN).preset.optim == plan_of(views, preset).preset.optim
        assert plan_of(views, preset, GAUSSIAN).preset.optim.table_eps == 1e-15


def test_a_scene_on_another_scale_than_the_priors_is_warned_of_with_both_numbers():
    prior = TotalVariationPrior(PatchEncoding())
    assert scale_warning(prior, 3.0) is None
    assert "3 m" in scale_warning(prior, 0.02)
    assert "0.02 m" in scale_warning(prior, 0.02)
    assert "nearer" in scale_warning(prior, 0.02)
    assert "farther" in scale_warning(prior, 40.0)


def test_the_plan_reports_scale_and_photos_narrower_than_a_patch(views):
    narrow = replace(views, cameras=replace(views.cameras, focal=20.0 * views.cameras.focal))
    notes = "\n".join(plan_of(narrow, asked(laptop()), GAUSSIAN).notes)
    assert "3 of 3 photos are narrower than a patch" in notes
    assert "median depth 3 m here" in notes


def test_the_published_numbers_stand_in_the_config():
    config = PriorConfig()
    assert (config.tau.first, config.tau.last, config.tau.end, config.tau.unit) == (0.1, 0.0, 2500.0, "steps")
    assert (config.every, config.coarse, config.fine, config.frustum_wanted) == (1, 128, 128, 1)
    assert config.patches == PatchSamplingConfig(photo_share=0.25, shift=0.2, turn=0.1, only_seen=False)
