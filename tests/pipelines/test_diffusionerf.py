"""`diorama reconstruct --method diffusionerf` on three photos of the scene in the box, with every prior there is."""

from dataclasses import replace

import pytest
import torch

from diorama.data.rgbd_coding import encode_rgbd
from diorama.data.scale import scene_scale
from diorama.data.tensors import load_tensors
from diorama.errors import InputError
from diorama.pipelines.fit import Geometry, plan_fit
from diorama.pipelines.presets import few
from diorama.pipelines.priors import SHIPPED_PRIOR, open_prior
from diorama.pipelines.reconstruct import reconstruct
from diorama.priors.guide import PatchGuide
from diorama.priors.levels import noise_level
from diorama.priors.prior import NullPrior, PatchEncoding, Prior
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.worlds.builtin import cameras_around, table_top
from diorama.worlds.trace import photograph
from tests.pipelines.test_reconstruct import TINY
from tests.priors.made_up import TINY as TINY_ENCODING
from tests.priors.made_up import TINY_NETWORK

PRESET = replace(TINY, fit=replace(TINY.fit, prior=replace(TINY.fit.prior, fine=4, every=2)))


@pytest.fixture(scope="module")
def views():
    found = photograph(table_top(), cameras_around((-15.0, 0.0, 15.0), width=48, height=36), samples=1)
    return replace(found, depth=None)


@pytest.mark.parametrize("prior", ["gaussian", "tv", "null"])
def test_three_photos_become_a_scene_under_every_prior(views, tmp_path, prior):
    lines = []
    scene = reconstruct(
        views, method="diffusionerf", prior=prior, preset=PRESET, steps=5, split="none", output=tmp_path / "scene",
        say=lines.append,
    )  # fmt: skip
    assert scene.provenance["method"] == "diffusionerf"
    assert ("prior_used" in scene.provenance) == (prior != "null")
    assert any("method: diffusionerf" in line for line in lines)
    assert any("patches of 48 pixels and 15.6 degrees" in line for line in lines) == (prior != "null")
    if prior != "null":
        assert scene.provenance["prior_used"]["loudness"] > 0
        assert scene.provenance["prior"]["checksum"] == open_prior(prior).checksum


def test_under_the_null_prior_the_scene_is_the_baselines(views, tmp_path):
    kept = {}
    for name, choice in (("baseline", {"method": "baseline"}), ("null", {"method": "diffusionerf", "prior": "null"})):
        reconstruct(views, preset=PRESET, steps=5, split="none", output=tmp_path / name, **choice)
        kept[name] = (tmp_path / name / "field.safetensors").read_bytes()
    assert kept["baseline"] == kept["null"]


def test_a_trained_folder_is_a_prior_and_resuming_is_bit_equal(views, tmp_path, monkeypatch):
    from diorama.pipelines import fit_run

    torch.manual_seed(0)
    RgbdPatchPrior(TINY_NETWORK, TINY_ENCODING).save_pretrained(tmp_path / "prior", half=True)
    monkeypatch.setattr(fit_run, "CHECKPOINT_SECONDS", -1.0)

    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.step == 5:
            raise StoppedError

    ask = {"prior": tmp_path / "prior", "preset": PRESET, "steps": 8, "split": "none"}
    reconstruct(views, output=tmp_path / "whole", **ask)
    with pytest.raises(StoppedError):
        reconstruct(views, output=tmp_path / "cut", callback=stop, **ask)
    with pytest.raises(InputError, match="prior"):
        reconstruct(views, output=tmp_path / "cut", **(ask | {"prior": "tv"}))
    reconstruct(views, output=tmp_path / "cut", **ask)
    one, two = (load_tensors(tmp_path / name / "field.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_baseline_takes_no_prior(views):
    with pytest.raises(InputError, match="knows no prior"):
        reconstruct(views, method="baseline", prior="tv", preset=PRESET, steps=1)


def test_a_prior_that_does_not_exist_is_refused_before_any_work(views):
    with pytest.raises(InputError, match="neither a folder nor the name"):
        reconstruct(views, prior="no-such-prior", preset=PRESET, steps=1)


def test_without_shipped_weights_the_default_says_what_to_do(monkeypatch):
    from diorama.pipelines import priors

    monkeypatch.setattr(priors, "shipped", lambda: [])
    with pytest.raises(InputError, match=f"{SHIPPED_PRIOR}.*--prior tv, gaussian, null"):
        open_prior(None)


def test_a_prior_may_be_handed_over_as_it_is():
    prior = NullPrior()
    assert open_prior(prior) is prior


class Omniscient(Prior):
    """Knows the one patch that should be there: the score of a point mass, blurred by the level's noise."""

    kind = "omniscient"

    def __init__(self):
        super().__init__()
        self.encoding = PatchEncoding()
        self.truth = None

    def score(self, patch, level):
        signal, noise = noise_level(level)
        return (signal * self.truth - patch) / noise**2


@pytest.mark.slow
def test_spec_13_a_prior_that_knows_the_truth_lowers_the_depth_error(monkeypatch):
    world = table_top()
    photos = photograph(world, cameras_around((-30.0, 0.0, 30.0), width=64, height=48), samples=4)
    held_out = photograph(world, cameras_around((-15.0, 15.0), width=64, height=48), samples=4)
    similarity = plan_fit(photos, Geometry(scene_scale(photos), None, None, ()), "few").similarity
    ask = PatchGuide.loss

    def informed(guide, patch, *rest):
        there = photograph(world, similarity.inverse().apply_cameras(patch.camera), samples=1)
        depth = torch.where(there.depth > 0, similarity.scale * there.depth, torch.inf)
        guide.prior.truth = encode_rgbd(there.images, depth)
        return ask(guide, patch, *rest)

    monkeypatch.setattr(PatchGuide, "loss", informed)
    preset = replace(few("inward", False), stereo=False)
    errors = {}
    for name, prior in (("null", NullPrior()), ("omniscient", Omniscient())):
        seen = reconstruct(photos, prior=prior, preset=preset, steps=250, split="none").render(held_out.cameras)
        known = held_out.depth > 0
        errors[name] = float(((seen.depth - held_out.depth).abs() / held_out.depth)[known].median())
    assert errors["omniscient"] < 0.8 * errors["null"], errors
