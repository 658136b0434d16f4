"""The benchmark of worlds: a table and a JSON file, with or without real photos."""

import json

import pytest
import torch

from benchmarks import worlds
from diorama.data.images import write_png
from diorama.worlds.statistics import Picture, summarise


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(worlds, "SIDE", 8)
    monkeypatch.setattr(worlds, "get_args", lambda kind: ("object",))


def test_figures_and_rates_are_written(tmp_path, capsys, monkeypatch, quick):
    (tmp_path / "fox").mkdir()
    write_png(tmp_path / "fox" / "one.png", torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)))
    out = tmp_path / "results" / "worlds.json"
    words = ["worlds", "--data", str(tmp_path), "--pictures", "1", "--groups", "1", "--output", str(out)]
    monkeypatch.setattr("sys.argv", words)
    worlds.main()
    told = capsys.readouterr().out
    assert "all real photos" in told
    assert "world: object" in told
    report = json.loads(out.read_text())
    assert report["speed"]["object"]["pictures"]["per_core_second"] > 0
    assert report["statistics"]["fox"]["edges"] is None
    assert 0 <= report["statistics"]["world: object"]["edges"] <= 1


def test_a_table_has_a_line_for_each_set():
    row = summarise([Picture(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)))])
    lines = worlds.table({"a": row, "b": row}, row, None).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["a", "b"]
    assert lines[1].split()[-2] == "0.000"
