"""Attention over the pixels of a feature map or of several together, and from pixels to a handful of context tokens.

Every module here is residual: it returns its input plus what it gathered, in the input's shape and memory format.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from diorama.nets.blocks import zero

COSINE_SCALE = 10.0
"""What cosine-similarity logits are multiplied by (DiffusioNeRF, authors' code)."""

MOST_WRITTEN_OUT = 576
"""Tokens up to which `attend` trains faster on CPUs in bfloat16 by plain matrix products (`python -m
benchmarks.attention`)."""


class LinearAttention(nn.Module):
    """Attention whose cost grows linearly with the pixels: softmax of keys over pixels, of queries over features.

    Layer norm before and after. Source: Efficient Attention (arXiv 1812.01243), as in DiffusioNeRF's code.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, head_width**-0.5
        self.norm = nn.LayerNorm(width, bias=False)
        self.to_heads = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)
        self.out_norm = nn.LayerNorm(width, bias=False)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """x plus what every pixel read from the summary of all pixels."""
        tokens = as_tokens(x)
        query, key, value = split_heads(self.to_heads(self.norm(tokens)), self.heads)
        query = query.softmax(dim=-1) * self.scale
        key = key.softmax(dim=-2)
        summary = key.transpose(-1, -2).to(value.dtype) @ (value / tokens.shape[1])
        read = rearrange(query.to(summary.dtype) @ summary, "b head n c -> b n (head c)")
        return x + as_image(self.out_norm(self.out(read)), x)


class FullAttention(nn.Module):
    """Attention of every pixel to every pixel, of its own image or of all images of its scene.

    cosine: queries and keys have unit length and logits are multiplied by 10, instead of by 1 / sqrt(head width).
    groups: group norm of that many groups before, biased projections and an output that starts at zero (ADM); None:
    layer norm and no bias on the way in (DiffusioNeRF).
    """

    def __init__(self, width: int, heads: int, head_width: int, *, cosine: bool, groups: int | None) -> None:
        super().__init__()
        self.heads, self.cosine = heads, cosine
        self.norm = nn.LayerNorm(width, bias=False) if groups is None else nn.GroupNorm(groups, width)
        self.to_heads = nn.Linear(width, 3 * heads * head_width, bias=groups is not None)
        self.out = nn.Linear(heads * head_width, width)
        if groups is not None:
            zero(self.out)

    def forward(
        self,
        x: Float[Tensor, "batch c h w"],
        views: int = 1,
        mask: Bool[Tensor, "scene #head #n m"] | None = None,
    ) -> Float[Tensor, "batch c h w"]:
        """x plus what every pixel gathered.

        views: so many images that follow each other in the batch are one scene, and see each other; nothing tells
        them apart but their content. mask: True where a pixel of a scene (n) may look at another (m); both are counted
        view by view, row by row. A pixel that may look nowhere gathers NaN.
        """
        if isinstance(self.norm, nn.GroupNorm):
            tokens = as_tokens(self.norm(x), views)
        else:
            tokens = self.norm(as_tokens(x, views))
        query, key, value = split_heads(self.to_heads(tokens), self.heads)
        gathered = attend(query, key, value, cosine=self.cosine, mask=mask)
        return x + as_image(self.out(rearrange(gathered, "b head n c -> b n (head c)")), x)


class CrossAttention(nn.Module):
    """Attention of every pixel to context tokens (a class, a text, another view's features) and to one learned token.

    The learned token is what is seen where no context is given, so classifier-free guidance needs nothing else.
    The output starts at zero: a network that gains context starts as it was.
    """

    def __init__(self, width: int, context_width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.nothing = nn.Parameter(torch.zeros(1, 1, context_width))
        self.to_query = nn.Linear(width, heads * head_width, bias=False)
        self.to_key_value = nn.Linear(context_width, 2 * heads * head_width, bias=False)
        self.out = zero(nn.Linear(heads * head_width, width))

    def forward(
        self, x: Float[Tensor, "batch c h w"], context: Float[Tensor, "batch token e"] | None
    ) -> Float[Tensor, "batch c h w"]:
        """x plus what every pixel read from the context."""
        nothing = self.nothing.expand(x.shape[0], -1, -1)
        tokens = nothing if context is None else torch.cat([nothing, context.to(nothing.dtype)], dim=1)
        pixels = self.norm(as_tokens(x))
        query = rearrange(self.to_query(pixels), "b n (head c) -> b head n c", head=self.heads)
        pair = rearrange(self.to_key_value(tokens), "b n (head two c) -> two b head n c", head=self.heads, two=2)
        gathered = attend(query, pair[0], pair[1], cosine=False)
        return x + as_image(self.out(rearrange(gathered, "b head n c -> b n (head c)")), x)


def attend(
    query: Float[Tensor, "b head n c"],
    key: Float[Tensor, "b head m c"],
    value: Float[Tensor, "b head m c"],
    *,
    cosine: bool,
    mask: Bool[Tensor, "b #head #n m"] | None = None,
) -> Float[Tensor, "b head n c"]:
    """softmax(query . key * scale) value; scale 1 / sqrt(c), or 10 between unit vectors where `cosine`.

    mask: False where the softmax is 0.
    """
    scale = query.shape[-1] ** -0.5
    if cosine:
        query, key = (F.normalize(side, dim=-1).to(value.dtype) for side in (query, key))
        scale = COSINE_SCALE
    if _written_out(value):
        logits = (query * scale) @ key.mT
        return (logits if mask is None else logits.masked_fill_(~mask, -torch.inf)).softmax(dim=-1) @ value
    return F.scaled_dot_product_attention(query, key, value, mask, scale=scale)


def _written_out(value: Tensor) -> bool:
    # torch's own attention is slow backwards in bfloat16 on CPUs; writing it out keeps all pairs of tokens in memory
    halves = value.device.type == "cpu" and value.dtype == torch.bfloat16
    return halves and torch.is_grad_enabled() and value.shape[-2] <= MOST_WRITTEN_OUT


def split_heads(projected: Float[Tensor, "b n hc"], heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (b, head, n, c); in the projection they lie together, head by head."""
    query, key, value = rearrange(projected, "b n (head three c) -> three b head n c", head=heads, three=3)
    return query, key, value


def as_tokens(x: Float[Tensor, "batch c h w"], views: int = 1) -> Float[Tensor, "scene vhw c"]:
    """The pixels of every `views` images that follow each other, as one row; a view of channels_last maps."""
    return rearrange(x, "(s v) c h w -> s (v h w) c", v=views)


def as_image(tokens: Float[Tensor, "scene vhw c"], like: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
    """Tokens back where their pixels were; a view, so in channels_last order."""
    return rearrange(tokens, "s (v h w) c -> (s v) c h w", h=like.shape[-2], w=like.shape[-1])
