"""The checks are checked: what should fail does fail."""

import importlib.metadata
import os
import tomllib
import warnings
from pathlib import Path

import jaxtyping
import pytest
import torch

import diorama
from diorama.cameras.pinhole import Cameras
from diorama.types import Rendering
from diorama.worlds.noise import gradient_noise

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LAYERS = PROJECT["tool"]["importlinter"]["contracts"][0]
pytest_plugins = ["pytester"]


def test_a_wrong_shape_given_to_a_function_is_an_error():
    seeds = torch.zeros(5, dtype=torch.int64)
    assert gradient_noise(torch.rand(5, 3), seeds).shape == (5,)
    with pytest.raises(jaxtyping.TypeCheckError, match="points"):
        gradient_noise(torch.rand(5, 4), seeds)


def test_a_wrong_type_given_to_a_function_is_an_error():
    with pytest.raises(jaxtyping.TypeCheckError, match="points"):
        gradient_noise(torch.zeros(5, 3, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))


def test_axes_that_disagree_inside_a_dataclass_are_an_error():
    with pytest.raises(jaxtyping.TypeCheckError, match="depth"):
        Rendering(torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 6), torch.zeros(2, 4, 5))


def test_cameras_with_unequal_batches_are_an_error():
    with pytest.raises(jaxtyping.TypeCheckError):
        Cameras.pinhole(
            torch.eye(4).expand(3, 4, 4), torch.ones(2, 2), torch.ones(3, 2), torch.ones(3, 2, dtype=torch.int64)
        )


def test_warnings_are_errors():
    with pytest.raises(UserWarning, match="beware"):
        warnings.warn("beware", stacklevel=1)


def test_a_mistyped_marker_is_an_error(request):
    declared = {line.split(":")[0] for line in request.config.getini("markers")}
    assert {"slow", "gpu", "browser", "colmap", "photos", "triton"} <= declared
    assert "--strict-markers" in PROJECT["tool"]["pytest"]["ini_options"]["addopts"]


def test_the_default_run_checks_shapes_and_leaves_out_slow_and_gpu():
    options = PROJECT["tool"]["pytest"]["ini_options"]["addopts"]
    assert "--jaxtyping-packages=diorama,beartype.beartype" in options
    assert "-m 'not slow and not gpu'" in options
    assert "-n 2" in options


def test_every_room_has_its_place_in_the_import_contract():
    placed = {room.strip() for layer in LAYERS["layers"] for room in layer.split("|")}
    rooms = {path.parent.name for path in Path(diorama.__file__).parent.glob("*/__init__.py")}
    files = {path.stem for path in Path(diorama.__file__).parent.glob("*.py")} - {"__init__"}
    assert rooms | files == placed
    assert LAYERS["exhaustive"]


def test_no_room_is_a_drawer():
    names = {path.stem for path in Path(diorama.__file__).parent.rglob("*.py")}
    assert not names & {"utils", "util", "misc", "common", "core", "helpers"}


def test_every_test_folder_is_a_package():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_one_thread_per_worker():
    assert os.environ["OMP_NUM_THREADS"] == os.environ["NUMBA_NUM_THREADS"] == "1"


def test_a_skip_is_a_failure_where_everything_is_installed(pytester, monkeypatch):
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        test_body="import pytest\ndef test_one():\n    pytest.skip('no such extra')\n",
        test_photos="def test_two(photos):\n    photos('nothing of that name')\n",
        test_module="import pytest\npytest.skip('no such module', allow_module_level=True)\n",
    )
    monkeypatch.delenv("DIORAMA_NO_SKIP", raising=False)
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(skipped=3)
    monkeypatch.setenv("DIORAMA_NO_SKIP", "1")
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(failed=0, skipped=0, errors=1)
    only = ("test_body.py", "test_photos.py")
    pytester.runpytest("-p", "no:cacheprovider", *only).assert_outcomes(failed=1, skipped=1)


def test_the_version_is_stated_once_in_effect():
    assert diorama.__version__ == PROJECT["project"]["version"] == importlib.metadata.version("diorama")


@pytest.mark.skipif("CI" not in os.environ or os.environ.get("DIORAMA_NO_SKIP") == "1", reason="only where CI is set")
def test_no_cuda_and_no_torchvision_came_with_the_install():
    names = {(distribution.metadata["Name"] or "").lower() for distribution in importlib.metadata.distributions()}
    assert not {name for name in names if name.startswith("nvidia-")}
    assert "torchvision" not in names
