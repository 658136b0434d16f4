"""What counts as exploded, and what does not."""

import math

import pytest

from diorama.training.loop import NonFiniteLossError
from diorama.training.watch import Watch, WatchConfig

CONFIG = WatchConfig(factor=20.0, patience=3, memory=10)


def seen(watch, values, start=0):
    for step, value in enumerate(values, start=start):
        watch.look(step, {"fit": value, "other": 1.0}, CONFIG)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_step_and_term(bad):
    with pytest.raises(NonFiniteLossError, match=r"At step 4 the loss terms \['fit'\] are not finite"):
        Watch().look(4, {"fit": bad, "other": 1.0}, CONFIG)


def test_a_loss_that_stays_far_above_its_mean_stops_with_step_and_term():
    watch = Watch()
    seen(watch, [1.0] * 50)
    with pytest.raises(NonFiniteLossError, match="At step 52 the loss term 'fit' has exploded: 30, for 3 steps"):
        seen(watch, [30.0, 30.0, 30.0], start=50)


def test_one_odd_batch_is_no_explosion_but_no_time_for_a_checkpoint_either():
    watch = Watch()
    seen(watch, [1.0] * 50)
    for _ in range(5):
        seen(watch, [30.0, 30.0])
        assert not watch.calm
        seen(watch, [1.0])
        assert watch.calm


def test_the_first_steps_may_be_wild():
    seen(Watch(), [1e-6] + [100.0] * 8)


def test_a_loss_that_falls_is_never_an_explosion():
    seen(Watch(), [math.exp(-0.1 * step) for step in range(200)])
