"""Matches under known poses, and points from them: pure tensors, no files, no feature extractor."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras


@dataclass(frozen=True)
class TriangulationOptions:
    """What counts as a match and as a point."""

    features: int = 4096
    """SIFT features per photo, at most."""
    exhaustive: int = 12
    """Up to so many views every pair is matched; beyond, each view with its neighbours."""
    neighbours: int = 8
    """Neighbours of each view when there are many."""
    epipolar: float = 2.0
    """Largest distance of a match from its epipolar line, pixels."""
    ratio: float = 0.85
    """Lowe's ratio, taken among the features near the epipolar line."""
    distance: float = 0.7
    """Largest distance between two unit descriptors."""
    error: float = 2.0
    """Largest reprojection error of an observation, pixels."""
    angle: float = 1.5
    """Least angle between two rays that see a point, degrees."""


@dataclass(frozen=True)
class SparsePoints:
    """Triangulated points and who saw them.

    xyz: user's frame. colours in [0, 1]: mean over the photos. error: root mean square reprojection error, pixels.
    Observations, flat: photo `observation_view` saw point `observation_point` at pixel `observation_xy` (+0.5 centres).
    """

    xyz: Float[Tensor, "point xyz=3"]
    colours: Float[Tensor, "point rgb=3"]
    error: Float[Tensor, "point"]
    observation_view: Int[Tensor, "observation"]
    observation_point: Int[Tensor, "observation"]
    observation_xy: Float[Tensor, "observation xy=2"]

    def __len__(self) -> int:
        return len(self.xyz)

    @staticmethod
    def empty() -> "SparsePoints":
        """No points."""
        none, index = torch.zeros(0), torch.zeros(0, dtype=torch.long)
        return SparsePoints(none.reshape(0, 3), none.reshape(0, 3), none, index, index, none.reshape(0, 2))

    def seen_by(self, view: int) -> tuple[Int[Tensor, "seen"], Float[Tensor, "seen xy=2"]]:
        """The points one photo saw (indices into xyz), and the pixels where it saw them."""
        mine = self.observation_view == view
        return self.observation_point[mine], self.observation_xy[mine]

    def depths(self, cameras: Cameras) -> Float[Tensor, "observation"]:
        """Planar depth of every observation in its own view, user units."""
        offset = self.xyz[self.observation_point] - cameras.origins[self.observation_view].to(self.xyz)
        return (offset * cameras.axes[self.observation_view].to(self.xyz)).sum(-1)


def match_pair(
    pair: Cameras,
    first_rays: Float[Tensor, "n 3"],
    second_rays: Float[Tensor, "m 3"],
    first: Float[Tensor, "n 128"],
    second: Float[Tensor, "m 128"],
    options: TriangulationOptions,
) -> Int[Tensor, "match 2"]:
    """Mutual best matches that obey the epipolar geometry of two known cameras.

    Rays are the features' directions in their cameras, scaled to z = 1. Best and second best are sought only among
    features within `options.epipolar` pixels of the epipolar line, in both photos.
    """
    none = torch.zeros(0, 2, dtype=torch.long)
    if len(first) == 0 or len(second) == 0:
        return none
    rotation = pair.camera_to_world[:, :3, :3]
    baseline = rotation[1].T @ (pair.origins[0] - pair.origins[1])
    if float(baseline.norm()) < 1e-9:
        return none
    essential = _cross(baseline / baseline.norm()) @ rotation[1].T @ rotation[0]
    focal = pair.focal.mean(-1)
    in_second, in_first = first_rays @ essential.T, second_rays @ essential
    residual = (in_second @ second_rays.T).abs().float()
    gap_second = residual * (focal[1] / in_second[:, :2].norm(dim=-1).clamp_min(1e-12)).float()[:, None]
    gap_first = residual * (focal[0] / in_first[:, :2].norm(dim=-1).clamp_min(1e-12)).float()[None, :]
    similarity = (first @ second.T).masked_fill((gap_first > options.epipolar) | (gap_second > options.epipolar), -1.0)
    forward, backward = _unambiguous(similarity, options), _unambiguous(similarity.T, options)
    index = torch.arange(len(first))
    mutual = (forward >= 0) & (backward[forward.clamp_min(0)] == index)
    return torch.stack([index[mutual], forward[mutual]], -1)


def _unambiguous(similarity: Float[Tensor, "n m"], options: TriangulationOptions) -> Int[Tensor, "n"]:
    """The clearly best column of every row, -1 where none is (Lowe's ratio test on distances of unit vectors)."""
    if similarity.shape[1] == 1:
        similarity = F.pad(similarity, (0, 1), value=-1.0)
    top = similarity.topk(2, dim=1)
    distance = (2 - 2 * top.values).clamp_min(0).sqrt()
    good = (distance[:, 0] < options.distance) & (distance[:, 0] < options.ratio * distance[:, 1])
    return torch.where(good, top.indices[:, 0], -1)


def _cross(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The matrix of the cross product with a vector."""
    x, y, z = vector.tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=vector.dtype)


def join_tracks(
    counts: list[int], matches: dict[tuple[int, int], Int[Tensor, "match 2"]]
) -> tuple[Int[Tensor, "observation"], Int[Tensor, "observation"], Int[Tensor, "observation"]]:
    """Tracks from pairwise matches: (view, feature, track) of every observation, at least two views per track.

    Where a track holds two features of one view, that view's observations leave the track: one of them is wrong.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    start = torch.tensor([0, *counts]).cumsum(0)
    ends = [pair + torch.stack([start[i], start[j]]) for (i, j), pair in matches.items() if len(pair)]
    none = torch.zeros(0, dtype=torch.long)
    if not ends:
        return none, none, none
    edges = torch.cat(ends)
    total = int(start[-1])
    graph = coo_array(
        (torch.ones(len(edges)).numpy(), (edges[:, 0].numpy(), edges[:, 1].numpy())), shape=(total, total)
    )
    label = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
    used = torch.unique(edges)
    view = torch.searchsorted(start, used, right=True) - 1
    track = label[used]
    place, times = torch.unique(track * len(counts) + view, return_inverse=True, return_counts=True)[1:]
    alone = times[place] == 1
    used, view, track = used[alone], view[alone], track[alone]
    _, track, length = torch.unique(track, return_inverse=True, return_counts=True)
    long = length[track] >= 2
    track = torch.unique(track[long], return_inverse=True)[1]
    return view[long], used[long] - start[view[long]], track


def triangulate_tracks(
    images: Float[Tensor, "view c h w"],
    cameras: Cameras,
    pixels: list[Float[Tensor, "_ 2"]],
    rays: list[Float[Tensor, "_ 3"]],
    matches: dict[tuple[int, int], Int[Tensor, "match 2"]],
    options: TriangulationOptions,
) -> SparsePoints:
    """Points from pairwise matches: tracks, least squares, and two rounds of throwing out what does not fit."""
    view, feature, track = join_tracks([len(p) for p in pixels], matches)
    if len(view) == 0:
        return SparsePoints.empty()
    start = torch.tensor([0, *(len(p) for p in pixels)]).cumsum(0)
    flat = start[view] + feature
    local, xy = torch.cat(rays)[flat], torch.cat(pixels)[flat]
    for limit in (4 * options.error, options.error, options.error):
        points, error = _least_squares(cameras, view, track, local)
        keep = error < limit
        keep = keep & (torch.bincount(track[keep], minlength=len(points))[track] >= 2)
        view, local, xy = view[keep], local[keep], xy[keep]
        track = torch.unique(track[keep], return_inverse=True)[1]
        if len(view) == 0:
            return SparsePoints.empty()
    points, error = _least_squares(cameras, view, track, local)
    wide = _angles(cameras, view, track, local, len(points)) >= options.angle
    worst = torch.zeros(len(points), dtype=error.dtype).scatter_reduce(0, track, error, "amax")
    good = wide & (worst < options.error) & torch.isfinite(points).all(-1)
    keep = good[track]
    view, xy, error, track = view[keep], xy[keep], error[keep], (good.cumsum(0) - 1)[track[keep]]
    count = torch.bincount(track, minlength=int(good.sum())).clamp_min(1)
    square = torch.zeros(len(count), dtype=error.dtype).index_add(0, track, error**2)
    seen = images[
        view, :3, xy[:, 1].long().clamp(0, images.shape[2] - 1), xy[:, 0].long().clamp(0, images.shape[3] - 1)
    ]
    colours = torch.zeros(len(count), 3, dtype=seen.dtype).index_add(0, track, seen) / count[:, None]
    root = (square / count).sqrt()
    return SparsePoints(points[good].float(), colours.float(), root.float(), view, track, xy.float())


def _least_squares(
    cameras: Cameras, view: Int[Tensor, "n"], track: Int[Tensor, "n"], local: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "point 3"], Float[Tensor, "n"]]:
    """The point of every track, and each observation's distance from it in pixels (infinite behind the camera).

    First the point nearest to all rays in space, then four Gauss-Newton steps on the reprojection error, taken in the
    undistorted image and multiplied by the focal length.
    """
    count = int(track.max()) + 1
    rotation, origins = cameras.camera_to_world[view, :3, :3], cameras.origins[view]
    focal = cameras.focal[view]
    rays = F.normalize((rotation @ local[..., None])[..., 0], dim=-1)
    across = torch.eye(3, dtype=rays.dtype) - rays[:, :, None] * rays[:, None, :]
    points = _solve(across, (across @ origins[..., None])[..., 0], track, count)
    for step in range(5):
        inside = ((points[track] - origins)[:, None] @ rotation)[:, 0]
        depth = inside[:, 2:].clamp_min(1e-9)
        residual = (inside[:, :2] / depth - local[:, :2]) * focal
        if step == 4:
            break
        image = torch.cat(
            [torch.eye(2, dtype=rays.dtype).expand(len(view), 2, 2), -inside[:, :2, None] / depth[..., None]], -1
        )
        jacobian = (image / depth[..., None] * focal[..., None]) @ rotation.mT
        weight = (1 / (1 + residual.norm(dim=-1))) * (inside[:, 2] > 0)
        normal = jacobian.mT @ jacobian * weight[:, None, None]
        right = (jacobian.mT @ residual[..., None])[..., 0] * weight[:, None]
        points = points - _solve(normal, right, track, count)
    error = torch.where(inside[:, 2] > 0, residual.norm(dim=-1), torch.inf)
    return points, error


def _solve(
    matrices: Float[Tensor, "n 3 3"], right: Float[Tensor, "n 3"], track: Int[Tensor, "n"], count: int
) -> Float[Tensor, "point 3"]:
    """Solve the summed 3x3 system of every track, kept regular by a trace-sized diagonal."""
    total = torch.zeros(count, 3, 3, dtype=right.dtype).index_add(0, track, matrices)
    side = torch.zeros(count, 3, dtype=right.dtype).index_add(0, track, right)
    trace = total.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-30)
    return torch.linalg.solve(total + 1e-12 * trace[:, None, None] * torch.eye(3, dtype=right.dtype), side)


def _angles(
    cameras: Cameras, view: Int[Tensor, "n"], track: Int[Tensor, "n"], local: Float[Tensor, "n 3"], count: int
) -> Float[Tensor, "point"]:
    """How wide apart the rays of every track are, degrees: twice the largest angle to their mean direction."""
    rays = F.normalize((cameras.camera_to_world[view, :3, :3] @ local[..., None])[..., 0], dim=-1)
    mean = F.normalize(torch.zeros(count, 3, dtype=rays.dtype).index_add(0, track, rays), dim=-1)
    angle = torch.rad2deg(torch.arccos((rays * mean[track]).sum(-1).clamp(-1, 1)))
    return 2 * torch.zeros(count, dtype=rays.dtype).scatter_reduce(0, track, angle, "amax")
