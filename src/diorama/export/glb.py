"""GLB (binary glTF 2.0): one triangle mesh with vertex colours, unlit, as the photographs saw it.

Written here rather than through trimesh because photographs hold their light already (so the material must be unlit,
`KHR_materials_unlit`), and because glTF wants vertex colours in linear light, which bytes would band.
Source: Khronos glTF 2.0 specification, sections 3.7.2 (meshes) and 4.4 (GLB layout).
"""

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

FLOAT, SHORT, INTEGER = 5126, 5123, 5125  # glTF component types
VERTICES, INDICES = 34962, 34963  # glTF buffer targets


def write_glb(
    path: Path,
    vertices: Float[Tensor, "vertex xyz=3"],
    faces: Int[Tensor, "face 3"],
    *,
    colours: Float[Tensor, "vertex rgb=3"],
    normals: Float[Tensor, "vertex xyz=3"],
    observed: Int[Tensor, "vertex"] | None = None,
    root: Float[Tensor, "4 4"] | None = None,
    extras: dict[str, object] | None = None,
) -> None:
    """Write one mesh; vertices keep their numbers (single precision), `root` is the matrix of the node above them.

    colours are sRGB in [0, 1]. observed: how many photographs saw each vertex, as the attribute `_OBSERVED` (floats:
    glTF has no whole numbers of four bytes there). `extras` (frame, units) is stored with the asset.
    """
    linear = (srgb_to_linear(colours) * 65535 + 0.5).to(torch.int32).numpy().astype("<u2")
    arrays = [
        (faces.numpy().astype("<u4").reshape(-1), INTEGER, "SCALAR", INDICES),
        (vertices.numpy().astype("<f4"), FLOAT, "VEC3", VERTICES),
        (normals.numpy().astype("<f4"), FLOAT, "VEC3", VERTICES),
        (np.concatenate([linear, np.full_like(linear[:, :1], 65535)], axis=1), SHORT, "VEC4", VERTICES),
    ]
    attributes = {"POSITION": 1, "NORMAL": 2, "COLOR_0": 3}
    if observed is not None:
        attributes["_OBSERVED"] = len(arrays)
        arrays.append((observed.numpy().astype("<f4"), FLOAT, "SCALAR", VERTICES))
    views, accessors, blobs = packed(arrays)
    length = sum(map(len, blobs))
    node: dict[str, object] = {"mesh": 0, "name": "scene"}
    nodes = [node] if root is None else [{"children": [1], "name": "y_up", "matrix": root.T.flatten().tolist()}, node]
    tree = {
        "asset": {"version": "2.0", "generator": "diorama", "extras": extras or {}},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 0, "material": 0}]}],
        "materials": [
            {
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                "extensions": {"KHR_materials_unlit": {}},
                "doubleSided": True,
            }
        ],
        "buffers": [{"byteLength": length}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + length))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", length, b"BIN\0"))
        for blob in blobs:
            file.write(blob)


def packed(
    arrays: Sequence[tuple[np.ndarray, int, str, int]],
) -> tuple[list[dict[str, object]], list[dict[str, object]], list[bytes]]:
    """glTF buffer views, accessors and padded bytes of (values, component type, kind, target), one after another."""
    views: list[dict[str, object]] = []
    accessors: list[dict[str, object]] = []
    blobs: list[bytes] = []
    for index, (values, component, kind, target) in enumerate(arrays):
        blob = values.tobytes()
        offset = sum(map(len, blobs))
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(blob), "target": target})
        accessor = {"bufferView": index, "componentType": component, "count": len(values), "type": kind}
        if index == 1:  # positions must state their box
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        if component == SHORT:
            accessor["normalized"] = True
        accessors.append(accessor)
        blobs.append(blob + b"\0" * (-len(blob) % 4))
    return views, accessors, blobs


def srgb_to_linear(colours: Float[Tensor, "*n rgb=3"]) -> Float[Tensor, "*n rgb=3"]:
    """Undo the sRGB transfer curve (IEC 61966-2-1)."""
    colours = colours.clamp(0, 1)
    return torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def y_up_matrix(up: Float[Tensor, "xyz=3"]) -> Float[Tensor, "4 4"]:
    """The rigid matrix that turns `up` into +y, as glTF viewers have it.

    An up within 25 degrees of an axis means that axis: photographers tilt their cameras, floors do not tilt.
    """
    up = torch.nn.functional.normalize(up.double(), dim=0)
    if float(up.abs().max()) > math.cos(math.radians(25.0)):
        axis = int(up.abs().argmax())
        up = torch.nn.functional.one_hot(torch.tensor(axis), 3).double() * up[axis].sign()
    helper = torch.zeros(3, dtype=torch.float64)
    helper[0 if abs(float(up[0])) < 0.9 else 2] = 1.0
    right = torch.nn.functional.normalize(helper - (helper @ up) * up, dim=0)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.stack([right, up, torch.linalg.cross(right, up)])
    return matrix
