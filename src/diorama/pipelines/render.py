"""`diorama render`: a scene to a film or to frames, with depth and observed maps, along a path or from any cameras."""

import time
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
from diorama.files import check_free, whole_file, whole_folder
from diorama.pipelines.observed import Fading
from diorama.pipelines.reconstruct import quiet
from diorama.pipelines.showing import PathName, Shown, camera_path, frame_words, image_size, open_scene
from diorama.pipelines.uncertainty import What, open_spread, spread_words
from diorama.scenes.visibility import context_depth
from diorama.types import RenderFn, Rendering

FILMS = (".mp4", ".m4v", ".mov")

Tick = Callable[[], None]


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
    height: int | None = None,
    depth: bool = False,
    observed: bool = False,
    force: bool = False,
    draw: RenderFn | None = None,
    tick: Tick | None = None,
    say: Callable[[str], None] = quiet,
) -> Path:
    """Render a scene to a film (`.mp4`) or to a folder of PNG frames; returns where it was written.

    Along a named camera path of so many seconds, or from `cameras` of the user's frame at their own sizes (their frames
    are called `names`, else numbered). width, height: pixels of the path's pictures; unset: those of the photos; one
    alone keeps the aspect. depth: also 16-bit depth PNGs, for folders. observed: make pale what no photograph saw, and
    into folders also write how many saw what. draw: renders in place of the scene's own `render`. tick: called after
    every frame, and every photograph that `observed` looks through. say: told what was written, and how long a
    frame took. Raises InputError for what cannot be, OutputError where something exists and `force` is not given.
    """
    target = Path(output)
    film = is_film(target, depth=depth)
    count = frame_count(seconds, fps)
    check_free(target, force=force)
    if cameras is None:
        cameras = camera_path(scene, path, count, image_size(scene.cameras, width, height, even=film))
    elif film and len(cameras.size.unique(dim=0)) > 1:
        raise InputError("these cameras have several sizes, and a film has one. Give a folder: -o DIR.")
    draw, took = draw or scene.render, list[float]()
    draw(cameras[:1].resize(2, 2))  # what a scene prepares when it is first drawn belongs to no frame's time
    fading = Fading(context_depth(scene.photographed, draw, tick=tick)) if observed else None
    if film:
        draw = draw if fading is None else fading.over(draw)
        drawn = render_film(draw, cameras, target, fps=fps, force=force, tick=tick, took=took)
        say(f"{target}: {drawn} frames, {size_words(cameras)}, {fps:g} frames a second")
        say(time_words(took, cameras))
        if fading is not None:
            say(fading.words())
        return target
    numbered = names or [f"{index:05d}" for index in range(len(cameras))]
    scale = render_frames(
        scene, draw, cameras, numbered, target, depth=depth, fading=fading, force=force, tick=tick, took=took
    )  # fmt: skip
    say(f"{target}: {len(cameras)} frames, {size_words(cameras)}, cameras in {frame_words(scene.frame)}")
    say(time_words(took, cameras))
    if fading is not None:
        say(f"{target / 'observed'}: how many photographs saw what, as observed.json says; {fading.words()}")
    if scale is not None:
        unit = "units" if scene.frame.units == "arbitrary" else scene.frame.units
        say(
            f"{target / 'depth'}: depth in {unit} = {scale:g} * value, as depth.json says; 0: nothing there, or too far"
        )
    return target


def is_film(output: Path, *, depth: bool) -> bool:
    """Whether an output means a film, by its suffix, and not a folder. InputError where it means neither."""
    suffix = output.suffix.lower()
    if suffix and suffix not in FILMS and not output.is_dir():
        raise InputError(f"{output}: films are written as .mp4, frames into a folder. Give another -o.")
    if depth and suffix in FILMS:
        raise InputError("16-bit depth does not fit into a film. Give a folder instead: -o DIR --depth.")
    return suffix in FILMS


def frame_count(seconds: float, fps: float) -> int:
    """How many frames a path of so many seconds has, at least one. InputError for lengths that are none."""
    if not (0 < fps <= 1000 and 0 < seconds <= 36000):
        raise InputError(f"{seconds:g} s at {fps:g} frames a second is no film. Give both above 0.")
    return max(1, round(fps * seconds))


def render_film(
    render: RenderFn,
    cameras: Cameras,
    path: Path,
    *,
    fps: float = 30.0,
    force: bool = False,
    tick: Tick | None = None,
    took: list[float] | None = None,
) -> int:
    """Render cameras (of one size) in order into an H.264 film; returns the number of frames.

    Frames are encoded as they are rendered, so memory does not grow with the length. took: as in `one_by_one`. Raises
    OutputError.
    """
    from diorama.export.video import write_video

    def frames() -> Iterator[Float[Tensor, "3 h w"]]:
        for rendering in one_by_one(render, cameras, tick, took):
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
    fading: Fading | None = None,
    force: bool = False,
    tick: Tick | None = None,
    took: list[float] | None = None,
) -> float | None:
    """Render cameras of any sizes into PNG files named after `names`, with a `transforms.json` beside them.

    images: the sub-folder of the pictures. depth: also 16-bit PNGs in `depth/`, and `depth.json` with their scale,
    which is returned. Depth is planar; 0 where the scene is less than half opaque, or deeper than the images hold
    (see `deepest`). fading: makes pictures pale, and lets 8-bit PNGs in `observed/` and `observed.json` say how many
    photographs saw what. took: as in `one_by_one`. Raises OutputError.
    """
    from diorama.data.images import write_depth_png, write_png
    from diorama.data.transforms import write_transforms
    from diorama.export.frames import count_levels, depth_scale, png_names, write_depth_note, write_observed_note

    files = png_names(names)
    scale = depth_scale(deepest(render, cameras), scene.frame.units) if depth else None
    with whole_folder(folder, force=force) as temporary:
        for index, (file, rendering) in enumerate(zip(files, one_by_one(render, cameras, tick, took), strict=True)):
            if fading is not None:
                rendering, seen = fading.look(cameras[index : index + 1], rendering)
                write_png(made(temporary / "observed" / file), count_levels(seen.count[0], seen.surface[0]))
            write_png(made(temporary / images / file), rendering.colour[0])
            if scale is not None:
                solid = torch.where(rendering.opacity[0] > 0.5, rendering.depth[0], 0.0)
                write_depth_png(made(temporary / "depth" / file), solid, scale)
        if fading is not None:
            write_observed_note(temporary / "observed.json", photographs=fading.photographs)
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


def made(file: Path) -> Path:
    """The path of a file whose folder exists now."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def one_by_one(
    render: RenderFn, cameras: Cameras, tick: Tick | None = None, took: list[float] | None = None
) -> Iterator[Rendering]:
    """Renderings of single cameras, each of its own size. took: gets the seconds that each of them took."""
    for index in range(len(cameras)):
        started = time.perf_counter()
        rendering = render(cameras[index : index + 1])
        if took is not None:
            took.append(time.perf_counter() - started)
        yield rendering
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

    scene: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCENE")]
    """Scene folder."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """FILE.mp4 for a film, anything without a suffix for a folder of PNG frames."""
    path: PathName = "tour"
    """Camera path, fitted to where the photographs were taken.
    tour: what suits the capture; orbit: around what they look at;
    spiral: to and fro in front of it; interpolate: from one to the next;
    grid: one of them swung about; zoom: closer and closer."""
    cameras: Path | None = None
    """A transforms.json: render exactly its cameras, at the size it states, one PNG named after each frame's file."""
    depth: bool = False
    """Also 16-bit depth PNGs; their scale is printed and stored in depth.json. Needs a folder."""
    observed: bool = False
    """Make pale what no photograph saw: reddish where something stood before it, bluish where it was in no frame.
    Into a folder also 8-bit PNGs of how many photographs saw what; observed.json explains them."""
    width: int | None = None
    """Pixels; unset: as --height says with the aspect kept, else that of the photographs."""
    height: int | None = None
    """Pixels; likewise."""
    fps: float = 30.0
    """Frames a second."""
    seconds: float = 4.0
    """Length of the path in seconds."""
    max_memory: str | None = None
    """Limit for the samples in flight: 500MB, 4GB."""
    device: str | None = None
    """cpu, or cuda; unset: the GPU if torch sees one."""
    spread: What | None = None
    """Draw how much several fits disagree (`diorama reconstruct --uncertainty`) in place of colours: black where they
    agree, over red, to light yellow. Where the photographs do not decide; not an error bar."""
    force: bool = False
    """Replace an existing output."""


def command(options: Options) -> int:
    """Run the verb; progress goes to the terminal."""
    from diorama.cameras.camera_file import read_cameras

    is_film(options.output, depth=options.depth)
    count = frame_count(options.seconds, options.fps)
    check_free(options.output, force=options.force)
    cameras, names = None, None
    if options.cameras is not None:
        if options.width or options.height:
            raise InputError("--cameras renders at the size its file states. Leave out --width and --height.")
        cameras, names = read_cameras(options.cameras)
        count = len(cameras)
    scene, draw = open_scene(options.scene, device=options.device, max_memory=options.max_memory)
    if options.spread is not None:
        draw = open_spread(options.scene, options.spread, device=options.device, max_memory=options.max_memory)
    count += len(scene.photographed) if options.observed else 0
    said: list[str] = []
    with progress(count, "render") as tick:
        render(
            scene, options.output, path=options.path, cameras=cameras, names=names, seconds=options.seconds,
            fps=options.fps, width=options.width, height=options.height, depth=options.depth, observed=options.observed,
            force=options.force, draw=draw, tick=tick, say=said.append,
        )  # fmt: skip
    if options.spread is not None:
        said.append(spread_words(options.spread))
    print(*said, sep="\n")
    return 0


def size_words(cameras: Cameras) -> str:
    """The size of the pictures in words."""
    sizes: list[Any] = cameras.size.unique(dim=0).tolist()
    return f"{sizes[0][0]} x {sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} sizes"


def time_words(took: Sequence[float], cameras: Cameras) -> str:
    """The mean time of a frame in words; took: seconds of each."""
    return f"{sum(took) / len(took):.3g} s a frame of {size_words(cameras)}, without writing it"
