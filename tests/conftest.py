"""One thread per worker, set before torch is imported; where the real photos lie."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from pathlib import Path

import pytest

DATA = Path(os.environ.get("DIORAMA_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def photos():
    """A function from the name of a real data set to its folder; skips with a reason where it is absent."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.exists():
            pytest.skip(f"real photos not found: {folder} (set DIORAMA_DATA)")
        return folder

    return find
