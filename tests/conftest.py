"""One thread per worker, set before torch is imported; where the real photos lie; when a skip is a failure."""

# ruff: noqa: E402

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(os.environ.get("DIORAMA_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NO_PHOTOS = "real photos not found"
NO_SKIP = "DIORAMA_NO_SKIP"
"""Set to 1 where everything that a test could ask for is installed: a skip is then a failure, absent photos aside."""


@pytest.fixture(scope="session")
def photos():
    """A function from the name of a real data set to its folder; skips with a reason where it is absent."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.exists():
            pytest.skip(f"{NO_PHOTOS}: {folder} (set DIORAMA_DATA)")
        return folder

    return find


def forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure, if the environment says so."""
    if os.environ.get(NO_SKIP) != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if NO_PHOTOS not in reason:
        report.outcome = "failed"
        report.longrepr = f"skipped, which {NO_SKIP}=1 forbids. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Tests that skip."""
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Modules that skip while they are collected."""
    report = yield
    forbid_skip(report)
    return report


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    import torch

    return torch.Generator().manual_seed(7)


EXTRAS = {"colmap": "pycolmap", "photos": "pillow_heif"}
"""Markers, and the package without which their tests are skipped."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests of extras that are not installed."""
    for marker, package in EXTRAS.items():
        if item.get_closest_marker(marker) is not None:
            pytest.importorskip(package, reason=f"the extra `{marker}` is not installed")
