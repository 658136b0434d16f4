import warnings
from dataclasses import asdict, replace

import jaxtyping
import pytest
import torch

from diorama.errors import InputError
from diorama.nets.config import (
    UNetConfig,
    diffusionerf_paper,
    ivid_large,
    ivid_single_category,
    ivid_upsampler,
    patch_prior_small,
)
from diorama.nets.unet import UNet, with_more_inputs

CLASSIC = UNetConfig(width=8, multipliers=(1, 2, 3), attention=("linear", "none", "full"), heads=2, head_width=4,
                     groups=4, stem_kernel=3)  # fmt: skip
ADM = replace(CLASSIC, style="adm", attention=("none", "full", "full"), middle_attention="full", heads=None,
              weight_standardised=False, classes=5)  # fmt: skip
CONTEXT = replace(ADM, context_width=6, classes=0)
PATCHES = replace(CLASSIC, patch=2, out_channels=3)
ALL = pytest.mark.parametrize("config", [CLASSIC, ADM, CONTEXT, PATCHES], ids=["classic", "adm", "context", "patches"])


def built(config, seed=0, noise=0.0):
    """A network; `noise` moves every weight, so that layers which start at zero take part."""
    torch.manual_seed(seed)
    network = UNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return network


def inputs(config, batch=2, side=16, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, config.in_channels, side, side, generator=generator)
    return x, torch.randint(0, 1000, (batch,), generator=generator).float()


def parameters(config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UNet(config).parameters())


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (diffusionerf_paper(), 36_254_980),  # the spec's own count: about 36.25 million
        (ivid_large(), 421_527_300),
        (ivid_large(in_channels=10), 421_541_124),
        (ivid_single_category(), 105_197_444),
        (ivid_single_category(in_channels=10), 105_204_356),
        (ivid_upsampler(), 105_202_052),
        (ivid_upsampler(classes=1000), 105_714_052),
        (patch_prior_small(), 6_680_496),
    ],
)
def test_the_papers_networks_have_the_papers_parameter_counts(config, count):
    assert parameters(config) == count


def test_the_small_patch_prior_costs_less_than_half_a_billion_flops():
    """A flop is half a multiply-add here, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        UNet(patch_prior_small())(torch.zeros(1, 4, 48, 48), torch.zeros(1))
    assert 0.4e9 < counter.get_total_flops() < 0.5e9


@pytest.mark.parametrize("side", [48, 24])
def test_the_papers_network_takes_its_two_patch_sizes(side):
    with torch.device("meta"):
        network = UNet(diffusionerf_paper())
        assert network(torch.zeros(1, 4, side, side), torch.zeros(1)).shape == (1, 4, side, side)


def test_a_size_the_papers_network_cannot_halve_is_refused_with_one_it_can():
    with torch.device("meta"):
        network = UNet(diffusionerf_paper())
        with pytest.raises(InputError, match=r"20 high and 20 wide.*multiples of 8.*24 x 24"):
            network(torch.zeros(1, 4, 20, 20), torch.zeros(1))


def test_the_small_prior_says_that_its_sides_are_multiples_of_sixteen():
    with torch.device("meta"):
        network = UNet(patch_prior_small())
        assert network(torch.zeros(1, 4, 48, 64), torch.zeros(1)).shape == (1, 4, 48, 64)
        with pytest.raises(InputError, match="multiples of 16"):
            network(torch.zeros(1, 4, 24, 24), torch.zeros(1))


def test_conditions_the_network_does_not_take_are_refused():
    x, time = inputs(CLASSIC)
    network = built(CLASSIC)
    with pytest.raises(InputError, match="takes 4"):
        network(x[:, :3], time)
    with pytest.raises(InputError, match="without classes"):
        network(x, time, classes=torch.zeros(2, dtype=torch.long))
    with pytest.raises(InputError, match="takes none"):
        network(x, time, context=torch.zeros(2, 1, 6))


@ALL
def test_every_parameter_of_a_network_in_use_gets_a_gradient(config):
    network = built(config, noise=0.05)
    x, time = inputs(config)
    classes = torch.tensor([0, 3]) if config.classes else None
    context = torch.randn(2, 3, 6) if config.context_width else None
    network(x, time, classes, context).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@ALL
def test_samples_do_not_see_each_other(config):
    network = built(config, noise=0.05)
    x, time = inputs(config, batch=3)
    with torch.no_grad():
        together = network(x, time)
        alone = network(x[1:2], time[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@ALL
def test_the_same_answer_in_channels_last_order(config):
    network = built(config, noise=0.05)
    x, time = inputs(config)
    with torch.no_grad():
        plain = network(x, time)
        network.to(memory_format=torch.channels_last)
        last = network(x.to(memory_format=torch.channels_last), time)
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


@ALL
def test_time_reaches_the_output(config):
    network = built(config, noise=0.05)
    x, time = inputs(config)
    with torch.no_grad():
        assert (network(x, time) - network(x, time + 1)).abs().max() > 1e-5


def test_the_time_scale_maps_unit_time_to_steps():
    x, time = inputs(CLASSIC)
    steps, unit = built(CLASSIC), built(replace(CLASSIC, time_scale=1000.0))
    with torch.no_grad():
        torch.testing.assert_close(steps(x, time), unit(x, time / 1000), rtol=1e-3, atol=1e-4)


def test_an_adm_network_starts_at_zero():
    x, time = inputs(ADM)
    with torch.no_grad():
        assert built(ADM)(x, time).abs().max() == 0


def test_the_null_class_is_no_class():
    network = built(ADM, noise=0.05)
    x, time = inputs(ADM)
    with torch.no_grad():
        none = network(x, time)
        assert torch.equal(none, network(x, time, torch.tensor([-1, -1])))
        mixed = network(x, time, torch.tensor([-1, 2]))
    torch.testing.assert_close(mixed[0], none[0], rtol=1e-4, atol=1e-5)
    assert (mixed[1] - none[1]).abs().max() > 1e-4


def test_further_input_channels_start_without_influence():
    network = built(ADM, noise=0.05)
    wider = with_more_inputs(network, 10)
    x, time = inputs(ADM)
    with torch.no_grad():
        for further in (torch.zeros(2, 6, 16, 16), torch.randn(2, 6, 16, 16) * 100):
            torch.testing.assert_close(wider(torch.cat([x, further], 1), time), network(x, time), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="cannot become 3"):
        with_more_inputs(network, 3)


def test_a_network_that_gains_context_starts_as_it_was():
    plain = built(replace(CONTEXT, context_width=0), noise=0.05)
    gained = UNet(CONTEXT)
    untouched = gained.load_state_dict(plain.state_dict(), strict=False)
    assert not untouched.unexpected_keys
    x, time = inputs(CONTEXT)
    with torch.no_grad():
        torch.testing.assert_close(gained(x, time, context=torch.randn(2, 3, 6)), plain(x, time))


def test_the_order_of_context_tokens_does_not_matter_and_their_content_does():
    network = built(CONTEXT, noise=0.1)
    x, time = inputs(CONTEXT)
    context = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        out = network(x, time, context=context)
        torch.testing.assert_close(network(x, time, context=context.flip(1)), out, rtol=1e-4, atol=1e-5)
        assert (network(x, time) - out).abs().max() > 1e-5


def score_error(config, step):
    """Relative error of the noise prediction under bfloat16 against float32."""
    network = built(config)
    x, _ = inputs(config, batch=4, side=48)
    time = torch.full((4,), float(step))
    with torch.no_grad():
        exact = network(x, time)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x, time)
    return ((rough - exact).norm() / exact.norm()).item(), rough.dtype


@pytest.mark.parametrize("step", [3, 99])
def test_full_precision_ends_answer_in_float32_and_lose_less(step):
    config = replace(patch_prior_small(), width=16, groups=4)
    whole, kind = score_error(config, step)
    halved, rough_kind = score_error(replace(config, full_precision_ends=False), step)
    assert (kind, rough_kind) == (torch.float32, torch.bfloat16)
    assert whole < halved
    assert whole < 0.01


def test_a_compiled_network_computes_the_same():
    """Traced whole, without a graph break; no compiler is needed for `aot_eager`."""
    config = replace(CLASSIC, multipliers=(1, 2), attention=("linear", "full"), blocks=1)
    network = built(config)
    x, time = inputs(config)
    with torch.no_grad():
        eager = network(x, time)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its own parts
            out = torch.compile(network, backend="aot_eager", fullgraph=True)(x, time)
            out.square().mean().backward()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
        torch._dynamo.reset()
    torch.testing.assert_close(out.detach(), eager, rtol=1e-4, atol=1e-5)
    assert network.stem.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multipliers": (1, 2)}, "one kind of attention for each"),
        ({"multipliers": "124"}, "multipliers of a U-Net cannot be .124"),
        ({"attention": ("linear", "none", "quadratic")}, "attention of a U-Net cannot be"),
        ({"style": "baroque"}, "style of a U-Net cannot be"),
        ({"width": 10**9}, r"must lie in \[2, 4096\]"),
        ({"width": 8.0}, "width of a U-Net cannot be 8.0"),
        ({"width": 6}, "multiples of 4 groups"),
        ({"stem_kernel": 4}, "odd"),
        ({"heads": None, "head_width": 5}, "multiples of head_width 5"),
        ({"weight_standardised": 1}, "weight_standardised"),
        ({"time_scale": -1.0}, "time_scale"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        UNetConfig.from_settings({**asdict(CLASSIC), **change})


def test_a_config_with_unknown_settings_is_refused():
    with pytest.raises(InputError, match="self_conditioning"):
        UNetConfig.from_settings({**asdict(CLASSIC), "self_conditioning": True})


def overfit(config, side, rate, steps):
    """The first and the last L1 noise loss at step 99 of the paper's schedule (sigma 0.167): 8 fixed noisy patches."""
    torch.manual_seed(0)
    network = UNet(config)
    clean = torch.nn.functional.interpolate(torch.rand(8, 4, 4, 4) * 2 - 1, side, mode="bilinear")
    noise, time = torch.randn(8, 4, side, side), torch.full((8,), 99.0)
    noisy = (1 - 0.167**2) ** 0.5 * clean + 0.167 * noise
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    losses = []
    for _ in range(steps):
        loss = (network(noisy, time) - noise).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def test_overfitting_eight_patches_lowers_the_noise_loss_fivefold():
    config = replace(diffusionerf_paper(), width=16, multipliers=(1, 2), attention=("linear", "linear"))
    first, last = overfit(config, side=16, rate=3e-3, steps=60)
    assert last < first / 5
