"""Scenes and small models for the tests of GIBR: balls on a plane, known exactly, and drawn worlds of objects."""

from dataclasses import dataclass, replace

import torch

from diorama.data.multiview import SceneBatches, multi_views_of
from diorama.data.square import square_crop
from diorama.data.targets import Targets, targets_at
from diorama.data.views import Views
from diorama.diffusion.parameterize import add_noise
from diorama.fields.ib_planes import IBPlanesConfig
from diorama.nets.multiview_config import gibr_tiny
from diorama.systems.gibr import GIBR, GIBRConfig, NoisyViews, to_signed
from diorama.worlds.dataset import ViewGroup, Worlds, WorldsConfig
from tests.oracles import exact_views, ring_cameras


@dataclass(frozen=True)
class DrawnScenes:
    """Scenes in memory, as `SceneBatches` wants them."""

    scenes: tuple[Views, ...]

    @property
    def names(self):
        return tuple(str(number) for number in range(len(self.scenes)))

    def __len__(self):
        return len(self.scenes)

    def frame_count(self, index):
        return len(self.scenes[index])

    def cameras(self, index):
        return self.scenes[index].cameras

    def read(self, index, frames=None, max_side=None, depth=True):
        views = self.scenes[index]
        chosen = list(range(len(views)) if frames is None else frames)
        names = tuple(views.names[frame] for frame in chosen)
        cameras = views.cameras[torch.tensor(chosen)]
        return replace(views, images=views.images[chosen], names=names, cameras=cameras, depth=views.depth[chosen])


def object_worlds(count, *, size=32, views=10, seed=0):
    """Photographs of worlds of one to four objects on a ground under a sky."""
    worlds = Worlds(WorldsConfig(kinds=("object",), seed=seed))
    group = ViewGroup(worlds, views, size, size, float(size), (0.8, 1.6))
    return DrawnScenes(tuple(group(number)[0] for number in range(count)))


def batches(scenes, *, batch=8, views=5, size=32, seed=0, scale=(0.8, 1.2), depth=False):
    """Batches of a set of scenes, by step."""
    return SceneBatches(scenes, batch, views, size, seed, scale=scale, depth=depth)


def balls(scenes=2, views=4, size=16):
    """Views of the ball of `oracles` from rings that differ from scene to scene; the first view is the reference."""
    rings = [ring_cameras(views, size, size, radius=2.5 + 0.3 * n, elevation=1.0 + 0.2 * n) for n in range(scenes)]
    return multi_views_of([square_crop(exact_views(ring), size)[0] for ring in rings], [0] * scenes)[0]


def same(views, index):
    """One scene of a batch, as a batch of one."""
    return views.each(lambda part: part[index : index + 1])


TINY = GIBRConfig(
    gibr_tiny(),
    IBPlanesConfig(channels=16, polar_channels=8, hidden=32),
    replace(GIBRConfig().sampling, coarse=8, fine=8),
    pixels=16,
)


def model_of(config=TINY, seed=0, noise=0.2):
    """A model; `noise` moves every weight, so that layers which start at zero take part."""
    torch.manual_seed(seed)
    model = GIBR(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(noise * torch.randn_like(parameter))
    return model


def given_first(views, *counts):
    """Which views are given: the first so many of each scene."""
    number = views.images.shape[1]
    return torch.arange(number)[None] < torch.tensor(counts)[:, None]


def noisy_views(views, clean, time=0.5, seed=0):
    """The views with noise of one time on those that are not clean."""
    noise = torch.randn(views.images.shape, generator=torch.Generator().manual_seed(seed))
    each = time * (~clean).float()
    return NoisyViews.of(views, add_noise(to_signed(views.images), noise, each, TINY.schedule), each, clean)


def pixels_of(views, view):
    """All pixels of one view of every scene, as targets that know which view it is."""
    every = torch.arange(views.size**2).expand(len(views), views.images.shape[1], -1)
    targets = targets_at(views, every % views.size, every // views.size)
    chosen = targets.view[0] == view
    return Targets(targets.rays[:, chosen], targets.view[:, chosen], targets.colour[:, chosen])
