"""Batches: position is the step, with any number of workers."""

from collections import namedtuple
from itertools import islice

import pytest
import torch

from diorama.errors import InputError
from diorama.training.batches import batch_to, batches_at, sample_count, slice_batch
from tests.training.toy import batch_at, same

Pair = namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_entered_at_a_step_are_those_of_the_step(workers):
    for step, batch in enumerate(islice(batches_at(batch_at, workers=workers)(7), 3), start=7):
        assert same(batch, batch_at(step))


def test_a_nested_batch_is_cut_as_one():
    batch = {"pair": Pair(torch.arange(6), [torch.arange(12).reshape(6, 2)])}
    assert sample_count(batch) == 6
    part = slice_batch(batch, slice(2, 4))
    assert part["pair"].left.tolist() == [2, 3]
    assert part["pair"].right[0].tolist() == [[4, 5], [6, 7]]
    assert isinstance(batch_to(batch, torch.device("cpu"))["pair"], Pair)


@pytest.mark.parametrize("wrong", ["text", {}, [3.0]])
def test_what_is_no_batch_is_an_error_that_names_its_type(wrong):
    with pytest.raises(InputError, match="a batch holds a"):
        sample_count(wrong)
