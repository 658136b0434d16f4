"""What the bar says."""

from dataclasses import replace

from diorama.training.progress import described, expected_steps, with_bar
from tests.training.test_log import record


def handed(records):
    yield from records


def test_records_pass_through_and_the_bar_shows_loss_speed_and_time_left(capsys):
    records = [record(step, steps=3) for step in (1, 2, 3)]
    assert list(with_bar(handed(records))) == records
    shown = capsys.readouterr().err
    assert "loss 3, 10.0 samples/s, 0 min 05 s left" in shown
    assert "3/3" in shown


def test_nothing_is_drawn_unless_shown(capsys):
    assert len(list(with_bar(handed([record(1)]), show=False))) == 1
    assert capsys.readouterr().err == ""


def test_leaving_early_closes_the_training():
    closed = []

    def records():
        try:
            yield record(1)
            yield record(2)
        finally:
            closed.append(True)

    for _ in with_bar(records(), show=False):
        break
    assert closed == [True]


def test_with_a_budget_the_expected_steps_follow_from_the_speed_so_far():
    assert expected_steps(replace(record(50), steps=None, seconds=25.0, seconds_left=75.0)) == 200


def test_hours_are_hours():
    assert described(replace(record(1), seconds_left=7265.0), 0.5) == "loss 0.5, 10.0 samples/s, 2 h 01 min left"


def test_memory_is_shown_where_it_is_known():
    assert described(replace(record(1), memory=3 << 29), 0.5) == "loss 0.5, 10.0 samples/s, 1.5 GB, 0 min 05 s left"
