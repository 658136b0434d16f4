"""Structure from motion on top of pycolmap: points from known cameras, and cameras from bare photos.

pycolmap (COLMAP, Schoenberger and Frahm 2016) is the extra `colmap`; nothing here is imported before it is needed.
COLMAP counts pixel centres at +0.5 too, and its cameras are OpenCV cameras, so only the pose is inverted on the way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diorama.data.neighbours import choose_neighbours
from diorama.data.scale import camera_bounds
from diorama.data.triangulation import SparsePoints, TriangulationOptions, match_pair, triangulate_tracks
from diorama.data.views import Views
from diorama.errors import MissingExtraError, ViewsError

INSTALL = 'pip install "diorama[colmap]"'


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
    image = views.images[index].float()
    if views.cameras is not None:
        width, height = views.cameras.size[index].tolist()
        image = image[:, :height, :width]
    grey = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    return (grey * 255).round().clamp(0, 255).to(torch.uint8).contiguous()


def require_pycolmap() -> ModuleType:
    """pycolmap, or an error that says how to get it."""
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
