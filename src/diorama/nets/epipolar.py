"""Who may look at whom, by the geometry of two views: a point seen in one lies on a line in the other.

A mask for networks that attend across views (`diorama.nets.multiview.AttentionMask`), with cameras given as tensors:
`functools.partial(epipolar_mask, fundamental, band=1.5)`.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.nets.blocks import full_precision


def epipolar_mask(
    fundamental: Float[Tensor, "scene view view 3 3"], height: int, width: int, *, band: float
) -> Bool[Tensor, "scene n n"]:
    """Whether a pixel (first) may look at another: those of its own view, and those near its line in another view.

    fundamental: F[a, b] of every pair of views, for points (x, y, 1) as shares of width and height from the image's
    top-left corner: q^T F[a, b] p = 0 where q in view b shows what p shows in view a; any scale; F[a, a] is not read.
    height and width: of the feature map, whose pixels are counted view by view, row by row. band: the largest distance
    of a pixel's centre from the line, in pixels of that map. A pixel whose line is not defined (its ray leads through
    the other camera's centre; F is 0 for two views from one place) may look everywhere.
    """
    matrices = fundamental.to(torch.promote_types(fundamental.dtype, torch.float32))
    x = (torch.arange(width).to(matrices) + 0.5) / width
    y = (torch.arange(height).to(matrices) + 0.5) / height
    points = torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)], dim=-1)
    with full_precision(matrices.device):
        lines = points @ matrices.mT  # F p of every pixel p: scene, view a, view b, pixel, 3
        offsets = lines @ points.T
    lengths = torch.hypot(lines[..., 0] / width, lines[..., 1] / height)
    own = torch.eye(matrices.shape[1], dtype=torch.bool, device=matrices.device)[:, :, None, None]
    allowed = (offsets.abs() <= band * lengths[..., None]) | own
    return rearrange(allowed, "s a b n m -> s (a n) (b m)")
