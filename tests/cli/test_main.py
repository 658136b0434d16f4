"""The command line answers every word, and leaves with the code it promises."""

import errno
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

import diorama
from diorama.cli import main as front
from diorama.cli.main import VERBS, main
from diorama.errors import InputError, MissingExtraError, OutputError


@dataclass(frozen=True)
class Options:
    """Does nothing."""

    max_side: int = 3
    """A number."""


@pytest.fixture
def verb(monkeypatch):
    """A verb `doctor` whose command raises or returns what the test says."""

    def pretend(outcome: object) -> None:
        def command(options: Options) -> int:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        module = SimpleNamespace(Options=Options, command=command)
        monkeypatch.setattr(front, "importlib", SimpleNamespace(import_module=lambda name: module))

    return pretend


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb_with_an_example(words, capsys):
    assert main(words) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told and verb.example in told for name, verb in VERBS.items())


def test_the_version_is_the_package_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diorama {diorama.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [("reconstrct", "reconstruct"), ("doctr", "doctor"), ("--export", "export")]
)
def test_a_mistyped_verb_is_answered_with_the_one_meant(typed, meant, capsys):
    assert main([typed]) == 2
    assert f"Did you mean `diorama {meant}`" in capsys.readouterr().err


def test_a_word_like_no_verb_is_answered_with_all_of_them(capsys):
    assert main(["xyzzy"]) == 2
    told = capsys.readouterr().err
    assert "Did you mean" not in told
    assert "reconstruct" in told


def test_a_mistyped_flag_is_answered_with_the_one_meant(verb, capsys):
    verb(0)
    assert main(["doctor", "--max-sid", "4"]) == 2
    assert "--max-side" in capsys.readouterr().err


def test_the_code_of_the_verb_is_the_code_of_the_command(verb):
    verb(0)
    assert main(["doctor"]) == 0
    verb(2)
    assert main(["doctor", "--max-side", "4"]) == 2


@pytest.mark.parametrize(
    "error", [InputError("no photos in x. Give a folder."), OutputError("x exists"), MissingExtraError("y")]
)
def test_what_the_user_can_mend_is_said_in_one_line_with_code_2(verb, error, capsys):
    verb(error)
    assert main(["doctor"]) == 2
    told = capsys.readouterr()
    assert told.err == f"diorama doctor: {error}\n"
    assert told.out == ""


def test_a_full_disk_is_the_users_to_mend(verb, capsys):
    verb(OSError(errno.ENOSPC, "No space left on device", "scene/model.safetensors"))
    assert main(["doctor"]) == 2
    told = capsys.readouterr().err
    assert "disk is full while writing scene/model.safetensors" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_forbidden_place_is_the_users_to_mend(verb, code, capsys):
    verb(OSError(code, "not allowed", "/root/scene"))
    assert main(["doctor"]) == 2
    assert "/root/scene" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 TB")]
)
def test_too_little_memory_is_answered_with_smaller_photos(verb, error, capsys):
    verb(error)
    assert main(["doctor"]) == 2
    assert "--max-side" in capsys.readouterr().err


def test_stopping_a_fit_says_how_to_go_on(monkeypatch, capsys):
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(front, "importlib", SimpleNamespace(import_module=stop))
    assert main(["reconstruct", "my photos", "-o", "scene"]) == 130
    told = capsys.readouterr().err
    assert "kept" in told
    assert "diorama reconstruct 'my photos' -o scene" in told


def test_stopping_another_verb_promises_no_more_than_is_true(verb, capsys):
    verb(KeyboardInterrupt())
    assert main(["doctor"]) == 130
    assert "kept" not in capsys.readouterr().err


def test_a_fault_of_ours_shows_where_and_asks_for_a_report(verb, capsys):
    verb(ZeroDivisionError("division by zero"))
    assert main(["doctor"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ZeroDivisionError" in told
    assert "report" in told
    assert "diorama doctor" in told


def test_a_closed_pipe_ends_quietly(verb, capsys):
    verb(BrokenPipeError())
    assert main(["doctor"]) == 141
    assert capsys.readouterr().err == ""
