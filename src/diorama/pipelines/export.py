"""`diorama export`: a scene to a mesh, a point cloud, or rendered views, in the user's frame and units."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import mean_up
from diorama.errors import InputError
from diorama.export.glb import y_up_matrix
from diorama.export.mesh import Mesh, MeshConfig, extract_mesh, write_mesh
from diorama.export.observed import Unseen, observed_cloud, observed_mesh, seen_share
from diorama.export.paint import paint_mesh, region_of_interest
from diorama.export.ply import write_ply
from diorama.export.points import PointCloud, PointConfig, join, surface_points
from diorama.files import check_free, whole_file
from diorama.pipelines.quantities import memory_limit
from diorama.pipelines.reconstruct import quiet
from diorama.pipelines.render import Tick, one_by_one, progress, render_frames
from diorama.pipelines.showing import Shown, frame_words, image_size, open_scene
from diorama.scenes.scene import DEFAULT_MEMORY
from diorama.scenes.visibility import context_depth
from diorama.types import RenderFn

Kind = Literal["mesh", "points", "views"]

SUFFIXES: dict[str, Kind] = {".glb": "mesh", ".obj": "mesh", ".ply": "mesh", "": "views"}
"""What a suffix means where no kind is given."""

LOOK_PIXELS, LOOK_VIEWS = 250_000, 24
"""Pixels in all, and pictures, that find the surface for a mesh."""


def export(
    scene: Shown,
    output: Path | str,
    *,
    kind: Kind | None = None,
    resolution: int = 256,
    level: float | None = None,
    box: Sequence[float] | None = None,
    y_up: bool = False,
    unseen: Unseen = "keep",
    depth: bool = False,
    width: int | None = None,
    force: bool = False,
    draw: RenderFn | None = None,
    max_memory: int = DEFAULT_MEMORY,
    tick: Tick | None = None,
    say: Callable[[str], None] = quiet,
) -> Path:
    """Export a scene as a mesh (`.glb`, `.obj`, `.ply`), points (`.ply`, kind `points`) or a folder of posed views.

    kind: by the suffix unless given. Meshes: `resolution` cells along the longest side of the box; level: density per
    user unit of the surface, unset: by the rendered depth; box: lowest x y z and highest x y z, user frame; y_up: a
    root matrix in a GLB that turns up into +y. Meshes and points say how many photographs saw each point (not in .obj);
    unseen: what becomes of what none saw. Views: depth: also 16-bit depth PNGs; width in pixels. draw: renders in place
    of the scene's own `render`. max_memory: bytes for the points of a mesh that are asked at once. tick: called after
    every picture. say: told what was written. Numbers are of the user's frame. Returns where it was written; raises
    InputError for a suffix that means nothing and for what cannot be, OutputError where something exists and `force` is
    not given.
    """
    target, draw = Path(output), draw or scene.render
    chosen = kind_of(target, kind, y_up=y_up, unseen=unseen)
    check_resolution(resolution)
    check_free(target, force=force)
    match chosen:
        case "mesh":
            corners = None if box is None else torch.tensor(box, dtype=torch.float64).reshape(2, 3)
            config = MeshConfig(resolution=resolution, level=level)
            mesh, level, corners = export_mesh(
                scene, draw, target, config, box=corners, y_up=y_up, unseen=unseen, force=force, max_memory=max_memory,
                tick=tick,
            )  # fmt: skip
            where = " to ".join("(" + ", ".join(f"{x:.4g}" for x in corner) + ")" for corner in corners.tolist())
            what = f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles, level {level:.3g}, box {where}"
            what += f", {100 * seen_share(mesh.observed):.0f} % of the vertices seen by a photograph"
        case "points":
            what = f"{export_points(scene, draw, target, unseen=unseen, force=force, tick=tick)} points"
        case "views":
            cameras = view_cameras(scene.cameras, width)
            scale = render_frames(
                scene, draw, cameras, scene.names, target, images="images", depth=depth, force=force, tick=tick
            )
            what = f"{len(cameras)} views" + (f", depth = {scale:g} * value" if scale is not None else "")
    say(f"{target}: {what}; in {frame_words(scene.frame)}")
    return target


def kind_of(output: Path, kind: Kind | None = None, *, y_up: bool = False, unseen: Unseen = "keep") -> Kind:
    """What to export: as asked, else by the suffix. Raises InputError where kind and suffix do not fit."""
    suffix = output.suffix.lower()
    if kind is None and suffix not in SUFFIXES and not output.is_dir():
        raise InputError(f"`{suffix}` is none of .glb, .obj, .ply, or a folder. Give another -o, or --kind.")
    chosen = kind or ("views" if output.is_dir() else SUFFIXES[suffix])
    if chosen == "mesh" and suffix not in (".glb", ".obj", ".ply"):
        raise InputError(f"a mesh is written as .glb, .obj or .ply, not `{suffix}`. Give another -o.")
    if chosen == "points" and suffix != ".ply":
        raise InputError(f"points are written as .ply, not `{suffix}`. Give -o FILE.ply.")
    if y_up and suffix != ".glb":
        raise InputError(f"--y-up is for GLB alone, not {suffix}: the other formats keep your frame's numbers.")
    if chosen == "views" and unseen != "keep":
        raise InputError(
            f"--unseen {unseen} is for meshes and points; rendered views show what photographs saw. For other cameras: "
            "diorama render --observed."
        )
    return chosen


def check_resolution(resolution: int) -> None:
    """InputError for a number of cells that no mesh can be made from."""
    if not 4 <= resolution <= 2048:
        raise InputError(f"a resolution of {resolution} cells is not possible. Give 4 to 2048.")


def scene_points(
    scene: Shown,
    render: RenderFn,
    *,
    most: int = 2_000_000,
    views: int | None = None,
    config: PointConfig | None = None,
    tick: Tick | None = None,
) -> PointCloud:
    """Coloured surface points (user frame) of the context photographs, rendered; at most about `most`.

    views: of so many photographs, evenly chosen; unset: of all. Pictures are as large as the photographs, or smaller
    where there would be too many points.
    """
    count = len(scene.cameras)
    chosen = torch.linspace(0, count - 1, min(views or count, count)).round().long()
    cameras = scene.cameras[chosen]
    sizes = cameras.size.double()
    share = min(1.0, math.sqrt(most / max(1.0, float(sizes.prod(-1).sum()))))
    clouds = []
    for index in range(len(cameras)):
        width, height = (max(1, round(side * share)) for side in cameras.size[index].tolist())
        small = cameras[index : index + 1].resize(width, height)
        seen = next(one_by_one(render, small, tick))
        clouds.append(surface_points(seen, small, config or PointConfig()))
    return join(clouds)


def scene_mesh(
    scene: Shown,
    render: RenderFn,
    config: MeshConfig,
    *,
    box: Float[Tensor, "2 xyz=3"] | None = None,
    unseen: Unseen = "keep",
    max_memory: int = DEFAULT_MEMORY,
    tick: Tick | None = None,
) -> tuple[Mesh, float, Float[Tensor, "2 xyz=3"]]:
    """The surface of a scene as a coloured mesh, the density level taken for it, and the box it was looked for in.

    box: user frame; unset: around what most photographs show (`export.paint.region_of_interest`), within the scene's
    bounds. unseen: what becomes of what no photograph saw. max_memory: bytes for the points asked at once.
    Raises InputError where there is no surface.
    """
    cloud = scene_points(scene, render, most=LOOK_PIXELS, views=LOOK_VIEWS, tick=tick)
    if box is None:
        box = region_of_interest(cloud.points, scene.cameras)
        limits = scene.bounds().to(box)
        box = torch.stack([torch.maximum(box[0], limits[0]), torch.minimum(box[1], limits[1])])
    inside = ((cloud.points >= box[0]) & (cloud.points <= box[1])).all(-1)
    points, directions = cloud.points[inside], cloud.directions[inside]
    step = max(1, len(points) // 20_000)
    density, colour = (partial(ask, max_memory=max_memory) for ask in (scene.density, scene.colour))
    mesh, level = extract_mesh(density, box, config, surface=(points[::step].double(), directions[::step].double()))
    cell = float((box[1] - box[0]).max()) / config.resolution
    painted = paint_mesh(mesh, density, colour, scene.cameras, cell=cell)
    return observed_mesh(painted, context_depth(scene.photographed, render, tick=tick), unseen), level, box


def export_mesh(
    scene: Shown,
    render: RenderFn,
    path: Path,
    config: MeshConfig,
    *,
    box: Float[Tensor, "2 xyz=3"] | None = None,
    y_up: bool = False,
    unseen: Unseen = "keep",
    force: bool = False,
    max_memory: int = DEFAULT_MEMORY,
    tick: Tick | None = None,
) -> tuple[Mesh, float, Float[Tensor, "2 xyz=3"]]:
    """`scene_mesh` into a .glb, .obj or .ply file, in the user's frame; y_up turns the root of a GLB alone."""
    mesh, level, box = scene_mesh(scene, render, config, box=box, unseen=unseen, max_memory=max_memory, tick=tick)
    root = y_up_matrix(mean_up(scene.cameras).cpu()) if y_up else None
    with whole_file(path, force=force) as temporary:
        write_mesh(temporary, mesh, suffix=path.suffix.lower(), root=root, notes=file_notes(scene))
    return mesh, level, box


def export_points(
    scene: Shown,
    render: RenderFn,
    path: Path,
    *,
    unseen: Unseen = "keep",
    force: bool = False,
    tick: Tick | None = None,
) -> int:
    """`scene_points` into a .ply file, in the user's frame; returns how many. Raises InputError if there are none."""
    cloud = scene_points(scene, render, tick=tick)
    if len(cloud) == 0:
        raise InputError("no photograph shows an opaque surface in this scene. Fit it longer.")
    cloud = observed_cloud(cloud, context_depth(scene.photographed, render, tick=tick), unseen)
    with whole_file(path, force=force) as temporary:
        notes = tuple(f"{key}: {value}" for key, value in file_notes(scene).items())
        write_ply(
            temporary, cloud.points, colours=cloud.colours, normals=cloud.normals, observed=cloud.observed,
            comments=notes,
        )  # fmt: skip
    return len(cloud)


def file_notes(scene: Shown) -> dict[str, str]:
    """What an exported file says about itself."""
    return {"frame": scene.frame.name, "units": scene.frame.units, "made by": "diorama"}


@dataclass(frozen=True)
class Options:
    """A scene to a mesh (.glb, .obj, .ply), a point cloud (.ply) or rendered views with their transforms.json.

    Numbers are those of your own frame, the same in every format."""

    scene: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCENE")]
    """Scene folder."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """FILE.glb, FILE.obj, FILE.ply, or a folder for views."""
    kind: Kind | None = None
    """By the suffix unless given; .ply means mesh."""
    resolution: int = 256
    """Mesh: cells along the longest side of the box."""
    level: float | None = None
    """Mesh: density (per unit of your frame) of the surface; unset: chosen by the rendered depth."""
    box: tuple[float, float, float, float, float, float] | None = None
    """Mesh: lowest x y z and highest x y z of where to look; unset: around what most photographs show."""
    y_up: bool = False
    """Mesh, GLB alone: add a root matrix that turns your up into +y, as most 3D programs have it."""
    unseen: Unseen = "keep"
    """Mesh, points: what no photograph saw keeps its colour, fades (reddish: hidden behind something, bluish: in no
    photograph's frame), or is dropped. In .glb and .ply each point says how many photographs saw it."""
    depth: bool = False
    """Views: also 16-bit depth PNGs."""
    width: int | None = None
    """Views: pixels; the photographs' own size unless given."""
    max_memory: str | None = None
    """Limit for the samples in flight: 500MB, 4GB."""
    device: str | None = None
    """cpu, or cuda; unset: the GPU if torch sees one."""
    force: bool = False
    """Replace an existing output."""


def command(options: Options) -> int:
    """Run the verb; progress goes to the terminal."""
    kind = kind_of(options.output, options.kind, y_up=options.y_up, unseen=options.unseen)
    check_resolution(options.resolution)
    check_free(options.output, force=options.force)
    scene, draw = open_scene(options.scene, device=options.device, max_memory=options.max_memory)
    views, photographs = len(scene.cameras), len(scene.photographed)
    count = {"mesh": min(views, LOOK_VIEWS) + photographs, "points": views + photographs}.get(kind, views)
    said: list[str] = []
    with progress(count, kind) as tick:
        export(
            scene, options.output, kind=kind, resolution=options.resolution, level=options.level, box=options.box,
            y_up=options.y_up, unseen=options.unseen, depth=options.depth, width=options.width, force=options.force,
            draw=draw, max_memory=memory_limit(options.max_memory), tick=tick, say=said.append,
        )  # fmt: skip
    print(*said, sep="\n")
    return 0


def view_cameras(cameras: Cameras, width: int | None) -> Cameras:
    """The context cameras, at their own sizes or all at one."""
    return cameras if width is None else cameras.resize(*image_size(cameras, width, None))
