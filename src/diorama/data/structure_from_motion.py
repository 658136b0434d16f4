"""Structure from motion on top of pycolmap: points from known cameras, and cameras from bare photos.

pycolmap (COLMAP, Schoenberger and Frahm 2016) is the extra `colmap`; nothing here is imported before it is needed.
COLMAP counts pixel centres at +0.5 too, and its cameras are OpenCV cameras, so only the pose is inverted on the way.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import align_similarity
from diorama.data.neighbours import choose_neighbours
from diorama.data.scale import camera_bounds
from diorama.data.triangulation import SparsePoints, TriangulationOptions, match_pair, triangulate_tracks
from diorama.data.views import Frame, Views
from diorama.errors import InputError, MissingExtraError, ViewsError

INSTALL = 'pip install "diorama[colmap]"'


Progress = Callable[[str, int, int], None]
"""Told (stage, done, total); stages are `features`, `matching`, `placing`."""


@dataclass(frozen=True)
class PoseOptions:
    """How photos are matched and placed."""

    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    """exhaustive: every pair. sequential: each photo with the next ten. auto: sequential for video frames and above 80
    photos, else exhaustive."""
    share_camera: bool = True
    """Photos of one size and the same known focal length were taken with one camera and lens setting."""
    features: int = 8192
    """SIFT features per photo, at most."""
    focal: float | None = None
    """Focal length in pixels when the user knows it (of the photos as they were opened); else from EXIF, else found."""
    seed: int = 0
    """Seed of every random choice; with `threads` 1 the same photos give the same poses."""
    threads: int = 1
    """Threads of matching and placing; more are faster but may change the last digits."""


@dataclass(frozen=True)
class PoseReport:
    """What came of it. error: mean reprojection error in pixels; placed and left_out: photo names; points: count."""

    placed: tuple[str, ...]
    left_out: tuple[str, ...]
    points: int
    error: float
    models: int

    def __str__(self) -> str:
        total = len(self.placed) + len(self.left_out)
        text = f"{len(self.placed)} of {total} photos placed, {self.points} points, error {self.error:.2f} px"
        return text + (f"; left out: {', '.join(self.left_out)}" if self.left_out else "")


def find_poses(
    views: Views,
    *,
    options: PoseOptions | None = None,
    intrinsics: Cameras | None = None,
    known: Mapping[str, Cameras] | None = None,
    progress: Progress | None = None,
) -> tuple[Views, PoseReport]:
    """Views with cameras (and the sparse points) from bare photos; those that cannot be placed are listed in `skipped`.

    The photos stay as they are: cameras keep the radial distortion that was found. intrinsics: known focal, centre and
    distortion of every view, held fixed (its poses are not read). known: cameras of some photos by name; with three or
    more placed, the result is carried into their frame by the best similarity and they keep their own cameras. Else
    the frame is COLMAP's, of arbitrary scale. Fewer than two placed photos raise InputError. Needs the extra `colmap`.
    """
    options = options or PoseOptions()
    pycolmap = require_pycolmap()
    if len(views) < 2:
        raise InputError(f"{len(views)} photo found; at least 2 photos of the same thing are needed to find poses.")
    tell = progress or _silent
    with tempfile.TemporaryDirectory(prefix="diorama-pose-") as scratch, silence(pycolmap):
        folder = Path(scratch)
        _extract(pycolmap, views, folder, options, intrinsics, tell)
        _match(pycolmap, views, folder, options, tell)
        models = _place(pycolmap, views, folder, options, intrinsics is not None, tell)
        best = max(models, key=lambda m: (m.num_reg_images(), m.num_points3D()), default=None)
        placed = 0 if best is None else best.num_reg_images()
        if best is None or placed < 2:
            raise InputError(
                f"{placed} of {len(views)} photos could be placed, at least 2 are needed: too few points are seen by "
                "several photos. Take more photos with more overlap (each thing in three photos, small steps, not "
                "only turning on the spot), or give known cameras in a transforms.json."
            )
        cameras, indices = _cameras_of(best)
        points = torch.tensor([p.xyz.tolist() for p in best.points3D.values()], dtype=torch.float32).reshape(-1, 3)
        error = float(best.compute_mean_reprojection_error())
    names = tuple(views.names[i] for i in indices)
    left_out = tuple(name for name in views.names if name not in names)
    frame = Frame("structure from motion (arbitrary scale)", "arbitrary")
    if known:
        cameras, points, aligned = _into_known_frame(cameras, points, names, known)
        frame = views.frame if aligned else frame
    skipped = views.skipped + tuple(f"{name}: could not be placed among the other photos" for name in left_out)
    posed = replace(views[indices], cameras=cameras, points=points, frame=frame, skipped=skipped, focal_hints=None)
    return posed, PoseReport(names, left_out, len(points), error, len(models))


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""
    del stage, done, total


def _extract(
    pycolmap: Any, views: Views, folder: Path, options: PoseOptions, intrinsics: Cameras | None, tell: Progress
) -> None:
    """SIFT of every photo into COLMAP's data base; one camera per group of equal size and known focal length."""
    from PIL import Image

    (folder / "images").mkdir()
    settings = pycolmap.FeatureExtractionOptions()
    settings.num_threads, settings.use_gpu = 1, False
    settings.sift.max_num_features = options.features
    cameras: dict[object, int] = {}
    hints: dict[int, list[float]] = {}
    for index, (width, height) in enumerate(views.true_sizes.tolist()):
        name = f"{index:06d}.png"
        Image.fromarray(grey_bytes(views, index).numpy()).save(folder / "images" / name, compress_level=1)
        focal = options.focal
        if focal is None and views.focal_hints is not None and bool(torch.isfinite(views.focal_hints[index])):
            focal = float(views.focal_hints[index])
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_RADIAL"
        if intrinsics is not None:
            reader.camera_model, params = _fixed_lens(intrinsics[[index]])
            reader.camera_params = ",".join(repr(value) for value in params)
        key = (width, height, None if focal is None else round(focal), reader.camera_params)
        if options.share_camera and key in cameras:
            reader.existing_camera_id = cameras[key]
        elif focal is not None and intrinsics is None:
            hints[len(set(cameras.values())) + 1] = [focal, width / 2, height / 2, 0.0]
        pycolmap.extract_features(
            folder / "database.db",
            folder / "images",
            [name],
            pycolmap.CameraMode.SINGLE,
            reader,
            settings,
            device=pycolmap.Device.cpu,
        )
        if reader.existing_camera_id < 0:
            cameras[key if options.share_camera else index] = len(cameras) + 1
        tell("features", index + 1, len(views))
    database = pycolmap.Database.open(folder / "database.db")
    try:
        for identifier, parameters in hints.items():
            camera = database.read_camera(identifier)
            camera.params, camera.has_prior_focal_length = parameters, True
            database.update_camera(camera)
    finally:
        database.close()


def _fixed_lens(camera: Cameras) -> tuple[str, list[float]]:
    """COLMAP's model name and parameters of one of our cameras."""
    (fx, fy), (cx, cy) = camera.focal[0].tolist(), camera.centre[0].tolist()
    k1, k2, k3, k4, p1, p2 = camera.distortion[0].tolist()
    if camera.lens == "fisheye":
        return "OPENCV_FISHEYE", [fx, fy, cx, cy, k1, k2, k3, k4]
    return "FULL_OPENCV", [fx, fy, cx, cy, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0]


def _match(pycolmap: Any, views: Views, folder: Path, options: PoseOptions, tell: Progress) -> None:
    settings = pycolmap.FeatureMatchingOptions()
    settings.num_threads, settings.use_gpu = options.threads, False
    verify = pycolmap.TwoViewGeometryOptions()
    verify.ransac.random_seed = options.seed
    sequential = options.matching == "sequential" or (
        options.matching == "auto" and (views.layout == "video" or len(views) > 80)
    )
    pairs = len(views) * 10 if sequential else len(views) * (len(views) - 1) // 2
    tell("matching", 0, pairs)
    match = pycolmap.match_sequential if sequential else pycolmap.match_exhaustive
    match(
        folder / "database.db",
        matching_options=settings,
        verification_options=verify,
        device=pycolmap.Device.cpu,
    )
    tell("matching", pairs, pairs)


def _place(pycolmap: Any, views: Views, folder: Path, options: PoseOptions, fixed: bool, tell: Progress) -> list[Any]:
    """Incremental mapping; a second, more willing try when the first leaves photos out."""
    best: list[Any] = []
    for attempt, willing in enumerate((False, True)):
        settings = pycolmap.IncrementalPipelineOptions()
        settings.num_threads = settings.mapper.num_threads = options.threads
        settings.random_seed = settings.mapper.random_seed = settings.triangulation.random_seed = options.seed
        settings.min_model_size, settings.extract_colors = 2, False
        settings.ba_refine_focal_length = settings.ba_refine_extra_params = not fixed
        settings.mapper.abs_pose_refine_focal_length = settings.mapper.abs_pose_refine_extra_params = not fixed
        settings.triangulation.ignore_two_view_tracks = len(views) > 3
        if willing:
            settings.min_num_matches, settings.triangulation.ignore_two_view_tracks = 10, False
            settings.mapper.init_min_num_inliers, settings.mapper.init_min_tri_angle = 30, 4.0
            settings.mapper.abs_pose_min_num_inliers, settings.mapper.abs_pose_min_inlier_ratio = 15, 0.15
        done = [1]

        def placed(done: list[int] = done) -> None:
            done[0] += 1
            tell("placing", min(done[0], len(views)), len(views))

        output = folder / f"model{attempt}"
        output.mkdir()
        models = pycolmap.incremental_mapping(
            folder / "database.db", folder / "images", output, settings, next_image_callback=placed
        )
        found = list(models.values())
        if _most(found) > _most(best):
            best = found
        if _most(best) == len(views):
            break
    return best


def _most(models: list[Any]) -> int:
    return max((model.num_reg_images() for model in models), default=0)


def _cameras_of(model: Any) -> tuple[Cameras, list[int]]:
    """Our cameras of a COLMAP model (SIMPLE_RADIAL or the fixed lenses above), and which photos they belong to."""
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    rows = []
    for image in images:
        camera = model.cameras[image.camera_id]
        world_to_camera = torch.eye(4, dtype=torch.float64)
        world_to_camera[:3] = torch.from_numpy(image.cam_from_world().matrix())
        values = [float(value) for value in camera.params]
        if camera.model_name == "SIMPLE_RADIAL":
            focal, centre, lens = [values[0]] * 2, values[1:3], [values[3], 0, 0, 0, 0, 0]
        elif camera.model_name == "OPENCV_FISHEYE":
            focal, centre, lens = values[:2], values[2:4], [*values[4:8], 0, 0]
        else:
            k1, k2, p1, p2, k3 = values[4:9]
            focal, centre, lens = values[:2], values[2:4], [k1, k2, k3, 0, p1, p2]
        rows.append((torch.linalg.inv(world_to_camera), focal, centre, [camera.width, camera.height], lens, camera))
    poses = torch.stack([row[0] for row in rows]).float()
    focal_, centre_, lens_ = (torch.tensor([row[k] for row in rows], dtype=torch.float32) for k in (1, 2, 4))
    fisheye = rows[0][5].model_name == "OPENCV_FISHEYE"
    size = torch.tensor([row[3] for row in rows], dtype=torch.long)
    kind: Literal["fisheye", "opencv"] = "fisheye" if fisheye else "opencv"
    return Cameras(poses, focal_, centre_, size, lens_, kind), [int(image.name[:6]) for image in images]


def _into_known_frame(
    cameras: Cameras, points: Float[Tensor, "point 3"], names: tuple[str, ...], known: Mapping[str, Cameras]
) -> tuple[Cameras, Float[Tensor, "point 3"], bool]:
    """Carry a model into the frame of the cameras that were given, by their centres; these keep the poses given."""
    shared = [index for index, name in enumerate(names) if name in known]
    if len(shared) < 3:
        return cameras, points, False
    given = torch.stack([known[names[index]].camera_to_world.reshape(-1, 4, 4)[0] for index in shared]).double()
    similarity = align_similarity(cameras.origins[shared].double(), given[:, :3, 3])
    moved = similarity.apply_cameras(cameras.to(torch.float64)).to(torch.float32)
    poses = moved.camera_to_world.clone()
    poses[shared] = given.float()
    return replace(moved, camera_to_world=poses), similarity.apply_points(points.double()).float(), True


def triangulate(views: Views, *, options: TriangulationOptions | None = None) -> SparsePoints:
    """Sparse surface points seen by exactly these views, whose poses are taken as they are.

    SIFT features are matched between neighbouring views along the epipolar lines that the known poses dictate, joined
    to tracks and triangulated; what does not reproject well or is seen from too small an angle is dropped. An empty
    result is possible and says so by its length. Needs the extra `colmap` (for SIFT only).
    """
    options = options or TriangulationOptions()
    if views.cameras is None:
        raise ViewsError(
            "triangulation needs cameras with known poses, these views have none. Find them: diorama pose."
        )
    cameras = views.cameras.to(torch.float64)
    features = [_sift(views, index, options.features) for index in range(len(views))]
    if len(views) < 2:
        return SparsePoints.empty()
    count = len(views) if len(views) <= options.exhaustive else options.neighbours
    pairs = set()
    for first, others in enumerate(choose_neighbours(cameras, *camera_bounds(cameras), count=count, angle=8.0)):
        pairs |= {(min(first, other), max(first, other)) for other in others}
    if len(views) <= options.exhaustive:
        pairs = {(first, second) for first in range(len(views)) for second in range(first + 1, len(views))}
    rays = [cameras[[index]].unproject(features[index][0][None])[0] for index in range(len(views))]
    matches = {
        (first, second): match_pair(
            cameras[[first, second]], rays[first], rays[second], features[first][1], features[second][1], options
        )
        for first, second in sorted(pairs)
    }
    return triangulate_tracks(views.images, cameras, [pixels for pixels, _ in features], rays, matches, options)


def _sift(views: Views, index: int, limit: int) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 128"]]:
    """SIFT keypoints (pixels, centres at +0.5) and unit descriptors of one view, without what its mask ignores."""
    pycolmap = require_pycolmap()
    with silence(pycolmap):
        settings = pycolmap.FeatureExtractionOptions()
        settings.num_threads = 1
        settings.use_gpu = False
        settings.sift.max_num_features = limit
        extractor = pycolmap.FeatureExtractor.create(settings, device=pycolmap.Device.cpu)
        keypoints, descriptors = extractor.extract_from_uint8_array(grey_bytes(views, index).numpy())
    pixels = torch.tensor([[point.x, point.y] for point in keypoints], dtype=torch.float64).reshape(-1, 2)
    vectors = torch.from_numpy(descriptors.data.astype("float32")).reshape(len(pixels), 128)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    if views.ignore is not None and len(pixels):
        height, width = views.ignore.shape[1:]
        column, row = pixels.floor().long().unbind(-1)
        keep = ~views.ignore[index][row.clamp(0, height - 1), column.clamp(0, width - 1)]
        pixels, vectors = pixels[keep], vectors[keep]
    return pixels, vectors


def grey_bytes(views: Views, index: int) -> UInt8[Tensor, "h w"]:
    """One photo in its true size (no padding), as grey bytes."""
    width, height = views.true_sizes[index].tolist()
    image = views.images[index, :, :height, :width].float()
    grey = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    return (grey * 255).round().clamp(0, 255).to(torch.uint8).contiguous()


def require_pycolmap() -> ModuleType:
    """pycolmap, or an error that says how to get it."""
    # pycolmap 4.2 exports its own copy of zlib to the whole process: whatever binds to zlib after it (saving a PNG,
    # gzip) frees memory of the wrong library and aborts. So those who need zlib are loaded first.
    import zlib  # noqa: F401

    from PIL import _imaging  # noqa: F401

    try:
        import pycolmap
    except ImportError as error:
        raise MissingExtraError(
            f"pycolmap is not installed; it is needed to match photos and to find their poses. Install it: {INSTALL}"
        ) from error
    return pycolmap


@contextmanager
def silence(pycolmap: ModuleType) -> Iterator[None]:
    """Keep pycolmap's log off the console, errors included (they come back as exceptions or as empty results)."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
