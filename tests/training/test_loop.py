"""The loop of a fit stops before a bad update."""

import pytest
import torch
from torch import nn

from diorama.errors import MemoryLimitError
from diorama.training.checkpoint import pack, unpack
from diorama.training.loop import NonFiniteLossError, train_steps
from diorama.training.optim import AdamWConfig, OptimConfig, adam, adamw, exponential


class Falling(nn.Module):
    """One number that is drawn to zero; its loss is NaN at one step."""

    def __init__(self, bad=None):
        super().__init__()
        self.table = nn.Parameter(torch.ones(2, 2))
        self.bad = bad

    def losses(self, step):
        return {
            "size": self.table.square().sum(),
            "odd": self.table.sum() * (float("nan") if step == self.bad else 0.0),
        }

    def after_backward(self, step):
        self.last = step

    def use_less_memory(self):
        return None


class Hungry(Falling):
    """Needs as many portions of memory at a time as it has not yet halved."""

    def __init__(self, portions, room):
        super().__init__()
        self.portions, self.room, self.tried = portions, room, []

    def losses(self, step):
        self.tried.append(step)
        if self.portions > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand so on")
        return super().losses(step)

    def use_less_memory(self):
        if self.portions == 1:
            return None
        self.portions //= 2
        return f"{self.portions} portions at a time"


def test_steps_are_taken_in_order_and_after_backward_is_called_for_each():
    system = Falling()
    taken = list(train_steps(system, adam(system, OptimConfig()), exponential(OptimConfig(), 5), range(2, 5)))
    assert [step for step, _ in taken] == [2, 3, 4]
    assert system.last == 4
    assert taken[0][1]["size"] > taken[-1][1]["size"]


def test_a_term_that_is_not_finite_is_named_with_its_step_before_the_update():
    system = Falling(bad=3)
    steps = train_steps(system, adam(system, OptimConfig()), lambda step: 1.0, range(9))
    with pytest.raises(NonFiniteLossError, match=r"At step 3 the loss terms \['odd'\]"):
        list(steps)
    assert system.table.isfinite().all()


def test_a_gradient_that_is_not_finite_though_its_loss_is_stops_before_the_update():
    system = Falling()
    system.losses = lambda step: {"root": (system.table - system.table.detach()).square().sum().sqrt()}
    with pytest.raises(NonFiniteLossError, match="At step 2 the gradient of the table parameters is not finite"):
        list(train_steps(system, adam(system, OptimConfig()), lambda step: 1.0, range(2, 9)))
    assert torch.equal(system.table, torch.ones(2, 2))


def test_where_memory_does_not_suffice_the_step_is_taken_with_less():
    hungry, plain, said = Hungry(8, room=2), Falling(), []
    taken = list(
        train_steps(hungry, adam(hungry, OptimConfig()), exponential(OptimConfig(), 4), range(4), say=said.append)
    )
    assert [step for step, _ in taken] == [0, 1, 2, 3]
    assert hungry.tried == [0, 0, 0, 1, 2, 3], "the same step again, and then no more trouble"
    assert said == [f"out of memory at step 0: {n} portions at a time" for n in (4, 2)]
    list(train_steps(plain, adam(plain, OptimConfig()), exponential(OptimConfig(), 4), range(4)))
    assert torch.equal(hungry.table, plain.table)


def test_a_system_that_cannot_use_less_says_what_to_do():
    hungry = Hungry(4, room=0)
    with pytest.raises(MemoryLimitError, match=r"step 0 does not fit.*Tried to allocate 2.00 GiB\).*--max-side"):
        list(train_steps(hungry, adam(hungry, OptimConfig()), lambda step: 1.0, range(2)))
    assert hungry.table.grad is None


def test_other_errors_are_no_want_of_memory():
    class Broken(Falling):
        def losses(self, step):
            raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        list(train_steps(Broken(), adam(Broken(), OptimConfig()), lambda step: 1.0, range(2)))


@pytest.mark.parametrize("make", [lambda s: adam(s, OptimConfig()), lambda s: adamw(s, AdamWConfig())])
def test_a_packed_fit_goes_on_bit_for_bit(make):
    whole, cut, again = Falling(), Falling(), Falling()
    list(train_steps(whole, make(whole), lambda step: 1.0, range(8)))
    optimizer = make(cut)
    list(train_steps(cut, optimizer, lambda step: 1.0, range(4)))
    packed = {name: tensor.clone() for name, tensor in pack(cut, optimizer).items()}
    optimizer = make(again)
    unpack(packed, again, optimizer)
    list(train_steps(again, optimizer, lambda step: 1.0, range(4, 8)))
    assert torch.equal(whole.table, again.table)


def test_biases_and_norms_are_not_decayed():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4))
    groups = {
        g["name"]: (len(g["params"]), g["weight_decay"])
        for g in adamw(network, AdamWConfig(weight_decay=0.1)).param_groups
    }
    assert groups == {"matrices": (1, 0.1), "vectors": (3, 0.0)}
