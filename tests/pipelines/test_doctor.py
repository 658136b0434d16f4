"""The doctor finds what is missing and names the command that mends it."""

import sys
from pathlib import Path

import pytest

from diorama.pipelines import doctor
from diorama.pipelines.doctor import Finding, Options, command, examine, requirement_of


def by_name(folder: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(folder)}


def test_a_machine_that_runs_the_tests_can_work(tmp_path, capsys):
    assert command(Options(folder=tmp_path, speed=False)) == 0
    told = capsys.readouterr().out
    assert "Ready" in told
    assert "!!  " not in told.partition("\n\n")[2]


def test_every_gap_comes_with_its_command(tmp_path):
    for finding in by_name(tmp_path).values():
        if finding.state == "missing":
            assert finding.mend


def test_a_missing_extra_is_optional_and_is_mended_by_pip(tmp_path, monkeypatch):
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "pycolmap" else real(name))
    finding = by_name(tmp_path)["[colmap]"]
    assert finding.state == "optional"
    assert finding.mend == f'{sys.executable} -m pip install "{requirement_of("colmap")}"'


def test_the_requirement_of_an_extra_is_the_one_in_the_package():
    assert requirement_of("colmap").startswith("pycolmap")
    assert requirement_of("photos").startswith("pillow-heif")


def test_a_package_that_does_not_load_is_missing_and_the_code_is_2(tmp_path, monkeypatch, capsys):
    real = doctor.importlib.import_module

    def broken(name: str) -> object:
        if name == "trimesh":
            raise ImportError("libsomething.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert command(Options(folder=tmp_path)) == 2
    told = capsys.readouterr().out
    assert "!!  trimesh" in told
    assert "libsomething" in told
    assert f'{sys.executable} -m pip install "trimesh"' in told
    assert "Speed" not in told


def test_a_folder_that_cannot_be_written_is_found_out(tmp_path):
    finding = by_name(tmp_path / "absent")["output folder"]
    assert finding.state == "missing"
    assert "absent" in finding.found


def test_the_speed_check_gives_three_figures(monkeypatch):
    def timed_once(work: object, wait: object) -> float:
        work()
        return 1.0

    monkeypatch.setattr(doctor, "_time", timed_once)
    figures = [finding.name for finding in doctor.measure()]
    assert figures == ["copy", "multiply", "hash encoding"]


def test_a_kernel_that_fails_is_said_instead_of_raised(monkeypatch):
    def fail(*_: object) -> float:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(doctor, "_hash_rate", fail)
    monkeypatch.setattr(doctor, "_time", lambda *_: 1.0)
    last = list(doctor.measure())[-1]
    assert last.state == "missing"
    assert "no such instruction" in last.found


@pytest.mark.parametrize("state", ["ok", "optional", "missing"])
def test_a_finding_is_one_line_and_its_cure_another(state):
    assert Finding("a thing", state, "here").line().count("\n") == 0
    assert Finding("a thing", state, "here", "do this").line().endswith("-> do this")
