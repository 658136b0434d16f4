"""A scene as its layout lists it: all cameras at once, and of the photos only those that are asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.shots import Shot, cameras_of, checked_poses, views_of
from diorama.data.views import Frame, Views
from diorama.errors import InputError, ViewsError


@dataclass(frozen=True)
class Listing:
    """The photos of one scene and their cameras; no pixel has been read.

    skipped, points and splits become those of the `Views`. complete: adds what the layout keeps beside the photos in a
    way of its own (depth); called with the views that were read.
    """

    shots: tuple[Shot, ...]
    layout: str
    source: Path
    frame: Frame
    skipped: tuple[str, ...] = ()
    points: Float[Tensor, "point xyz=3"] | None = None
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    complete: Callable[[Views], Views] | None = None

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the photos."""
        return tuple(shot.name for shot in self.shots)

    def cameras(self) -> Cameras:
        """The cameras of all listed photos, at the sizes they state; whether a photo can be read is not tried.

        Errors: CameraError as `views_of`; ViewsError where nothing is listed.
        """
        if not self.shots:
            raise ViewsError(f"{self.source}: no photo is listed. At least one is needed.")
        poses = checked_poses(np.stack([shot.camera_to_world for shot in self.shots]), self.names)
        lenses = [shot.intrinsics for shot in self.shots]
        size = torch.tensor([[max(1, round(side)) for side in lens.size] for lens in lenses], dtype=torch.int64)
        return cameras_of(lenses, self.names, torch.from_numpy(poses), size)

    def views(self, frames: Sequence[int] | None = None, *, max_side: int | None = None, depth: bool = True) -> Views:
        """The photos at these places of the list, in that order (None: all), as `views_of` reads them.

        depth: False leaves depth files alone. InputError for a place that is not in the list.
        """
        wrong = [place for place in frames or () if not 0 <= place < len(self.shots)]
        if wrong:
            raise InputError(
                f"{self.source}: photo number {wrong[0]} was asked for, {len(self.shots)} are listed, counted from 0. "
                f"Ask for 0 to {len(self.shots) - 1}."
            )
        shots = self.shots if frames is None else tuple(self.shots[place] for place in frames)
        if not depth:
            shots = tuple(replace(shot, depth=None) for shot in shots)
        views = views_of(
            shots,
            layout=self.layout,
            source=self.source,
            frame=self.frame,
            max_side=max_side,
            skipped=self.skipped,
            points=self.points,
            splits=self.splits,
        )
        return self.complete(views) if depth and self.complete is not None else views
