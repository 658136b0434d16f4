"""Rigid motions, similarities, and what a set of cameras says about its scene: focus, up, shape of the capture.

Convention: OpenCV axes (x right, y down, z forward), camera-to-world; quaternions are (w, x, y, z); angles in radians.
Arithmetic runs in float64 and returns the dtype it was given.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from diorama.cameras.pinhole import Cameras, in_frustum
from diorama.cameras.rotations import rotation_angle as rotation_angle
from diorama.errors import CameraError

CaptureShape = Literal["forward-facing", "inward", "inside-out"]

FORWARD_CONE = math.radians(30.0)
"""Half-angle about the mean optical axis within which all axes of a forward-facing capture lie."""


@dataclass(frozen=True)
class Similarity:
    """x_out = scale * rotation @ x + translation, in float64 on the CPU; always invertible."""

    scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    @staticmethod
    def identity() -> "Similarity":
        """The similarity that moves nothing."""
        return Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))

    def apply_points(self, points: Float[Tensor, "*n xyz=3"]) -> Float[Tensor, "*n xyz=3"]:
        """Moved points, in their dtype and on their device."""
        rotation, translation = (part.to(points.device, torch.float64) for part in (self.rotation, self.translation))
        return (self.scale * points.to(torch.float64) @ rotation.mT + translation).to(points.dtype)

    def apply_cameras(self, cameras: Cameras) -> Cameras:
        """Moved cameras: what they see of moved points is unchanged, planar depths are `scale` times as large."""
        pose = cameras.camera_to_world.to(torch.float64)
        rotation, translation = (part.to(pose) for part in (self.rotation, self.translation))
        moved = pose.clone()
        moved[..., :3, :3] = rotation @ pose[..., :3, :3]
        moved[..., :3, 3] = self.scale * pose[..., :3, 3] @ rotation.mT + translation
        return replace(cameras, camera_to_world=moved.to(cameras.camera_to_world.dtype))

    def inverse(self) -> "Similarity":
        """The similarity that takes this one back."""
        back = self.rotation.mT.contiguous()
        return Similarity(1.0 / self.scale, back, -(back @ self.translation) / self.scale)

    def compose(self, other: "Similarity") -> "Similarity":
        """First other, then self."""
        return Similarity(
            self.scale * other.scale,
            self.rotation @ other.rotation,
            self.scale * (self.rotation @ other.translation) + self.translation,
        )

    def matrix(self) -> Float[Tensor, "4 4"]:
        """The same as a 4x4 matrix on homogeneous column vectors."""
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.rotation, self.translation
        return matrix

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, exact to the last bit, for JSON."""
        return {
            "scale": self.scale,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "Similarity":
        """The inverse of `to_dict`; CameraError where the numbers are no similarity."""
        try:
            scale = float(content["scale"])
            rotation = torch.tensor(content["rotation"], dtype=torch.float64).reshape(3, 3)
            translation = torch.tensor(content["translation"], dtype=torch.float64).reshape(3)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CameraError(f"no similarity ({error!r}). Needed: scale, rotation 3x3, translation 3.") from error
        rigid = (rotation @ rotation.mT - torch.eye(3, dtype=torch.float64)).abs().amax() < 1e-6
        if not (math.isfinite(scale) and scale > 0 and torch.isfinite(translation).all() and rigid):
            raise CameraError("no similarity: needed are scale > 0, an orthonormal rotation, a finite translation.")
        return Similarity(scale, rotation, translation)


def focus_point(cameras: Cameras) -> Float[Tensor, "xyz=3"]:
    """The point with the least sum of squared distances to all optical axes.

    One camera or parallel axes leave it free along them: then it lies level with the centroid of the cameras, never at
    infinity. Whether it is in front of anyone is for the caller to ask, see `gaze`.
    """
    origins = cameras.origins.reshape(-1, 3).to(torch.float64)
    axes = cameras.axes.reshape(-1, 3).to(torch.float64)
    centroid = origins.mean(0)
    across = torch.eye(3, dtype=torch.float64, device=origins.device) - axes[:, :, None] * axes[:, None, :]
    right = (across @ (origins - centroid)[..., None]).mean(0)
    solved = torch.linalg.pinv(across.mean(0), rtol=1e-8, hermitian=True) @ right
    return (centroid + solved[:, 0]).to(cameras.origins.dtype)


def gaze(cameras: Cameras, distance: float | None = None) -> tuple[Float[Tensor, "xyz=3"], Float[Tensor, ""]]:
    """The point that cameras look at, safe for any number of them, and their median planar distance to it.

    It is the focus point where most cameras have it in their image, at a sensible distance (0.1 to 100 times their
    spread). Otherwise it is `distance` ahead of their centroid on the mean axis; unless given, that is 2.5 times the
    widest distance between a camera and the centroid, and 1 where all cameras stand in one place.
    """
    origins = cameras.origins.reshape(-1, 3).to(torch.float64)
    axes = cameras.axes.reshape(-1, 3).to(torch.float64)
    centroid = origins.mean(0)
    spread = float((origins - centroid).norm(dim=-1).amax())
    focus = focus_point(cameras).reshape(3).to(torch.float64)
    planar = ((focus - origins) * axes).sum(-1)
    middle = float(planar.median())
    seen = float(in_frustum(cameras, focus.to(cameras.focal)[None]).double().mean())
    if not (seen > 0.5 and 0.1 * spread < middle < 100 * spread):
        ahead = axes.mean(0)
        ahead = normalize(ahead, dim=0) if float(ahead.norm()) > 1e-3 else axes[0]
        middle = distance or (2.5 * spread if spread > 0 else 1.0)
        focus = centroid + middle * ahead
    dtype = cameras.origins.dtype
    return focus.to(dtype), torch.tensor(middle, dtype=dtype, device=focus.device)


def mean_up(cameras: Cameras) -> Float[Tensor, "xyz=3"]:
    """The mean of the cameras' up directions (unit); the first camera's where they cancel out."""
    ups = -cameras.camera_to_world[..., :3, 1].reshape(-1, 3).to(torch.float64)
    mean = ups.mean(0)
    mean = mean if float(mean.norm()) > 1e-3 else ups[0]
    return normalize(mean, dim=0).to(cameras.origins.dtype)


def look_at(
    position: Float[Tensor, "*#view xyz=3"], target: Float[Tensor, "*#view xyz=3"], up: Float[Tensor, "*#view xyz=3"]
) -> Float[Tensor, "*all 4 4"]:
    """Camera-to-world of cameras that look from position to target with `up` upwards in the image.

    Where up is parallel to the view, or target equals position, another direction takes its place: never NaN.
    """
    dtype = position.dtype
    position, target, up = torch.broadcast_tensors(*(v.to(torch.float64) for v in (position, target, up)))
    forward = target - position
    still = forward.norm(dim=-1, keepdim=True) < 1e-12
    forward = normalize(torch.where(still, _perpendicular(up), forward), dim=-1)
    right = torch.linalg.cross(forward, normalize(up, dim=-1))
    lost = right.norm(dim=-1, keepdim=True) < 1e-6
    right = normalize(torch.where(lost, _perpendicular(forward), right), dim=-1)
    pose = torch.eye(4, dtype=torch.float64, device=position.device).expand(*position.shape[:-1], 4, 4).clone()
    pose[..., :3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    pose[..., :3, 3] = position
    return pose.to(dtype)


def _perpendicular(vectors: Tensor) -> Tensor:
    """Some unit vector perpendicular to each."""
    helper = torch.nn.functional.one_hot(vectors.abs().argmin(-1), 3).to(vectors)
    return normalize(torch.linalg.cross(vectors, helper), dim=-1)


def upright_rotation(up: Float[Tensor, "xyz=3"]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that turns up into +z, the up axis of normalised frames (float64)."""
    x, y, z = normalize(up.to(torch.float64), dim=0).unbind()
    if float(z) < -1 + 1e-9:
        return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    rows = [1 - x * x / (1 + z), -x * y / (1 + z), -x, -x * y / (1 + z), 1 - y * y / (1 + z), -y, x, y, z]
    return torch.stack(rows).reshape(3, 3)


def normalising_similarity(
    cameras: Cameras,
    focus: Float[Tensor, "xyz=3"] | None = None,
    *,
    radius: float = 1.0,
    depths: tuple[float, float] | None = None,
    median_depth: float = 3.0,
) -> Similarity:
    """User frame -> a frame with `focus` at the origin, mean camera up along +z and a known scale.

    focus: `gaze(cameras)` unless given. Scale: by camera radius (the farthest camera ends at `radius` from the origin),
    or, if depths = (near, far) in user units are given, by them: their geometric mean ends at `median_depth`.
    """
    if depths is not None and not (0 < depths[0] <= depths[1] and math.isfinite(depths[1])):
        raise CameraError(f"near {depths[0]} and far {depths[1]}; needed: 0 < near <= far. Check the scene's bounds.")
    middle, distance = gaze(cameras)
    origin = (middle if focus is None else focus).to("cpu", torch.float64)
    if depths is not None:
        scale = median_depth / math.sqrt(depths[0] * depths[1])
    else:
        reach = float((cameras.origins.reshape(-1, 3).to("cpu", torch.float64) - origin).norm(dim=-1).amax())
        scale = radius / (reach if reach > 1e-9 * float(distance) else float(distance))
    rotation = upright_rotation(mean_up(cameras).cpu())
    return Similarity(scale, rotation, -scale * (rotation @ origin))


def capture_shape(cameras: Cameras, points: Float[Tensor, "n xyz=3"] | None = None) -> CaptureShape:
    """How the photos were taken.

    forward-facing: all optical axes lie within 30 degrees of their mean. inward: else, if more than half of the cameras
    see the focus point (in front and inside the image); with points, the focus is their median. inside-out: else.
    """
    axes = normalize(cameras.axes.reshape(-1, 3).to(torch.float64), dim=-1)
    mean = axes.mean(0)
    if float(mean.norm()) > 1e-6:
        least = float((axes @ normalize(mean, dim=0)).amin())
        if least >= math.cos(FORWARD_CONE) - 1e-9:
            return "forward-facing"
    focus = focus_point(cameras) if points is None or not len(points) else points.median(0).values
    seen = in_frustum(cameras, focus.to(cameras.focal)[None])
    return "inward" if float(seen.double().mean()) > 0.5 else "inside-out"


def align_similarity(source: Float[Tensor, "n xyz=3"], target: Float[Tensor, "n xyz=3"]) -> Similarity:
    """The similarity that brings source closest to target in the least squares sense; never a mirror.

    One point, or equal points, leave rotation and scale at identity; colinear points leave the rotation about their
    line at some valid choice. Source: Umeyama, "Least-squares estimation of transformation parameters" (1991).
    """
    if len(source) == 0:
        raise CameraError("no points to align. At least one pair is needed, three that are not in line are enough.")
    source, target = source.to("cpu", torch.float64), target.to("cpu", torch.float64)
    from_mean, to_mean = source.mean(0), target.mean(0)
    before, after = source - from_mean, target - to_mean
    variance = float(before.square().sum(-1).mean())
    left, size, right = torch.linalg.svd(after.mT @ before / len(source))
    if variance <= 1e-24 * max(1.0, float(source.abs().amax()) ** 2) or float(size[0]) <= 0:
        return Similarity(1.0, torch.eye(3, dtype=torch.float64), to_mean - from_mean)
    signs = torch.ones(3, dtype=torch.float64)
    signs[2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    rotation = left @ torch.diag(signs) @ right
    scale = float((size * signs).sum()) / variance
    return Similarity(scale, rotation, to_mean - scale * (rotation @ from_mean))
