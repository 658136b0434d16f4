"""How many photographs saw each point of what is exported, and what becomes of the points that none saw."""

from dataclasses import replace
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.errors import InputError
from diorama.export.mesh import Mesh
from diorama.export.points import PointCloud
from diorama.rendering.false_colour import fade
from diorama.scenes.visibility import HasContext, sightings

Unseen = Literal["keep", "fade", "drop"]
"""What no photograph saw: keep its colour, make it pale, or leave it out."""


def observed_mesh(mesh: Mesh, scene: HasContext, unseen: Unseen = "keep") -> Mesh:
    """The mesh with `observed`; dropped are triangles of which no corner was seen. InputError if nothing is left."""
    count, framed = sightings(scene, mesh.vertices)
    if unseen == "drop":
        faces = mesh.faces[(count > 0)[mesh.faces].any(-1)]
        if len(faces) == 0:
            raise InputError(f"no photograph saw any of the {len(mesh.faces)} triangles. Export with --unseen keep.")
        used, corners = faces.unique(return_inverse=True)
        parts = (mesh.normals[used], mesh.colours[used], count[used])
        return Mesh(mesh.vertices[used], corners.reshape(faces.shape), *parts)
    colours = faded(mesh.colours, count, framed) if unseen == "fade" else mesh.colours
    return replace(mesh, colours=colours, observed=count)


def observed_cloud(cloud: PointCloud, scene: HasContext, unseen: Unseen = "keep") -> PointCloud:
    """The points with `observed`; InputError if nothing is left."""
    count, framed = sightings(scene, cloud.points)
    if unseen == "drop":
        seen: Bool[Tensor, "point"] = count > 0
        if not bool(seen.any()):
            raise InputError(f"no photograph saw any of the {len(seen)} points. Export with --unseen keep.")
        parts = (cloud.points, cloud.colours, cloud.normals, cloud.directions, count)
        return PointCloud(*(part[seen] for part in parts))
    colours = faded(cloud.colours, count, framed) if unseen == "fade" else cloud.colours
    return replace(cloud, colours=colours, observed=count)


def faded(
    colours: Float[Tensor, "n rgb=3"], count: Int[Tensor, "n"], framed: Int[Tensor, "n"]
) -> Float[Tensor, "n rgb=3"]:
    """Colours (sRGB in [0, 1]), pale where no photograph saw the point."""
    unseen = count == 0
    return fade(colours.T, unseen & (framed > 0), unseen & (framed == 0)).T.contiguous()


def seen_share(observed: Int[Tensor, "n"] | None) -> float:
    """The share of points that a photograph saw."""
    return float((observed > 0).float().mean()) if observed is not None and len(observed) else 0.0
