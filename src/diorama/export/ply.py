"""PLY: points or a triangle mesh, with colours and normals, in binary little-endian."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

PRECISE = 2e4
"""Coordinates this many times larger than the extent are stored as doubles (map coordinates, say), else as floats."""


def write_ply(
    path: Path,
    points: Float[Tensor, "point xyz=3"],
    *,
    colours: Float[Tensor, "point rgb=3"] | None = None,
    normals: Float[Tensor, "point xyz=3"] | None = None,
    faces: Int[Tensor, "face 3"] | None = None,
    observed: Int[Tensor, "point"] | None = None,
    comments: tuple[str, ...] = (),
) -> None:
    """Write points as they are (any units); colours in [0, 1] become bytes; faces index points.

    observed: how many photographs saw each point; a property of that name.
    """
    position = "<f8" if needs_doubles(points) else "<f4"
    columns: list[tuple[str, str, np.ndarray]] = [
        (name, position, points[:, axis].numpy()) for axis, name in enumerate("xyz")
    ]
    if normals is not None:
        columns += [(name, "<f4", normals[:, axis].numpy()) for axis, name in enumerate(("nx", "ny", "nz"))]
    if colours is not None:
        levels = to_bytes(colours)
        columns += [(name, "u1", levels[:, axis]) for axis, name in enumerate(("red", "green", "blue"))]
    if observed is not None:
        columns.append(("observed", "<u2", observed.clamp(max=65535).numpy()))
    table = np.empty(len(points), dtype=[(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        table[name] = values
    with path.open("wb") as file:
        file.write(header([(name, kind) for name, kind, _ in columns], len(points), faces, comments).encode())
        file.write(table.tobytes())
        if faces is not None:
            rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
            rows["count"], rows["corners"] = 3, faces.numpy()
            file.write(rows.tobytes())


def header(
    columns: list[tuple[str, str]], count: int, faces: Int[Tensor, "face 3"] | None, comments: tuple[str, ...]
) -> str:
    """The text that opens a PLY file."""
    words = {"<f4": "float", "<f8": "double", "<u2": "ushort", "u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {line}" for comment in comments for line in comment.splitlines()]
    lines += [f"element vertex {count}"] + [f"property {words[kind]} {name}" for name, kind in columns]
    if faces is not None:
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header", ""])


def needs_doubles(points: Float[Tensor, "point xyz=3"]) -> bool:
    """Whether single precision would lose detail: small things far from the origin."""
    if len(points) == 0:
        return False
    extent = (points.amax(0) - points.amin(0)).max()
    return bool(points.abs().max() > PRECISE * extent)


def to_bytes(colours: Float[Tensor, "*n rgb=3"]) -> np.ndarray:
    """Colours in [0, 1] as bytes, rounded."""
    return (colours.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
