"""Data sets that were drawn once: windows that patches are cut from, and scenes that views are chosen from.

Drawing a world costs more than learning from it, so training reads `shards`. What is random about a photograph (film,
crop, mirroring, scale, which views) is drawn anew at every reading, from the seed and the step alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.patches import PatchWindow
from diorama.cameras.pinhole import Cameras
from diorama.data.views import Frame, Views
from diorama.errors import InputError
from diorama.streams import stream
from diorama.worlds.dataset import Exposed, ViewGroup, Worlds, encode_windows, exposed_windows
from diorama.worlds.film import FilmConfig, sample_film
from diorama.worlds.shards import Shards, pack_depth, unpack_depth, write_shards

STORED_WINDOW = PatchWindow(size=96)
"""Twice as large as a patch: 2,401 patches can be cut from each."""
VERSION = 1
"""Of the worlds and of what is stored; shards of another version are not mixed with these."""


def recipe_of(worlds: Worlds, what: str, **more: Any) -> dict[str, Any]:
    """What shards are made from, as JSON."""
    config = asdict(worlds.config)
    config["textures"] = None if worlds.config.textures is None else worlds.config.textures.name
    return {"what": what, "version": VERSION, "worlds": config, **more}


def write_windows(
    folder: Path,
    worlds: Worlds,
    shards: int,
    *,
    per_shard: int = 64,
    per_world: int = 8,
    window: PatchWindow = STORED_WINDOW,
    rank: int = 0,
    ranks: int = 1,
    told: Callable[[int], None] | None = None,
) -> int:
    """Write shards of linear RGBD windows, larger than the patches that will be cut from them.

    per_shard: worlds in a file; per_world: windows in a world. 8 bytes a pixel: 512 windows of 96 pixels are 38 MB.
    Returns how many shards were missing; see `shards.write_shards`.
    """

    def make(shard: int) -> dict[str, Tensor]:
        numbers = range(shard * per_shard, (shard + 1) * per_shard)
        seen = [exposed_windows(worlds, number, per_world, window) for number in numbers]
        return {
            "colour": torch.cat([one.colour for one in seen]).clamp(max=60_000).to(torch.float16),
            "depth": pack_depth(torch.cat([one.depth for one in seen])),
        }

    recipe = recipe_of(worlds, "windows", per_shard=per_shard, per_world=per_world, window=asdict(window))
    return write_shards(folder, make, shards, recipe, rank=rank, ranks=ranks, told=told)


@dataclass(frozen=True)
class StoredPatches:
    """Batches of encoded patches cut from stored windows: a function of the step, so any step can be had at any time.

    scale: lengths are multiplied once more, log-uniformly, on top of what the worlds did; (1, 1) does nothing.
    """

    shards: Shards
    batch: int = 64
    size: int = 48
    seed: int = 0
    film: FilmConfig = field(default_factory=FilmConfig)
    scale: tuple[float, float] = (1.0, 1.0)
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.shards.recipe.get("what") != "windows":
            raise InputError(f"{self.shards.folder} holds {self.shards.recipe.get('what')}, not windows.")
        stored = int(self.shards.recipe["window"]["size"])
        if stored < self.size:
            raise InputError(f"patches of {self.size} pixels from windows of {stored}. Write larger windows.")

    def __call__(self, step: int) -> Float[Tensor, "patch 4 size size"]:
        """The batch of a step; of several ranks each gets its own part of a larger batch."""
        generator = stream(self.seed, f"stored patches {self.rank}/{self.ranks}", step)
        chosen = torch.randint(len(self.shards), (self.batch,), generator=generator)
        rows = self.shards.rows(chosen.tolist())
        room = rows["depth"].shape[-1] - self.size + 1
        corner = torch.randint(room, (self.batch, 2), generator=generator)
        pixel = torch.arange(self.size)
        y, x = corner[:, 0, None, None] + pixel[:, None], corner[:, 1, None, None] + pixel
        view = torch.arange(self.batch)[:, None, None]
        low, high = self.scale
        scale = low * (high / low) ** torch.rand(self.batch, 1, 1, generator=generator)
        seen = Exposed(
            rows["colour"].permute(0, 2, 3, 1)[view, y, x].permute(0, 3, 1, 2).float(),
            unpack_depth(rows["depth"][view, y, x]) * scale,
        )
        return encode_windows(seen, sample_film(self.batch, generator, self.film), generator)


def write_scenes(
    folder: Path,
    group: ViewGroup,
    shards: int,
    *,
    per_shard: int = 64,
    rank: int = 0,
    ranks: int = 1,
    told: Callable[[int], None] | None = None,
) -> int:
    """Write shards of scenes: photographs of 8 bits, packed depth and cameras. 5 bytes a pixel.

    per_shard: scenes in a file. Returns how many shards were missing; see `shards.write_shards`.
    """

    def make(shard: int) -> dict[str, Tensor]:
        scenes = [group(number)[0] for number in range(shard * per_shard, (shard + 1) * per_shard)]
        return {
            "photos": torch.stack([(one.images * 255).round().to(torch.uint8) for one in scenes]),
            "depth": torch.stack([pack_depth(_or_sky(one.depth)) for one in scenes]),
            "pose": torch.stack([_cameras(one).camera_to_world for one in scenes]),
            "focal": torch.stack([_cameras(one).focal for one in scenes]),
            "centre": torch.stack([_cameras(one).centre for one in scenes]),
        }

    size = {
        "views": group.views, "width": group.width, "height": group.height, "focal": group.focal, "zoom": group.zoom,
    }  # fmt: skip
    recipe = recipe_of(group.worlds, "scenes", per_shard=per_shard, **size)
    return write_shards(folder, make, shards, recipe, rank=rank, ranks=ranks, told=told)


def _or_sky(depth: Tensor | None) -> Tensor:
    assert depth is not None
    return torch.where(depth > 0, depth, torch.inf)


def _cameras(views: Views) -> Cameras:
    assert views.cameras is not None
    return views.cameras


@dataclass(frozen=True)
class StoredScenes:
    """Scenes with a random subset of their views in random order, drawn anew at every step."""

    shards: Shards
    views: int
    """How many views of each scene."""
    batch: int = 8
    seed: int = 0
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        _require_scenes(self.shards)
        stored = int(self.shards.recipe["views"])
        if not 1 <= self.views <= stored:
            raise InputError(f"{self.views} views of scenes that have {stored}. Ask for 1 to {stored}.")

    def __call__(self, step: int) -> list[Views]:
        """The scenes of a step; depth is 0 in the sky."""
        generator = stream(self.seed, f"stored scenes {self.rank}/{self.ranks}", step)
        chosen = torch.randint(len(self.shards), (self.batch,), generator=generator).tolist()
        rows = self.shards.rows(chosen)
        stored = rows["photos"].shape[1]
        scenes = []
        for row, number in enumerate(chosen):
            order = torch.randperm(stored, generator=generator)[: self.views]
            scenes.append(_stored_views(rows, row, number, order))
        return scenes


@dataclass(frozen=True)
class StoredMultiViews:
    """Stored scenes as a `data.scene_sets.SceneSet`: what `data.multiview.SceneBatches` takes photos of worlds from."""

    shards: Shards

    def __post_init__(self) -> None:
        _require_scenes(self.shards)

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of the worlds."""
        return tuple(f"{number:06d}" for number in range(len(self.shards)))

    def frame_count(self, index: int) -> int:
        """How many views each scene has: the same for all."""
        del index
        return int(self.shards.recipe["views"])

    def cameras(self, index: int) -> Cameras:
        """The cameras of a scene, in metres times the world's scale."""
        recipe, every = self.shards.recipe, torch.arange(self.frame_count(index))
        rows = self.shards.rows([index], ("pose", "focal", "centre"))  # and no photos
        return _stored_cameras(rows, 0, every, width=int(recipe["width"]), height=int(recipe["height"]))

    def read(
        self, index: int, frames: Sequence[int] | None = None, max_side: int | None = None, depth: bool = True
    ) -> Views:
        """These views of a scene (None: all) at the size they have; max_side and depth change nothing."""
        del max_side, depth
        rows = self.shards.rows([index])
        order = torch.arange(rows["photos"].shape[1]) if frames is None else torch.tensor(list(frames))
        return _stored_views(rows, 0, index, order)


def _stored_views(rows: dict[str, Tensor], row: int, number: int, order: Int[Tensor, "view"]) -> Views:
    """Some views of one stored scene; depth is 0 in the sky."""
    photos = rows["photos"][row, order].float() / 255
    depth = unpack_depth(rows["depth"][row, order])
    return Views(
        photos,
        tuple(f"{number:06d}_{view:02d}.png" for view in order.tolist()),
        _stored_cameras(rows, row, order, width=photos.shape[3], height=photos.shape[2]),
        depth=torch.where(torch.isfinite(depth), depth, 0.0),
        frame=Frame("diorama world", "metres"),
        layout="world",
    )


def _stored_cameras(
    rows: dict[str, Tensor], row: int, order: Int[Tensor, "view"], *, width: int, height: int
) -> Cameras:
    """The cameras of some views of one stored scene."""
    pose, focal, centre = (rows[name][row, order] for name in ("pose", "focal", "centre"))
    return Cameras.pinhole(pose, focal, centre, torch.tensor([width, height]).expand(len(order), 2))


def _require_scenes(shards: Shards) -> None:
    if shards.recipe.get("what") != "scenes":
        raise InputError(f"{shards.folder} holds {shards.recipe.get('what')}, not scenes.")
