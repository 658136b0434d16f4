"""Tiny photos and cameras for the readers' tests, made up on the spot."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diorama.cameras.pinhole import Cameras
from diorama.data.transforms import write_transforms


def ring(count: int, width: int = 24, height: int = 16, lens: str = "pinhole") -> Cameras:
    """Cameras on a circle about the origin that look at it (OpenCV axes, z up in the world)."""
    poses = []
    for index in range(count):
        angle = 2 * math.pi * index / count + 0.1
        origin = np.array([2 * math.cos(angle), 2 * math.sin(angle), 0.7])
        forward = -origin / np.linalg.norm(origin)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, origin], axis=1)
        poses.append(pose)
    steps = torch.arange(count)[:, None]
    distortion = torch.zeros(count, 6)
    if lens == "opencv":
        distortion = torch.tensor([0.05, -0.03, 0.0, 0.0, 1e-3, -2e-3]).expand(count, 6).clone()
    if lens == "fisheye":
        distortion = torch.tensor([0.05, -0.03, 0.01, 0.002, 0.0, 0.0]).expand(count, 6).clone()
    return Cameras(
        camera_to_world=torch.tensor(np.stack(poses), dtype=torch.float32),
        focal=torch.tensor([20.3, 21.7]) + 0.1 * steps,
        centre=torch.tensor([width / 2 - 0.4, height / 2 + 0.3]).expand(count, 2).clone(),
        size=torch.tensor([width, height]).expand(count, 2).clone(),
        distortion=distortion,
        lens=lens,
    )


def pixels(width: int = 24, height: int = 16, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Random 8-bit pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def paint(path: Path, width: int = 24, height: int = 16, seed: int = 0, **options: object) -> Path:
    """A random photo in the format its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(width, height, seed)).save(path, **options)
    return path


def posed_folder(folder: Path, cameras: Cameras, names: list[str] | None = None) -> list[str]:
    """A folder with transforms.json and one PNG per camera in images/; returns the names."""
    names = names or [f"{index:03d}.png" for index in range(len(cameras))]
    for index, name in enumerate(names):
        width, height = cameras.size[index].tolist()
        paint(folder / "images" / name, width, height, seed=index)
    write_transforms(folder / "transforms.json", cameras, names, folder="images")
    return names


def edit_json(file: Path, change: object) -> None:
    """Load a JSON file, let `change(content)` alter it in place, write it back (NaN allowed, as Python writes it)."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
