import math

import pytest
import torch
from torch import nn

from diorama.nets.attention import CrossAttention, FullAttention, LinearAttention, attend
from diorama.nets.blocks import PreNormBlock, StandardisedConv2d, modulate, resized, time_embedding


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_embedding_of_time_zero_is_ones_then_zeros():
    embedding = time_embedding(torch.zeros(1), 8)
    assert torch.equal(embedding, torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 0]]))


def test_the_frequencies_of_time_fall_geometrically():
    embedding = time_embedding(torch.tensor([3.0]), 4)[0]
    expected = [math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03)]
    torch.testing.assert_close(embedding, torch.tensor(expected))


def test_late_steps_stay_apart_even_when_asked_in_bfloat16_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        a, b = time_embedding(torch.tensor([998.0, 999.0]), 32)
    assert (a - b).abs().max() > 0.5


def test_standardised_filters_do_not_see_scale_or_offset_of_their_weights():
    convolution = StandardisedConv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 5, 5, generator=generator())
    before = convolution(x)
    with torch.no_grad():
        convolution.weight.mul_(3.0).add_(0.5)
    torch.testing.assert_close(convolution(x), before, rtol=1e-3, atol=1e-3)


def test_a_constant_picture_leaves_only_the_bias_of_a_standardised_filter():
    convolution = StandardisedConv2d(4, 6, 3)
    out = convolution(torch.full((1, 4, 3, 3), 7.0))
    torch.testing.assert_close(out[0, :, 0, 0], convolution.bias, rtol=0, atol=1e-3)


@pytest.mark.parametrize("resample", [None, "up", "down"])
def test_a_fresh_pre_norm_block_is_the_identity_up_to_resampling(resample):
    block = PreNormBlock(8, 8, 16, groups=4, standardised=False, resample=resample)
    x = torch.randn(2, 8, 6, 6, generator=generator())
    assert torch.equal(block(x, torch.randn(2, 16)), x if resample is None else resized(x, resample))


def test_halving_undoes_doubling():
    x = torch.randn(1, 2, 3, 5, generator=generator())
    torch.testing.assert_close(resized(resized(x, "up"), "down"), x)


def test_scales_come_before_shifts():
    x = torch.ones(1, 2, 1, 1)
    assert modulate(x, torch.tensor([[1.0, 2.0, 10.0, 20.0]])).flatten().tolist() == [12.0, 23.0]


@pytest.mark.parametrize("cosine", [False, True])
def test_full_attention_is_a_softmax_of_similarities(cosine):
    query, key, value = torch.randn(3, 2, 2, 5, 4, generator=generator(), dtype=torch.float64)
    if cosine:
        unit = [side / side.norm(dim=-1, keepdim=True) for side in (query, key)]
        logits = 10.0 * unit[0] @ unit[1].mT
    else:
        logits = query @ key.mT / 2.0
    torch.testing.assert_close(attend(query, key, value, cosine=cosine), logits.softmax(-1) @ value)


def test_cosine_attention_does_not_see_the_length_of_queries_and_keys():
    query, key, value = torch.randn(3, 1, 1, 5, 4, generator=generator())
    torch.testing.assert_close(attend(query, key, value, cosine=True), attend(query * 9, key * 0.1, value, cosine=True))


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("queries", [1, 5])
def test_masked_attention_is_a_softmax_over_what_the_mask_allows(cosine, queries):
    query, key, value = torch.randn(3, 2, 2, 5, 4, generator=generator(), dtype=torch.float64)
    mask = torch.rand(2, 1, queries, 5, generator=generator()) < 0.6
    mask[..., 0] = True
    out = attend(query, key, value, cosine=cosine, mask=mask)
    for scene in range(2):
        for n in range(5):
            seen = mask[scene, 0, n if queries > 1 else 0]
            alone = attend(query[scene, None, :, n : n + 1], key[scene, None, :, seen], value[scene, None, :, seen],
                           cosine=cosine)  # fmt: skip
            torch.testing.assert_close(out[scene, :, n], alone[0, :, 0])


@pytest.mark.parametrize("masked", [False, True])
def test_attention_written_out_for_training_is_the_fused_one_in_bfloat16(masked):
    sides = torch.randn(3, 2, 2, 40, 16, generator=generator())
    mask = torch.rand(2, 1, 40, 40, generator=generator()) < 0.7 if masked else None
    exact, rough = sides.clone().requires_grad_(), sides.bfloat16().requires_grad_()
    weights = torch.randn(2, 2, 40, 16, generator=generator())
    for leaf in (exact, rough):
        (attend(*leaf, cosine=False, mask=mask) * weights).sum().backward()
    with torch.no_grad():
        fused, written = attend(*rough, cosine=False, mask=mask), attend(*exact, cosine=False, mask=mask)
    torch.testing.assert_close(fused.float(), written, rtol=0, atol=0.03)
    assert (rough.grad.float() - exact.grad).norm() < 0.02 * exact.grad.norm()


def test_linear_attention_is_the_quadratic_form_summed_in_another_order():
    """softmax_features(q) softmax_pixels(k)^T v / n / sqrt(c), written with the full pixel-by-pixel matrix."""
    torch.manual_seed(0)
    module, x = LinearAttention(6, heads=2, head_width=3).double(), torch.randn(2, 6, 4, 5, dtype=torch.float64)
    tokens = module.norm(x.flatten(2).mT)
    query, key, value = module.to_heads(tokens).reshape(2, 20, 2, 3, 3).permute(3, 0, 2, 1, 4)
    pairs = query.softmax(-1) @ key.softmax(-2).mT / 20 / 3**0.5
    read = (pairs @ value).permute(0, 2, 1, 3).reshape(2, 20, 6)
    torch.testing.assert_close(module(x), x + module.out_norm(module.out(read)).mT.reshape(x.shape))


def attentions():
    torch.manual_seed(0)
    return [
        LinearAttention(8, 2, 4),
        FullAttention(8, 2, 4, cosine=True, groups=None),
        FullAttention(8, 2, 4, cosine=False, groups=4),
    ]


@pytest.mark.parametrize("index", range(3))
def test_attention_without_positions_moves_with_its_pixels(index):
    module = attentions()[index]
    nn.init.normal_(module.out.weight)
    x = torch.randn(2, 8, 4, 4, generator=generator())
    order = torch.randperm(16, generator=generator())

    def shuffled(image):
        return image.flatten(2)[..., order].reshape(image.shape)

    torch.testing.assert_close(module(shuffled(x)), shuffled(module(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", range(3))
def test_attention_keeps_the_channels_last_order(index):
    x = torch.randn(2, 8, 4, 4, generator=generator()).to(memory_format=torch.channels_last)
    assert attentions()[index](x).is_contiguous(memory_format=torch.channels_last)


def test_cross_attention_starts_as_the_identity():
    x = torch.randn(2, 8, 4, 4, generator=generator())
    assert torch.equal(CrossAttention(8, 6, 2, 4)(x, torch.randn(2, 3, 6)), x)
