"""The log holds every step once, also after a kill."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from diorama.errors import MissingExtraError
from diorama.training.log import Record, RunLog


def record(step, loss=1.0, steps=100):
    return Record(step, {"fit": loss, "other": 2.0}, 0.5, 1.0, float(step), 10.0, steps, 5.0, 1)


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_line_holds_means_since_the_line_before(tmp_path):
    log = RunLog(tmp_path, 0, every=4, tensorboard=False)
    for step in range(1, 10):
        log.record(record(step, float(step), steps=9))
    log.close()
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 9]
    assert [line["terms"]["fit"] for line in lines(tmp_path)] == [2.5, 6.5, 9.0]
    assert [line["over"] for line in lines(tmp_path)] == [4, 4, 1]


def test_a_line_says_how_much_memory_there_was_at_most_or_that_it_is_not_known(tmp_path):
    log = RunLog(tmp_path, 0, every=1, tensorboard=False)
    log.record(replace(record(1), memory=3 << 30))
    log.record(record(2))
    log.close()
    assert [line["memory"] for line in lines(tmp_path)] == [3 << 30, None]


def test_what_a_killed_process_wrote_of_later_steps_is_taken_out(tmp_path):
    log = RunLog(tmp_path, 0, every=1, tensorboard=False)
    for step in range(1, 6):
        log.record(record(step))
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "ter')
    log = RunLog(tmp_path, 3, every=1, tensorboard=False)
    log.event(3, "begins", ranks=1)
    log.record(record(4))
    log.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 3, 4]
    assert lines(tmp_path)[3]["event"] == "begins"


def test_tensorboard_is_asked_for_only_when_wanted_and_named_when_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    RunLog(tmp_path, 0, every=1, tensorboard=False).close()
    with pytest.raises(MissingExtraError, match=r"pip install 'diorama\[train\]'"):
        RunLog(tmp_path, 0, every=1, tensorboard=True)


def test_tensorboard_gets_every_figure_of_a_line(tmp_path, monkeypatch):
    written = []

    class Board:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")

    module = ModuleType("tensorboard")
    module.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    log = RunLog(tmp_path, 7, every=1, tensorboard=True)
    log.record(record(8))
    log.close()
    assert written[0] == (str(tmp_path / "tensorboard"), 8)
    assert ("loss/fit", 1.0, 8) in written
    assert ("rate", 1.0, 8) in written
    assert written[-1] == "closed"
