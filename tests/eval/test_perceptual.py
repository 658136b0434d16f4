"""LPIPS against a plain second writing of its formula, FLIP against its range; weights only from local files."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from diorama.errors import InputError
from diorama.eval.perceptual import Lpips, flip_error

VGG_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def weights_of(net, seed=0):
    """Random weights under the keys that a user's file has (torchvision trunk, authors' heads)."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, value in Lpips(net).state_dict().items():
        draw = torch.randn(value.shape, generator=generator) * (2 / max(1, value[0].numel())) ** 0.5
        if key.startswith("heads."):
            weights[f"lin{key.split('.')[1]}.model.1.weight"] = draw.abs()
        else:
            weights[key] = draw
    return weights


def images(seed=1, side=48):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 2, 3, side, side, generator=generator)


def plain_lpips(weights, render, photo):
    total = torch.zeros(len(render))
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x, y = (((2 * z - 1) - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1) for z in (render, photo))
    trunk = {key.removeprefix("features."): value for key, value in weights.items()}
    for stage, layers in enumerate(VGG_STAGES):
        if stage:
            x, y = functional.max_pool2d(x, 2, 2), functional.max_pool2d(y, 2, 2)
        for layer in layers:
            kernel, bias = trunk[f"{layer}.weight"], trunk[f"{layer}.bias"]
            x, y = (functional.relu(functional.conv2d(z, kernel, bias, padding=1)) for z in (x, y))
        difference = (functional.normalize(x, dim=1, eps=1e-10) - functional.normalize(y, dim=1, eps=1e-10)) ** 2
        total += (difference * weights[f"lin{stage}.model.1.weight"]).sum(1).mean((1, 2))
    return total


def test_lpips_follows_its_formula(tmp_path):
    weights = weights_of("vgg16")
    save_file(weights, tmp_path / "vgg.safetensors")
    net = Lpips.from_file(tmp_path / "vgg.safetensors")
    render, photo = images()
    assert net.column == "lpips_vgg16"
    torch.testing.assert_close(net(render, photo), plain_lpips(weights, render, photo), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("net", ["vgg16", "alexnet"])
def test_lpips_is_zero_for_equal_images_and_symmetric(net, tmp_path):
    torch.save(weights_of(net), tmp_path / "weights.pth")
    model = Lpips.from_file(tmp_path / "weights.pth")
    render, photo = images(side=64)
    assert model(photo, photo).abs().max() == 0
    torch.testing.assert_close(model(render, photo), model(photo, render))
    assert (model(render, photo) > 0).all()
    assert model.column == f"lpips_{net}"


def test_the_authors_key_names_are_understood(tmp_path):
    renamed = {}
    for key, value in weights_of("vgg16").items():
        renamed[key.replace("features.", "net.slice1.")] = value
    renamed["scaling_layer.shift"] = torch.zeros(1, 3, 1, 1)
    torch.save(renamed, tmp_path / "lpips.pth")
    assert Lpips.from_file(tmp_path / "lpips.pth").net == "vgg16"


def test_wrong_weights_are_refused_with_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="no LPIPS weights at"):
        Lpips.from_file(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        Lpips.from_file(tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        Lpips.from_file(tmp_path / "text.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"features\.0\.weight is None"):
        Lpips.from_file(tmp_path / "other.safetensors")
    lacking = weights_of("alexnet")
    del lacking["lin4.model.1.weight"]
    save_file(lacking, tmp_path / "lacking.safetensors")
    with pytest.raises(InputError, match=r"heads\.4\.weight"):
        Lpips.from_file(tmp_path / "lacking.safetensors")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Runs:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"features.0.weight": Runs()}))
    with pytest.raises(InputError, match="cannot be read"):
        Lpips.from_file(tmp_path / "evil.pth")


def test_flip_is_zero_for_equal_images_and_grows_with_the_error():
    pytest.importorskip("flip_evaluator")
    render, photo = images()[0]
    assert float(flip_error(photo, photo).max()) == 0
    small, large = (photo + share * (render - photo) for share in (0.1, 0.8))
    assert flip_error(photo, photo).shape == photo.shape[1:]
    assert 0 < float(flip_error(small, photo).mean()) < float(flip_error(large, photo).mean()) <= 1
