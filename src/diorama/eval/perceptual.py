"""Perceptual distances: FLIP, which needs no download, and LPIPS, whose weights the user brings.

LPIPS (arXiv 1801.03924) weights come from one local file and are never fetched. It is a flat state dict, either
`.safetensors` or a `.pth` that is read with `weights_only=True`, that holds the trunk under torchvision's names and the
linear heads under those of the authors' package:

    features.{0,2,5,7,10,12,14,17,19,21,24,26,28}.{weight,bias}    VGG16        (AlexNet: features.{0,3,6,8,10})
    lin{0,1,2,3,4}.model.1.weight                                  shape 1 c 1 1, one head per stage

`lpips.LPIPS(net="vgg").state_dict()` is understood as it is (its `net.sliceK.` stands for `features.`); keys that LPIPS
does not use (classifier, scaling layer) are ignored. Which net it is follows from the first convolution.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.errors import InputError, MissingExtraError

Net = Literal["vgg16", "alexnet"]

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet colours, for images in [-1, 1]; the constants of the authors' scaling layer."""
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_FIRST_CONVOLUTION = {"vgg16": (64, 3, 3, 3), "alexnet": (64, 3, 11, 11)}


class Lpips(nn.Module):
    """Learned perceptual distance of two images in [0, 1]: weighted squared difference of unit-length features.

    Five stages of a classification trunk (after relu1_2, 2_2, 3_3, 4_3, 5_3 of VGG16; after each ReLU of AlexNet); each
    stage's difference goes through a non-negative 1x1 head and is averaged over the image. Version 0.1 of the authors.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net: Net = net
        self.features, self.stage_ends = _vgg16_trunk() if net == "vgg16" else _alexnet_trunk()
        widths = (64, 128, 256, 512, 512) if net == "vgg16" else (64, 192, 384, 256, 256)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)

    @property
    def column(self) -> str:
        """The name under which numbers of this net are reported."""
        return f"lpips_{self.net}"

    def forward(self, render: Float[Tensor, "view 3 h w"], photo: Float[Tensor, "view 3 h w"]) -> Float[Tensor, "view"]:
        """Distance per image (0 for equal images); at least 32 pixels a side (AlexNet 64) or a stage is empty."""
        distance = render.new_zeros(len(render))
        for head, first, second in zip(self.heads, self._stages(render), self._stages(photo), strict=True):
            difference = (_unit_length(first) - _unit_length(second)).square()
            distance = distance + head(difference).mean((1, 2, 3))
        return distance

    def _stages(self, image: Float[Tensor, "view 3 h w"]) -> list[Tensor]:
        x = ((2 * image - 1) - image.new_tensor(_SHIFT)[:, None, None]) / image.new_tensor(_SCALE)[:, None, None]
        stages = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.stage_ends:
                stages.append(x)
        return stages

    @staticmethod
    def from_file(path: Path | str) -> "Lpips":
        """Read weights (module docstring) from a local file; InputError names what is missing or misshapen."""
        path = Path(path)
        weights = _read_weights(path)
        named = {_canonical_key(key): value for key, value in weights.items()}
        first = named.get("features.0.weight")
        shape = tuple(first.shape) if first is not None else None
        net = next((name for name, expected in _FIRST_CONVOLUTION.items() if shape == expected), None)
        if net is None:
            raise InputError(
                f"{path}: no LPIPS weights: features.0.weight is {shape}, needed one of {_FIRST_CONVOLUTION}. "
                "See the docstring of diorama.eval.perceptual for the keys a file must hold."
            )
        model = Lpips("vgg16" if net == "vgg16" else "alexnet")
        wanted = model.state_dict()
        wrong = [k for k, v in wanted.items() if k not in named or named[k].shape != v.shape]
        if wrong:
            raise InputError(f"{path}: LPIPS ({net}) weights lack or misshape {wrong[:4]} ({len(wrong)} in all).")
        model.load_state_dict({key: named[key].float() for key in wanted})
        return model.eval().requires_grad_(False)


def flip_error(render: Float[Tensor, "3 h w"], photo: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    """The LDR FLIP error map in [0, 1], 0 where the eye sees no difference (67 pixels per degree, the package default).

    Needs the extra `metrics` (flip-evaluator). Source: Andersson et al. 2020; the usual figure is the map's mean."""
    try:
        from flip_evaluator import evaluate
    except ImportError as error:
        raise MissingExtraError("FLIP needs the package flip-evaluator: pip install 'diorama[metrics]'") from error
    first, second = (x.permute(1, 2, 0).clamp(0, 1).contiguous().float().cpu().numpy() for x in (photo, render))
    error_map, _, _ = evaluate(first, second, "LDR", applyMagma=False, computeMeanError=False)
    return torch.from_numpy(error_map).reshape(photo.shape[-2:])


def _vgg16_trunk() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers: list[nn.Module] = []
    ends = []
    width = 3
    for stage, widths in enumerate(_VGG16):
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for out in widths:
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
            width = out
        ends.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(ends)


def _alexnet_trunk() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = [
        ("0", nn.Conv2d(3, 64, 11, stride=4, padding=2)),
        ("1", nn.ReLU()),
        ("2", nn.MaxPool2d(3, 2)),
        ("3", nn.Conv2d(64, 192, 5, padding=2)),
        ("4", nn.ReLU()),
        ("5", nn.MaxPool2d(3, 2)),
        ("6", nn.Conv2d(192, 384, 3, padding=1)),
        ("7", nn.ReLU()),
        ("8", nn.Conv2d(384, 256, 3, padding=1)),
        ("9", nn.ReLU()),
        ("10", nn.Conv2d(256, 256, 3, padding=1)),
        ("11", nn.ReLU()),
    ]
    return nn.Sequential(OrderedDict(layers)), (1, 4, 7, 9, 11)


def _unit_length(features: Float[Tensor, "view c h w"]) -> Float[Tensor, "view c h w"]:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _canonical_key(key: str) -> str:
    """Others' names to ours: `net.slice2.5.weight` -> `features.5.weight`, `lin0...` -> `heads.0...`."""
    parts = key.split(".")
    if parts[0] == "net" and len(parts) == 4 and parts[1].startswith("slice"):
        return ".".join(("features", *parts[2:]))
    if parts[0].startswith("lin") and parts[0][3:].isdigit() and parts[-1] == "weight":
        return f"heads.{parts[0][3:]}.weight"
    return key


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"no LPIPS weights at {path}. Give a .safetensors or .pth file, or leave LPIPS unmeasured.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise half a dozen kinds for a file that is not theirs
        raise InputError(f"{path} cannot be read as LPIPS weights ({type(error).__name__}: {error}).") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{path} holds no flat state dict of tensors; save model.state_dict().")
    return loaded
