"""The learning rate's shape, and how a budget becomes steps."""

from itertools import pairwise

import pytest

from diorama.errors import InputError
from diorama.training.schedule import Horizon, ScheduleConfig, horizon_of_budget, horizon_of_steps, rate_factor

CONFIG = ScheduleConfig(warm_up=10)


def test_the_rate_rises_stays_and_falls_to_a_hundredth_over_the_last_fifth():
    horizon = horizon_of_steps(CONFIG, 0, 100, 0)
    rates = [rate_factor(CONFIG, horizon, step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:80] == [1.0] * 70
    assert rates[79] > rates[80] > rates[98] > rates[99] == pytest.approx(0.01)
    steps_down = [a - b for a, b in pairwise(rates[79:])]
    assert steps_down == pytest.approx([0.99 / 20] * 20)


def test_before_the_fall_no_rate_depends_on_how_long_the_run_will_be():
    short, long = horizon_of_steps(CONFIG, 0, 100, 0), horizon_of_steps(CONFIG, 0, 1000, 0)
    for step in range(80):
        assert len({rate_factor(CONFIG, horizon, step) for horizon in (short, long, Horizon())}) == 1


def test_a_run_from_given_weights_rises_again_and_falls_over_the_last_fifth_of_its_own_steps():
    config = ScheduleConfig(warm_up=500, rewarm=200)
    horizon = horizon_of_steps(config, 5000, 6000, 5000)
    assert horizon.decay_from == 5800
    assert rate_factor(config, horizon, 5000) == pytest.approx(1 / 200)
    assert rate_factor(config, horizon, 5199) == rate_factor(config, horizon, 5799) == 1.0
    assert rate_factor(config, horizon, 5999) == pytest.approx(0.01)


def test_a_run_that_stands_beyond_its_last_fifth_falls_at_once():
    assert horizon_of_steps(CONFIG, 0, 100, 90) == Horizon(0, 90, 100)


def test_fewer_steps_than_are_taken_is_an_error_that_names_both():
    with pytest.raises(InputError, match="30 steps were asked for, but 50"):
        horizon_of_steps(CONFIG, 0, 30, 50)


def test_a_budget_is_open_until_four_fifths_of_it_are_spent():
    assert horizon_of_budget(CONFIG, 0, 500, seconds=79.9, budget=100.0) == Horizon(0)
    assert horizon_of_budget(CONFIG, 0, 0, seconds=90.0, budget=100.0) == Horizon(0)


@pytest.mark.parametrize("each", [0.01, 0.1, 1.0])
def test_a_budget_places_the_fall_by_the_measured_time_of_a_step(each):
    taken = int(81.0 / each)
    horizon = horizon_of_budget(CONFIG, 0, taken, seconds=taken * each, budget=100.0)
    assert horizon.decay_from == taken
    assert horizon.total == pytest.approx(100.0 / each, abs=1.0)


def test_the_steps_a_budget_has_room_for_are_those_since_the_run_began():
    horizon = horizon_of_budget(CONFIG, 4000, 4080, seconds=80.0, budget=100.0)
    assert horizon == Horizon(4000, 4080, 4100)


@pytest.mark.parametrize("wrong", [{"decay_share": 1.0}, {"floor": 0.0}, {"warm_up": -1}])
def test_an_impossible_schedule_is_an_error(wrong):
    with pytest.raises(InputError, match="not possible"):
        ScheduleConfig(**wrong)
