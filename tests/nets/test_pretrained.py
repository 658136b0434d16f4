import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import diorama
from diorama.errors import InputError, OutputError
from diorama.nets import pretrained
from diorama.nets.config import UNetConfig, patch_prior_small
from diorama.nets.pretrained import (
    MOST_SHIPPED_PARAMETERS,
    SHIPPED,
    assign_strict,
    find_pretrained,
    key_report,
    read_pretrained,
    read_tensors,
    save_pretrained,
    shipped,
)
from diorama.nets.unet import UNet

TINY = UNetConfig(width=8, multipliers=(1, 2), attention=("none", "full"), heads=2, head_width=4, groups=4)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(TINY).eval()


@pytest.fixture
def folder(network, tmp_path):
    return network.save_pretrained(tmp_path / "weights")


def altered(folder, **changes):
    tensors = read_tensors(folder / "model.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


def test_a_network_comes_back_bit_for_bit(network, folder):
    back = UNet.from_pretrained(folder)
    assert back.config == network.config
    assert not back.training
    x, time = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 99.0])
    with torch.no_grad():
        assert torch.equal(back(x, time), network(x, time))


def test_a_network_that_comes_back_can_be_trained(folder):
    back = UNet.from_pretrained(folder)
    back(torch.randn(1, 4, 8, 8), torch.zeros(1)).sum().backward()
    assert all(parameter.grad is not None for parameter in back.parameters())


def test_the_folder_has_the_layout_of_the_hub(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_the_card_counts_what_the_file_holds_and_the_hub_can_read_it(network, tmp_path):
    from huggingface_hub import ModelCard

    folder = network.save_pretrained(tmp_path / "w", card="Trained on **nothing**.", half=True)
    card = ModelCard((folder / "README.md").read_text(encoding="utf-8"))
    assert card.data.library_name == "diorama"
    count = sum(parameter.numel() for parameter in network.parameters())
    assert f"| model.safetensors | {count:,} | float16 |" in card.text
    assert "Trained on **nothing**." in card.text


def test_half_storage_halves_the_file_and_rounds_once(network, folder, tmp_path):
    half = network.save_pretrained(tmp_path / "half", half=True)
    assert (half / "model.safetensors").stat().st_size < 0.6 * (folder / "model.safetensors").stat().st_size
    back = UNet.from_pretrained(half)
    for name, tensor in back.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, network.state_dict()[name].half().float())


@pytest.mark.parametrize("step", [3.0, 19.0, 99.0])
def test_half_storage_moves_the_answer_by_less_than_a_hundredth(tmp_path, step):
    torch.manual_seed(0)
    network = UNet(replace(patch_prior_small(), width=16, groups=4)).eval()
    back = UNet.from_pretrained(network.save_pretrained(tmp_path / "w", half=True))
    x, time = torch.randn(2, 4, 48, 48), torch.full((2,), step)
    with torch.no_grad():
        exact = network(x, time)
        assert (back(x, time) - exact).norm() < 0.01 * exact.norm()


def test_channels_last_weights_are_stored_in_plain_order(network, folder, tmp_path):
    network.to(memory_format=torch.channels_last)
    other = network.save_pretrained(tmp_path / "last")
    assert (other / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_further_files_lie_beside_the_model(network, tmp_path):
    raw = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    folder = save_pretrained(tmp_path / "w", "unet", {"a": 1}, network.state_dict(), more={"raw": raw})
    found = read_pretrained(folder, ["unet"])
    assert found.settings == {"a": 1}
    assert torch.equal(found.tensors("raw")["stem.bias"], found.tensors()["stem.bias"] + 1)
    with pytest.raises(InputError, match=r"average.safetensors is missing"):
        found.tensors("average")


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (7e4, True)])
def test_values_the_file_cannot_hold_are_refused_before_anything_is_written(network, tmp_path, value, half):
    with torch.no_grad():
        network.stem.bias[0] = value
    with pytest.raises(OutputError, match=r"stem.bias in model.safetensors"):
        network.save_pretrained(tmp_path / "w", half=half)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten_unless_forced(network, folder):
    with pytest.raises(OutputError, match="exists already"):
        network.save_pretrained(folder)
    with torch.no_grad():
        network.stem.bias.fill_(0.25)
    network.save_pretrained(folder, force=True)
    assert (UNet.from_pretrained(folder).stem.bias == 0.25).all()
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]


def test_force_replaces_folders_of_weights_only(network, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not a folder of weights"):
        network.save_pretrained(tmp_path / "photos", force=True)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"mine"


def test_a_full_disk_leaves_the_old_folder_whole(network, folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        network.save_pretrained(folder, force=True)
    assert UNet.from_pretrained(folder).config == TINY
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]


def test_a_missing_an_unexpected_and_a_misshapen_tensor_are_all_named(folder):
    altered(folder, **{"stem.bias": None, "stem.gain": torch.ones(8), "head.weight": torch.ones(4, 9, 1, 1)})
    with pytest.raises(
        InputError,
        match=r"1 missing \(stem.bias\); 1 unexpected \(stem.gain\); 1 of another shape \(head.weight: "
        r"\(4, 9, 1, 1\) in the file, \(4, 8, 1, 1\) needed\)",
    ):
        UNet.from_pretrained(folder)


def test_a_network_with_other_weights_keeps_its_own(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {**before, "more": torch.ones(1)}
    with pytest.raises(InputError, match="more"):
        assign_strict(network, tensors, "that file")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_long_lists_of_names_are_cut():
    report = key_report({f"layer{index}": torch.ones(1) for index in range(10)}, {})
    assert str(report).endswith("layer5, and 4 more)")
    assert not report.fits


def test_integers_do_not_stand_in_for_numbers_with_a_fraction():
    report = key_report({"a": torch.ones(2)}, {"a": torch.ones(2, dtype=torch.int64)})
    assert "torch.int64" in str(report)
    assert key_report({"a": torch.ones(2)}, {"a": torch.ones(2, dtype=torch.float16)}).fits


def test_weights_that_are_not_finite_are_refused(folder):
    altered(folder, **{"stem.bias": torch.full((8,), float("inf"))})
    with pytest.raises(InputError, match=r"not finite \(stem.bias\)"):
        UNet.from_pretrained(folder)


def test_a_plain_module_is_filled_in_place_with_its_buffers():
    norm = nn.BatchNorm1d(3)
    weight = norm.weight
    state = {name: torch.full_like(tensor, 2) for name, tensor in norm.state_dict().items()}
    assign_strict(norm, {name: t.half() if t.is_floating_point() else t for name, t in state.items()}, "file")
    assert weight is norm.weight
    assert weight.tolist() == norm.running_mean.tolist() == [2.0, 2.0, 2.0]
    assert norm.num_batches_tracked == 2


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_cut_short_is_refused_with_its_name(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model.safetensors is not a whole safetensors file"):
        UNet.from_pretrained(folder)


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth", ".pkl"])
def test_a_pickle_is_refused_by_its_name(tmp_path, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"model{suffix}"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="is a pickle"):
        UNet.from_pretrained(file)
    assert not Path("exploded").exists()


def test_a_pickle_is_refused_where_the_weights_should_be(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").rename(folder / "kept")
    torch.save({"weight": torch.ones(2)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin is a pickle"):
        UNet.from_pretrained(folder)
    for content in (pickle.dumps(Bomb()), (folder / "pytorch_model.bin").read_bytes()):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"model.safetensors is a pickle"):
            UNet.from_pretrained(folder)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("not json", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1, 2]", "states no format version"),
        ('{"format": "1"}', "states no format version"),
        ('{"format": 99, "kind": "unet", "settings": {}}', "Install a newer diorama"),
        ('{"format": 1, "kind": "gan", "settings": {}}', "kind 'gan'; needed here: unet"),
        ('{"format": 1, "kind": "unet", "settings": [1]}', "needed here"),
        ('{"format": 1, "kind": "unet", "settings": {"depth": 3}}', "no settings .'depth'."),
        ('{"format": 1, "kind": "unet", "settings": {"width": "wide"}}', "width of a U-Net cannot be 'wide'"),
        (" " * ((1 << 20) + 1), "larger than"),
    ],
    ids=range(10),
)
def test_a_config_that_is_none_is_refused(folder, config, message):
    (folder / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        UNet.from_pretrained(folder)


def test_a_config_of_a_giant_costs_no_memory(folder):
    """Two trillion parameters are described, none are made: names and shapes are compared first."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    content["settings"] |= {"width": 4096, "multipliers": [1, 64], "blocks": 16}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="does not fit its config"):
        UNet.from_pretrained(folder)


def test_what_is_neither_a_folder_nor_a_shipped_name_is_answered_with_the_names_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    UNet(TINY).save_pretrained(tmp_path / "tiny-prior")
    with pytest.raises(InputError, match=r"somewhere/else is neither.*tiny-prior.*nothing is downloaded"):
        UNet.from_pretrained("somewhere/else")
    assert UNet.from_pretrained("tiny-prior").config == TINY
    with pytest.raises(InputError, match="neither"):
        find_pretrained("elsewhere/tiny-prior")


def test_a_file_instead_of_its_folder_is_answered(folder):
    with pytest.raises(InputError, match="Give the folder"):
        UNet.from_pretrained(folder / "model.safetensors")
    with pytest.raises(InputError, match=r"config.json is missing"):
        UNet.from_pretrained(folder.parent)


def test_shipped_weights_lie_inside_the_package():
    assert Path(diorama.__file__).parent / "weights" == SHIPPED


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_are_small_or_half_precision_and_have_a_card(name):
    for file in (SHIPPED / name).glob("*.safetensors"):
        tensors = read_tensors(file)
        assert sum(tensor.numel() for tensor in tensors.values()) <= MOST_SHIPPED_PARAMETERS
        assert file.stat().st_size <= 16_000_000
        exact = {torch.float32} if file.stat().st_size < 1_000_000 else set()  # variances want their exponents
        assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} <= {torch.float16} | exact
    assert len((SHIPPED / name / "README.md").read_text(encoding="utf-8")) > 200


def test_the_settings_of_a_network_survive_json():
    config = replace(TINY, heads=None, time_scale=2.5, style="adm")
    assert UNetConfig.from_settings(json.loads(json.dumps(config.__dict__))) == config
