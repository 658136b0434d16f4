"""Imagined views as a loss: areas, trust, and fading."""

from dataclasses import replace

import torch

from diorama.cameras.pinhole import Cameras
from diorama.priors.sampled import SampledConfig, SampledPool, SampledViews, area_error, mean_of_trusted
from diorama.priors.schedule import Ramp


def views(observed=None, deviation=0.0, side=8, placed=None):
    pose = torch.eye(4).repeat(2, 1, 1)
    cameras = Cameras.pinhole(
        pose, torch.full((2, 2), 8.0), torch.full((2, 2), side / 2), torch.full((2, 2), side, dtype=torch.int64)
    )
    x = (torch.arange(side) + 0.5) / side
    colour = torch.stack([x.expand(side, side), x[:, None].expand(side, side), torch.zeros(side, side)])
    flat = torch.zeros(2, side, side)
    observed = flat > 1 if observed is None else observed
    placed = flat > 1 if placed is None else placed
    colour = colour.expand(2, -1, -1, -1).contiguous()
    return SampledViews(cameras, colour, flat + deviation, flat + 2.0, observed, placed)


def test_the_mean_of_a_pixels_rays_is_compared_so_a_finer_picture_with_the_same_means_costs_nothing():
    config = SampledConfig(pixels=64, side=4)
    batch = SampledPool(views(), config).draw(0, 100, torch.Generator().manual_seed(0))
    plane = batch.rays.directions[:, :2] / batch.rays.directions[:, 2:]
    ramp = torch.cat([plane + 0.5, torch.zeros(len(plane), 1)], dim=-1)  # linear: its mean over a pixel is the pixel
    assert float(area_error(ramp, batch, 16)) < 1e-10
    ripple = ramp + torch.tensor([1.0, -1.0]).repeat(len(ramp) // 2)[:, None]  # a checker that a pixel cannot hold
    assert float(area_error(ripple, batch, 16)) < 1e-10
    assert float(area_error(ramp + 0.1, batch, 16)) > 5e-3


def test_pixels_that_a_photograph_shows_are_never_drawn():
    observed = torch.zeros(2, 8, 8, dtype=torch.bool)
    observed[:, :, :4] = True
    everywhere = torch.ones_like(observed)
    pool = SampledPool(views(observed, placed=everywhere), SampledConfig(pixels=500))
    batch = pool.draw(0, 100, torch.Generator().manual_seed(1))
    assert float(batch.colour[:, 0].min()) > 0.5
    assert float(batch.depth_trust.max()) == 0
    silent = SampledPool(views(everywhere, placed=everywhere), SampledConfig())
    assert not silent.speaks_at(0, 100)


def test_depth_speaks_where_stereo_has_none_whoever_shows_the_surface_and_falls_silent_first():
    observed = torch.zeros(2, 8, 8, dtype=torch.bool)
    observed[:, :, :4] = True
    config = SampledConfig(pixels=500, depth=Ramp(1.0, 0.0, 0.0, 0.3), every=1)
    pool = SampledPool(views(observed, placed=~observed), config)
    batch = pool.draw(0, 100, torch.Generator().manual_seed(1))
    left = batch.colour[:, 0] < 0.5
    assert torch.equal(batch.trust, (~left).float())
    assert torch.equal(batch.depth_trust, left.float())
    late = pool.draw(40, 100, torch.Generator().manual_seed(1))
    assert float(late.colour[:, 0].min()) > 0.5
    nowhere = replace(views(observed), depth=torch.zeros(2, 8, 8))
    assert float(nowhere.depth_trust(0.05).max()) == 0, "what stops no light has no depth"


def test_depth_is_louder_in_a_scene_that_stereo_says_nothing_of():
    config = SampledConfig(depth=Ramp(0.1, 0.0), depth_alone=Ramp(2.0, 0.0), least_placed=0.01)
    some = torch.zeros(2, 8, 8, dtype=torch.bool)
    assert SampledPool(views(placed=some), config).depth.at(0, 100) == 2.0
    some[0, 0, 0] = True
    assert SampledPool(views(placed=some), config).depth.at(0, 100) == 2.0, "1 pixel of 128 is less than a hundredth"
    some[0, 0, 1] = True
    assert SampledPool(views(placed=some), config).depth.at(0, 100) == 0.1


def test_pixels_that_do_not_count_do_not_lessen_a_mean():
    errors, trust = torch.tensor([2.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.5, 0.0])
    assert float(mean_of_trusted(errors, trust)) == 1.5
    assert float(mean_of_trusted(0 * errors, 0 * trust)) == 0


def test_a_batch_goes_to_another_device_whole():
    batch = (
        SampledPool(views(), SampledConfig(pixels=3))
        .draw(0, 100, torch.Generator().manual_seed(0))
        .to(torch.device("meta"))
    )
    parts = (*vars(batch.rays).values(), batch.colour, batch.trust, batch.depth, batch.depth_trust)
    assert {part.device.type for part in parts} == {"meta"}


def test_a_pixel_counts_half_where_samples_differ_by_the_doubt():
    assert torch.allclose(views(deviation=0.05).trust(0.05), torch.tensor(0.5))
    assert torch.allclose(views().trust(0.05), torch.tensor(1.0))


def test_the_samples_fall_silent_before_the_run_ends():
    pool = SampledPool(views(), SampledConfig(weight=Ramp(1.0, 0.0, 0.1, 0.6), every=1))
    assert pool.speaks_at(0, 1000)
    assert pool.speaks_at(590, 1000)
    assert not any(pool.speaks_at(step, 1000) for step in range(600, 1000))
