"""Importing stays light: told by a fresh process, because this one has everything loaded."""

import importlib.util
import json
import subprocess
import sys

import pytest

import diorama
from diorama.cli.main import VERBS

MOST_MODULES = 40
"""`import diorama` may add this many modules to those of an idle Python."""

HEAVY = {
    "torch",
    "numpy",
    "viser",
    "skimage",
    "scipy",
    "trimesh",
    "av",
    "numba",
    "PIL",
    "rich",
    "tqdm",
    "tyro",
    "imageio",
}
NOT_FOR_HELP = {"viser", "skimage", "trimesh", "av", "numba"}


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a fresh Python has after running some code."""
    report = "loaded = sorted(set(sys.modules) - before)\nimport json\nprint('\\n' + json.dumps(loaded))"
    script = f"import sys\nbefore = set(sys.modules)\n{code}\n{report}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def run_line(*words: str) -> str:
    return (
        "from diorama.cli.main import main\n"
        f"try:\n    code = main({list(words)!r})\nexcept SystemExit as error:\n    code = error.code or 0\n"
        "assert code == 0, code"
    )


def test_import_loads_nothing_heavy_and_few_modules():
    loaded = loaded_after("import diorama")
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


def test_listing_the_public_names_loads_nothing():
    loaded = loaded_after("import diorama; assert 'reconstruct' in dir(diorama) and 'open_views' in diorama.__all__")
    assert "torch" not in loaded


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_load_no_torch(word):
    assert not {name.partition(".")[0] for name in loaded_after(run_line(word))} & HEAVY


@pytest.mark.parametrize("verb", [v for v in VERBS if importlib.util.find_spec(VERBS[v].module) is not None])
def test_help_of_a_verb_loads_no_viewer_mesh_video_or_compiler(verb):
    assert not {name.partition(".")[0] for name in loaded_after(run_line(verb, "--help"))} & NOT_FOR_HELP


@pytest.mark.parametrize("name", [name for name in diorama.__all__ if name != "__version__"])
def test_every_public_name_is_there(name):
    value = getattr(diorama, name)
    assert callable(value)
    assert value.__doc__


def test_the_verb_export_is_not_hidden_by_the_room_export():
    import diorama.export

    assert callable(diorama.export)
    assert diorama.export.__module__ == "diorama.pipelines.export"


def test_a_name_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(AttributeError, match="open_views"):
        diorama.open_view  # noqa: B018
