"""The network prior: spec of DiffusioNeRF, section 9, test 12, and what half precision may cost."""

import pytest
import torch

from diorama.errors import InputError
from diorama.nets.unet import UNet
from diorama.priors.levels import noise_level, noise_levels
from diorama.priors.prior import PatchEncoding, Prior
from diorama.priors.rgbd_patch import (
    PAPER,
    PAPER_TIMES,
    SMALL,
    SMALL_TIMES,
    DetailUNet,
    RgbdPatchPrior,
    training_loss,
)
from tests.priors.made_up import TINY, TINY_NETWORK, smooth_patches


def tiny(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RgbdPatchPrior(TINY_NETWORK, TINY)


def train(prior, patches, steps, step_loss):
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        step_loss(prior.network, patches, generator).backward()
        optimizer.step()
    return prior.frozen()


@pytest.fixture(scope="module")
def learned():
    """A network that was trained as the shipped one is: bfloat16 inside, low levels above all."""

    def loss(network, patches, generator):
        with torch.autocast("cpu", torch.bfloat16):
            return training_loss(network, patches, SMALL_TIMES, generator)

    return train(tiny(), smooth_patches(8), 60, loss)


def test_spec_12_the_published_network_has_thirty_six_million_weights():
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(PAPER).parameters()) == pytest.approx(36.25e6, rel=0.01)


def test_the_shipped_network_fits_into_a_shipped_file():
    with torch.device("meta"):
        assert 6.0e6 < sum(p.numel() for p in DetailUNet(SMALL).parameters()) <= 7.5e6


def test_spec_12_sides_must_be_multiples_of_eight():
    with torch.device("meta"):
        network = UNet(PAPER)
        for side in (48, 24):
            assert network(torch.zeros(1, 4, side, side), torch.zeros(1)).shape == (1, 4, side, side)
        with pytest.raises(InputError, match="multiples of 8"):
            network(torch.zeros(1, 4, 20, 20), torch.zeros(1))


def test_the_shipped_network_takes_its_patch():
    prior = RgbdPatchPrior(SMALL, PatchEncoding()).frozen()
    assert prior.score(torch.zeros(1, 4, 48, 48), 3).shape == (1, 4, 48, 48)


def test_the_score_is_minus_the_noise_over_sigma(learned):
    patch = smooth_patches(2, seed=3)
    for level in (3, 99):
        with torch.no_grad():
            noise = learned.network(patch, torch.full((2,), float(level)))
        torch.testing.assert_close(learned.score(patch, level), -noise / noise_level(level)[1])


def test_the_score_is_single_precision_whatever_autocast_says(learned):
    patch = smooth_patches(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = learned.score(patch, 19)
    assert torch.equal(inside, learned.score(patch, 19))


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("level", [3, 19, 99])
def test_stored_in_half_precision_or_run_as_in_training_the_score_departs_by_less_than_two_percent(
    learned, tmp_path, level
):
    patch, sigma = smooth_patches(8, seed=2), noise_level(level)[1]
    noisy = patch + sigma * torch.randn(patch.shape, generator=torch.Generator().manual_seed(0))
    wanted = learned.score(noisy, level)
    learned.save_pretrained(tmp_path / "half", half=True)
    assert relative(Prior.from_pretrained(tmp_path / "half").score(noisy, level), wanted) < 0.02
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fast = -learned.network(noisy, torch.full((8,), float(level))) / sigma
    assert relative(fast, wanted) < 0.02


def test_spec_12_eight_patches_are_learned_by_heart():
    # the L1 noise loss at t = 99 of eight plain patches, each of one colour and depth
    colours = torch.randn(8, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    patches = (0.4 * colours).clamp(-1, 1).expand(8, 4, 16, 16).contiguous()
    signal, sigma = noise_level(99)

    def loss(network, patches, generator):
        noise = torch.randn(patches.shape, generator=generator)
        return (network(signal * patches + sigma * noise, torch.full((8,), 99.0)) - noise).abs().mean()

    def left(prior):
        with torch.no_grad():
            return float(loss(prior.network, patches, torch.Generator().manual_seed(4)))

    assert left(train(tiny(), patches, 150, loss)) < left(tiny()) / 5


def test_the_training_loss_is_the_mean_absolute_error_of_the_noise():
    class Silent(torch.nn.Module):
        def forward(self, x, time):
            return torch.zeros_like(x)

    loss = training_loss(Silent(), smooth_patches(64), PAPER_TIMES, torch.Generator().manual_seed(0))
    assert float(loss) == pytest.approx((2 / torch.pi) ** 0.5, rel=0.01)


def test_the_network_is_told_the_step_that_the_noise_is_of():
    class Listening(torch.nn.Module):
        def forward(self, x, time):
            self.heard = (x.std(dim=(1, 2, 3)), time)
            return torch.zeros_like(x)

    network = Listening()
    training_loss(network, torch.zeros(64, 4, 48, 48), SMALL_TIMES, torch.Generator().manual_seed(0))
    spread, steps = network.heard
    assert (steps - steps.round()).abs().max() < 1e-3
    _, sigma = noise_levels(steps.round().long())
    torch.testing.assert_close(spread.double(), sigma, rtol=0.05, atol=0)
    assert float((steps < 151).double().mean()) > 0.75


def test_detail_is_the_noise_in_its_own_units_where_the_patch_is_smooth():
    network = DetailUNet(TINY_NETWORK)
    steps = torch.tensor([3.0, 99.0])
    sigma = noise_levels(steps.long())[1].float()[:, None, None, None]
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(-0.5, 0.5, 16).expand(2, 4, 16, 16)
    seen = network.detail(ramp + sigma * noise, steps)[..., 1:-1, 1:-1]
    padded = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(noise, 2, 1), 2, 1)  # binomial, 3 x 3
    torch.testing.assert_close(seen, (noise[..., 1:-1, 1:-1] - padded).clamp(-4, 4), rtol=0, atol=2e-3)


def test_detail_is_cut_off_at_edges_and_kept_in_single_precision_under_autocast():
    network = DetailUNet(TINY_NETWORK)
    edge = torch.ones(1, 4, 16, 16)
    edge[..., :8] = -1.0
    with torch.autocast("cpu", torch.bfloat16):
        seen = network.detail(edge, torch.tensor([3.0]))
    assert seen.dtype == torch.float32
    assert float(seen.abs().max()) == 4.0
    assert float(seen[..., :6].abs().max()) == 0.0


def test_a_prior_that_is_shown_detail_comes_back_from_its_folder(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = RgbdPatchPrior(TINY_NETWORK, TINY, detail=True).frozen()
    prior.save_pretrained(tmp_path / "prior")
    again = Prior.from_pretrained(tmp_path / "prior")
    patch = smooth_patches(2)
    assert torch.equal(again.score(patch, 19), prior.score(patch, 19))
    assert again.checksum == prior.checksum != RgbdPatchPrior(TINY_NETWORK, TINY).frozen().checksum
