import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.data.splits import Split, every_eighth, make_split, split_digest, spread_indices
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError

PUBLISHED = {
    "fern": (20, 3, [1, 10, 19]),
    "flower": (34, 5, [1, 17, 33]),
    "fortress": (42, 6, [1, 21, 41]),
    "horns": (62, 8, [1, 30, 61]),
    "leaves": (26, 4, [1, 12, 25]),
    "orchids": (25, 4, [1, 12, 23]),
    "room": (41, 6, [1, 20, 39]),
    "trex": (55, 7, [1, 28, 54]),
}
"""Photos, test photos and the three-view set of the LLFF scenes (spec diffusionerf.md, 5.1)."""


def views_called(names, **changes):
    return Views(images=torch.zeros(len(names), 3, 1, 1), names=tuple(names), **changes)


def numbered(count):
    return [f"{index:04d}.jpg" for index in range(count)]


@pytest.mark.parametrize("scene", PUBLISHED)
def test_llff_scenes_get_the_published_three_view_sets(scene):
    count, tests, chosen = PUBLISHED[scene]
    split = make_split(views_called(numbered(count), layout="llff"), "protocol", 3)
    assert len(split.test) == tests
    assert [int(name[:4]) for name in split.train] == chosen


def test_sets_of_llff_views_come_from_the_pool_and_grow_in_size():
    views = views_called(numbered(41))
    for count in (3, 6, 9):
        split = make_split(views, "every8", count)
        assert len(split.train) == count
        assert not set(split.train) & set(split.test)
        assert split.test == tuple(numbered(41)[::8])


@given(st.integers(1, 400), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_spread_indices_are_numpy_linspace_rounded_to_even(length, count):
    exact = spread_indices(length, count)
    assert len(exact) == count
    assert exact[0] == 0
    assert count == 1 or exact[-1] == length - 1
    approximate = np.linspace(0, length - 1, count)
    assert np.abs(np.array(exact) - approximate).max() <= 0.5 + 1e-9


def test_a_user_with_five_photos_gets_all_five():
    split = make_split(views_called(numbered(5)))
    assert split.source == "none"
    assert split.train == tuple(numbered(5))
    assert split.test == ()


def test_twenty_photos_are_enough_to_hold_every_eighth_out():
    assert make_split(views_called(numbered(19))).test == ()
    split = make_split(views_called(list(reversed(numbered(20)))))
    assert split.source == "every8"
    assert split.test == ("0000.jpg", "0008.jpg", "0016.jpg")


def test_asking_for_views_holds_every_eighth_out_even_where_auto_would_not():
    split = make_split(views_called(numbered(11)), "auto", 4)
    assert split.test == ("0000.jpg", "0008.jpg")
    pool, _ = every_eighth(numbered(11))
    assert split.train == tuple(pool[index] for index in spread_indices(len(pool), 4))
    assert make_split(views_called(numbered(11)), "none", 4).test == ()


def test_the_split_a_data_set_ships_wins():
    names = numbered(30)
    shipped = {"train": tuple(names[10:]), "test": tuple(names[:5]), "val": tuple(names[5:10])}
    views = views_called(names, splits=shipped)
    split = make_split(views)
    assert (split.train, split.test) == (shipped["train"], shipped["test"])
    three = make_split(views, "auto", 3)
    assert three.train == (names[10], names[20], names[29])
    assert three.test == split.test
    assert make_split(views, "every8").test == tuple(names[::8])


def test_a_fixed_training_order_is_followed_and_nests():
    names = numbered(10)
    order = tuple(names[index] for index in (7, 3, 5, 1))
    views = views_called(names, splits={"train": order, "test": (names[0], names[9]), "train_order": order})
    assert make_split(views, "auto", 3).train == order[:3]
    assert make_split(views, "protocol", 2).train == order[:2]


def test_the_digest_depends_on_ids_and_roles_only():
    names = numbered(9)
    assert split_digest(names[:4], names[4:]) == split_digest(names[:4][::-1], names[4:][::-1])
    assert split_digest(names[:4], names[4:]) != split_digest(names[4:], names[:4])
    assert Split("a", ("ä",), ("ö",)).digest == Split("b", ("ä",), ("ö",)).digest
    # sha256 of the canonical JSON {"test":["b"],"train":["a"]}, by hand
    assert split_digest(["a"], ["b"]) == "3e9e77899a72e800df1cb7ac42f025bbd492af512d70c721eac5f8cf5b2fc362"


def test_a_stored_split_reads_back_and_an_altered_one_is_refused():
    split = make_split(views_called(numbered(24)))
    assert Split.from_dict(json.loads(json.dumps(split.to_dict()))) == split
    altered = split.to_dict() | {"test": split.to_dict()["test"][1:]}
    with pytest.raises(InputError, match="changed after"):
        Split.from_dict(altered)


def test_a_file_names_its_own_split(tmp_path):
    names = numbered(12)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"train": names[4:], "test": names[:4]}))
    split = make_split(views_called(names), path)
    assert (split.train, split.test) == (tuple(names[4:]), tuple(names[:4]))
    assert make_split(views_called(names), str(path), 2).train == (names[4], names[11])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": ["0001.jpg"]', "not readable as JSON"),
        ('["0001.jpg"]', "no list of names"),
        ('{"train": ["0001.jpg"]}', "'test'"),
        ('{"train": ["0001.jpg"], "test": [3]}', "'test'"),
        ('{"train": ["9999.jpg"], "test": []}', "no photos here"),
        ('{"train": ["0001.jpg"], "test": ["0001.jpg"]}', "its own test photos"),
        ('{"train": ["0001.jpg", "0001.jpg"], "test": []}', "twice"),
        ('{"train": [], "test": ["0001.jpg"]}', "leaves no photo"),
        ("[" * 100_000, "not readable as JSON"),
    ],
)
def test_a_split_file_that_does_not_fit_says_why(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        make_split(views_called(numbered(4)), path)


@pytest.mark.parametrize("count", [0, -1, 18])
def test_asking_for_more_views_than_the_pool_holds_says_how_many_there_are(count):
    with pytest.raises(InputError, match="Ask for 1 to 17"):
        make_split(views_called(numbered(20)), "auto", count)


def test_unknown_modes_and_unknown_protocols_say_what_there_is():
    with pytest.raises(InputError, match="every8"):
        make_split(views_called(numbered(4)), "every9")
    with pytest.raises(InputError, match="every8"):
        make_split(views_called(numbered(4), layout="colmap"), "protocol")
    with pytest.raises(InputError, match="leaves no photo"):
        make_split(views_called(numbered(1)), "every8")


def test_a_shipped_split_that_names_absent_photos_is_refused():
    views = views_called(numbered(4), splits={"train": ("0001.jpg",), "test": ("gone.jpg",)})
    with pytest.raises(ViewsError, match=r"gone\.jpg"):
        make_split(views)
