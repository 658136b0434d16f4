"""Priors and patches small enough for tests."""

import torch

from diorama.cameras.patches import PatchWindow
from diorama.nets.config import UNetConfig
from diorama.priors.prior import PatchEncoding

TINY_NETWORK = UNetConfig(
    width=16, multipliers=(1, 2), attention=("none", "full"), middle_attention="none", blocks=1, heads=1, head_width=16
)
TINY_WINDOW = PatchWindow(size=16, focal=60.0, width=64, height=48, margin=8)
TINY = PatchEncoding(window=TINY_WINDOW)


def smooth_patches(count, size=16, seed=0):
    """Encoded patches of smooth random waves."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 4, 4, 4, generator=generator)
    waves = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return (0.4 * waves).clamp(-1, 1)
