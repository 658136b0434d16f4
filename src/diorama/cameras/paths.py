"""Camera paths: films around a scene, from the cameras that photographed it.

Every path is in the frame of the cameras it was made from and comes as pinhole cameras of one size, with the median
field of view of the photos unless said otherwise. Angles are in radians.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import capture_shape, gaze, look_at, mean_up
from diorama.cameras.rotations import axis_rotation, rotation_to_quaternion, shortest_arcs, slerp
from diorama.cameras.rotations import quaternion_to_rotation as to_rotation
from diorama.errors import CameraError

OPEN_GAP = math.radians(120.0)
"""An orbit closes the full circle only if no gap between neighbouring photos is wider than this."""

LEAST_SWEEP = math.radians(20.0)
"""The least arc that an orbit covers, so that one photo still makes a film."""

SPIRAL_REACH = (0.03, 0.3)
"""Least and largest radius of a spiral, relative to the distance of the focus."""


def tour(cameras: Cameras, count: int, *, size: tuple[int, int] | None = None) -> Cameras:
    """The path that suits the capture: spiral if forward-facing, orbit if inward, else from photo to photo."""
    match capture_shape(cameras):
        case "forward-facing":
            return spiral(cameras, count, size=size)
        case "inward":
            return orbit(cameras, count, size=size)
        case "inside-out":
            return interpolate(cameras[walking_order(cameras)], count, size=size)


def orbit(
    cameras: Cameras,
    count: int,
    *,
    focus: Float[Tensor, "xyz=3"] | None = None,
    sweep: float | None = None,
    size: tuple[int, int] | None = None,
) -> Cameras:
    """A circle about the mean up axis through the focus, at the cameras' mean height and rms radius; a loop.

    Closed form, so one camera or colinear ones are as good as a ring. sweep: the arc in radians, 2 pi for a full
    circle; unless given, a full circle where photos stand all around, else the arc they cover, there and back. Every
    camera looks at the focus (`gaze` unless given), with the mean camera up.
    """
    _refuse_empty(cameras, count)
    up, middle = mean_up(cameras).double(), (gaze(cameras)[0] if focus is None else focus).to(cameras.origins).double()
    offsets = cameras.origins.reshape(-1, 3).double() - middle
    heights = offsets @ up
    flat = offsets - heights[:, None] * up
    reach = float(offsets.norm(dim=-1).mean()) or 1.0
    radius = max(float(flat.square().sum(-1).mean().sqrt()), 1e-2 * reach)
    first, second = _plane_axes(flat[0], up)
    angles = torch.atan2(flat @ second, flat @ first)
    middle_angle, covered = _covered_arc(angles)
    arc = max(covered, LEAST_SWEEP) if sweep is None else sweep
    turn = 2 * math.pi * torch.arange(count, dtype=torch.float64, device=up.device) / count
    angle = angles[0] + turn if arc >= 2 * math.pi - 1e-9 else middle_angle - 0.5 * arc * torch.cos(turn)
    around = radius * (torch.cos(angle)[:, None] * first + torch.sin(angle)[:, None] * second)
    positions = middle + around + heights.mean() * up
    return _film(look_at(positions, middle, up), cameras, size)


def spiral(
    cameras: Cameras,
    count: int,
    *,
    turns: float = 2.0,
    focus: Float[Tensor, "xyz=3"] | None = None,
    size: tuple[int, int] | None = None,
) -> Cameras:
    """LLFF's spiral in front of a forward-facing scene: about the mean camera, looking at the focus; a loop.

    Radii are the cameras' 90th percentile along the mean camera's axes, kept within 0.03 to 0.3 of the distance to
    the focus. In other captures, whose mean camera would stand amid the scene, the first camera takes its place. turns
    should be whole. Source: LLFF (arXiv 1905.00889), `render_path_spiral` of its code.
    """
    _refuse_empty(cameras, count)
    up = mean_up(cameras).double()
    middle = (gaze(cameras)[0] if focus is None else focus).to(cameras.origins).double()
    origins = cameras.origins.reshape(-1, 3).double()
    place = origins.mean(0) if capture_shape(cameras) == "forward-facing" else origins[0]
    mean = look_at(place, middle, up)
    local = (origins - mean[:3, 3]) @ mean[:3, :3]
    least, largest = (share * float((middle - place).norm()) for share in SPIRAL_REACH)
    radii = torch.quantile(local.abs(), 0.9, dim=0).clamp(least, largest)
    angle = 2 * math.pi * turns * torch.arange(count, dtype=torch.float64, device=up.device) / count
    circle = torch.stack([torch.cos(angle), torch.sin(angle), torch.sin(0.5 * angle)], dim=-1)
    positions = mean[:3, 3] + (circle * radii) @ mean[:3, :3].mT
    return _film(look_at(positions, middle, up), cameras, size)


def interpolate(cameras: Cameras, count: int, *, loop: bool = False, size: tuple[int, int] | None = None) -> Cameras:
    """Through all given poses in their order, smoothly: Catmull-Rom for centres, its spherical form for rotations.

    Poses are equally far apart in time: with count = (len - 1) k + 1 (or len * k for a loop) every k-th camera is a
    given one. Focal lengths and principal points go along linearly where the photos share a size and none is asked for.
    Source: Schlag, "Using geometric constructions to interpolate orientation with quaternions" (Graphics Gems II).
    """
    _refuse_empty(cameras, count)
    known = len(cameras)
    pose = cameras.camera_to_world.double()
    turns = shortest_arcs(rotation_to_quaternion(pose[:, :3, :3]))
    segments = known if loop else known - 1
    if segments == 0 or known == 1:
        return _film(pose[:1].expand(count, 4, 4), cameras, size)
    times = torch.arange(count, dtype=torch.float64, device=pose.device)
    times = times * segments / count if loop else times * segments / max(count - 1, 1)
    segment = times.floor().clamp(0, segments - 1).long()
    fraction = times - segment
    positions = _catmull_rom(pose[:, :3, 3], segment, fraction, loop, spherical=False)
    rotations = to_rotation(_catmull_rom(turns, segment, fraction, loop, spherical=True))
    film = torch.eye(4, dtype=torch.float64, device=pose.device).expand(count, 4, 4).clone()
    film[:, :3, :3], film[:, :3, 3] = rotations, positions
    base = _film(film, cameras, size)
    if size is not None or bool((cameras.size != cameras.size[0]).any()):
        return base
    after = (segment + 1) % known
    focal, centre = (torch.lerp(t[segment], t[after], fraction.to(t)[:, None]) for t in (cameras.focal, cameras.centre))
    return replace(base, focal=focal, centre=centre)


def yaw_pitch_grid(
    camera: Cameras,
    yaws: Float[Tensor, "yaw"],
    pitches: Float[Tensor, "pitch"],
    *,
    focus: Float[Tensor, "xyz=3"],
    up: Float[Tensor, "xyz=3"] | None = None,
) -> Cameras:
    """One camera swung about the focus, as a grid of shape (pitch, yaw); at zero yaw and pitch it is the camera itself.

    Positive yaw moves it to its right about up (the camera's own unless given), positive pitch upwards about its own
    horizontal axis. Distance and roll stay.
    """
    if camera.shape.numel() != 1:
        raise CameraError(f"a grid is swung from one camera, not {camera.shape.numel()}. Choose one: cameras[0].")
    pose = camera.camera_to_world.reshape(4, 4).double()
    middle = focus.to(pose)
    axis = (-pose[:3, 1] if up is None else up).to(pose)
    right = pose[:3, 0]
    about_up = axis_rotation(axis, yaws.to(pose))[None]
    about_right = axis_rotation(right, -pitches.to(pose))[:, None]
    turn = about_up @ about_right
    grid = torch.eye(4, dtype=torch.float64, device=pose.device).expand(*turn.shape[:2], 4, 4).clone()
    grid[..., :3, :3] = turn @ pose[:3, :3]
    grid[..., :3, 3] = (turn @ (pose[:3, 3] - middle)) + middle
    shape = (*turn.shape[:2], 1)
    parts = {k: getattr(camera, k).reshape(1, 1, -1).repeat(shape) for k in ("focal", "centre", "size", "distortion")}
    return replace(camera, camera_to_world=grid.to(camera.camera_to_world.dtype), **parts)


def zoom(camera: Cameras, count: int, factor: float = 2.0, *, hold: float | None = None) -> Cameras:
    """One camera whose focal length grows by a factor, at an even rate; the first camera is the given one.

    hold: planar distance at which things keep their size while the camera backs off (the dolly zoom).
    """
    _refuse_empty(camera, count)
    if camera.shape.numel() != 1 or not factor > 0:
        raise CameraError(f"zoom takes one camera and a factor > 0; got {camera.shape.numel()} and {factor}.")
    share = torch.linspace(0.0, 1.0, count, dtype=torch.float64, device=camera.focal.device)
    growth = torch.tensor(factor, dtype=torch.float64, device=share.device) ** share
    pose = camera.camera_to_world.reshape(1, 4, 4).double().repeat(count, 1, 1)
    if hold is not None:
        pose[:, :3, 3] -= ((growth - 1) * hold)[:, None] * pose[:, :3, 2]
    parts = {k: getattr(camera, k).reshape(1, -1).repeat(count, 1) for k in ("centre", "size", "distortion")}
    focal = camera.focal.reshape(1, 2).double() * growth[:, None]
    dtype = camera.camera_to_world.dtype
    return replace(camera, camera_to_world=pose.to(dtype), focal=focal.to(camera.focal.dtype), **parts)


def walking_order(cameras: Cameras) -> list[int]:
    """An order in which neighbours stand and look alike: always on to the nearest not yet visited, from the first."""
    origins, axes = cameras.origins.double().cpu(), cameras.axes.double().cpu()
    apart = torch.cdist(origins, origins)
    turned = torch.acos((axes @ axes.mT).clamp(-1, 1))
    cost = apart / max(float(apart.mean()), 1e-12) + turned
    order, left = [0], set(range(1, len(cameras)))
    while left:
        nearest = min(left, key=lambda index: float(cost[order[-1], index]))
        order.append(nearest)
        left.remove(nearest)
    return order


def _catmull_rom(knots: Tensor, segment: Tensor, fraction: Tensor, loop: bool, *, spherical: bool) -> Tensor:
    """The Barry-Goldman pyramid of a uniform Catmull-Rom curve, straight or on the sphere of quaternions."""

    def blend(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
        return slerp(start, end, share) if spherical else start + share[..., None] * (end - start)

    if loop:
        padded = torch.cat([knots[-1:], knots, knots[:2]])
        padded = shortest_arcs(padded) if spherical else padded
    else:
        one = fraction.new_ones(1)
        padded = torch.cat([blend(knots[:1], knots[1:2], -one), knots, blend(knots[-2:-1], knots[-1:], 2 * one)])
    a, b, c, d = (padded[segment + offset] for offset in range(4))
    ab, bc, cd = blend(a, b, fraction + 1), blend(b, c, fraction), blend(c, d, fraction - 1)
    return blend(blend(ab, bc, 0.5 * (fraction + 1)), blend(bc, cd, 0.5 * fraction), fraction)


def _covered_arc(angles: Float[Tensor, "view"]) -> tuple[float, float]:
    """The middle and the length of the arc that angles cover; 2 pi where they lie all around."""
    angles = angles.sort().values
    gaps = (angles.roll(-1) - angles).remainder(2 * math.pi)
    if float(gaps.sum()) < math.pi:
        return float(angles[0]), 0.0
    widest = int(gaps.argmax())
    covered = 2 * math.pi - float(gaps[widest])
    begin = float(angles[(widest + 1) % len(angles)])
    return begin + 0.5 * covered, covered if float(gaps[widest]) > OPEN_GAP else 2 * math.pi


def _plane_axes(towards: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors across up, the first towards a point; right-handed about up."""
    if float(towards.norm()) < 1e-9:
        towards = torch.linalg.cross(up, torch.nn.functional.one_hot(up.abs().argmin(), 3).to(up))
    first = towards / towards.norm()
    return first, torch.linalg.cross(up, first)


def _film(pose: Float[Tensor, "frame 4 4"], cameras: Cameras, size: tuple[int, int] | None) -> Cameras:
    """Pinhole cameras at these poses with the photos' median lens, for images of one size.

    Another size keeps pixels square to the photo's and never sees more than the photos did along either side.
    """
    sizes = cameras.size.reshape(-1, 2)
    common, votes = sizes.unique(dim=0, return_counts=True)
    chosen = common[votes.argmax()]
    same = (sizes == chosen).all(-1)
    focal = cameras.focal.reshape(-1, 2)[same].median(0).values
    width_height = chosen if size is None else torch.tensor(size, dtype=chosen.dtype, device=chosen.device)
    focal = (focal.double() * (width_height.double() / chosen).amax()).to(focal.dtype)
    count = len(pose)
    return Cameras.pinhole(
        pose.to(cameras.camera_to_world.dtype),
        focal.expand(count, 2).clone(),
        (0.5 * width_height.to(focal.dtype)).expand(count, 2).clone(),
        width_height.expand(count, 2).clone(),
    )


def _refuse_empty(cameras: Cameras, count: int) -> None:
    if cameras.shape.numel() == 0 or count < 1:
        raise CameraError(f"a path of {count} cameras from {cameras.shape.numel()}; at least one of each is needed.")
