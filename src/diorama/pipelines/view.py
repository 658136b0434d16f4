"""`diorama view`: scenes, live in the browser."""

import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from diorama.cameras.pinhole import Cameras
from diorama.errors import DioramaError, InputError
from diorama.pipelines.showing import PATHS, Shown, camera_path, frame_words, image_size, open_scene, scene_folders
from diorama.scenes.denoising import Denoising, load_denoising
from diorama.scenes.visibility import Observed, context_depth, observe
from diorama.types import RenderFn, Rendering
from diorama.viewer.exhibit import Exhibit

if TYPE_CHECKING:
    from diorama.viewer.server import Viewer

FRAMES = 240
"""Cameras of each path that the viewer plays."""


def exhibit_of(scene: Shown, render: RenderFn, name: str, denoising: Denoising | None = None) -> Exhibit:
    """A scene as the viewer shows it, with all camera paths that fit it, and how it came out of the noise if kept."""
    size = image_size(scene.cameras, None, None)
    paths: dict[str, Cameras] = {}
    for path in PATHS:
        try:
            paths[path] = camera_path(scene, path, FRAMES, size)
        except DioramaError:  # a path that these cameras cannot have is not offered
            continue
    context = cache(lambda: context_depth(scene.photographed, render))  # drawn when somebody first asks

    def observed(cameras: Cameras, picture: Rendering) -> Observed:
        return observe(context(), cameras, picture)

    return Exhibit(name, render, scene.cameras, scene.thumbnails, scene.near, scene.far, paths, observed, denoising)


def view(
    scenes: Sequence[tuple[str, Shown, RenderFn]],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    denoising: Mapping[str, Denoising] | None = None,
) -> "Viewer":
    """Serve scenes (name, scene, how to render it) and return at once; stop it with `.stop()`.

    denoising: by name, of those scenes that came out of noise and kept their steps.
    """
    from diorama.viewer.server import Viewer

    if not scenes:
        raise InputError("there is no scene to show. Give one or more scene folders.")
    kept = denoising or {}
    first, *others = [exhibit_of(scene, render, name, kept.get(name)) for name, scene, render in scenes]
    viewer = Viewer.of(first, host=host, port=port)
    for other in others:
        viewer.add(other)
    return viewer


@dataclass(frozen=True)
class Options:
    """Scenes, live in the browser: drawn by this machine, from coarse to fine as the camera rests."""

    scenes: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SCENE [SCENE ...]")]
    """One or more scene folders, or folders of scenes; the browser chooses between them. Samples are shown too."""
    host: str = "127.0.0.1"
    """This machine alone unless you say 0.0.0.0; there is no password."""
    port: int = 8080
    """The next free one is taken if this is in use."""
    open: bool = False
    """Open the browser."""
    max_memory: str | None = None
    """Limit for the samples in flight: 500MB, 4GB."""
    device: str | None = None
    """cpu, or cuda; unset: the GPU if torch sees one."""


def command(options: Options) -> int:
    """Run the verb until Ctrl-C."""
    if not options.scenes:
        raise InputError("there is no scene to show. Give one or more scene folders: diorama view SCENE.")
    opened, kept = [], dict[str, Denoising]()
    paths = [folder for place in options.scenes for folder in scene_folders(place)]
    for name, path in zip(unique_names(paths), paths, strict=True):
        scene, render = open_scene(path, device=options.device, max_memory=options.max_memory)
        opened.append((name, scene, render))
        if (denoising := load_denoising(path)) is not None:
            kept[name] = denoising
        kind = "photographs" if len(scene.photographed) else "invented views"
        print(f"{path}: {len(scene.cameras)} {kind}, {frame_words(scene.frame)}")
    viewer = view(opened, host=options.host, port=options.port, denoising=kept)
    print(f"Look at {viewer.url} (Ctrl-C ends it)", flush=True)
    if options.open:
        webbrowser.open(viewer.url)
    viewer.wait()
    return 0


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Short names of scenes: the folder's own, with as many parents as tell them apart."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise InputError("the same scene is given twice. Give each once.")
    for depth in range(1, 64):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in resolved]
