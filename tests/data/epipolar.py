"""Do cameras fit their photos? Matched points must lie on each other's epipolar lines and in front of both cameras."""

from dataclasses import dataclass

import numpy as np
import torch
from skimage.feature import SIFT, match_descriptors

from diorama.data.views import Views


@dataclass(frozen=True)
class Agreement:
    """Median symmetric epipolar distance in pixels, and what it would be if the cameras' axes were OpenGL's (y and z
    flipped); share of matches in front of both cameras; number of matches."""

    distance: float
    flipped: float
    in_front: float
    matches: int


def sift_points(views: Views, index: int):
    """Keypoints (x, y; pixel centres at +0.5) and descriptors of one photo."""
    width, height = views.cameras.size[index].tolist()
    detector = SIFT(upsampling=1, n_octaves=4)
    detector.detect_and_extract(views.images[index, :, :height, :width].mean(0).double().numpy())
    return detector.positions[:, ::-1] + 0.5, detector.descriptors


def agreement(views: Views, pairs) -> Agreement:
    """How well cameras and photos agree over pairs of views."""
    found = {index: sift_points(views, index) for index in {i for pair in pairs for i in pair}}
    right, wrong = [], []
    for first, second in pairs:
        chosen = match_descriptors(found[first][1], found[second][1], max_ratio=0.75, cross_check=True)
        rays = [
            _camera_rays(views, index, found[index][0][chosen[:, side]]) for side, index in enumerate((first, second))
        ]
        focal = [float(views.cameras.focal[index].mean()) for index in (first, second)]
        matrices = [views.cameras.camera_to_world[index].double().numpy() for index in (first, second)]
        for turn, results in ((np.eye(4), right), (np.diag([1.0, -1, -1, 1]), wrong)):
            relative = np.linalg.inv(matrices[1] @ turn) @ matrices[0] @ turn
            results.append(_compare(*rays, relative[:3, :3], relative[:3, 3], *focal))
    distance, in_front = (np.concatenate(values) for values in zip(*right, strict=True))
    flipped = np.concatenate([values for values, _ in wrong])
    return Agreement(float(np.median(distance)), float(np.median(flipped)), float(in_front.mean()), len(distance))


def _camera_rays(views, index, pixels):
    camera = views.cameras[index].to(torch.float64)
    return camera.unproject(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()


def _compare(rays_a, rays_b, rotation, translation, focal_a, focal_b):
    """(epipolar distances in pixels, in front) of matches: depth_b rays_b = depth_a R rays_a + t."""
    essential = np.cross(np.eye(3), translation) @ rotation
    line_b, line_a = rays_a @ essential.T, rays_b @ essential
    residual = np.abs((rays_b * line_b).sum(1))
    distance = (residual / np.hypot(*line_b[:, :2].T) * focal_b + residual / np.hypot(*line_a[:, :2].T) * focal_a) / 2
    depths = np.linalg.pinv(np.stack([rays_a @ rotation.T, -rays_b], axis=-1)) @ -translation
    return distance, (depths > 0).all(-1)
