"""Tiny made-up photo folders in the layouts of the benchmarks, so that readers are tested anywhere."""

import gzip
import json
from pathlib import Path

import numpy as np
import torch

from diorama.data.images import write_depth_png, write_png


def turned(angle, tilt=0.0):
    """A rotation about y by `angle` and then about x by `tilt` (radians)."""
    c, s, ct, st = np.cos(angle), np.sin(angle), np.cos(tilt), np.sin(tilt)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])


def pose(angle, tilt=0.0, distance=5.0):
    """camera-to-world of an OpenCV camera that looks at the origin from `distance`."""
    matrix = np.eye(4)
    matrix[:3, :3] = turned(angle, tilt)
    matrix[:3, 3] = -distance * matrix[:3, 2]
    return matrix


POSES = [pose(angle, tilt) for angle, tilt in ((0.0, 0.1), (0.4, -0.2), (-0.7, 0.3))]
K = np.array([[30.0, 0, 11], [0, 32.0, 9], [0, 0, 1]])
SIZE = (24, 16)


def photo(path: Path, seed=0, size=SIZE):
    """A photo of coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, torch.rand(3, size[1], size[0], generator=torch.Generator().manual_seed(seed)))


def dtu(folder: Path, count=3, photos=None, masks=None, poses=None):
    """image/, mask/ and cameras_sphere.npz in millimetres; the sphere has radius 1 about the origin."""
    arrays = {}
    for index in range(count):
        world_to_camera = np.linalg.inv((poses or [POSES[i % 3] for i in range(count)])[index])
        arrays[f"world_mat_{index}"] = np.vstack([-2.5 * K @ world_to_camera[:3], [0, 0, 0, 1]]).astype(np.float32)
        arrays[f"scale_mat_{index}"] = np.eye(4, dtype=np.float32)
    for index in range(count) if photos is None else photos:
        photo(folder / "image" / f"{index:06d}.png", index)
    for index in range(count) if masks is None else masks:
        mask = torch.zeros(SIZE[1] // 2, SIZE[0] // 2)
        mask[:, : SIZE[0] // 4] = 1
        (folder / "mask").mkdir(exist_ok=True)
        write_png(folder / "mask" / f"{index:03d}.png", mask)
    np.savez(folder / "cameras_sphere.npz", **arrays)
    return folder


def middlebury(folder: Path, count=3, announced=None):
    """toy_par.txt, photos, and a README with the box [-1, 1] x [-2, 2] x [-0.5, 0.5]."""
    lines = [str(count if announced is None else announced)]
    for index in range(count):
        photo(folder / f"toy{index:04d}.png", index)
        matrix = np.linalg.inv(POSES[index])
        numbers = [*K.ravel(), *matrix[:3, :3].ravel(), *matrix[:3, 3]]
        lines.append(" ".join([f"toy{index:04d}.png", *(f"{number:.15f}" for number in numbers)]))
    (folder / "toy_par.txt").write_text("\n".join(lines) + "\n")
    (folder / "README.txt").write_text("The (tight) bounding box for the model is\n(-1 -2 -0.5)\n(1.0 2.0 0.5)\n")
    return folder


def strecha(folder: Path, stated=(48, 32)):
    """images/ and gt/ with `.camera` files stated for photos of twice the size."""
    scale = np.diag([stated[0] / SIZE[0], stated[1] / SIZE[1], 1])
    (folder / "gt").mkdir(parents=True)
    for index, matrix in enumerate(POSES):
        photo(folder / "images" / f"{index:04d}.png", index)
        rows = [*(scale @ K), [0, 0, 0], *matrix[:3, :3], matrix[:3, 3], stated]
        text = "\n".join(" ".join(f"{value:.12g}" for value in row) for row in rows)
        (folder / "gt" / f"{index:04d}.png.camera").write_text(text + "\n")
    return folder


def rgbd(folder: Path, colour_intrinsics=None, depth=None):
    """frame-NNNNNN files; depth 1.5 m everywhere but one unknown pixel of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "camera-intrinsics.txt", K)
    if colour_intrinsics is not None:
        np.savetxt(folder / "camera-intrinsics-color-estimate.txt", colour_intrinsics)
    plane = torch.full((SIZE[1], SIZE[0]), 1.5) if depth is None else depth
    for index, matrix in enumerate(POSES):
        stem = f"frame-{index:06d}"
        photo(folder / f"{stem}.color.png", index)
        write_depth_png(folder / f"{stem}.depth.png", plane)
        np.savetxt(folder / f"{stem}.pose.txt", matrix)
    return folder


def co3d_archive(folder: Path, rows=3):
    """images/ and gt_cameras.npz in the convention of PyTorch3D, by its own definition: X_camera = X R + T."""
    for index in range(3):
        photo(folder / "images" / f"frame{index:06d}.png", index)
    cameras = [pytorch3d_camera(matrix) for matrix in POSES]
    np.savez(
        folder / "gt_cameras.npz",
        gtR=np.stack([rotation for rotation, _ in cameras])[:rows].astype(np.float32),
        gtT=np.stack([translation for _, translation in cameras])[:rows].astype(np.float32),
        gtFL=np.full((3, 2), 3.5, dtype=np.float32),
    )
    return folder


def pytorch3d_camera(camera_to_world):
    """(R, T) of row vectors and axes x left, y up, z forward."""
    world_to_camera = np.diag([-1, -1, 1, 1]) @ np.linalg.inv(camera_to_world)
    return world_to_camera[:3, :3].T, world_to_camera[:3, 3]


def co3d_category(root: Path, sequences=("12_34_56",), layout="ndc_isotropic"):
    """A CO3Dv2 category: annotations, set lists, images, masks, depth maps and their masks. Returns its folder."""
    category = root / "apple"
    annotations, rows = [], []
    for sequence in sequences:
        for index, matrix in enumerate(POSES):
            base = f"apple/{sequence}"
            stem = f"frame{index + 1:06d}"
            for kind in ("images", "masks", "depths", "depth_masks"):
                (root / base / kind).mkdir(parents=True, exist_ok=True)
            photo(root / base / "images" / f"{stem}.jpg.png", index)
            write_png(root / base / "masks" / f"{stem}.png", torch.full((SIZE[1], SIZE[0]), 0.4))
            half_floats(root / base / "depths" / f"{stem}.png", np.full((SIZE[1], SIZE[0]), 2.25))
            valid = torch.ones(SIZE[1], SIZE[0])
            valid[0] = 0
            write_png(root / base / "depth_masks" / f"{stem}.png", valid)
            rotation, translation = pytorch3d_camera(matrix)
            path = f"{base}/images/{stem}.jpg.png"
            rows.append([sequence, index, path])
            annotations.append(
                {
                    "sequence_name": sequence,
                    "frame_number": index,
                    "frame_timestamp": index / 10,
                    "image": {"path": path, "size": [SIZE[1], SIZE[0]]},
                    "mask": {"path": f"{base}/masks/{stem}.png", "mass": 1.0},
                    "depth": {
                        "path": f"{base}/depths/{stem}.png",
                        "scale_adjustment": 2.0,
                        "mask_path": f"{base}/depth_masks/{stem}.png",
                    },
                    "viewpoint": {
                        "R": rotation.tolist(),
                        "T": translation.tolist(),
                        "focal_length": [3.5, 3.0],
                        "principal_point": [0.1, -0.2],
                        "intrinsics_format": layout,
                    },
                    "meta": {"frame_type": "test_known"},
                }
            )
    with gzip.open(category / "frame_annotations.jgz", "wt") as file:
        json.dump(annotations[::-1], file)
    (category / "set_lists").mkdir()
    lists = {"train": rows[:2], "val": [], "test": rows[2:3]}
    (category / "set_lists" / "set_lists_manyview_dev_0.json").write_text(json.dumps(lists))
    (category / "set_lists" / "set_lists_fewview_dev.json").write_text(json.dumps({"train": rows, "test": rows[:1]}))
    return category


def half_floats(path: Path, depth):
    """Depth as CO3D stores it: the bits of half floats in a 16-bit PNG."""
    from PIL import Image

    Image.fromarray(depth.astype(np.float16).view(np.uint16)).save(path)
