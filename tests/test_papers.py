"""What the pages on papers name exists: a page that points at code must not outlive it."""

import importlib
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "papers").glob("*.md"))


def names(page):
    return sorted(set(re.findall(r"`(diorama(?:\.\w+)+)`", page.read_text(encoding="utf-8"))))


def resolve(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if is_dataclass(found) and part in {field.name for field in fields(found)}:
                return part
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_on_a_page_exists(page):
    assert len(names(page)) > 10
    for name in names(page):
        assert resolve(name) is not None, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_file_on_a_page_exists(page):
    root = page.parents[2]
    for path in re.findall(r"`(tests/[\w/.]+)`", page.read_text(encoding="utf-8")):
        assert (root / path).exists(), path
