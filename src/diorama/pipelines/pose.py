"""`diorama pose`: bare photos to a folder of photos with cameras."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.data.colmap import write_colmap_text
from diorama.data.images import write_png
from diorama.data.open import open_views
from diorama.data.structure_from_motion import PoseOptions, PoseReport, Progress, find_poses, require_pycolmap
from diorama.data.transforms import write_transforms
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.files import check_free, whole_folder


@dataclass(frozen=True)
class Options:
    """Find the cameras of bare photos; writes the photos, a transforms.json and a COLMAP text model."""

    photos: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    """A folder of photos, or a video."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write: images/, transforms.json, colmap/sparse/0/."""
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    """exhaustive: every pair of photos; sequential: each with the next ten; auto: sequential for video and above 80."""
    cameras: Path | None = None
    """A data set (transforms.json, COLMAP, ...) with the same photos whose cameras are known.
    Three or more known poses set the frame and are kept; with all of them known nothing is searched."""
    focal: float | None = None
    """Focal length in pixels of the photos after --max-side, when you know it; else from EXIF, else found."""
    share_camera: bool = True
    """One lens setting for all photos of one size; --no-share-camera for photos of several cameras."""
    max_side: int | None = 1600
    """Larger photos are made smaller first, pixels; the written photos and cameras agree."""
    seed: int = 0
    """Seed of every random choice."""
    threads: int = 1
    """Threads for matching and placing; one gives the same poses every time."""
    force: bool = False
    """Replace the output if it exists."""


def command(options: Options) -> int:
    """The command line's `pose`."""
    from tqdm import tqdm

    with tqdm(total=0, unit="step", disable=None, dynamic_ncols=True) as bar:

        def show(stage: str, done: int, total: int) -> None:
            bar.set_description(stage, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        settings = PoseOptions(
            matching=options.matching,
            share_camera=options.share_camera,
            focal=options.focal,
            seed=options.seed,
            threads=options.threads,
        )
        views, report = pose(
            options.photos,
            options.output,
            cameras=options.cameras,
            max_side=options.max_side,
            options=settings,
            force=options.force,
            progress=show,
        )
    print(report)
    for line in views.skipped:
        print(f"  skipped {line}")
    print(f"frame: {views.frame.name}, units: {views.frame.units}")
    print(f"written: {options.output}. Next: diorama reconstruct {options.output} -o scene")
    return 0


def pose(
    photos: Path | str | Views,
    output: Path | str | None = None,
    *,
    cameras: Path | str | None = None,
    max_side: int | None = 1600,
    options: PoseOptions | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Views, PoseReport]:
    """Views with cameras from bare photos, written to `output` where one is given.

    cameras: a data set whose photos of the same name have known cameras. Fewer than two placed photos raise InputError
    (exit code 2), an existing output OutputError, a missing pycolmap MissingExtraError.
    """
    if output is not None:
        check_free(Path(output), force=force)
    views = photos if isinstance(photos, Views) else open_views(photos, max_side=max_side)
    known: dict[str, Cameras] = {}
    frame = views.frame
    if cameras is not None:
        given = open_views(cameras, max_side=max_side)
        known, frame = _known(given), given.frame
        if not set(known) & set(views.names):
            raise InputError(
                f"{cameras} knows none of the photos in {photos}: names must agree. Check the two folders."
            )
    elif views.cameras is not None:
        known = _known(views)
    if set(views.names) <= set(known):
        joined = join_cameras([known[name] for name in views.names])
        posed = replace(views, cameras=joined, frame=frame)
        report = PoseReport(views.names, (), 0 if views.points is None else len(views.points), float("nan"), 1)
    else:
        require_pycolmap()
        posed, report = find_poses(replace(views, frame=frame), options=options, known=known, progress=progress)
    if output is not None:
        write_posed(Path(output), posed, force=force)
    return posed, report


def _known(views: Views) -> dict[str, Cameras]:
    """Cameras by photo name."""
    if views.cameras is None:
        raise InputError(f"{views.source or 'the data set'} holds no cameras; some with known poses are needed.")
    return {name: views.cameras[[index]] for index, name in enumerate(views.names)}


def write_posed(folder: Path, views: Views, *, force: bool = False) -> None:
    """images/*.png, transforms.json and a COLMAP text model of posed views; whole or absent."""
    if views.cameras is None:
        raise InputError("these views have no cameras to write; find them first with `find_poses`.")
    names = [_png_name(name) for name in views.names]
    if len(set(names)) < len(names):
        names = [f"{name}.png" for name in views.names]
    with whole_folder(folder, force=force) as partial:
        for name, image, (width, height) in zip(names, views.images, views.true_sizes.tolist(), strict=True):
            path = partial / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, image[:3, :height, :width])
        write_transforms(partial / "transforms.json", views.cameras, names, views.frame, folder="images")
        model = partial / "colmap" / "sparse" / "0"
        model.mkdir(parents=True)
        write_colmap_text(model, views.cameras, names, views.points)


def _png_name(name: str) -> str:
    return f"{name.rsplit('.', 1)[0]}.png" if "." in name.rsplit("/", 1)[-1] else f"{name}.png"
