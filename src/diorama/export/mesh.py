"""A radiance field becomes a triangle mesh: marching cubes on its density, in the user's frame and units."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.errors import InputError
from diorama.export.glb import write_glb
from diorama.export.ply import to_bytes, write_ply
from diorama.types import DensityFn


@dataclass(frozen=True)
class MeshConfig:
    """How finely the density is looked at, and what is kept."""

    resolution: int = 256
    """Cells along the longest side of the box; memory and time grow with its third power."""
    chunk: int = 1 << 18
    """Points asked of the field at once."""
    level: float | None = None
    """Density (per user unit) of the surface; unset: chosen so that it fits the rendered depth."""
    smallest_part: float = 0.02
    """Separate parts with fewer faces than this share of the largest part are dropped."""
    bisections: int = 5
    """Halvings of the cell edge that a vertex lies on, to find the surface more finely than the grid."""


@dataclass(frozen=True)
class Mesh:
    """Triangles (counter-clockwise from outside) with unit outward normals; colours are sRGB in [0, 1].

    observed: how many photographs saw each vertex; None where nobody asked.
    """

    vertices: Float[Tensor, "vertex xyz=3"]
    faces: Int[Tensor, "face 3"]
    normals: Float[Tensor, "vertex xyz=3"]
    colours: Float[Tensor, "vertex rgb=3"]
    observed: Int[Tensor, "vertex"] | None = None


def extract_mesh(
    density: DensityFn,
    box: Float[Tensor, "2 3"],
    config: MeshConfig,
    *,
    surface: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]] | None = None,
) -> tuple[Mesh, float]:
    """Surface of `density` inside `box` (lower and upper corner), and the density level that was taken for it.

    surface: points on the rendered surface and the unit directions of the rays that met them; they choose the level
    (see `fit_level`). Colours are grey; `paint` sets them. Raises InputError where there is no surface at all.
    Source: Lewiner et al. 2003 (marching cubes without ambiguous cases), as in scikit-image.
    """
    from skimage.measure import marching_cubes

    axes, cell = grid_axes(box, config.resolution)
    grid = sample_grid(density, axes, config.chunk)
    level = config.level if config.level is not None else fit_level(density, grid, cell, surface)
    peak = float(grid.max())
    if level >= peak and config.level is None:
        level = 0.5 * peak
    if not (peak > level > 0 and float(grid.min()) < level):
        raise InputError(
            f"no surface inside the box: density runs from {float(grid.min()):.3g} to {peak:.3g} per unit, "
            f"level {level:.3g}. Try another --level, or export --kind points."
        )
    share = grid / (grid + level)  # one half at the level; keeps vertices in mid-cell where the density is a step
    vertices, faces, _, _ = marching_cubes(share.numpy(), level=0.5, gradient_direction="descent")
    index = torch.from_numpy(vertices.copy()).to(grid.dtype)
    corners = torch.from_numpy(faces[:, ::-1].astype("int64"))  # counter-clockwise seen from the empty side
    index, corners = keep_parts(index, corners, config.smallest_part)
    points = refine(density, axes, index, level, config)
    normals = vertex_normals(points, corners)
    return Mesh(points, corners, normals, torch.full_like(points, 0.5)), level


def grid_axes(
    box: Float[Tensor, "2 3"], resolution: int
) -> tuple[tuple[Float[Tensor, "x"], Float[Tensor, "y"], Float[Tensor, "z"]], float]:
    """Coordinates of the grid points along each axis (equal spacing, at least two cells) and that spacing."""
    side = (box[1] - box[0]).double()
    if not bool(torch.isfinite(box).all()) or float(side.min()) <= 0:
        raise InputError(f"the box from {box[0].tolist()} to {box[1].tolist()} is empty. The scene has no bounds.")
    cell = float(side.max()) / resolution
    axes = [
        box[0, axis].double() + cell * torch.arange(max(3, round(float(side[axis]) / cell) + 1), dtype=torch.float64)
        for axis in range(3)
    ]
    return (axes[0], axes[1], axes[2]), cell


def sample_grid(
    density: DensityFn,
    axes: tuple[Float[Tensor, "x"], Float[Tensor, "y"], Float[Tensor, "z"]],
    chunk: int,
) -> Float[Tensor, "x y z"]:
    """Density at every grid point, slab by slab; not finite values count as empty."""
    x, y, z = axes
    grid = torch.empty(len(x), len(y), len(z))
    slab = max(1, chunk // (len(y) * len(z)))
    for start in range(0, len(x), slab):
        points = torch.stack(torch.meshgrid(x[start : start + slab], y, z, indexing="ij"), dim=-1)
        grid[start : start + slab] = evaluate(density, points.reshape(-1, 3), chunk).reshape(points.shape[:-1])
    return grid


def evaluate(density: DensityFn, points: Float[Tensor, "n 3"], chunk: int) -> Float[Tensor, "n"]:
    """Density at points, on the CPU and finite, a chunk at a time."""
    with torch.no_grad():
        parts = [density(part).float().cpu() for part in points.split(chunk)]
    return torch.nan_to_num(torch.cat(parts), nan=0.0, posinf=torch.finfo(torch.float32).max / 4, neginf=0.0)


def fit_level(
    density: DensityFn,
    grid: Float[Tensor, "x y z"],
    cell: float,
    surface: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]] | None,
) -> float:
    """The density that best tells the air in front of the rendered surface from the matter behind it.

    With surface points: of all thresholds, the one with the largest (share of dense points one cell behind) minus
    (share of dense points one cell in front). Without: the density that stops half of the light within one cell,
    lowered until it lies inside the range of the grid.
    """
    if surface is not None and len(surface[0]) >= 32:
        points, directions = surface
        front = evaluate(density, points - cell * directions, 1 << 18)
        behind = evaluate(density, points + cell * directions, 1 << 18)
        candidates = torch.cat([front, behind]).clamp(min=1e-12).log()
        levels = torch.linspace(float(candidates.quantile(0.02)), float(candidates.quantile(0.98)), 128).exp()
        gain = (behind[:, None] > levels).float().mean(0) - (front[:, None] > levels).float().mean(0)
        best = gain.max()
        good = levels[gain >= best - 0.02 * best.abs()]
        if best > 0.05:
            return float(good.log().mean().exp())  # the middle of the plateau
    level, peak = 0.693 / cell, float(grid.max())
    while level >= peak > 0:
        level *= 0.5
    return level


def refine(
    density: DensityFn,
    axes: tuple[Float[Tensor, "x"], Float[Tensor, "y"], Float[Tensor, "z"]],
    index: Float[Tensor, "vertex xyz=3"],
    level: float,
    config: MeshConfig,
) -> Float[Tensor, "vertex xyz=3"]:
    """World positions of vertices given in grid indices, moved along their cell edge to where density is `level`.

    A vertex of marching cubes lies on an edge of the grid: two of its indices are whole numbers. Bisection along
    that edge needs no gradient and cannot leave the cell.
    """
    origin = torch.stack([axis[0] for axis in axes])
    spacing = torch.stack([axis[1] - axis[0] for axis in axes])
    fraction = (index - index.round()).abs()
    edge = torch.nn.functional.one_hot(fraction.argmax(-1), 3).bool()
    steady = index.round().double()
    low = torch.where(edge, index.double().floor(), steady) * spacing + origin
    high = torch.where(edge, index.double().floor() + 1, steady) * spacing + origin
    dense_low = evaluate(density, low, config.chunk) > level
    crosses = dense_low != (evaluate(density, high, config.chunk) > level)
    for _ in range(config.bisections):
        middle = 0.5 * (low + high)
        same = ((evaluate(density, middle, config.chunk) > level) == dense_low)[:, None]
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    plain = index.double() * spacing + origin
    return torch.where(crosses[:, None], 0.5 * (low + high), plain) if config.bisections else plain


def keep_parts(
    vertices: Float[Tensor, "vertex xyz=3"], faces: Int[Tensor, "face 3"], smallest: float
) -> tuple[Float[Tensor, "kept xyz=3"], Int[Tensor, "kept_face 3"]]:
    """The largest connected part and all parts with at least the share `smallest` of its faces."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b, c = faces.numpy().T
    edges = coo_matrix((np.ones(2 * len(a), dtype=np.int8), (np.r_[a, b], np.r_[b, c])), shape=(len(vertices),) * 2)
    _, part = connected_components(edges, directed=False)
    part_of_face = torch.from_numpy(part.astype("int64"))[faces[:, 0]]
    sizes = part_of_face.bincount()
    return compact(vertices, faces[(sizes >= smallest * sizes.max())[part_of_face]])


def compact(
    vertices: Float[Tensor, "vertex xyz=3"], faces: Int[Tensor, "face 3"]
) -> tuple[Float[Tensor, "kept xyz=3"], Int[Tensor, "face 3"]]:
    """Drop the vertices that no face uses."""
    used, renumbered = faces.unique(return_inverse=True)
    return vertices[used], renumbered.reshape(faces.shape)


def vertex_normals(
    vertices: Float[Tensor, "vertex xyz=3"], faces: Int[Tensor, "face 3"]
) -> Float[Tensor, "vertex xyz=3"]:
    """Unit normals: the area-weighted mean of the faces around each vertex."""
    corners = vertices[faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, faces[:, corner], area)
    return total / total.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)


def write_mesh(
    path: Path,
    mesh: Mesh,
    *,
    suffix: str,
    root: Float[Tensor, "4 4"] | None = None,
    notes: dict[str, str] | None = None,
) -> None:
    """Write `.glb`, `.obj` or `.ply` (by `suffix`): the same numbers in each. `root` is only for GLB (its y is up).

    What photographs saw goes into GLB and PLY; OBJ has no place for it. notes: frame and units, stored as asset extras
    (GLB) or comments (PLY, OBJ).
    """
    comments = tuple(f"{key}: {value}" for key, value in (notes or {}).items())
    match suffix:
        case ".glb":
            extras: dict[str, object] = dict(notes or {})
            write_glb(
                path, mesh.vertices, mesh.faces, colours=mesh.colours, normals=mesh.normals, observed=mesh.observed,
                root=root, extras=extras,
            )  # fmt: skip
        case ".ply":
            write_ply(
                path, mesh.vertices, colours=mesh.colours, normals=mesh.normals, faces=mesh.faces,
                observed=mesh.observed, comments=comments,
            )  # fmt: skip
        case ".obj":
            write_obj(path, mesh, comments)
        case _:
            raise InputError(f"a mesh cannot be written as `{suffix}`. Use .glb, .obj or .ply.")


def write_obj(path: Path, mesh: Mesh, comments: tuple[str, ...] = ()) -> None:
    """Wavefront OBJ with vertex colours after the positions (the common extension) and vertex normals."""
    colours = (to_bytes(mesh.colours) / 255.0).tolist()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"# {line}\n" for line in comments)
        for (x, y, z), (r, g, b) in zip(mesh.vertices.tolist(), colours, strict=True):
            file.write(f"v {x:.9g} {y:.9g} {z:.9g} {r:.4f} {g:.4f} {b:.4f}\n")
        file.writelines(f"vn {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in mesh.normals.tolist())
        file.writelines(f"f {a}//{a} {b}//{b} {c}//{c}\n" for a, b, c in (mesh.faces + 1).tolist())
