"""A prior's folder is read without executing anything, and says what is wrong with it."""

import json

import pytest
import torch

from diorama.errors import InputError, OutputError
from diorama.priors.prior import NullPrior, Prior


def test_a_prior_survives_the_disk(tmp_path):
    NullPrior().save_pretrained(tmp_path / "prior")
    assert isinstance(Prior.from_pretrained(tmp_path / "prior"), NullPrior)
    assert sorted(p.name for p in (tmp_path / "prior").iterdir()) == ["config.json", "model.safetensors"]


def test_the_null_prior_has_no_opinion_and_no_gradient():
    colour = torch.rand(2, 3, 8, 8, requires_grad=True)
    loss = NullPrior().patch_loss(colour, torch.rand(2, 8, 8), 0.5, torch.Generator())
    assert loss.item() == 0
    assert not loss.requires_grad


def test_a_prior_is_never_overwritten(tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        NullPrior().save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "no format version"),
        ('{"format": 99, "kind": "null"}', "newer diorama"),
        ('{"format": 1, "kind": "os.system"}', "kind 'os.system'"),
    ],
)
def test_a_strange_config_is_refused_with_its_reason(tmp_path, text, reason):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        Prior.from_pretrained(tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, "kind": "null"}))
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle?")
    with pytest.raises(InputError, match="does not fit"):
        Prior.from_pretrained(tmp_path)


def test_an_empty_folder_holds_no_prior(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing"):
        Prior.from_pretrained(tmp_path)
