"""The gradient of a batch does not depend on how it is cut, and memory that does not suffice is survived."""

import pytest
import torch
from torch import nn

from diorama.errors import MemoryLimitError
from diorama.training.gradient import autocast, batch_gradient, lacks_bf16, own_random_numbers
from tests.training.toy import batch_at, exact_loss, noisy_loss, small_network


def gradient(parts, batch=None, loss=exact_loss, say=lambda line: None, seed=0, network=None):
    network = network or small_network(dropout=0.0)
    network.zero_grad()
    terms, used = batch_gradient(network, loss, batch or batch_at(0), parts, seed, "full", say)
    return torch.cat([p.grad.flatten() for p in network.parameters()]), terms, used


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_add_up_to_the_gradient_of_the_whole_batch_even_if_they_are_not_equal(parts):
    whole, whole_terms, _ = gradient(1)
    cut, cut_terms, used = gradient(parts)
    assert used == parts
    assert torch.allclose(whole, cut, rtol=1e-5, atol=1e-7)
    assert torch.allclose(whole_terms["fit"], cut_terms["fit"])


def test_more_parts_than_samples_are_as_many_as_samples():
    assert gradient(100)[2] == 8


def test_random_numbers_depend_on_the_seed_alone_and_leave_the_global_ones_as_they_were():
    network = small_network(dropout=0.3)
    before = torch.get_rng_state()
    one = gradient(2, loss=noisy_loss, seed=1, network=network)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(gradient(2, loss=noisy_loss, seed=1, network=network)[0], one)
    assert not torch.equal(gradient(2, loss=noisy_loss, seed=2, network=network)[0], one)


def hungry(most):
    """A loss that has memory for `most` samples."""

    def loss(network, batch, generator):
        terms = exact_loss(network, batch, generator)
        if len(batch["points"]) > most:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return terms

    return loss


def test_out_of_memory_halves_the_parts_says_so_and_changes_nothing_else():
    lines = []
    cut, _, used = gradient(1, loss=hungry(2), say=lines.append)
    assert used == 4
    assert torch.allclose(cut, gradient(1)[0], rtol=1e-5, atol=1e-7)
    assert lines == [
        "out of memory: the batch now goes in 2 parts of up to 4 samples",
        "out of memory: the batch now goes in 4 parts of up to 2 samples",
    ]


def test_a_gradient_that_was_half_made_when_memory_ran_out_is_thrown_away():
    calls = []

    def once(network, batch, generator):
        calls.append(len(batch["points"]))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no room")
        return exact_loss(network, batch, generator)

    cut, _, used = gradient(2, loss=once)
    assert (calls, used) == ([4, 4, 2, 2, 2, 2], 4)
    assert torch.allclose(cut, gradient(1)[0], rtol=1e-5, atol=1e-7)


def test_a_single_sample_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryLimitError, match="one sample at a time does not fit"):
        gradient(1, loss=hungry(0))


def test_other_errors_pass():
    def broken(network, batch, generator):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        gradient(1, loss=broken)


def test_bf16_is_taken_when_asked_for_and_not_on_a_cpu_by_itself():
    linear, x = nn.Linear(2, 2), torch.rand(1, 2)
    kinds = {}
    for precision in ("auto", "bf16", "full"):
        with autocast(torch.device("cpu"), precision):
            kinds[precision] = linear(x).dtype
    assert kinds == {"auto": torch.float32, "bf16": torch.bfloat16, "full": torch.float32}


def test_a_cpu_lacks_bf16_only_where_it_says_so(monkeypatch):
    cpu = torch.device("cpu")
    for said, lacking in (
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, False),
        ({"avx2": True}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda said=said: said, raising=False)
        assert lacks_bf16(cpu) is lacking
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not lacks_bf16(cpu)
    assert not lacks_bf16(torch.device("cuda"))


def test_under_bf16_the_gradient_stays_near_the_exact_one():
    exact = gradient(1)[0]
    network = small_network(dropout=0.0)
    batch_gradient(network, exact_loss, batch_at(0), 1, 0, "bf16", lambda line: None)
    half = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert half.dtype == torch.float32
    assert float((half - exact).norm() / exact.norm()) < 0.05


def test_dropout_is_seeded_per_step():
    dropout, draws = nn.Dropout(0.5), []
    for seed in (1, 1, 2):
        with own_random_numbers(torch.device("cpu"), seed):
            draws.append(dropout(torch.ones(64)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
