"""`diorama render`: a scene to a film, to frames, or to depth, along a path or from any cameras."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.errors import InputError
from diorama.pipelines.showing import PathName, Shown, camera_path, frame_words, image_size, open_scene
from diorama.types import RenderFn, Rendering

FILMS = (".mp4", ".m4v", ".mov")

Tick = Callable[[], None]


def render_film(
    render: RenderFn, cameras: Cameras, path: Path, *, fps: float = 30.0, force: bool = False, tick: Tick | None = None
) -> int:
    """Render cameras (of one size) in order into an H.264 film; returns the number of frames.

    Frames are encoded as they are rendered, so memory does not grow with the length. Raises OutputError.
    """
    from diorama.export.files import whole_file
    from diorama.export.video import write_video

    def frames() -> Iterator[Float[Tensor, "3 h w"]]:
        for rendering in one_by_one(render, cameras, tick):
            yield rendering.colour[0]

    with whole_file(path, force=force) as temporary:
        return write_video(temporary, frames(), fps=fps)


def render_frames(
    scene: Shown,
    render: RenderFn,
    cameras: Cameras,
    names: Sequence[str],
    folder: Path,
    *,
    images: str = "",
    depth: bool = False,
    force: bool = False,
    tick: Tick | None = None,
) -> float | None:
    """Render cameras of any sizes into PNG files named after `names`, with a `transforms.json` beside them.

    images: the sub-folder of the pictures. depth: also 16-bit PNGs in `depth/`, and `depth.json` with their scale,
    which is returned. Depth is planar; 0 where the scene is less than half opaque, or deeper than the images hold
    (see `deepest`). Raises OutputError.
    """
    from diorama.data.images import write_depth_png, write_png
    from diorama.data.transforms import write_transforms
    from diorama.export.files import whole_folder
    from diorama.export.frames import depth_scale, png_names, write_depth_note

    files = png_names(names)
    scale = depth_scale(deepest(render, cameras), scene.frame.units) if depth else None
    with whole_folder(folder, force=force) as temporary:
        for file, rendering in zip(files, one_by_one(render, cameras, tick), strict=True):
            picture = temporary / images / file
            picture.parent.mkdir(parents=True, exist_ok=True)
            write_png(picture, rendering.colour[0])
            if scale is not None:
                solid = torch.where(rendering.opacity[0] > 0.5, rendering.depth[0], 0.0)
                (temporary / "depth" / file).parent.mkdir(parents=True, exist_ok=True)
                write_depth_png(temporary / "depth" / file, solid, scale)
        if scale is not None:
            write_depth_note(temporary / "depth.json", scale=scale, units=scene.frame.units, frame=scene.frame.name)
        # nerfstudio's depth unit is metres per step of a scene in metres: here, user units per step
        write_transforms(
            temporary / "transforms.json",
            cameras,
            files,
            scene.frame,
            folder=images,
            depth_folder="depth" if depth else None,
            depth_unit=scale or 1e-3,
        )
    return scale


def one_by_one(render: RenderFn, cameras: Cameras, tick: Tick | None = None) -> Iterator[Rendering]:
    """Renderings of single cameras, each of its own size."""
    for index in range(len(cameras)):
        yield render(cameras[index : index + 1])
        if tick is not None:
            tick()


def deepest(render: RenderFn, cameras: Cameras, *, looks: int = 24, reach: float = 20.0) -> float:
    """The depth (user units) that depth images must hold: from small pictures of some of the cameras.

    The deepest opaque surface and a quarter more, for what small pictures miss; but at most `reach` times the median
    depth, so that a horizon does not cost the foreground its detail.
    """
    found = []
    for index in torch.linspace(0, len(cameras) - 1, min(looks, len(cameras))).round().long().unique().tolist():
        width, height = (max(1, side // 8) for side in cameras.size[index].tolist())
        seen = render(cameras[index : index + 1].resize(width, height))
        found.append(seen.depth[(seen.opacity > 0.5) & torch.isfinite(seen.depth) & (seen.depth > 0)])
    depth = torch.cat(found)
    return float(torch.minimum(1.25 * depth.max(), reach * depth.median())) if len(depth) else 0.0


@contextmanager
def progress(total: int, what: str) -> Iterator[Tick]:
    """A progress bar on a terminal; nothing elsewhere. Yields what to call after each step."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="frame", disable=None, dynamic_ncols=True) as bar:

        def tick() -> None:
            bar.update(1)

        yield tick


@dataclass(frozen=True)
class Options:
    """A scene to a film (.mp4) or to a folder of PNG frames, along a path or from the cameras of a file."""

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """FILE.mp4 for a film, anything without a suffix for a folder of PNG frames."""
    path: PathName = "tour"
    """Camera path, fitted to where the photographs were taken. tour: what suits the capture; orbit: around what they
    look at; spiral: to and fro in front of it; interpolate: through them; grid: one swung about; zoom: closer."""
    cameras: Path | None = None
    """A transforms.json: render exactly its cameras, at the size it states, one PNG named after each frame's file."""
    depth: bool = False
    """Also 16-bit depth PNGs; their scale is printed and stored in depth.json. Needs a folder."""
    width: int | None = None
    """Pixels; the photographs' width unless given. With --height unset the aspect is kept."""
    height: int | None = None
    fps: float = 30.0
    """Frames a second."""
    seconds: float = 4.0
    """Length of the path."""
    max_memory: str | None = None
    """Limit for the samples in flight: 500MB, 4GB."""
    device: str | None = None
    force: bool = False
    """Replace an existing output."""


def command(options: Options) -> int:
    """Run the verb; progress goes to the terminal."""
    from diorama.export.files import check_free

    check_options(options)
    check_free(options.output, force=options.force)
    scene, render = open_scene(options.scene, device=options.device, max_memory=options.max_memory)
    if options.output.suffix.lower() in FILMS:
        cameras, _ = chosen_cameras(scene, options, even=True)
        with progress(len(cameras), "render") as tick:
            count = render_film(render, cameras, options.output, fps=options.fps, force=options.force, tick=tick)
        print(f"{options.output}: {count} frames, {size_words(cameras)}, {options.fps:g} frames a second")
        return 0
    cameras, names = chosen_cameras(scene, options)
    with progress(len(cameras), "render") as tick:
        scale = render_frames(
            scene, render, cameras, names, options.output, depth=options.depth, force=options.force, tick=tick
        )
    print(f"{options.output}: {len(cameras)} frames, {size_words(cameras)}, cameras in {frame_words(scene.frame)}")
    if scale is not None:
        unit = "units" if scene.frame.units == "arbitrary" else scene.frame.units
        print(
            f"{options.output / 'depth'}: depth in {unit} = {scale:g} * value, as depth.json says; "
            "0: nothing there, or too far"
        )
    return 0


def check_options(options: Options) -> None:
    """Raise InputError for what cannot be done, before anything is loaded."""
    suffix = options.output.suffix.lower()
    if suffix and suffix not in FILMS and not options.output.is_dir():
        raise InputError(f"{options.output}: films are written as .mp4, frames into a folder. Give another -o.")
    if options.depth and suffix in FILMS:
        raise InputError("16-bit depth does not fit into a film. Give a folder instead: -o DIR --depth.")
    if options.cameras is not None and (options.width or options.height):
        raise InputError("--cameras renders at the size its file states. Leave out --width and --height.")
    if not (0 < options.fps <= 1000 and 0 < options.seconds <= 36000):
        raise InputError(f"{options.seconds:g} s at {options.fps:g} frames a second is no film. Give both above 0.")


def chosen_cameras(scene: Shown, options: Options, *, even: bool = False) -> tuple[Cameras, Sequence[str]]:
    """The cameras to render and the names of their pictures."""
    from diorama.data.transforms import read_cameras

    if options.cameras is not None:
        cameras, names = read_cameras(options.cameras)
        if even and len(cameras.size.unique(dim=0)) > 1:
            raise InputError(f"{options.cameras} states several sizes, a film has one. Give a folder: -o DIR.")
        return cameras, names
    size = image_size(scene.cameras, options.width, options.height, even=even)
    count = max(1, round(options.fps * options.seconds))
    return camera_path(scene, options.path, count, size), [f"{index:05d}" for index in range(count)]


def size_words(cameras: Cameras) -> str:
    """The size of the pictures in words."""
    sizes: list[Any] = cameras.size.unique(dim=0).tolist()
    return f"{sizes[0][0]} x {sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
