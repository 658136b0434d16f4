"""Settings as JSON and back: unions know which of their dataclasses was written."""

import json
from dataclasses import dataclass, replace

import pytest

from diorama.errors import InputError
from diorama.fields.ib_planes import IBPlanesConfig
from diorama.fields.tri_planes import TriPlanesConfig
from diorama.nets.multiview_config import gibr_tiny
from diorama.scenes.config import changed, from_json, to_json
from diorama.systems.gibr import GIBRConfig


@dataclass(frozen=True)
class Round:
    size: float = 1.0
    hole: bool = False


@dataclass(frozen=True)
class Square:
    size: float = 1.0
    tilt: int = 0


@dataclass(frozen=True)
class Holder:
    shape: Round | Square | None = None
    limit: float | None = None


@pytest.mark.parametrize("holder", [Holder(Round(2.0)), Holder(Square(2.0)), Holder(None, 3.0), Holder(Square(), None)])
def test_what_was_written_is_what_is_read(holder):
    assert from_json(Holder, json.loads(json.dumps(to_json(holder)))) == holder


def test_what_several_could_be_is_the_first_of_them():
    assert from_json(Holder, {"shape": {"size": 3}}) == Holder(Round(3.0))


def test_what_fits_none_is_refused_with_the_reasons_of_all():
    with pytest.raises(InputError, match=r"Round has no settings.*Square has no settings"):
        from_json(Holder, {"shape": {"corners": 4}})
    with pytest.raises(InputError, match=r"Holder\.limit cannot be 'much'"):
        from_json(Holder, {"limit": "much"})


def test_settings_are_changed_at_any_depth_one_by_one_or_for_another_kind_of_part():
    config = GIBRConfig(gibr_tiny(), IBPlanesConfig(channels=16, polar_channels=8))
    one = changed(config, {"views": 6, "planes": {"pool": "mean"}})
    assert one == replace(config, views=6, planes=replace(config.planes, pool="mean"))
    both = changed(config, {"planes": {"channels": 24}, "network": {"out_channels": 32}})
    assert (both.planes.channels, both.planes.hidden) == (24, config.planes.hidden)
    assert changed(Holder(Round(2.0, True)), {"shape": {"tilt": 3}}) == Holder(Square(1.0, 3))
    assert changed(Holder(Square(2.0)), {"shape": {}}) == Holder(Round())
    assert changed(Holder(Round(2.0)), {"shape": None}) == Holder()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sides": 3}, r"Holder has no setting 'sides'; it has \['limit', 'shape'\]"),
        ({"shape": {"corners": 4}}, r"Round has no settings.*Square has no settings"),
        ({"shape": {"size": "large"}}, r"Round\.size cannot be 'large'"),
    ],
)
def test_changes_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        changed(Holder(Round()), wrong)


@pytest.mark.parametrize("planes", [IBPlanesConfig(channels=16, polar_channels=8), TriPlanesConfig(channels=8)])
def test_a_model_keeps_its_kind_of_planes(planes):
    config = GIBRConfig(gibr_tiny(), planes)
    assert from_json(GIBRConfig, json.loads(json.dumps(to_json(config)))) == config
