"""What a multi-view model sees: a few square photos of a scene, and cameras in a world that every scene shares.

The world is that of one of the cameras, the reference, and its unit is the distance at which the cameras look. Nothing
but the cameras decides it: no points, no masks, no up direction. Source: spec of GIBR, section 7 [ours].
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from diorama.cameras.conditioning import pluecker_rays, pose_numbers, relative_intrinsics, world_to_camera
from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import Similarity
from diorama.data.scene_sets import SceneSet
from diorama.data.square import on_background, square_crop, squares_anywhere
from diorama.data.view_choice import LEAST_BASELINE, choose_views, viewing_distance
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from diorama.streams import stream

TRIES = 16
"""Scenes that are drawn in a row before it is said that none of them can be used."""

Squares = Literal["middle", "anywhere"]
"""Which square of its photo a view shows; see `SceneBatches.squares`."""

LEAST_SHARE = 2 / 3
"""Of a photo's shorter side, the least that a square anywhere in it has [ours]."""

TWINS = 0.25
"""Share of the scenes with squares anywhere of which two views are squares of one photo [ours]."""

TENSORS = ("images", "camera_to_world", "focal", "centre", "depth")


@dataclass(frozen=True)
class MultiViews:
    """Some square views of each of some scenes, in normalised worlds (`normalise_cameras`).

    images: [0, 1]. focal, centre: pixels. depth: planar, in the units of the normalised world, 0 where unknown.
    """

    images: Float[Tensor, "scene view 3 s s"]
    camera_to_world: Float[Tensor, "scene view 4 4"]
    focal: Float[Tensor, "scene view xy=2"]
    centre: Float[Tensor, "scene view xy=2"]
    depth: Float[Tensor, "scene view s s"]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return int(self.images.shape[-1])

    def cameras(self) -> Cameras:
        """Pinhole cameras of shape (scene, view)."""
        size = torch.full(self.focal.shape, self.size, dtype=torch.int64, device=self.focal.device)
        return Cameras.pinhole(self.camera_to_world, self.focal, self.centre, size)

    def pose_numbers(self) -> Float[Tensor, "scene view 16"]:
        """See `cameras.conditioning`."""
        return pose_numbers(self.cameras())

    def pluecker(self) -> Float[Tensor, "scene view 6 s s"]:
        """Directions and moments of the rays through all pixel centres; see `cameras.conditioning`."""
        return pluecker_rays(self.cameras())

    def world_to_camera(self) -> Float[Tensor, "scene view 3 4"]:
        """[R | t] of x_camera = R x + t."""
        return world_to_camera(self.cameras())

    def intrinsics(self) -> Float[Tensor, "scene view 4"]:
        """fx / W, fy / H, cx / W, cy / H."""
        return relative_intrinsics(self.cameras())

    def each(self, change: Callable[[Tensor], Tensor]) -> "MultiViews":
        """All tensors changed in the same way, which keeps their first two axes: a choice, or another device."""
        return MultiViews(*(change(getattr(self, name)) for name in TENSORS))

    def to(self, device: torch.device | str) -> "MultiViews":
        """On another device."""
        return self.each(lambda part: part.to(device))

    def first(self, count: int) -> "MultiViews":
        """The first `count` views of every scene."""
        return self.each(lambda part: part[:, :count])

    def last(self, count: int) -> "MultiViews":
        """The last `count` views of every scene."""
        return self.each(lambda part: part[:, part.shape[1] - count :])

    def resized(self, size: int) -> "MultiViews":
        """The same views at another resolution.

        Images shrink by area averages (exact where sizes divide) and grow bilinearly; depth takes the nearest pixel.
        """
        if size == self.size:
            return self
        flat, depth = self.images.flatten(0, 1), self.depth.flatten(0, 1)[:, None]
        if size < self.size:
            images = interpolate(flat, (size, size), mode="area")
        else:
            images = interpolate(flat, (size, size), mode="bilinear", align_corners=False)
        return MultiViews(
            images.unflatten(0, self.images.shape[:2]),
            self.camera_to_world,
            self.focal * (size / self.size),
            self.centre * (size / self.size),
            interpolate(depth, (size, size), mode="nearest-exact")[:, 0].unflatten(0, self.depth.shape[:2]),
        )

    def to_batch(self) -> dict[str, Tensor]:
        """As the training loop wants it: tensors whose first axis counts scenes."""
        return {name: getattr(self, name) for name in TENSORS}

    @staticmethod
    def from_batch(batch: Mapping[str, Tensor]) -> "MultiViews":
        """The inverse of `to_batch`, for any part of a batch, on any device."""
        missing = [name for name in TENSORS if name not in batch]
        if missing:
            raise InputError(
                f"a batch of {', '.join(batch) or 'nothing'} lacks {', '.join(missing)} of multiple views."
            )
        return MultiViews(*(batch[name] for name in TENSORS))


def normalise_cameras(
    cameras: Cameras, reference: int, *, known_distance: float | None = None
) -> tuple[Cameras, Similarity]:
    """Cameras in the world of one of them, at a scale that the cameras set; and the way from the user's world there.

    The reference camera becomes the identity. The median distance from the camera centres to the point that they look
    at (`poses.gaze`) becomes 1. Where there is no such point (parallel axes, looking outwards), `gaze` puts it 2.5
    times the cameras' spread ahead of them. One camera, or cameras that all stand in one place, have no scale: one
    unit of the user's world then stays one unit, which changes depths but no pose.
    known_distance: from the cameras to what they show, in the user's units, where the user knows better: it becomes 1.
    """
    if cameras.camera_to_world.ndim != 3 or not 0 <= reference < len(cameras):
        raise InputError(f"camera {reference} was to be the reference; there are {len(cameras)}, counted from 0.")
    if known_distance is not None and not 0 < known_distance < float("inf"):
        raise InputError(f"a distance of {known_distance} was given; a positive number in the scene's units is needed.")
    distance = known_distance or viewing_distance(cameras) or 1.0
    pose = cameras.camera_to_world[reference].to("cpu", torch.float64)
    left, _, right = torch.linalg.svd(pose[:3, :3])
    rotation = (left @ right).mT.contiguous()
    similarity = Similarity(1.0 / distance, rotation, -(rotation @ pose[:3, 3]) / distance)
    moved = similarity.apply_cameras(cameras)
    moved.camera_to_world[reference] = torch.eye(4).to(moved.camera_to_world)
    return moved, similarity


def multi_views_of(
    scenes: Sequence[Views],
    references: Sequence[int],
    *,
    scales: Sequence[float] | None = None,
    known_distance: float | None = None,
) -> tuple[MultiViews, tuple[Similarity, ...]]:
    """Scenes of equally many square views (`square.square_crop`) as one batch, and each one's way into its new world.

    references: which view of each scene is its world. scales: what each normalised world is multiplied with (jitter).
    Errors: ViewsError where views have no cameras, are not square, or their counts or sizes differ.
    """
    shapes = {tuple(views.images.shape) for views in scenes}
    if len(shapes) != 1 or (shape := shapes.pop())[-1] != shape[-2]:
        found = ", ".join(f"{len(views)} of {views.images.shape[3]}x{views.images.shape[2]}" for views in scenes)
        raise ViewsError(f"views of {found or 'no scene'}. Needed: equally many square ones of one size; crop them.")
    normalised, depths, ways = [], [], []
    for views, reference, scale in zip(scenes, references, scales or [1.0] * len(scenes), strict=True):
        if views.cameras is None or views.cameras.lens != "pinhole":
            raise ViewsError(
                f"{views.source or views.names[0]}: pinhole cameras are needed. Pose, then crop the photos."
            )
        cameras, way = normalise_cameras(views.cameras, reference, known_distance=known_distance)
        jitter = replace(Similarity.identity(), scale=float(scale))
        normalised.append(jitter.apply_cameras(cameras))
        ways.append(jitter.compose(way))
        depth = views.images.new_zeros(len(views), *shape[-2:]) if views.depth is None else views.depth
        depths.append(depth * ways[-1].scale)
    batch = MultiViews(
        torch.stack([views.images for views in scenes]),
        torch.stack([cameras.camera_to_world for cameras in normalised]),
        torch.stack([cameras.focal for cameras in normalised]),
        torch.stack([cameras.centre for cameras in normalised]),
        torch.stack(depths),
    )
    return batch, tuple(ways)


@dataclass(frozen=True)
class SceneBatches:
    """Batches of `MultiViews` from many scenes: a function of the step, so any step can be had at any time.

    Scenes are drawn uniformly and independently; views as `choose_views` does, then shuffled, so that the first of
    them are as good as any; the reference is one of them at random, which ties the world to no role.
    """

    scenes: SceneSet
    batch: int = 4
    views: int = 6
    size: int = 96
    """Pixels a side."""
    seed: int = 0
    scale: tuple[float, float] = (0.8, 1.2)
    """Every normalised world is multiplied with a number of its own, uniform between these."""
    least_baseline: float = LEAST_BASELINE
    depth: bool = False
    """Read depth maps too, where there are any; without, depth is 0."""
    squares: Squares = "middle"
    """Which square of its photo a view shows: the largest in the middle, or one anywhere, `LEAST_SHARE` of that or
    more. Of scenes with squares anywhere a share of `TWINS` shows two squares of one photo, as long photos are read."""
    background: float | None = None
    """Grey value put behind the objects of scenes that come with masks; None leaves photos as they are."""
    rank: int = 0
    ranks: int = 1
    told: Callable[[str, str], None] | None = None
    """Called with the name of each scene that could not be used, in whose place another one is drawn, and with why."""

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.ranks and min(self.batch, self.views, self.size, len(self.scenes)) >= 1):
            raise InputError(
                f"rank {self.rank} of {self.ranks}, {self.batch} of {len(self.scenes)} scenes, {self.views} views of "
                f"{self.size} pixels. Needed: a rank below the number of ranks, and at least one of each."
            )
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(f"scale {self.scale}; two positive numbers are needed, the smaller one first.")

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of a step (`MultiViews.from_batch` reads it); each rank gets one of its own."""
        generator = stream(self.seed, f"scene batches {self.rank}/{self.ranks}", step)
        scenes = [self._draw(generator) for _ in range(self.batch)]
        references = torch.randint(self.views, (self.batch,), generator=generator).tolist()
        low, high = self.scale
        scales = (low + (high - low) * torch.rand(self.batch, generator=generator)).tolist()
        return multi_views_of(scenes, references, scales=scales)[0].to_batch()

    def _draw(self, generator: torch.Generator) -> Views:
        """The views of one scene; scenes that cannot be used are passed over, and said."""
        refused = ""
        for _ in range(TRIES):
            index = int(torch.randint(len(self.scenes), (1,), generator=generator))
            try:
                return self._read(index, generator)
            except InputError as error:
                refused = f"{self.scenes.names[index]}: {error}"
                if self.told is not None:
                    self.told(self.scenes.names[index], str(error))
        raise InputError(f"{TRIES} scenes in a row cannot be used. The last: {refused}")

    def _read(self, index: int, generator: torch.Generator) -> Views:
        cameras = self.scenes.cameras(index)
        anywhere = self.squares == "anywhere"
        twins = anywhere and self.views > 2 and float(torch.rand((), generator=generator)) < TWINS
        count = self.views - twins
        chosen = torch.tensor(choose_views(cameras, count, generator, self.least_baseline))
        chosen = chosen[torch.randperm(count, generator=generator)]
        side = math.ceil(self.size / LEAST_SHARE) if anywhere else self.size
        views = self.scenes.read(index, chosen.tolist(), _reading_side(cameras[chosen], side), self.depth)
        if len(views) < count:
            lines = "; ".join(views.skipped[-3:])
            raise ViewsError(f"{count} photos were asked for, {len(views)} could be read: {lines}")
        if twins:
            views = views[torch.randperm(self.views, generator=generator) % count]
        if self.background is not None:
            views = on_background(views, self.background)
        if anywhere:
            return squares_anywhere(views, self.size, generator, LEAST_SHARE)
        return square_crop(views, self.size)[0]


def _reading_side(cameras: Cameras, size: int) -> int:
    """The longer side at which the shorter one is `size`: photos are then shrunk once, while they are read.

    Photos that have to be straightened are read twice as large.
    """
    sides = cameras.size.to(torch.float64)
    stretch = float((sides.amax(-1) / sides.amin(-1)).amax()) * (1 if cameras.lens == "pinhole" else 2)
    return math.ceil(stretch * size - 1e-6)
