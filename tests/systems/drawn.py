"""Scenes and small models for the tests of GIBR: the ball of `oracles`, and worlds of many balls, known exactly."""

import math
from dataclasses import replace

import torch

from diorama.cameras.pinhole import Cameras
from diorama.data.multiview import MultiViews, multi_views_of
from diorama.data.square import square_crop
from diorama.data.targets import Targets, targets_at
from diorama.data.views import Views
from diorama.diffusion.parameterize import add_noise
from diorama.fields.ib_planes import IBPlanesConfig
from diorama.nets.multiview_config import gibr_tiny
from diorama.streams import stream
from diorama.systems.gibr import GIBR, GIBRConfig, NoisyViews, to_signed
from tests.oracles import exact_views, look_from, pinhole_rays, ring_cameras


BALLS = 5
"""In every world that is drawn."""


def ball_world(views, size, rng):
    """Photographs of shaded balls of any size and colour, on a floor with smooth waves of two colours, under a sky.

    The cameras stand on an arc of 140 degrees of a circle around them, at one height; their order means nothing.
    """

    def random(*shape):
        return torch.rand(*shape, generator=rng)

    radius = 0.25 + 0.3 * random(BALLS)
    centres = torch.cat([2.4 * random(BALLS, 2) - 1.2, radius[:, None]], dim=-1)
    colours, floor, sky = 0.1 + 0.8 * random(BALLS, 3), 0.1 + 0.8 * random(2, 3), 0.5 + 0.5 * random(3)
    place = (torch.arange(views) + random(views))[torch.randperm(views, generator=rng)] / views
    angle, lift = math.radians(140.0) * place + 2 * math.pi * random(1), math.radians(28.0)
    eye = 2.8 * torch.stack(
        [angle.cos() * math.cos(lift), angle.sin() * math.cos(lift), 0 * angle + math.sin(lift)], -1
    )
    cameras = Cameras.pinhole(
        look_from(eye, torch.tensor([0.0, 0.0, 0.2]).expand(views, 3)),
        torch.full((views, 2), 1.1 * size), torch.full((views, 2), size / 2), torch.full((views, 2), size),
    )  # fmt: skip
    origins, directions, cosine = pinhole_rays(cameras)
    away = origins[..., None, :] - centres
    along = (away * directions[..., None, :]).sum(-1)
    root = along.square() - away.square().sum(-1) + radius.square()
    ball, which = torch.where(root > 0, -along - root.clamp_min(0).sqrt(), math.inf).min(-1)
    down = directions[..., 2].clamp_max(-1e-6)
    ground = torch.where(directions[..., 2] < -1e-6, -origins[..., 2] / down, math.inf)
    distance = torch.minimum(ball, ground)
    hit, points = distance < 30.0, origins + directions * distance.clamp_max(1e3)[..., None]
    turn, wave = 2 * math.pi * random(1), 3.0 + 2.0 * random(2)
    x = wave[0] * (points[..., 0] * turn.cos() + points[..., 1] * turn.sin())
    y = wave[1] * (points[..., 1] * turn.cos() - points[..., 0] * turn.sin())
    share = (0.5 + 0.5 * x.sin() * y.sin())[..., None]
    normal = (points - centres[which]) / radius[which][..., None]
    shade = 0.55 + 0.45 * (normal @ torch.tensor([0.48, 0.36, 0.8]))[..., None]
    seen = torch.where((ball < ground)[..., None], colours[which] * shade, share * floor[0] + (1 - share) * floor[1])
    seen = torch.where(hit[..., None], seen, sky).clamp(0, 1).movedim(-1, 1).contiguous()
    names = tuple(f"{view}.png" for view in range(views))
    return Views(seen, names, cameras, depth=torch.where(hit, distance * cosine, 0.0))


def ball_worlds(scenes, views, size, seed=0, step=0):
    """A batch of worlds that are never the same; a random view is the reference."""
    rng = stream(seed, "ball worlds", step)
    references = torch.randint(views, (scenes,), generator=rng).tolist()
    return multi_views_of([ball_world(views, size, rng) for _ in range(scenes)], references)[0]


def balls(scenes=2, views=4, size=16):
    """Views of the ball of `oracles` from rings that differ from scene to scene; the first view is the reference."""
    rings = [ring_cameras(views, size, size, radius=2.5 + 0.3 * n, elevation=1.0 + 0.2 * n) for n in range(scenes)]
    return multi_views_of([square_crop(exact_views(ring), size)[0] for ring in rings], [0] * scenes)[0]


def same(views, index):
    """One scene of a batch, as a batch of one."""
    return MultiViews.from_batch({name: part[index : index + 1] for name, part in views.to_batch().items()})


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
