"""Closed-form scenes: their colour, depth, density and cameras are known exactly, so that anything can be judged.

The world is z-up, in metres. A ball of radius `RADIUS` rests on the plane z = 0 (so its centre is (0, 0, RADIUS)),
under a plain sky. Colours are smooth functions of the surface point, so that images of any size agree.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.views import Frame, Views
from diorama.types import Rendering

RADIUS = 0.5
CENTRE = (0.0, 0.0, RADIUS)
SKY = (0.55, 0.70, 0.90)
DENSITY = 400.0
"""Density per metre inside the ball and below the plane in `sphere_field`: opaque within a centimetre."""


def look_from(eye: Float[Tensor, "*view 3"], target: Float[Tensor, "*view 3"]) -> Float[Tensor, "*view 4 4"]:
    """Camera-to-world matrices (OpenCV axes) at `eye` looking at `target`, with +z of the world upwards."""
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0]).to(forward).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    pose = torch.eye(4).to(forward).expand(*forward.shape[:-1], 4, 4).clone()
    pose[..., :3, :3], pose[..., :3, 3] = rotation, eye
    return pose


def ring_cameras(
    count: int, width: int = 64, height: int = 48, *, radius: float = 2.5, elevation: float = 1.2, arc: float = 360.0
) -> Cameras:
    """Cameras on a circle around the ball, looking at its centre; `arc` in degrees, 50 degrees of horizontal view."""
    last = arc if arc < 360.0 else arc * (count - 1) / count
    angle = torch.deg2rad(torch.linspace(0.0, last, count) if count > 1 else torch.zeros(1))
    eye = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, elevation)], dim=-1)
    focal = 0.5 * width / math.tan(math.radians(25.0))
    return Cameras.pinhole(
        look_from(eye, torch.tensor(CENTRE).expand_as(eye)),
        torch.full((count, 2), focal),
        torch.tensor([width / 2, height / 2]).expand(count, 2).clone(),
        torch.tensor([width, height]).expand(count, 2).clone(),
    )


def pinhole_rays(cameras: Cameras) -> tuple[Float[Tensor, "view h w 3"], Float[Tensor, "view h w 3"], Tensor]:
    """Origins, unit directions and cosines (view h w) of every pixel centre; pinhole cameras of one size."""
    width, height = cameras.size[0].tolist()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).to(cameras.focal)
    plane = (pixels - cameras.centre[:, None, None]) / cameras.focal[:, None, None]
    local = torch.cat([plane, torch.ones_like(plane[..., :1])], dim=-1)
    world = torch.einsum("vij,vhwj->vhwi", cameras.camera_to_world[:, :3, :3], local)
    length = world.norm(dim=-1)
    return cameras.origins[:, None, None].expand_as(world), world / length[..., None], 1 / length


def surface_colour(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """The colour of the surface at a point of it: a smooth pattern, different on the ball and on the plane."""
    x, y, z = points.unbind(-1)
    ball = torch.stack([0.5 + 0.4 * (7 * x).sin(), 0.5 + 0.4 * (7 * y).sin(), 0.5 + 0.4 * (9 * z).cos()], dim=-1)
    plane = torch.stack([0.5 + 0.3 * (5 * x).sin() * (5 * y).sin(), 0.4 + 0.2 * (3 * y).cos(), 0.3 + 0 * x], dim=-1)
    on_ball = (points - torch.tensor(CENTRE).to(points)).norm(dim=-1) < RADIUS * 1.02
    return torch.where((on_ball & (z > 1e-3))[..., None], ball, plane)


def hit_distance(
    origins: Float[Tensor, "*n 3"], directions: Float[Tensor, "*n 3"]
) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
    """Distance along unit rays to the ball or the plane, and where there is one (inf elsewhere)."""
    offset = origins - torch.tensor(CENTRE).to(origins)
    b = (offset * directions).sum(-1)
    root = b**2 - (offset**2).sum(-1) + RADIUS**2
    ball = torch.where(root > 0, -b - root.clamp(min=0).sqrt(), math.inf)
    ball = torch.where(ball > 0, ball, math.inf)
    down = directions[..., 2]
    plane = torch.where(down < -1e-9, -origins[..., 2] / torch.where(down < -1e-9, down, -1.0), math.inf)
    distance = torch.minimum(ball, plane)
    return distance, torch.isfinite(distance)


def exact_rendering(cameras: Cameras) -> Rendering:
    """What pinhole cameras of one size really see (one ray a pixel, no anti-aliasing): a `RenderFn`."""
    origins, directions, cosine = pinhole_rays(cameras)
    distance, hit = hit_distance(origins, directions)
    points = origins + directions * torch.where(hit, distance, 1.0)[..., None]
    colour = torch.where(hit[..., None], surface_colour(points), torch.tensor(SKY).to(points))
    depth = torch.where(hit, distance * cosine, 0.0)
    return Rendering(colour.permute(0, 3, 1, 2).contiguous(), depth, hit.to(depth))


def exact_views(cameras: Cameras) -> Views:
    """Photographs of the ball on the plane, with exact depth."""
    seen = exact_rendering(cameras)
    names = tuple(f"photo_{index:02d}.png" for index in range(len(cameras)))
    return Views(seen.colour, names, cameras, depth=seen.depth, frame=Frame("oracle world", "metres"))


def sphere_field(
    positions: Float[Tensor, "*n 3"], directions: Float[Tensor, "*n 3"]
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n 3"]]:
    """The same world as a radiance field (a `FieldFn`): opaque inside the ball and below the plane, empty elsewhere."""
    inside = (positions - torch.tensor(CENTRE).to(positions)).norm(dim=-1) < RADIUS
    return DENSITY * (inside | (positions[..., 2] < 0)).to(positions), surface_colour(positions)


def uniform_fog(density: float, colour: tuple[float, float, float] = (0.2, 0.5, 0.8)):
    """A `FieldFn` of constant density and colour: opacity over a length s is 1 - exp(-density s) (Beer-Lambert)."""

    def field_fn(positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(positions[..., 0], density), torch.tensor(colour).to(positions).expand_as(positions)

    return field_fn


@dataclass(frozen=True)
class OracleScene:
    """Answers like a `Scene` (render, density, colour, bounds, cameras, names, frame, near, far), but exactly."""

    cameras: Cameras = field(default_factory=lambda: ring_cameras(6))
    frame: Frame = field(default_factory=lambda: Frame("oracle world", "metres"))
    near: float = 0.5
    far: float = 8.0
    provenance: dict = field(default_factory=lambda: {"method": "oracle", "units": "metres"})
    thumbnails: Tensor | None = None

    @property
    def photographed(self) -> Cameras:
        return self.cameras

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"photo_{index:02d}.png" for index in range(len(self.cameras)))

    def render(self, cameras: Cameras, **_: object) -> Rendering:
        return exact_rendering(cameras)

    def density(self, points: Float[Tensor, "*n 3"], **_: object) -> Float[Tensor, "*n"]:
        return sphere_field(points, points)[0]

    def colour(
        self, points: Float[Tensor, "*n 3"], directions: Float[Tensor, "*n 3"], **_: object
    ) -> Float[Tensor, "*n 3"]:
        return surface_colour(points)

    def bounds(self) -> Float[Tensor, "2 3"]:
        return torch.tensor([[-1.0, -1.0, -0.1], [1.0, 1.0, 1.1]])
