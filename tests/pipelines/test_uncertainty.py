"""Several fits of the same photos: their spread, their folder, and that a kill costs one fit at most."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from diorama.cli.main import main
from diorama.data.images import read_image
from diorama.data.tensors import load_tensors
from diorama.errors import InputError
from diorama.pipelines import fit_run
from diorama.pipelines.reconstruct import reconstruct
from diorama.pipelines.uncertainty import (
    MEANING,
    Several,
    gather_samples,
    make_samples,
    open_samples,
    sample_folders,
    spread_of,
    spread_pictures,
    with_blocks_left_out,
)
from diorama.scenes.storage import load_scene, read_card
from diorama.types import Rendering
from tests.oracles import exact_views, ring_cameras
from tests.pipelines.test_reconstruct import TINY, StoppedError, stop_at, weights

CAMERAS = ring_cameras(2, width=6, height=4)


def flat(colour, depth, opacity=1.0):
    """A scene that looks the same from everywhere."""

    def render(cameras):
        shape = len(cameras), 4, 6
        levels = torch.tensor(colour)[None, :, None, None].expand(len(cameras), 3, 4, 6)
        return Rendering(levels, torch.full(shape, depth), torch.full(shape, opacity))

    return render


@pytest.fixture(scope="module")
def views():
    return replace(exact_views(ring_cameras(4, 40, 30)), depth=None, bounds=torch.tensor([[1.0, 8.0]]).repeat(4, 1))


def fit(views, output, seed=0, **more):
    return reconstruct(views, preset=TINY, steps=8, split="none", seed=seed, output=output, **more)


@pytest.fixture(scope="module")
def three(views, tmp_path_factory):
    """Three fits of four photos."""
    output = tmp_path_factory.mktemp("set") / "scene"
    told = []
    fit(views, output, uncertainty=3, say=told.append)
    return output, told


# The spread ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5])
def test_scenes_that_are_the_same_have_no_spread(count):
    spread = spread_of([flat((0.2, 0.5, 0.9), 3.0)] * count, CAMERAS)
    assert (spread.colour == 0).all()
    assert (spread.depth == 0).all()
    assert torch.allclose(spread.mean.depth, torch.tensor(3.0))


@pytest.mark.parametrize(("many", "few"), [(1, 1), (3, 1), (4, 2)])
def test_two_kinds_of_scene_have_the_spread_of_two_values(many, few):
    scenes = [flat((0.2, 0.2, 0.2), 2.0)] * many + [flat((0.6, 0.6, 0.6), 3.0)] * few
    spread = spread_of(scenes, CAMERAS)
    n = many + few
    unit = math.sqrt(many * few / n / (n - 1))  # standard deviation of the values 0 and 1
    torch.testing.assert_close(spread.colour, torch.full((2, 4, 6), 0.4 * unit))
    torch.testing.assert_close(spread.depth, torch.full((2, 4, 6), unit))
    mean = (2.0 * many + 3.0 * few) / n
    torch.testing.assert_close(spread.relative_depth, torch.full((2, 4, 6), unit / mean))


def test_a_channel_alone_counts_for_a_third_of_the_square():
    spread = spread_of([flat((0.0, 0.5, 0.5), 2.0), flat((0.3, 0.5, 0.5), 2.0)], CAMERAS)
    torch.testing.assert_close(spread.colour, torch.full((2, 4, 6), 0.3 / math.sqrt(2) / math.sqrt(3)))


def test_depth_is_compared_among_the_scenes_that_have_one():
    here, there, nothing = flat((0.5,) * 3, 2.0), flat((0.5,) * 3, 4.0), flat((0.5,) * 3, 0.0, opacity=0.1)
    spread = spread_of([here, there, nothing], CAMERAS)
    torch.testing.assert_close(spread.depth, torch.full((2, 4, 6), math.sqrt(2.0)))
    torch.testing.assert_close(spread.mean.depth, torch.full((2, 4, 6), 3.0))
    alone = spread_of([here, nothing], CAMERAS)
    assert (alone.depth == 0).all()
    assert (spread_of([nothing, nothing], CAMERAS).relative_depth == 0).all()


def test_the_spread_drawn_is_black_where_all_agree_and_brighter_the_less_they_do():
    dark, near = flat((0.2,) * 3, 2.0), flat((0.2,) * 3, 2.2)
    for what, other in (("colour", flat((0.4,) * 3, 2.0)), ("depth", near)):
        same = spread_pictures([dark, dark], what)(CAMERAS)
        apart = spread_pictures([dark, other], what)(CAMERAS)
        assert float(same.colour.max()) < 0.02
        assert (apart.colour.mean(1) > same.colour.mean(1)).all()
        assert apart.colour.shape == (2, 3, 4, 6)


# Several fits --------------------------------------------------------------------------------------------------------


def test_the_first_of_several_is_the_scene_of_one_and_the_others_have_the_next_seeds(three, views, tmp_path):
    output, told = three
    for seed, folder in enumerate(sample_folders(output)):
        alone = tmp_path / str(seed)
        fit(views, alone, seed=seed)
        assert all(torch.equal(one, weights(folder)[name]) for name, one in weights(alone).items())
        assert read_card(folder)["provenance"]["seed"] == seed
    assert [folder.name for folder in sample_folders(output)] == ["scene", "001", "002"]
    assert any("fit 3 of 3, seed 2" in line for line in told)
    assert any("Not an error bar" in line for line in told)
    assert not output.with_name("scene.partial").exists()


def test_the_spread_stored_is_that_of_the_scenes_in_the_folder(three):
    output, _ = three
    tensors, meta = load_tensors(output / "spread" / "spread.safetensors")
    note = json.loads((output / "spread" / "spread.json").read_text())
    assert note["meaning"] == MEANING
    assert note["scenes"] == 3
    scenes = open_samples(output)
    assert meta["names"] == note["names"] == list(scenes[0].names)
    again = spread_of([scene.render for scene in scenes], scenes[0].cameras)
    torch.testing.assert_close(tensors["colour"], again.colour)
    torch.testing.assert_close(tensors["depth"], again.depth)
    assert (tensors["colour"] > 0).any()
    assert len(list((output / "spread").glob("*.png"))) == 4


def test_render_draws_the_spread_along_any_path(three, tmp_path, capsys):
    output, _ = three
    words = ["render", str(output), "--width", "20", "--seconds", "0.1", "--fps", "20"]
    pictures = {}
    for what in ("colour", "depth"):
        assert main([*words, "-o", str(tmp_path / what), "--spread", what]) == 0
        assert "Not an error bar" in capsys.readouterr().out
        pictures[what] = read_image(tmp_path / what / "00000.png")[0]
        assert len(list((tmp_path / what).glob("*.png"))) == 2
    assert main([*words, "-o", str(tmp_path / "plain")]) == 0
    plain = read_image(tmp_path / "plain" / "00000.png")[0]
    assert not torch.equal(pictures["colour"], pictures["depth"])
    assert not torch.equal(pictures["colour"], plain)
    alone = tmp_path / "alone"
    shutil.copytree(output, alone, ignore=shutil.ignore_patterns("samples"))
    assert main(["render", str(alone), "-o", str(tmp_path / "none"), "--spread", "colour"]) == 2
    assert "--uncertainty 4" in capsys.readouterr().err


def test_held_out_photos_have_a_spread_too(views, tmp_path):
    reconstruct(views, preset=TINY, steps=3, split="every8", output=tmp_path / "scene", uncertainty=2)
    note = json.loads((tmp_path / "scene" / "spread" / "spread.json").read_text())
    scene = load_scene(tmp_path / "scene")
    assert note["names"] == [*scene.names, *scene.provenance["split"]["test"]]
    assert len(note["names"]) == 4


def test_a_kill_costs_no_fit_that_was_whole(three, views, tmp_path, monkeypatch):
    output, _ = three
    monkeypatch.setattr(fit_run, "CHECKPOINT_SECONDS", -1.0)
    place, taken = tmp_path / "scene", []

    def killed_in_the_second(progress):
        if (progress.sample, progress.step) == (1, 5):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(views, place, uncertainty=3, callback=killed_in_the_second)
    assert not place.exists()
    with pytest.raises(InputError, match="uncertainty"):
        fit(views, place)
    fit(views, place, uncertainty=3, callback=lambda progress: taken.append((progress.sample, progress.step)))
    assert min(taken) > (1, 1), "neither the first fit nor the first steps of the second were taken again"
    for one, two in zip(sample_folders(output), sample_folders(place), strict=True):
        assert all(torch.equal(tensor, weights(two)[name]) for name, tensor in weights(one).items())


def test_what_is_replaced_stays_until_the_new_set_is_whole(views, tmp_path):
    place = tmp_path / "scene"
    fit(views, place)
    before = weights(place)
    with pytest.raises(StoppedError):
        fit(views, place, seed=5, uncertainty=2, force=True, callback=stop_at(7))
    assert all(torch.equal(tensor, weights(place)[name]) for name, tensor in before.items())
    fit(views, place, seed=5, uncertainty=2, force=True)
    assert [read_card(folder)["provenance"]["seed"] for folder in sample_folders(place)] == [5, 6]


def test_a_budget_is_for_all_fits_together(views, tmp_path):
    steps = {}
    for count in (None, 4):
        place = tmp_path / str(count)
        with pytest.raises(StoppedError):
            reconstruct(views, preset=TINY, budget="40s", output=place, uncertainty=count, callback=stop_at(1))
        file = place.with_name(place.name + ".partial") / "steps.json"
        steps[count] = json.loads(file.read_text())["steps"]
    assert steps[4] < steps[None]


def test_blocks_are_left_out_of_every_fit_but_the_first(views, tmp_path):
    several = Several(fits=2, dropout=0.4, block=4)
    left_out = with_blocks_left_out(views, several, 1).ignore
    assert float(left_out.float().mean()) == pytest.approx(0.4, abs=0.08)
    assert torch.equal(left_out[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :30, :40], left_out)
    ignored = torch.zeros(4, 30, 40, dtype=torch.bool)
    ignored[:, 0] = True
    assert with_blocks_left_out(replace(views, ignore=ignored), several, 1).ignore[:, 0].all()
    assert with_blocks_left_out(views, Several(2), 1) is views
    fit(views, tmp_path / "scene", uncertainty=several)
    fit(views, tmp_path / "one")
    fit(views, tmp_path / "two", seed=1)
    first, second = sample_folders(tmp_path / "scene")
    assert torch.equal(weights(first)["table"], weights(tmp_path / "one")["table"])
    assert not torch.equal(weights(second)["table"], weights(tmp_path / "two")["table"])


def test_what_makes_no_sense_is_refused(views, tmp_path):
    with pytest.raises(InputError, match="2 or more"):
        fit(views, tmp_path / "scene", uncertainty=1)
    with pytest.raises(InputError, match=r"0 to 0\.9"):
        Several(dropout=1.5)
    with pytest.raises(InputError, match="Give an output"):
        fit(views, None, uncertainty=2)
    fit(views, tmp_path / "alone")
    with pytest.raises(InputError, match="--uncertainty 4"):
        open_samples(tmp_path / "alone")


def test_scenes_are_gathered_from_anywhere_and_stay_where_they_were(tmp_path):
    def make(index, place):
        place.mkdir(parents=True)
        (place / "scene.json").write_text(f"scene {index}")

    folders = make_samples(make, 3, tmp_path / "work")
    (folders[1] / "scene.json").write_text("kept")
    assert make_samples(make, 3, tmp_path / "work") == folders, "what is whole is not made again"
    gather_samples(folders, tmp_path / "out")
    assert [(f / "scene.json").read_text() for f in sample_folders(tmp_path / "out")] == ["scene 0", "kept", "scene 2"]
    assert all((folder / "scene.json").is_file() for folder in folders)
