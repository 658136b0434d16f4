"""A prior's folder is read without executing anything, and says what is wrong with it."""

import json
from dataclasses import asdict

import pytest
import torch

from diorama.errors import InputError, OutputError
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.prior import NullPrior, PatchEncoding, Prior
from diorama.priors.rgbd_patch import RgbdPatchPrior
from diorama.priors.total_variation import TotalVariationPrior
from tests.priors.made_up import TINY, TINY_NETWORK, smooth_patches


def every_kind():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RgbdPatchPrior(TINY_NETWORK, TINY)
    return [
        NullPrior(TINY),
        GaussianPrior.fit([smooth_patches(20)], TINY),
        TotalVariationPrior(TINY, disparity_scale=0.5),
        network.frozen(),
    ]


@pytest.mark.parametrize("prior", every_kind(), ids=lambda prior: prior.kind)
def test_a_prior_survives_the_disk(tmp_path, prior):
    prior.save_pretrained(tmp_path / "prior", card="What it is.")
    back = Prior.from_pretrained(tmp_path / "prior")
    assert type(back) is type(prior)
    assert back.encoding == prior.encoding
    assert back.checksum == prior.checksum
    assert not any(parameter.requires_grad for parameter in back.parameters())
    patch = smooth_patches(2, seed=5)
    assert torch.equal(back.score(patch, 19), prior.score(patch, 19))
    assert sorted(p.name for p in (tmp_path / "prior").iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("prior", every_kind(), ids=lambda prior: prior.kind)
def test_a_score_has_no_graph_and_the_shape_of_its_patch(prior):
    patch = smooth_patches(3).requires_grad_()
    score = prior.score(patch, 47)
    assert score.shape == patch.shape
    assert score.dtype == torch.float32
    assert not score.requires_grad


@pytest.mark.parametrize("prior", every_kind(), ids=lambda prior: prior.kind)
def test_what_the_encoding_does_not_name_is_refused(prior):
    with pytest.raises(ValueError, match="this prior knows patches"):
        prior.score(torch.zeros(1, 4, 8, 8), 3)
    with pytest.raises(ValueError, match="valid from 0 to 999"):
        prior.score(torch.zeros(1, 4, 16, 16), 1000)


def test_the_null_prior_has_no_opinion():
    assert NullPrior(TINY).score(smooth_patches(2), 3).abs().max() == 0


def test_two_priors_that_differ_in_a_weight_have_two_checksums():
    one = GaussianPrior.natural(TINY)
    two = GaussianPrior(one.mean + 1e-3, one.covariance, TINY)
    assert one.checksum != two.checksum


def test_a_prior_is_never_overwritten(tmp_path):
    with pytest.raises(OutputError, match="exists"):
        NullPrior().save_pretrained(tmp_path)


def described(**changes):
    return {"format": 1, "kind": "null", "settings": {"encoding": asdict(PatchEncoding())}} | changes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "no format version"),
        (json.dumps(described(format=99)), "newer diorama"),
        (json.dumps(described(kind="os.system")), "kind 'os.system'"),
        (json.dumps(described(settings={})), "what the numbers of a patch mean"),
        (json.dumps(described(settings={"encoding": {"channels": "rgbd"}})), "PatchEncoding has the fields"),
        (json.dumps(described(settings={"encoding": asdict(PatchEncoding()) | {"depth": "ray"}})), "planar"),
        (json.dumps(described(settings={"encoding": asdict(PatchEncoding()) | {"levels": [5, 2000]}})), "levels"),
        (json.dumps(described(settings={"encoding": asdict(PatchEncoding()) | {"depth_floor": "x"}})), "depth_floor"),
    ],
)
def test_a_strange_config_is_refused_with_its_reason(tmp_path, text, reason):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        Prior.from_pretrained(tmp_path)


@pytest.mark.parametrize("prior", every_kind()[1:], ids=lambda prior: prior.kind)
def test_a_cut_config_of_any_kind_is_refused(tmp_path, prior):
    prior.save_pretrained(tmp_path / "prior")
    path = tmp_path / "prior" / "config.json"
    config = json.loads(path.read_text())
    config["settings"] = {"encoding": config["settings"]["encoding"], "strange": 1}
    path.write_text(json.dumps(config))
    if prior.kind == "gaussian":
        Prior.from_pretrained(tmp_path / "prior")
        return
    with pytest.raises(InputError, match="cannot be understood"):
        Prior.from_pretrained(tmp_path / "prior")


def test_a_pickle_offered_as_weights_is_refused(tmp_path):
    NullPrior().save_pretrained(tmp_path / "prior")
    (tmp_path / "prior" / "model.safetensors").write_bytes(b"\x80\x04pickle?")
    with pytest.raises(InputError, match="pickle"):
        Prior.from_pretrained(tmp_path / "prior")


def test_weights_that_were_cut_are_refused(tmp_path):
    GaussianPrior.natural(TINY).save_pretrained(tmp_path / "prior")
    file = tmp_path / "prior" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="whole safetensors"):
        Prior.from_pretrained(tmp_path / "prior")


def test_a_name_that_is_not_shipped_is_refused_with_the_names_that_are():
    with pytest.raises(InputError, match="neither a folder nor the name"):
        Prior.from_pretrained("no-such-prior")
