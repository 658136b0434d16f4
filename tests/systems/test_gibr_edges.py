"""GIBR at its edges: questions without an answer, what guidance compares, what the loss counts, weights on disk."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from diorama.diffusion.objective import MinSnr, UniformTimes, UniformWeight
from diorama.diffusion.samplers import noise_from_seeds
from diorama.errors import InputError, MemoryLimitError
from diorama.fields.ib_planes import IBPlanesConfig
from diorama.nets.multiview_config import gibr_tiny
from diorama.systems import gibr
from diorama.systems.gibr import (
    GIBR,
    GIBRConfig,
    GIBRSampling,
    GIBRTraining,
    SamplingError,
    denoised,
    draw_clean,
    draw_noisy,
    looked_at,
    sample,
    to_signed,
    training_loss,
)
from tests.systems.drawn import TINY, balls, given_first, model_of, noisy_views, same

QUICK = GIBRSampling(steps=3, coarse=6, fine=6)


def gap(a, b):
    return float((a - b).detach().abs().amax())


# Questions -----------------------------------------------------------------------------------------------------------


def test_a_scene_of_one_view_is_refused():
    views = balls(1, 1)
    with pytest.raises(InputError, match="single view"):
        sample(model_of(), views, given_first(views, 1), noise_from_seeds([0]), QUICK)
    with pytest.raises(InputError, match="2 views, 1 of them held out"):
        training_loss(model_of(), balls(1, 2), TINY, GIBRTraining(), torch.Generator())


def test_counts_that_do_not_fit_are_refused():
    views = balls(2, 3)
    with pytest.raises(InputError, match="2 scenes of 3 views"):
        sample(model_of(), views, given_first(balls(1, 3), 1), noise_from_seeds([0, 1]), QUICK)
    with pytest.raises(InputError, match="1 seeds for a batch of 2"):
        sample(model_of(), views, given_first(views, 1, 1), noise_from_seeds([0]), QUICK)
    with pytest.raises(InputError, match="multiples of 2"):
        sample(model_of(), balls(1, 2, 9), given_first(balls(1, 2), 1), noise_from_seeds([0]), QUICK)


def test_a_given_view_that_is_not_a_number_is_named_and_what_is_not_given_may_hold_anything():
    views = balls(2, 3)
    images = views.images.clone()
    images[1, 2, 0, 3, 3] = math.nan
    broken = replace(views, images=images)
    with pytest.raises(InputError, match="given view 2 of scene 1"):
        sample(model_of(), broken, given_first(views, 1, 3), noise_from_seeds([0, 1]), QUICK)
    made = sample(model_of(), broken, given_first(views, 1, 2), noise_from_seeds([0, 1]), QUICK)
    assert bool(made.images.isfinite().all())


@pytest.mark.parametrize("counts", [(0,), (1,), (3,)])
def test_weights_that_are_not_numbers_are_named_by_step_and_view(counts):
    model, views = model_of(), balls(1, 3)
    model.network.stem.weight[0, 0, 0, 0] = math.nan
    view = 0 if counts == (3,) else counts[0]
    with pytest.raises(SamplingError, match=f"step 1 of sampling made view {view} of scene 0 not a number"):
        sample(model, views, given_first(views, *counts), noise_from_seeds([0]), QUICK)


def test_a_sample_that_breaks_later_names_the_step_it_broke_at(monkeypatch):
    model, views = model_of(), balls(2, 3)
    steps = iter(range(3))

    def breaking(*arguments, **more):
        planes, clean = denoised(*arguments, **more)
        if next(steps) == 2:
            clean[1, 2, 0, 5, 5] = math.inf
        return planes, clean

    monkeypatch.setattr(gibr, "denoised", breaking)
    with pytest.raises(SamplingError, match="step 3 of sampling made view 2 of scene 1"):
        sample(model, views, given_first(views, 1, 0), noise_from_seeds([0, 1]), QUICK)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_network_that_does_not_fit_into_memory_is_said_with_what_helps(monkeypatch, count):
    model, views = model_of(), balls(1, 3)

    def sampled(error):
        def full(*_, **__):
            raise error

        monkeypatch.setattr(model.network, "forward", full)
        sample(model, views, given_first(views, count), noise_from_seeds([0]), QUICK)

    for error in (torch.OutOfMemoryError("CUDA out of memory\nmore"), MemoryError()):
        with pytest.raises(
            MemoryLimitError, match=r"\((CUDA out of memory|MemoryError)\) with 1 x 3 views.*--extra-views"
        ):
            sampled(error)
    with pytest.raises(RuntimeError, match="shapes differ"):
        sampled(RuntimeError("shapes differ"))


def test_eta_is_of_ddim_alone():
    for wrong in ({"eta": 0.5}, {"eta": -0.1, "sampler": "ddim"}, {"eta": math.nan, "sampler": "ddim"}):
        with pytest.raises(InputError, match="eta of"):
            GIBRSampling(**wrong)
    assert GIBRSampling("ddim", eta=1.0).eta == 1.0


def test_where_all_views_are_given_one_look_at_them_makes_the_scene(monkeypatch):
    model, views, told = model_of(), balls(2, 3), []

    def never(*_, **__):
        raise AssertionError("nothing is to be denoised")

    monkeypatch.setattr(gibr, "denoised", never)
    given = given_first(views, 3, 3)
    made = sample(
        model, views, given, noise_from_seeds([0, 1]), QUICK, seen=lambda step, steps, *_: told.append((step, steps))
    )
    assert torch.equal(made.images, views.images)
    assert told == [(0, 1)]
    expected = model.planes(noisy_views(views, given, 0.0))
    assert torch.equal(made.planes.perspective, expected.perspective)


# Steps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "share", "sides"), [(1, 0.5, [16]), (1, 1.0, [16]), (4, 0.5, [8, 8, 16, 16]),
                                                       (3, 1.0, [8, 8, 16]), (3, 0.0, [16, 16, 16])])  # fmt: skip
def test_the_last_step_is_never_rendered_at_half_the_side(steps, share, sides, monkeypatch):
    seen, rendered = [], gibr.render_views

    def watched(model, planes, views, *rest, which, **more):
        seen.append((views.size, which.tolist()))
        return rendered(model, planes, views, *rest, which=which, **more)

    monkeypatch.setattr(gibr, "render_views", watched)
    views = balls(1, 3)
    sample(
        model_of(), views, given_first(views, 1), noise_from_seeds([0]), replace(QUICK, steps=steps, half_until=share)
    )
    assert seen == [(side, [1, 2]) for side in sides]  # and what is given is never rendered


def test_every_step_is_told_with_its_estimate_and_its_planes():
    views, told = balls(1, 3), []
    made = sample(
        model_of(), views, given_first(views, 1), noise_from_seeds([0]), QUICK, seen=lambda *what: told.append(what)
    )
    assert [(step, steps) for step, steps, *_ in told] == [(0, 3), (1, 3), (2, 3)]
    assert torch.equal(told[-1][3].perspective, made.planes.perspective)
    torch.testing.assert_close(told[-1][2], made.images)
    assert not torch.equal(told[0][2], told[1][2])


def test_guidance_exaggerates_what_the_given_views_change(monkeypatch):
    views = balls(1, 4)
    given, model = given_first(views, 1), model_of()
    x, t = noisy_views(views, given, 0.8).images, torch.tensor([[0.0, 0.8, 0.8, 0.8]])
    (_, seeing), (_, blind) = (denoised(model, views, given, x, t, QUICK, blind=blind) for blind in (False, True))
    assert gap(seeing, blind) > 1e-3
    other = replace(views, images=views.images.roll(1, 1))
    changed = torch.where(given[..., None, None, None], to_signed(other.images), x)
    assert torch.equal(denoised(model, other, given, changed, t, QUICK, blind=True)[1][:, 1:], blind[:, 1:])
    told = []
    for weight in (0.0, 1.5):
        sampling = replace(QUICK, guidance=weight, half_until=0.0)
        sample(model, views, given, noise_from_seeds([0]), sampling, seen=lambda *what: told.append(what))
    start = noise_from_seeds([0])(x)
    monkeypatch.undo()
    ones = torch.where(given, 0.0, 1.0)
    first = torch.where(given[..., None, None, None], to_signed(views.images), start)
    cond, uncond = (denoised(model, views, given, first, ones, QUICK, blind=blind)[1] for blind in (False, True))
    expected = 0.5 * (uncond + 2.5 * (cond - uncond)).clamp(-1, 1) + 0.5
    assert gap(told[3][2][:, 1:], expected[:, 1:]) < 1e-3
    assert gap(told[3][2][:, 1:], told[0][2][:, 1:]) > 1e-3
    assert gap(told[3][2][:, 0], views.images[:, 0]) < 1e-6


def test_guidance_leaves_scenes_of_which_nothing_is_given_alone():
    model, views = model_of(), balls(2, 3)
    given = given_first(views, 1, 0)
    mixed = sample(model, views, given, noise_from_seeds([0, 1]), replace(QUICK, guidance=2.0))
    free = sample(model, same(views, 1), given[1:], noise_from_seeds([1]), QUICK)
    assert gap(mixed.images[1], free.images[0]) < 1e-4


def test_guidance_needs_two_views_that_are_not_given():
    views = balls(1, 3)
    with pytest.raises(InputError, match="only one"):
        sample(model_of(), views, given_first(views, 2), noise_from_seeds([0]), replace(QUICK, guidance=1.0))


def test_guidance_without_views_to_guide_is_refused():
    views = balls(1, 3)
    with pytest.raises(InputError, match="here all are"):
        sample(model_of(), views, given_first(views, 3), noise_from_seeds([0]), replace(QUICK, guidance=1.0))


def test_a_model_that_learned_to_regress_is_asked_about_photographs_alone_and_is_the_same_model():
    views, model = balls(1, 3), model_of()
    regressing = model_of(replace(TINY, denoises=False))
    with pytest.raises(InputError, match="2 views were to be invented, by a model that learned to regress"):
        sample(regressing, views, given_first(views, 1), noise_from_seeds([0]), QUICK)
    made = sample(regressing, views, given_first(views, 3), noise_from_seeds([0]), QUICK)
    assert bool(made.planes.perspective.isfinite().all())
    assert regressing.checksum == model.checksum


# Training ------------------------------------------------------------------------------------------------------------


def test_a_view_learns_nothing_from_another_square_of_its_own_photograph():
    """Each of two photographs shows two squares; with the other photograph's planes away, no plane is left to learn."""
    views = balls(1, 3)
    pose = views.camera_to_world.clone()
    pose[:, 1] = pose[:, 0]
    pose[:, 2] = pose[:, 0]
    asked = GIBRTraining(rays=16, drop_other=0.0)
    for one_place, learns in ((replace(views, camera_to_world=pose), False), (views, True)):
        model = model_of().requires_grad_(True)
        sum(training_loss(model, one_place, TINY, asked, torch.Generator().manual_seed(0)).values()).backward()
        moved = [p.grad is not None and bool(p.grad.abs().amax() > 0) for p in model.network.parameters()]
        assert any(moved) == learns


def test_the_number_of_clean_views_is_none_as_often_as_asked_and_else_even(rng):
    counts = draw_clean(20_000, 5, 0.25, rng).sum(1)
    shares = torch.bincount(counts, minlength=5).double() / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0]).double(), atol=0.015, rtol=0)
    assert draw_clean(1000, 2, 0.0, rng).sum(1).unique().tolist() == [1]


def test_times_are_shifted_by_the_logarithm_of_the_number_of_noisy_views():
    views, asked = balls(64, 5, 4), GIBRTraining(held_out=0, no_clean=0.5)
    (plain, before), (shifted, after) = (
        draw_noisy(TINY, replace(asked, views_shift=shift), views, torch.Generator().manual_seed(0))
        for shift in (0.0, 0.8)
    )
    assert torch.equal(plain.clean, shifted.clean)
    log_snr = TINY.schedule.log_snr
    wanted = log_snr(before) - 0.8 * (~plain.clean).sum(1).log()
    inside = wanted > log_snr(torch.tensor(1.0))
    assert int(inside.sum()) > 50
    torch.testing.assert_close(log_snr(after)[inside], wanted[inside], atol=1e-2, rtol=1e-3)
    clean = draw_noisy(TINY, replace(asked, views_shift=0.8, regression=True), views, torch.Generator())[0]
    assert bool((clean.time == 0).all())


def losses(training, views=None, seed=0, config=TINY):
    generator = torch.Generator().manual_seed(seed)
    return training_loss(model_of(), balls(2, 4) if views is None else views, config, training, generator)


def test_the_loss_has_a_term_for_noisy_clean_and_held_out_views_and_each_has_its_factor():
    base = losses(GIBRTraining(rays=16), seed=1)
    assert set(base) == {"noisy", "clean", "held_out"}
    assert all(float(term) > 0 for term in base.values())
    changed = losses(GIBRTraining(rays=16, clean_weight=3.0, held_out_weight=0.5), seed=1)
    torch.testing.assert_close(
        [changed[name] for name in base], [base["noisy"], 3.0 * base["clean"], 0.5 * base["held_out"]]
    )
    images = balls(2, 4).images.clone()
    images[:, 3] = 1 - images[:, 3]
    other = losses(GIBRTraining(rays=16), replace(balls(2, 4), images=images), seed=1)
    assert torch.equal(other["noisy"], base["noisy"])
    assert torch.equal(other["clean"], base["clean"])
    assert not torch.equal(other["held_out"], base["held_out"])


class Grey(torch.nn.Module):
    """A network that answers every ray with one colour."""

    def forward(self, noisy, rays, keep, generator, sampling):
        return SimpleNamespace(colour=torch.full((rays.cosine.numel(), 3), 0.25))


def test_the_terms_add_up_to_the_weight_times_the_mean_squared_error_of_signed_pictures():
    views = balls(3, 4)
    views = replace(views, images=torch.full_like(views.images, 0.75))
    asked = GIBRTraining(rays=16, times=UniformTimes(0.2, 0.3))
    terms = training_loss(Grey(), views, TINY, asked, torch.Generator().manual_seed(0))
    _, time = draw_noisy(TINY, asked, views, torch.Generator().manual_seed(0))
    weight = (TINY.schedule.log_snr(time.double()).exp() + 1).clamp(max=5)
    torch.testing.assert_close(sum(terms.values()), weight.mean().float())  # (2 (0.75 - 0.25))^2 = 1
    torch.testing.assert_close(terms["held_out"], weight.mean().float() / 4)


def test_the_weight_is_that_of_the_time_for_all_views_of_a_scene():
    views, plain = balls(1, 4), GIBRTraining(rays=16, weight=UniformWeight())
    for seed in range(6):
        _, time = draw_noisy(TINY, plain, views, torch.Generator().manual_seed(seed))
        expected = float((TINY.schedule.log_snr(time.double()).exp() + 1).clamp(max=5))
        one, other = (losses(replace(plain, weight=weight), views, seed) for weight in (plain.weight, MinSnr(5.0, 1.0)))
        for name in one:
            torch.testing.assert_close(other[name], expected * one[name], rtol=1e-4, atol=0)


def test_a_regression_weighs_all_scenes_alike_and_has_no_noisy_term():
    one, other = (
        losses(GIBRTraining(rays=16, regression=True, weight=weight)) for weight in (MinSnr(5.0, 1.0), UniformWeight())
    )
    assert float(one["noisy"]) == 0.0
    assert torch.equal(one["clean"], other["clean"])


def test_patches_are_targets_too_and_own_planes_may_be_kept():
    asked = GIBRTraining(rays=16, patch=4, drop_other=0.0)
    dropped, kept = losses(asked), losses(replace(asked, own_plane="keep"))
    assert all(bool(term.isfinite()) for term in dropped.values())
    assert not torch.equal(dropped["noisy"], kept["noisy"])
    assert torch.equal(dropped["held_out"], kept["held_out"])


@pytest.mark.parametrize("embed", ["matrix", "rays"])
def test_other_models_run_as_well(embed):
    config = GIBRConfig(
        replace(gibr_tiny(), camera_embed=embed, out_channels=6, patch=2, plane_scale=2),
        IBPlanesConfig(channels=6, polar_channels=0, hidden=16, pool="softmax", point_code="xyz"),
        TINY.sampling,
        background="white",
    )
    model, views = model_of(config), balls(1, 3)
    made = sample(model, views, given_first(views, 1), noise_from_seeds([0]), QUICK)
    assert made.planes.perspective.shape == (1, 3, 6, 8, 8)
    assert bool(made.images.isfinite().all())
    with pytest.raises(InputError, match="They must be equal"):
        replace(config, network=gibr_tiny())


# Who may look at whom ------------------------------------------------------------------------------------------------


def epipolar(band):
    """The tiny model, whose views look along lines of the others."""
    return replace(TINY, network=replace(TINY.network, looks_at="epipolar", epipolar_band=band))


def test_the_pixels_that_show_a_point_may_look_at_each_other_and_those_far_from_its_lines_may_not():
    views, side, band = balls(2, 4), 16, 2.0
    noisy = noisy_views(views, given_first(views, 1, 2))
    allowed = looked_at(epipolar(band).network, noisy)(side, side)
    pixels = allowed.reshape(2, 4, side * side, 4, side * side)
    points = 0.4 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    points[:, 2] += 1.0  # around what the reference camera looks at
    for scene in range(2):
        place, depth = views.cameras()[scene].project(points)
        cell = place.floor().long()
        inside = ((cell >= 0) & (cell < side)).all(-1) & (depth > 0)
        index = cell[..., 1] * side + cell[..., 0]
        for a, b in ((0, 1), (1, 0), (2, 3), (3, 0)):
            both = inside[a] & inside[b]
            assert int(both.sum()) > 50
            assert bool(pixels[scene, a, index[a, both], b, index[b, both]].all())
            assert float(pixels[scene, a, :, b].float().mean()) < 0.5
    for view in range(4):
        assert bool(pixels[:, view, :, view].all()), "a view sees itself whole"
    assert looked_at(TINY.network, noisy) is None


def test_a_band_as_wide_as_the_picture_is_no_mask_and_a_narrow_one_is():
    views = balls(2, 4)
    noisy = replace(noisy_views(views, given_first(views, 1, 2)), present=given_first(views, 4, 3))
    plain, wide, narrow = (model_of(config).planes(noisy) for config in (TINY, epipolar(64.0), epipolar(1.0)))
    torch.testing.assert_close(wide.perspective, plain.perspective, atol=1e-5, rtol=1e-5)
    assert float((narrow.perspective - plain.perspective).abs().amax()) > 1e-3


def test_a_model_that_looks_along_lines_learns_samples_and_is_stored(tmp_path):
    model, views = model_of(epipolar(2.0)), balls(1, 4)
    again = GIBR.from_pretrained(model.save_pretrained(tmp_path / "model", card="a test"))
    assert again.config.network.looks_at == "epipolar"
    made = [sample(one, views, given_first(views, 1), noise_from_seeds([0]), QUICK).images for one in (model, again)]
    assert torch.equal(*made)
    terms = training_loss(
        model.requires_grad_(), views, model.config, GIBRTraining(rays=8), torch.Generator().manual_seed(0)
    )
    sum(terms.values()).backward()
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)


# Weights -------------------------------------------------------------------------------------------------------------


def test_a_model_that_was_stored_makes_the_same_samples(tmp_path):
    model, views = model_of(), balls(1, 3)
    again = GIBR.from_pretrained(model.save_pretrained(tmp_path / "model", card="a test"))
    assert again.config == model.config
    made = [sample(one, views, given_first(views, 1), noise_from_seeds([0]), QUICK).images for one in (model, again)]
    assert torch.equal(*made)


def test_weights_of_another_config_are_refused_by_name(tmp_path):
    folder = model_of().save_pretrained(tmp_path / "model")
    config = folder / "config.json"
    for mine, other, named in (
        ('"hidden": 32', '"hidden": 48', "field.nothing"),
        ('"width": 16', '"width": 24', "network.clean"),
    ):
        text = config.read_text(encoding="utf-8")
        assert mine in text
        config.write_text(text.replace(mine, other), encoding="utf-8")
        with pytest.raises(InputError, match=named):
            GIBR.from_pretrained(folder)
        config.write_text(text, encoding="utf-8")
    config.write_text(text.replace('"kind": "gibr"', '"kind": "patch-prior"'), encoding="utf-8")
    with pytest.raises(InputError, match="needed here: gibr"):
        GIBR.from_pretrained(folder)
    config.write_text(text.replace('"hidden": 32', '"hiden": 32'), encoding="utf-8")
    with pytest.raises(InputError, match="hiden"):
        GIBR.from_pretrained(folder)
