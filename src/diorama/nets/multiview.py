"""A U-Net that reads all photographs of a scene together and makes one map of features, its planes, for each.

A set goes in and a set comes out. Convolutions and norms act on every view alone; views meet only in attention, where
every pixel may look at every pixel of every view and nothing numbers the views. So their order does not matter, there
may be any number of them, and views that pad a batch are not seen. Source: GIBR (arXiv 2402.03445), as far as known:
a U-Net with attention across views, over a set of any size, with poses as embeddings; the rest is ours.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from diorama.errors import InputError
from diorama.nets.attention import FullAttention
from diorama.nets.blocks import PreNormBlock, full_precision, resized, time_embedding, zero
from diorama.nets.multiview_config import MultiViewConfig

AttentionMask = Callable[[int, int], Tensor | None]
"""From height and width of a feature map to Bool[scene view*h*w view*h*w]: whether a pixel (first) may look at another.

Pixels are counted view by view, row by row. None: all may look at all."""


class MultiViewUNet(nn.Module):
    """From posed views, clean or noisy, to planes aligned with their pixels.

    Weights stay float32; run it under `torch.autocast(device, torch.bfloat16)` for speed, and in channels_last order
    (`.to(memory_format=torch.channels_last)`). Blocks and attention start as nothing; the head does not, because
    planes of zeros would be a field that hardly learns.
    """

    def __init__(self, config: MultiViewConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embedding
        given = config.image_channels + 1 + (6 if config.takes_rays else 0)
        self.stem = nn.Conv2d(given * config.patch**2, config.width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(config.width, width), nn.SiLU(), nn.Linear(width, width))
        self.clean = nn.Parameter(torch.zeros(width))
        self.pose = None
        if config.takes_pose:
            self.pose = nn.Sequential(nn.Linear(config.pose_numbers, width), nn.SiLU(), nn.Linear(width, width))
        self.down, self.middle, self.up = _steps(config)
        self.head = _head(config)
        self.join = None if config.patch == config.plane_scale else _join(config.out_channels)

    def forward(
        self,
        images: Float[Tensor, "scene view c h w"],
        time: Float[Tensor, "scene view"],
        clean: Bool[Tensor, "scene view"],
        pose: Float[Tensor, "scene view numbers"] | None = None,
        rays: Float[Tensor, "scene view plucker=6 h w"] | None = None,
        present: Bool[Tensor, "scene view"] | None = None,
        mask: AttentionMask | None = None,
    ) -> Float[Tensor, "scene view o p q"]:
        """The planes of every view, in the precision of `images`; zero for views that are absent.

        images: in [-1, 1], plus noise; height and width multiples of `config.multiple`. time: of each view's noise, in
        [0, 1]. clean: views without noise, whose time is taken for 0. pose: numbers of every camera in the world of the
        scene's reference camera. rays: unit direction and moment (Plücker) of every pixel, in that world. present:
        False for views that only pad the batch, whatever they hold; None: all are there. mask: who may look at whom
        (see `AttentionMask`); a pixel may always look at itself. Pose and rays are ignored by a network that does not
        take them. Raises InputError for a size or a condition this network does not take.
        """
        self._check(images, pose, rays, mask)
        views = images.shape[1]
        if present is not None:
            images, time = _kept(images, present), _kept(time, present)
            pose = None if pose is None else _kept(pose, present)
            rays = None if rays is None else _kept(rays, present)
        masks = [self._mask(level, images, present, mask) for level in range(len(self.down))]
        with full_precision(images.device):
            embedding = self._embedding(time, clean, pose)
            h = self.stem(self._pixels(images, clean, rays))
        h = self._trunk(h, embedding, views if self.config.cross_view else 1, masks)
        planes = F.pixel_shuffle(self.head(h), self.config.patch // self.config.plane_scale)
        planes = planes if self.join is None else self.join(planes)
        planes = rearrange(planes, "(s v) o p q -> s v o p q", v=views).to(images.dtype)
        return planes if present is None else _kept(planes, present)

    def _trunk(self, h: Tensor, embedding: Tensor, views: int, masks: list[Tensor | None]) -> Tensor:
        # down, through the middle and up again; `views` see each other
        skips = [h]
        for level, steps in enumerate(self.down):
            if level:
                h = resized(h, "down")
                skips.append(h)
            for step in steps.children():
                h = step(h, embedding, views, masks[level])
                skips.append(h)
        for step in self.middle:
            h = step(h, embedding, views, masks[-1])
        for level, steps in reversed(list(enumerate(self.up))):
            for step in steps.children():
                h = step(torch.cat([h, skips.pop()], dim=1), embedding, views, masks[level])
            h = resized(h, "up") if level else h
        return h

    def _embedding(self, time: Tensor, clean: Tensor, pose: Tensor | None) -> Tensor:
        steps = time.float().masked_fill(clean, 0.0).flatten() * self.config.time_scale
        embedding = self.time(time_embedding(steps, self.config.width)) + clean.flatten()[:, None] * self.clean
        if self.pose is not None and pose is not None:
            embedding = embedding + self.pose(pose.flatten(0, 1).to(self.clean))
        return embedding

    def _pixels(self, images: Tensor, clean: Tensor, rays: Tensor | None) -> Tensor:
        flags = clean[:, :, None, None, None].expand(-1, -1, 1, *images.shape[-2:])
        maps = [images, flags] + ([rays] if self.config.takes_rays and rays is not None else [])
        pixels = torch.cat([channels.flatten(0, 1).to(self.clean) for channels in maps], dim=1)
        return F.pixel_unshuffle(pixels, self.config.patch)

    def _mask(
        self, level: int, images: Tensor, present: Tensor | None, mask: AttentionMask | None
    ) -> Bool[Tensor, "scene 1 #n m"] | None:
        # for `attend`: who looks (or one for all), at whom
        attends = self.config.attention[level] or (self.config.middle_attention and level == len(self.down) - 1)
        if not (attends and self.config.cross_view):
            return None
        height, width = (side // self.config.patch >> level for side in images.shape[-2:])
        seen = None
        if present is not None:
            anyone = present | ~present.any(dim=1, keepdim=True)  # what a scene without views sees is not used
            seen = repeat(anyone, "s v -> s 1 1 (v h w)", h=height, w=width)
        if mask is None or (allowed := mask(height, width)) is None:
            return seen
        itself = torch.eye(allowed.shape[-1], dtype=torch.bool, device=allowed.device)
        allowed = allowed[:, None]
        return (allowed if seen is None else allowed & seen) | itself

    def _check(self, images: Tensor, pose: Tensor | None, rays: Tensor | None, mask: AttentionMask | None) -> None:
        config, (views, channels, height, width) = self.config, images.shape[1:]
        if channels != config.image_channels or not views:
            raise InputError(
                f"{views} views of {channels} channels were given; this network takes one or more of "
                f"{config.image_channels}."
            )
        multiple = config.multiple
        if height % multiple or width % multiple or not height or not width:
            high, wide = (max(1, -(-side // multiple)) * multiple for side in (height, width))
            raise InputError(
                f"the views are {height} high and {width} wide; the bottom of this network has 1 pixel for {multiple}, "
                f"so both must be multiples of {multiple}. Pad or resize them, for example to {high} x {wide}."
            )
        if config.takes_pose and (pose is None or pose.shape[-1] != config.pose_numbers):
            found = "none" if pose is None else pose.shape[-1]
            raise InputError(f"this network reads {config.pose_numbers} numbers of every pose; given are {found}.")
        if config.takes_rays and rays is None:
            raise InputError("this network reads a map of rays beside every view; none were given.")
        if mask is not None and not config.cross_view:
            raise InputError("a mask was given to a network whose views do not see each other. Leave it out.")


class Step(nn.Module):
    """A residual block and, perhaps, attention."""

    def __init__(self, block: PreNormBlock, attention: FullAttention | None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(
        self, h: Float[Tensor, "batch i h w"], embedding: Float[Tensor, "batch e"], views: int, mask: Tensor | None
    ) -> Tensor:
        """The next feature map; see `FullAttention` for `views` and `mask`."""
        h = self.block(h, embedding)
        return h if self.attention is None else self.attention(h, views, mask)


def _steps(config: MultiViewConfig) -> tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList]:
    # down and up have a list per level, finest first; on the way up is joined what the stem, every step and every
    # halving made
    down, up = [], [nn.ModuleList() for _ in config.widths]
    stored, now = [config.width], config.width
    for level, (width, attends) in enumerate(zip(config.widths, config.attention, strict=True)):
        stored += [now] if level else []
        down.append(nn.ModuleList())
        for _ in range(config.blocks):
            down[-1].append(_step(config, now, width, attends=attends))
            now = width
            stored.append(now)
    middle = [_step(config, now, now, attends=config.middle_attention), _step(config, now, now, attends=False)]
    for level, (width, attends) in reversed(list(enumerate(zip(config.widths, config.attention, strict=True)))):
        for _ in range(config.blocks + 1):
            up[level].append(_step(config, now + stored.pop(), width, attends=attends))
            now = width
    return nn.ModuleList(down), nn.ModuleList(middle), nn.ModuleList(up)


def _step(config: MultiViewConfig, given: int, made: int, *, attends: bool) -> Step:
    block = PreNormBlock(given, made, config.embedding, groups=config.groups, standardised=False)
    if not attends:
        return Step(block, None)
    attention = FullAttention(made, config.heads, made // config.heads, cosine=False, groups=None)
    zero(attention.out)
    return Step(block, attention)


def _head(config: MultiViewConfig) -> nn.Sequential:
    last = nn.Conv2d(config.width, config.out_channels * (config.patch // config.plane_scale) ** 2, 3, padding=1)
    nn.init.kaiming_normal_(last.weight, nonlinearity="linear")
    return nn.Sequential(nn.GroupNorm(config.groups, config.width), nn.SiLU(), last)


def _join(channels: int) -> nn.Conv2d:
    # the pixels of one square have weights of their own in the head and know nothing of each other: without this,
    # planes, and depth with them, keep a pattern of squares. It starts as the binomial filter, which has none of it
    last = zero(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate"))
    row = torch.tensor([0.25, 0.5, 0.25])
    with torch.no_grad():
        last.weight.copy_(torch.eye(channels)[:, :, None, None] * torch.outer(row, row))
    return last


def _kept(value: Tensor, present: Tensor) -> Tensor:
    # zero where a view is absent, even where NaN stands there
    return value.masked_fill(~present.reshape(*present.shape, *[1] * (value.dim() - 2)), 0.0)
