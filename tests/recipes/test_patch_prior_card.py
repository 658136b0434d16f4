"""The card of a patch prior: what is measured, on which patches, and how it is written down."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro

from diorama.data.rgbd_coding import encode_rgbd
from diorama.data.rgbd_patches import CropConfig
from diorama.errors import InputError
from diorama.eval.patch_prior import DAMAGES, LEVELS, SCORE_LEVELS
from diorama.nets.pretrained import SHIPPED
from diorama.pipelines.priors import SHIPPED_PRIOR
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.prior import NullPrior, Prior
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.worlds.dataset import Worlds, WorldsConfig
from recipes import patch_gaussian
from recipes.card import BEGIN, END, with_section
from recipes.patch_gaussian import fit_gaussian, world_patches
from recipes.patch_prior_card import (
    FIRST_WORLD,
    Capture,
    Options,
    PatchSet,
    command_of,
    failures,
    main,
    markdown,
    measure,
    picture_patches,
    rate,
    where_known,
)
from tests.priors.made_up import TINY, TINY_NETWORK, smooth_patches

EVERYTHING = ("joint", "colour", "disparity")
WORLDS = Worlds(WorldsConfig(seed=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("runs") / "prior"
    return RgbdPatchPrior(TINY_NETWORK, TINY).save_pretrained(place, card="How it was trained.", half=True)


def test_a_card_is_written_twice_and_says_the_same(folder):
    options = Options(folder, patches=12, gaussian_patches=48)
    assert main(options) == 0
    first, card = (folder / "README.md").read_text(), (folder / "card.json").read_text()
    assert main(options) == 0
    assert (folder / "README.md").read_text() == first
    assert (folder / "card.json").read_text() == card
    assert first.count(BEGIN) == first.count(END) == 1
    assert "How it was trained." in first
    assert isinstance(Prior.from_pretrained(folder), RgbdPatchPrior), "the folder is still one of weights"
    (one,) = json.loads(card)["sets"]
    assert list(one["gains"]) == ["trained", "Gaussian", "untrained"]
    assert [gain["level"] for gain in one["gains"]["Gaussian"]] == list(LEVELS)
    assert all(gain["joint"] > 0 for gain in one["gains"]["Gaussian"][-2:]), "a fitted Gaussian denoises other worlds"
    assert {len(rates) for prior in one["repair"].values() for rates in prior.values()} == {len(SCORE_LEVELS)}


def test_captures_that_are_not_there_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="rgbd_apc_box"):
        main(Options(folder, data=tmp_path, patches=8, gaussian_patches=8))


def test_held_out_worlds_are_none_that_anything_was_fitted_to():
    _, trained_on = next(world_patches(WORLDS, TINY.window, 1))
    _, held_out = next(world_patches(WORLDS, TINY.window, 1, FIRST_WORLD))
    assert not torch.equal(trained_on, held_out)
    assert not any(torch.equal(one, other) for one in trained_on for other in held_out)


def test_a_prior_without_an_opinion_gains_nothing_and_repairs_nothing():
    one = PatchSet("waves", smooth_patches(6), None, EVERYTHING, "made up")
    found = measure({"null": NullPrior(TINY)}, [one], 0, lambda line: None)
    (described,) = found["sets"]
    assert all(gain[part] == 0 for gain in described["gains"]["null"] for part in EVERYTHING)
    assert all(value == 0 for rates in described["repair"]["null"].values() for value in rates)


def test_where_depth_is_unknown_no_damage_is_done_and_none_is_judged():
    patches, generator = smooth_patches(6), torch.Generator().manual_seed(0)
    known = torch.ones(6, 16, 16, dtype=torch.bool)
    known[:, 4:9] = False
    for name, damage in DAMAGES.items():
        changed = where_known(damage, known)(patches, generator)
        assert torch.equal(changed[:, 3][~known], patches[:, 3][~known])
        assert not torch.equal(changed, patches), name
    nothing = PatchSet("blind", patches, torch.zeros_like(known), ("disparity",), "made up")
    assert rate(NullPrior(TINY), nothing, DAMAGES["billboard"], 19, 0) is None


class SparseFrames:
    """Two pictures of a slope whose depth is known at every fourth point of every fourth row."""

    def __len__(self):
        return 2

    def read(self, index):
        depth = torch.linspace(1.0, 2.0, 128)[None].expand(128, 128).clone()
        scattered = torch.zeros_like(depth)
        scattered[::2, ::2] = depth[::2, ::2]
        return torch.full((3, 128, 128), 0.5), scattered, torch.full((2,), 240.0)


def test_depth_that_is_scattered_over_a_finer_picture_is_used_only_where_asked():
    crops = CropConfig(per_picture=4, most_unknown=0.2, flip=False)
    capture = Capture("slope", crops, EVERYTHING, "made up")
    with pytest.raises(InputError, match="slope gave no patch"):
        picture_patches(SparseFrames(), capture, TINY.window, 6, 0)
    found = picture_patches(SparseFrames(), replace(capture, crops=replace(crops, known_from=0.1)), TINY.window, 6, 0)
    assert len(found.patches) == 6
    assert found.known.all()
    nearest, farthest = (float(encode_rgbd(torch.zeros(3, 1, 1), torch.tensor([[z]]))[3, 0, 0]) for z in (1.0, 2.0))
    assert farthest <= found.patches[:, 3].min() < found.patches[:, 3].max() <= nearest


def test_a_section_is_put_at_the_end_or_where_it_was():
    assert with_section("", "new") == f"{BEGIN}\nnew\n{END}\n"
    once = with_section("# card\n", "old")
    assert with_section(once, "new") == once.replace("old", "new")
    assert with_section(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\nnew\n{END}\nb\n"


def test_tables_show_what_counts_of_each_set():
    sets = [
        PatchSet("both", smooth_patches(2), None, EVERYTHING, "made up"),
        PatchSet("depth", smooth_patches(2), torch.ones(2, 16, 16, dtype=torch.bool), ("disparity",), "made up"),
    ]
    found = measure({"null": NullPrior(TINY)}, sets, 0, lambda line: None)
    text = markdown(found | {"made": {"command": "this", "seed": 0, "textures": None}})
    assert "| t | null: joint | null: colour | null: disparity |" in text
    assert "| t | null: disparity |" in text
    assert text.count("| damage | null, t = 19 | null, t = 47 | null, t = 99 |") == 1, "colour and depth together alone"
    assert text.count("| 99 | +0.00") == 2


def test_the_card_names_what_the_prior_fails_at_and_leaves_blur_out():
    rates = {what: [0.9, 0.8, None] for what in DAMAGES} | {"billboard": [0.6, 0.49, None], "blur": [0.1, 0.1, 0.1]}
    assert failures({"repair": {"trained": rates, "untrained": {what: [0.0] for what in DAMAGES}}}) == [
        "billboard (0.60, 0.49, -)"
    ]


def test_the_command_on_the_card_is_read_as_the_options_it_was_written_from():
    options = Options(Path("a prior"), data=Path("../data"), textures=Path("photos"), patches=8)
    words = shlex.split(command_of(options))
    assert words[:3] == ["python", "-m", "recipes.patch_prior_card"]
    assert tyro.cli(Options, args=words[3:]) == options
    assert command_of(Options(Path("one"))) == "python -m recipes.patch_prior_card one"


def test_the_shipped_card_shows_what_its_figures_are():
    folder = SHIPPED / SHIPPED_PRIOR
    found = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert with_section(readme, markdown(found)) == readme


def test_a_gaussian_of_worlds_is_written_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(patch_gaussian, "PatchEncoding", lambda: TINY)
    place = tmp_path / "gaussian"
    assert patch_gaussian.main(patch_gaussian.Options(place, patches=24)) == 0
    read, made = Prior.from_pretrained(place), fit_gaussian(WORLDS, TINY, 24)
    assert isinstance(read, GaussianPrior)
    assert read.checksum == made.checksum
    assert 0.3 < read.encoding.median_depth < 20
    assert "--patches 24" in (place / "README.md").read_text()
