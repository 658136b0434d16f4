"""One U-Net for images, RGBD and latents, in two building styles.

`classic` is the network of DDPM's descendants that DiffusioNeRF used: blocks normalise after their convolutions, a
stage keeps the width it was given until its last step changes it, and the stem's output skips to the head. `adm` is
the one of Dhariwal and Nichol that IVID and latent diffusion used: blocks normalise before, resample inside, start as
the identity, and every step of the way down leaves a skip. Both are the same loop over steps; only the list differs.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from diorama.errors import InputError
from diorama.nets.attention import CrossAttention, FullAttention, LinearAttention
from diorama.nets.blocks import (
    PostNormBlock,
    PreNormBlock,
    Resample,
    Upsample,
    full_precision,
    time_embedding,
    zero,
)
from diorama.nets.config import AttentionKind, UNetConfig
from diorama.nets.pretrained import assign_strict, read_pretrained, save_pretrained

KIND = "unet"
"""The word by which `config.json` of a lone U-Net names it."""


class Step(nn.Module):
    """One step down or up: a residual block, attention, resampling, each if there is one."""

    def __init__(
        self,
        block: PostNormBlock | PreNormBlock | None = None,
        attention: nn.ModuleList | None = None,
        resample: nn.Module | None = None,
        *,
        stores: bool = False,
        joins: bool = False,
    ) -> None:
        super().__init__()
        self.block, self.attention, self.resample = block, attention or nn.ModuleList(), resample
        self.stores, self.joins = stores, joins

    def forward(
        self, h: Float[Tensor, "batch i h w"], embedding: Float[Tensor, "batch e"], context: Tensor | None
    ) -> Tensor:
        """The next feature map. `stores` and `joins` are the network's business, not the step's."""
        if self.block is not None:
            h = self.block(h, embedding)
        for attention in self.attention:
            h = attention(h, context) if isinstance(attention, CrossAttention) else attention(h)
        return h if self.resample is None else self.resample(h)


class UNet(nn.Module):
    """A U-Net told the time, and perhaps a class and context tokens.

    Weights stay float32; run it under `torch.autocast(device, torch.bfloat16)` for speed. `full_precision_ends` of the
    config keeps stem, embedding, long skip and head in float32 there. `.to(memory_format=torch.channels_last)` is
    welcome. Nothing in it depends on the global random state after it is built.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        given = config.in_channels * config.patch**2
        self.stem = nn.Conv2d(given, config.width, config.stem_kernel, padding=config.stem_kernel // 2)
        activation = nn.GELU() if config.style == "classic" else nn.SiLU()
        width = config.embedding
        self.embed = nn.Sequential(nn.Linear(config.width, width), activation, nn.Linear(width, width))
        self.classes = nn.Embedding(config.classes, width) if config.classes else None
        down, up = (_classic_steps if config.style == "classic" else _adm_steps)(config)
        last = config.widths[-1]
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.middle = nn.ModuleList(
            [
                Step(_block(config, last, last), _attention(config, config.middle_attention, last)),
                Step(_block(config, last, last)),
            ]
        )
        self.head_block = _block(config, 2 * config.width, config.width) if config.style == "classic" else None
        self.head = _head(config)

    def forward(
        self,
        x: Float[Tensor, "batch c h w"],
        time: Float[Tensor, "batch"],
        classes: Int[Tensor, "batch"] | None = None,
        context: Float[Tensor, "batch token e"] | None = None,
    ) -> Float[Tensor, "batch o h w"]:
        """The network's output, as many pixels as it was given.

        x: any signed image or latent; height and width multiples of `config.multiple`. time: the number that goes
        into the sinusoidal embedding (times `config.time_scale`); for the papers' networks the integer step as a
        float. classes: labels from 0; -1, or None for all, is the null class. context: tokens for cross-attention.
        Raises InputError for a size, a channel count or a condition this network does not take.
        """
        self._check(x, classes, context)
        with self._ends(x):
            embedding = self._embedding(time, classes)
            h = self.stem(F.pixel_unshuffle(self._at_ends(x), self.config.patch))
        skips = [h]
        for step in self.down:
            h = step(h, embedding, context)
            if step.stores:
                skips.append(h)
        for step in self.middle:
            h = step(h, embedding, context)
        for step in self.up:
            h = step(torch.cat([h, skips.pop()], dim=1) if step.joins else h, embedding, context)
        with self._ends(x):
            if self.head_block is not None:
                h = self.head_block(torch.cat([self._at_ends(h), skips.pop()], dim=1), embedding)
            return F.pixel_shuffle(self.head(self._at_ends(h)), self.config.patch)

    def _embedding(self, time: Tensor, classes: Tensor | None) -> Tensor:
        embedding = self.embed(time_embedding(time.float() * self.config.time_scale, self.config.width))
        if self.classes is not None and classes is not None:
            embedding = embedding + self.classes(classes.clamp(min=0)) * (classes >= 0)[:, None]
        return embedding

    def _ends(self, x: Tensor) -> AbstractContextManager[Any]:
        # autocast is switched off for the ends alone
        return full_precision(x.device) if self.config.full_precision_ends else nullcontext()

    def _at_ends(self, h: Tensor) -> Tensor:
        return h.to(self.stem.weight.dtype) if self.config.full_precision_ends else h

    def _check(self, x: Tensor, classes: Tensor | None, context: Tensor | None) -> None:
        config, (channels, height, width) = self.config, x.shape[1:]
        if channels != config.in_channels:
            raise InputError(f"the input has {channels} channels; this network takes {config.in_channels}.")
        multiple = config.multiple
        if height % multiple or width % multiple:
            high, wide = (-(-side // multiple) * multiple for side in (height, width))
            raise InputError(
                f"the input is {height} high and {width} wide; the bottom of this network has 1 pixel for {multiple}, "
                f"so both must be multiples of {multiple}. Pad or resize it, for example to {high} x {wide}."
            )
        if classes is not None and self.classes is None:
            raise InputError("class labels were given to a network without classes. Leave them out.")
        if context is not None and context.shape[-1] != config.context_width:
            raise InputError(
                f"context tokens are {context.shape[-1]} wide; this network takes {config.context_width or 'none'}."
            )

    def save_pretrained(self, folder: Path | str, *, card: str = "", half: bool = False, force: bool = False) -> Path:
        """Write `config.json`, `model.safetensors` and `README.md`; see `pretrained.save_pretrained`."""
        return save_pretrained(folder, KIND, asdict(self.config), self.state_dict(), card=card, half=half, force=force)

    @classmethod
    def from_pretrained(cls, place: Path | str, device: str | torch.device = "cpu") -> "UNet":
        """A U-Net from its folder, or from the name of one shipped inside the package, ready for inference.

        Raises InputError where the folder is none, is damaged, or its weights do not fit its config (with the names).
        """
        found = read_pretrained(place, [KIND])
        network = cls.empty(found.settings)
        assign_strict(network, found.tensors(device=device), found.weights)
        return network.eval()

    @classmethod
    def empty(cls, settings: Mapping[str, Any]) -> "UNet":
        """The network that a config describes, without memory for its weights (on the meta device)."""
        with torch.device("meta"):
            return cls(UNetConfig.from_settings(settings))


def with_more_inputs(network: UNet, in_channels: int) -> UNet:
    """A copy with further input channels whose weights are zero: it computes what it did, whatever they hold.

    Source: IVID (arXiv 2303.17905), how the completing network starts from the unconditional one.
    """
    old = network.config
    if old.patch != 1 or in_channels < old.in_channels:
        raise InputError(f"{old.in_channels} input channels cannot become {in_channels} with patches of {old.patch}.")
    wider = UNet(replace(old, in_channels=in_channels)).to(network.stem.weight)
    state = dict(network.state_dict())
    kernel = state["stem.weight"]
    state["stem.weight"] = torch.cat(
        [kernel, kernel.new_zeros(old.width, in_channels - old.in_channels, *kernel.shape[2:])], 1
    )
    wider.load_state_dict(state)
    return wider


def _classic_steps(config: UNetConfig) -> tuple[list[Step], list[Step]]:
    # a stage keeps the width it was given; its last step leads to the next width and, but for the last, half the side
    down, up = [], []
    given = (config.width, *config.widths[:-1])
    for level, (narrow, wide) in enumerate(zip(given, config.widths, strict=True)):
        kind, deepest = config.attention[level], level == len(given) - 1
        for last in _until_last(config.blocks):
            attention = _attention(config, kind, narrow) if last else None
            down.append(Step(_block(config, narrow, narrow), attention, stores=True))
        lead = nn.Conv2d(narrow, wide, 3, padding=1) if deepest else nn.Conv2d(narrow, wide, 4, 2, 1)
        down.append(Step(resample=lead))
    for level, (narrow, wide) in reversed(list(enumerate(zip(given, config.widths, strict=True)))):
        for last in _until_last(config.blocks):
            attention = _attention(config, config.attention[level], wide) if last else None
            up.append(Step(_block(config, wide + narrow, wide), attention, joins=True))
        up.append(Step(resample=Upsample(wide, narrow) if level else nn.Conv2d(wide, narrow, 3, padding=1)))
    return down, up


def _adm_steps(config: UNetConfig) -> tuple[list[Step], list[Step]]:
    # blocks change the width at once; what the stem, every block and every halving made is joined on the way up
    down, up = [], []
    stored, now = [config.width], config.width
    for level, wide in enumerate(config.widths):
        for _ in range(config.blocks):
            down.append(Step(_block(config, now, wide), _attention(config, config.attention[level], wide), stores=True))
            now = wide
            stored.append(now)
        if level < len(config.widths) - 1:
            down.append(Step(_block(config, now, now, "down"), stores=True))
            stored.append(now)
    for level, wide in reversed(list(enumerate(config.widths))):
        for _ in range(config.blocks + 1):
            block = _block(config, now + stored.pop(), wide)
            up.append(Step(block, _attention(config, config.attention[level], wide), joins=True))
            now = wide
        if level:
            up.append(Step(_block(config, now, now, "up")))
    return down, up


def _until_last(count: int) -> Iterator[bool]:
    # False, ..., False, True
    return (index == count - 1 for index in range(count))


def _block(config: UNetConfig, given: int, made: int, resample: Resample | None = None) -> PostNormBlock | PreNormBlock:
    groups, standardised = config.groups, config.weight_standardised
    if config.style == "classic":
        return PostNormBlock(given, made, config.embedding, groups=groups, standardised=standardised)
    return PreNormBlock(given, made, config.embedding, groups=groups, standardised=standardised, resample=resample)


def _attention(config: UNetConfig, kind: AttentionKind, width: int) -> nn.ModuleList:
    heads = config.heads or width // config.head_width
    modules: list[nn.Module] = []
    match kind:
        case "linear":
            modules.append(LinearAttention(width, heads, config.head_width))
        case "full" | "cosine":
            groups = config.groups if config.style == "adm" else None
            modules.append(FullAttention(width, heads, config.head_width, cosine=kind == "cosine", groups=groups))
    if config.context_width and kind != "none":
        modules.append(CrossAttention(width, config.context_width, heads, config.head_width))
    return nn.ModuleList(modules)


def _head(config: UNetConfig) -> nn.Module:
    made = config.out_channels * config.patch**2
    if config.style == "classic":
        return nn.Conv2d(config.width, made, 1)
    last = zero(nn.Conv2d(config.width, made, 3, padding=1))
    return nn.Sequential(nn.GroupNorm(config.groups, config.width), nn.SiLU(), last)
