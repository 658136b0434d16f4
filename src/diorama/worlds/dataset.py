"""Worlds as endless data: RGBD patches, RGBD pictures, and views of one scene from several sides.

Everything is a function of the seed and a number: world 1,234 is the same in any process, so a stream can be entered
anywhere, cut among workers and ranks, and stopped and resumed. `shards` keeps what was drawn once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from diorama.cameras.patches import PatchWindow, random_centres, wander, window_cameras
from diorama.cameras.pinhole import Cameras
from diorama.data.rgbd_coding import encode_rgbd
from diorama.data.views import Frame, Views
from diorama.errors import InputError
from diorama.streams import stream
from diorama.worlds.cameras import Overlap, Standing, sample_cameras, stands
from diorama.worlds.film import Film, FilmConfig, develop, meter, sample_film
from diorama.worlds.layouts import Kind, make_world
from diorama.worlds.photos import photo_stack
from diorama.worlds.scene import World
from diorama.worlds.trace import RenderConfig, render_world

METERING = (16, 12)
"""Pixels of the small whole picture by which a camera chooses its exposure."""


@dataclass(frozen=True)
class WorldsConfig:
    """Which worlds there are and how they are photographed."""

    kinds: tuple[Kind, ...] = ("room", "room", "room", "object", "object", "outdoor")
    """Each world is one of these, all equally likely; name a kind twice to have it twice as often."""
    seed: int = 0
    textures: Path | None = None
    """A folder of photos that 30 to 50 % of the materials show crops of; None: procedural textures alone."""
    crops: int = 256
    """How many crops are taken from it."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Lengths are multiplied by a number of its own for each world, log-uniform between these."""
    film: FilmConfig = field(default_factory=FilmConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    standing: Standing = field(default_factory=Standing)
    """Where cameras may stand, in metres before scaling."""
    astray: tuple[float, float] = (0.2, 0.1)
    """Half of the cameras of patches are moved by up to so many metres and turned by up to so much of 180 degrees, as
    the poses of a fit's patches are (spec of DiffusioNeRF, 2.1)."""


@dataclass(frozen=True)
class Shot:
    """A world, its number's random stream, and the scale of its lengths."""

    world: World
    scale: float
    generator: torch.Generator


@dataclass(frozen=True)
class Worlds:
    """All worlds of a config, by number."""

    config: WorldsConfig = field(default_factory=WorldsConfig)

    @cached_property
    def photos(self) -> Float[Tensor, "k h w 3"] | None:
        """The photo crops; read once, when the first world asks."""
        if self.config.textures is None:
            return None
        return photo_stack(self.config.textures, stream(self.config.seed, "photo crops"), count=self.config.crops)

    def shot(self, index: int) -> Shot:
        """World number `index`."""
        generator = stream(self.config.seed, "world", index)
        kind = self.config.kinds[int(torch.randint(len(self.config.kinds), (1,), generator=generator))]
        seed = int(torch.randint(1 << 40, (1,), generator=generator))
        low, high = self.config.scale
        scale = low * (high / low) ** float(torch.rand((), generator=generator))
        return Shot(make_world(kind, seed, photos=self.photos), scale, generator)


@dataclass(frozen=True)
class Exposed:
    """Linear pictures whose cameras have chosen their exposure, with depth.

    colour: linear; the geometric mean of the whole picture is the film's key. depth: planar, metres, inf in the sky.
    """

    colour: Float[Tensor, "view 3 h w"]
    depth: Float[Tensor, "view h w"]


def standing_cameras(
    shot: Shot, config: WorldsConfig, count: int, window: PatchWindow
) -> tuple[Float[Tensor, "view 4 4"], Float[Tensor, "view rgb=3"]]:
    """Poses of cameras that stand free, and the exposure each chooses for its whole picture.

    Half of them are those of a photographer, half have wandered off as the poses of a fit's patches do.
    """
    steady = sample_cameras(
        shot.world, count, shot.generator, width=window.width, height=window.height, focal=window.focal,
        standing=config.standing,
    )  # fmt: skip
    astray = replace(steady, camera_to_world=wander(steady.camera_to_world, *config.astray, shot.generator))
    lost = (torch.rand(count, generator=shot.generator) < 0.5) & stands(shot.world, astray, config.standing)
    pose = torch.where(lost[:, None, None], astray.camera_to_world, steady.camera_to_world)
    small = replace(steady, camera_to_world=pose).resize(*METERING)
    seen = render_world(shot.world, small, replace(config.render, samples=1))
    return pose, torch.stack([meter(colour[None], config.film) for colour in seen.colour])


def expose(shot: Shot, cameras: Cameras, gain: Float[Tensor, "view rgb=3"], config: WorldsConfig) -> Exposed:
    """Draw pictures and expose them."""
    seen = render_world(shot.world, cameras, config.render)
    return Exposed(seen.colour * gain[:, :, None, None], seen.depth)


def exposed_windows(worlds: Worlds, index: int, count: int, window: PatchWindow) -> Exposed:
    """Windows of `count` cameras in world number `index`, at random places of their pictures; its scale applied."""
    shot = worlds.shot(index)
    pose, gain = standing_cameras(shot, worlds.config, count, window)
    cameras = window_cameras(pose, random_centres(window, count, shot.generator), window)
    seen = expose(shot, cameras, gain, worlds.config)
    return Exposed(seen.colour, seen.depth * shot.scale)


def encode_windows(
    seen: Exposed, film: Film, generator: torch.Generator, *, flip: bool = True
) -> Float[Tensor, "view 4 h w"]:
    """Photographs with disparity in [-1, 1] (`encode_rgbd`); half of them mirrored left to right."""
    encoded = encode_rgbd(develop(seen.colour, film, generator), seen.depth)
    mirrored = flip & (torch.rand(len(encoded), generator=generator) < 0.5)
    return torch.where(mirrored[:, None, None, None], encoded.flip(-1), encoded)


@dataclass(frozen=True)
class PatchGroup:
    """RGBD patches, cast directly: the windows of one world."""

    worlds: Worlds
    window: PatchWindow = field(default_factory=PatchWindow)
    per_world: int = 8

    def __call__(self, index: int) -> Sequence[Float[Tensor, "4 size size"]]:
        """The patches of world number `index`."""
        seen = exposed_windows(self.worlds, index, self.per_world, self.window)
        generator = stream(self.worlds.config.seed, "film", index)
        film = sample_film(self.per_world, generator, self.worlds.config.film)
        return encode_windows(seen, film, generator).unbind(0)


@dataclass(frozen=True)
class PictureGroup:
    """Whole RGBD pictures, encoded as patches are: a few cameras in one world."""

    worlds: Worlds
    width: int = 128
    height: int = 128
    focal: float = 128.0
    """Pixels."""
    per_world: int = 2

    @property
    def window(self) -> PatchWindow:
        """The whole picture as the virtual camera that `standing_cameras` asks for."""
        return PatchWindow(focal=self.focal, width=self.width, height=self.height)

    def cameras(self, pose: Float[Tensor, "view 4 4"]) -> Cameras:
        """Cameras of whole pictures at some poses."""
        count = len(pose)
        centre = torch.tensor([0.5 * self.width, 0.5 * self.height]).expand(count, 2)
        size = torch.tensor([self.width, self.height]).expand(count, 2)
        return Cameras.pinhole(pose, torch.full((count, 2), self.focal), centre, size)

    def __call__(self, index: int) -> Sequence[Float[Tensor, "4 h w"]]:
        """The pictures of world number `index`."""
        config, shot = self.worlds.config, self.worlds.shot(index)
        pose, gain = standing_cameras(shot, config, self.per_world, self.window)
        seen = expose(shot, self.cameras(pose), gain, config)
        generator = stream(config.seed, "film", index)
        film = sample_film(self.per_world, generator, config.film)
        return encode_windows(Exposed(seen.colour, seen.depth * shot.scale), film, generator).unbind(0)


@dataclass(frozen=True)
class ViewGroup:
    """Several photographs of one world by one camera, with exact cameras and depth."""

    worlds: Worlds
    views: int = 10
    width: int = 64
    height: int = 64
    focal: float = 64.0
    """Pixels."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """The focal length is multiplied by a number of its own for each scene, log-uniform between these."""

    def __call__(self, index: int) -> Sequence[Views]:
        """One scene: world number `index`. Depth is 0 in the sky; one exposure for all views."""
        shot, cameras = self.posed(index)
        return [self.photographs(index, shot, cameras, range(self.views))]

    def posed(self, index: int) -> tuple[Shot, Cameras]:
        """World number `index` and its cameras, in metres before scaling; nothing is drawn yet."""
        config, shot = self.worlds.config, self.worlds.shot(index)
        low, high = self.zoom
        zoom = low * (high / low) ** float(torch.rand((), generator=stream(config.seed, "zoom", index)))
        cameras = sample_cameras(
            shot.world, self.views, shot.generator, width=self.width, height=self.height, focal=self.focal * zoom,
            overlap=Overlap() if self.views > 1 else None, standing=config.standing,
        )  # fmt: skip
        return shot, cameras

    def photographs(self, index: int, shot: Shot, cameras: Cameras, frames: Sequence[int]) -> Views:
        """Photographs by some of the cameras that `posed` gave for this number, exposed together."""
        config, cameras = self.worlds.config, cameras[torch.tensor(list(frames))]
        seen = render_world(shot.world, cameras, config.render)
        generator = stream(config.seed, "film", index)
        one = sample_film(1, generator, config.film)
        exposed = seen.colour * meter(seen.colour, config.film)[:, None, None]
        photos = develop(exposed, one[torch.zeros(len(cameras)).long()], generator)
        return Views(
            photos,
            tuple(f"{index:06d}_{view:02d}.png" for view in frames),
            scaled(cameras, shot.scale),
            depth=torch.where(torch.isfinite(seen.depth), seen.depth * shot.scale, 0.0),
            frame=Frame(f"diorama world `{shot.world.name}`", "metres"),
            layout="world",
        )


def scaled(cameras: Cameras, scale: float) -> Cameras:
    """The same cameras in a world whose lengths are multiplied."""
    pose = cameras.camera_to_world.clone()
    pose[:, :3, 3] *= scale
    return replace(cameras, camera_to_world=pose)


@dataclass(frozen=True)
class NumberNames:
    """Names of worlds without end: their numbers."""

    def __getitem__(self, index: int, /) -> str:
        return f"{index:06d}"


@dataclass(frozen=True)
class EndlessScenes:
    """Worlds without end as a `data.scene_sets.SceneSet`: each is made when it is asked for, and nothing is stored.

    Only the views that are read are drawn. Chosen at random among so many numbers, worlds do not come twice.
    """

    group: ViewGroup
    count: int = 1 << 40
    recent: dict[int, tuple[Shot, Cameras]] = field(default_factory=dict, repr=False, compare=False)
    """The world that was asked for last: its cameras are asked for before its photographs."""

    def __len__(self) -> int:
        return self.count

    @property
    def names(self) -> NumberNames:
        """Numbers of the worlds."""
        return NumberNames()

    def frame_count(self, index: int) -> int:
        """How many cameras stand in each world."""
        del index
        return self.group.views

    def cameras(self, index: int) -> Cameras:
        """The cameras of a world, in metres times its scale."""
        shot, cameras = self._posed(index)
        return scaled(cameras, shot.scale)

    def read(
        self, index: int, frames: Sequence[int] | None = None, max_side: int | None = None, depth: bool = True
    ) -> Views:
        """These views of a world (None: all) at the size they have; max_side and depth change nothing."""
        del max_side, depth
        shot, cameras = self._posed(index)
        return self.group.photographs(index, shot, cameras, range(self.group.views) if frames is None else frames)

    def _posed(self, index: int) -> tuple[Shot, Cameras]:
        if index not in self.recent:
            self.recent.clear()
            self.recent[index] = self.group.posed(index)
        return self.recent[index]


Sample = TypeVar("Sample")


class Groups(IterableDataset[Sample], Generic[Sample]):
    """An endless stream of what a function makes of the numbers 0, 1, 2, ...; several samples a number.

    Workers and ranks take every n-th number. `state_dict` says where the stream stands (in the process that iterates:
    with workers, each has its own), and a stream that loads it goes on with the very next sample.
    """

    def __init__(
        self, make: Callable[[int], Sequence[Sample]], *, start: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        if not 0 <= rank < ranks or start < 0:
            raise InputError(f"rank {rank} of {ranks} from number {start}. Needed: 0 <= rank < ranks, start >= 0.")
        self.make, self.rank, self.ranks = make, rank, ranks
        self.group, self.within = start, 0

    def state_dict(self) -> dict[str, Any]:
        """Groups that this stream's ranks have used up, and samples of the present one."""
        return {"group": self.group, "within": self.within}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a stream stood when its `state_dict` was taken."""
        self.group, self.within = int(state["group"]), int(state["within"])

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        workers, place = (1, 0) if worker is None else (worker.num_workers, worker.id)
        step, offset = self.ranks * workers, self.rank * workers + place
        while True:
            samples = self.make(self.group * step + offset)
            while self.within < len(samples):
                self.within += 1
                yield samples[self.within - 1]
            self.group, self.within = self.group + 1, 0
