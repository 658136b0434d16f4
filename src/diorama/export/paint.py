"""Which cameras see a surface, and in which colour: what turns a bare mesh into the photographed one."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras, in_frustum
from diorama.errors import InputError
from diorama.export.mesh import Mesh
from diorama.types import DensityFn

ColourFn = Callable[[Tensor, Tensor], Tensor]
"""Colour in [0, 1] (n 3) at points (n 3) seen along unit directions (n 3)."""


SAMPLES, GROWTH = 12, 1.3
"""Steps of the short rays that colour vertices, and how each step grows: about 37 times the first in all."""


def count_views(points: Float[Tensor, "n xyz=3"], cameras: Cameras, chunk: int = 1 << 18) -> Int[Tensor, "n"]:
    """How many cameras have each point inside their image (whatever stands in between)."""
    cameras = cameras.to("cpu", torch.float64)
    counts = []
    for part in points.double().split(chunk):
        total = torch.zeros(len(part), dtype=torch.int64)
        for index in range(len(cameras)):
            total += in_frustum(cameras[index], part)
        counts.append(total)
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)


def seen_directions(
    points: Float[Tensor, "n xyz=3"], normals: Float[Tensor, "n xyz=3"], cameras: Cameras
) -> Float[Tensor, "n xyz=3"]:
    """For each surface point the unit direction in which the camera that faces it best looks at it."""
    best = torch.full((len(points),), -2.0, dtype=torch.float64)
    directions = -normals.double()
    for origin in cameras.origins.double().cpu():
        towards = torch.nn.functional.normalize(points.double() - origin, dim=-1)
        facing = -(towards * normals).sum(-1)
        better = facing > best
        best = torch.where(better, facing, best)
        directions = torch.where(better[:, None], towards, directions)
    return directions


def paint_mesh(
    mesh: Mesh, density: DensityFn, colour: ColourFn, cameras: Cameras, *, cell: float, chunk: int = 1 << 13
) -> Mesh:
    """The mesh without what no camera has in its image, in the colours in which the cameras see the rest.

    A field is soft: what a camera sees is not the colour on the surface but a mean over some way through it. So each
    vertex gets the colour of a short ray (`SAMPLES` times a growing step, the first half a `cell`) of the camera that
    faces it best. Raises InputError where no camera sees any of the mesh.
    """
    keep = count_views(mesh.vertices, cameras) > 0
    faces = mesh.faces[keep[mesh.faces].any(-1)]
    if len(faces) == 0:
        raise InputError("no camera sees the surface that was found. Try another --level, or export --kind points.")
    used, renumbered = faces.unique(return_inverse=True)
    vertices, normals = mesh.vertices[used].double(), mesh.normals[used].double()
    directions = seen_directions(vertices, normals, cameras)
    edges = 0.5 * cell * (GROWTH ** torch.arange(SAMPLES + 1, dtype=torch.float64) - 1) / (GROWTH - 1) - 0.5 * cell
    colours = [
        short_ray_colour(points, towards, density, colour, edges)
        for points, towards in zip(vertices.split(chunk), directions.split(chunk), strict=True)
    ]
    return Mesh(vertices, renumbered.reshape(faces.shape), normals, torch.cat(colours).float().clamp(0, 1))


def short_ray_colour(
    points: Float[Tensor, "n xyz=3"],
    directions: Float[Tensor, "n xyz=3"],
    density: DensityFn,
    colour: ColourFn,
    edges: Float[Tensor, "edge"],
) -> Float[Tensor, "n rgb=3"]:
    """Mean colour along rays through points, weighted by where light stops; edges are distances from the points."""
    middle, width = 0.5 * (edges[1:] + edges[:-1]), edges.diff()
    samples = (points[:, None] + middle[:, None] * directions[:, None]).reshape(-1, 3)
    along = directions[:, None].expand(-1, len(middle), -1).reshape(-1, 3)
    optical = density(samples).double().cpu().reshape(len(points), -1).clamp(min=0) * width
    stopped = torch.exp(optical - optical.cumsum(-1)) * -torch.expm1(-optical)
    share = (stopped + 1e-9) / (stopped + 1e-9).sum(-1, keepdim=True)
    return (share[..., None] * colour(samples, along).double().cpu().reshape(*share.shape, 3)).sum(-2)


def region_of_interest(
    points: Float[Tensor, "n xyz=3"], cameras: Cameras, *, margin: float = 0.1
) -> Float[Tensor, "2 xyz=3"]:
    """A box around the surface points that the photographers cared about, a little larger.

    Those are the points that at least half as many cameras see as see the best seen ones; the outermost percent on
    each side does not count. Around an object this leaves out the far background that single photographs show.
    Raises InputError without points.
    """
    if len(points) == 0:
        raise InputError("the scene shows no opaque surface from its photographs. Fit it longer, or give --box.")
    counts = count_views(points, cameras)
    core = points[counts * 2 >= counts.max()].double()
    step = max(1, len(core) // 100_000)
    low, high = torch.quantile(core[::step], torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    slack = margin * (high - low).max()
    return torch.stack([low - slack, high + slack])
