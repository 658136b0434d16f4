"""The verbs that write a scene's pictures and shapes, as plain functions of a scene in memory."""

from collections.abc import Sequence
from pathlib import Path

from diorama.cameras.pinhole import Cameras
from diorama.errors import InputError
from diorama.export.files import check_free
from diorama.export.mesh import MeshConfig
from diorama.pipelines.export import SUFFIXES, Kind, export_mesh, export_points
from diorama.pipelines.render import FILMS, render_film, render_frames
from diorama.pipelines.showing import PathName, Shown, camera_path, image_size


def render(
    scene: Shown,
    output: Path | str,
    *,
    path: PathName = "tour",
    cameras: Cameras | None = None,
    names: Sequence[str] | None = None,
    seconds: float = 4.0,
    fps: float = 30.0,
    width: int | None = None,
    depth: bool = False,
    force: bool = False,
) -> Path:
    """Render a scene to a film (`.mp4`) or to a folder of PNG frames; returns where it was written.

    Along a named camera path of so many seconds, or from `cameras` of the user's frame at their own sizes (their frames
    are called `names`, else numbered). width: pixels of the path's pictures, unset: those of the photos. depth: also
    16-bit depth PNGs, for folders. Raises OutputError where something exists and `force` is not given.
    """
    target = Path(output)
    film = target.suffix.lower() in FILMS
    if target.suffix and not film:
        raise InputError(f"{target}: films are written as .mp4, frames into a folder. Give another output.")
    if film and depth:
        raise InputError("16-bit depth does not fit into a film. Give a folder instead.")
    check_free(target, force=force)
    if cameras is None:
        count = max(1, round(seconds * fps))
        cameras = camera_path(scene, path, count, image_size(scene.cameras, width, None, even=film))
    if film:
        render_film(scene.render, cameras, target, fps=fps, force=force)
    else:
        numbered = names or [f"{index:05d}" for index in range(len(cameras))]
        render_frames(scene, scene.render, cameras, numbered, target, depth=depth, force=force)
    return target


def export(
    scene: Shown,
    output: Path | str,
    *,
    kind: Kind | None = None,
    resolution: int = 256,
    y_up: bool = False,
    force: bool = False,
) -> Path:
    """Export a scene as a mesh (`.glb`, `.obj`, `.ply`), points (`.ply`, kind `points`) or a folder of posed views.

    kind: by the suffix unless given. resolution: cells of the mesh along the longest side of its box. y_up: a root
    matrix in a GLB that turns up into +y. Numbers are of the user's frame. Returns where it was written; raises
    InputError for a suffix that means nothing, OutputError where something exists and `force` is not given.
    """
    target = Path(output)
    chosen = kind or SUFFIXES.get(target.suffix.lower())
    if chosen is None:
        raise InputError(f"`{target.suffix}` is none of .glb, .obj, .ply, or a folder. Give another name, or a kind.")
    check_free(target, force=force)
    match chosen:
        case "mesh":
            config = MeshConfig(resolution=resolution)
            export_mesh(scene, scene.render, target, config, y_up=y_up, force=force)
        case "points":
            export_points(scene, scene.render, target, force=force)
        case "views":
            render_frames(scene, scene.render, scene.cameras, scene.names, target, images="images", force=force)
    return target
