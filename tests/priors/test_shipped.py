"""The patch prior that comes with the package is worth asking."""

import copy

import pytest
import torch

from diorama.eval.patch_prior import denoising_gain, repair_rate, with_noise, with_tilted_depth
from diorama.nets.pretrained import MOST_SHIPPED_PARAMETERS, shipped
from diorama.pipelines.priors import SHIPPED_PRIOR
from diorama.priors.levels import noise_level
from diorama.priors.prior import Prior
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.streams import stream
from diorama.worlds.dataset import PatchGroup, Worlds, WorldsConfig

pytestmark = pytest.mark.skipif(SHIPPED_PRIOR not in shipped(), reason=f"{SHIPPED_PRIOR} is not shipped")

UNSEEN_SEED = 12345
"""Worlds that the training, whose seed was 0, never drew."""


@pytest.fixture(scope="module")
def prior():
    return Prior.from_pretrained(SHIPPED_PRIOR)


@pytest.fixture(scope="module")
def patches():
    group = PatchGroup(Worlds(WorldsConfig(seed=UNSEEN_SEED)), per_world=4)
    return torch.stack([patch for index in range(6) for patch in group(index)])


def test_the_shipped_network_is_the_one_of_its_recipe(prior):
    assert isinstance(prior, RgbdPatchPrior)
    assert sum(p.numel() for p in prior.parameters()) <= MOST_SHIPPED_PARAMETERS


@pytest.mark.parametrize(("level", "least"), [(3, 2.0), (19, 4.5), (99, 8.0)])
def test_it_denoises_worlds_that_it_never_saw(prior, patches, level, least):
    assert denoising_gain(prior, patches, level, stream(0, "shipped", level)).joint > least


@pytest.mark.parametrize("level", [3, 19, 99])
def test_run_as_in_training_its_score_departs_by_less_than_two_percent(prior, patches, level):
    noisy = patches[:8] + noise_level(level)[1] * torch.randn(patches[:8].shape, generator=stream(0, "bf16", level))
    wanted = prior.score(noisy, level)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fast = -prior.network(noisy, torch.full((8,), float(level))) / noise_level(level)[1]
    assert float((fast - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("level", [3, 19, 99])
def test_what_half_precision_lost_of_its_weights_moves_its_score_by_less_than_two_percent(prior, patches, level):
    """The weights before they were stored are not there: any within half a step of float16 may have been them."""
    lost, generator = copy.deepcopy(prior), stream(0, "half a step")
    with torch.no_grad():
        for parameter in lost.parameters():
            stored = parameter.half()
            assert torch.equal(stored.float(), parameter), "stored as float16"
            step = torch.nextafter(stored.abs(), torch.full_like(stored, torch.inf)) - stored.abs()
            parameter += step.float() * (torch.rand(parameter.shape, generator=generator) - 0.5)
    noisy = patches[:8] + noise_level(level)[1] * torch.randn(patches[:8].shape, generator=stream(0, "half", level))
    wanted, found = prior.score(noisy, level), lost.score(noisy, level)
    assert 0 < float((found - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("damage", [with_noise, with_tilted_depth])
def test_its_score_points_back_from_damage(prior, patches, damage):
    assert repair_rate(prior, patches, damage, 47, stream(0, "damage")) > 0.75
