"""Rotations: matrices, quaternions and what lies between two of them.

Convention: quaternions are (w, x, y, z), unit, q and -q the same rotation; angles in radians; matrices turn columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def quaternion_to_rotation(quaternion: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """The matrix of a quaternion of any length but zero."""
    w, x, y, z = normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quaternion.shape[:-1], 3, 3)


def rotation_to_quaternion(rotation: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """The quaternion of a matrix, with w >= 0; accurate at every angle.

    Each of the four products 4 q_i q is read off the matrix; the one of the largest q_i is normalised.
    """
    m = rotation.reshape(*rotation.shape[:-2], 9).unbind(-1)
    xx, xy, xz, yx, yy, yz, zx, zy, zz = m
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], dim=-1),
            torch.stack([zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx], dim=-1),
            torch.stack([xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy], dim=-1),
            torch.stack([yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    chosen = normalize(rows.take_along_dim(best, dim=-2)[..., 0, :], dim=-1)
    return torch.where(chosen[..., :1] < 0, -chosen, chosen)


def rotation_angle(rotation: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n"]:
    """The angle in [0, pi] by which a matrix turns; accurate near 0 and near pi."""
    skew = rotation - rotation.mT
    sine = 0.5 * torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1).norm(dim=-1)
    cosine = 0.5 * (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    return torch.atan2(sine, cosine)


def axis_rotation(axis: Float[Tensor, "*#n xyz=3"], angle: Float[Tensor, "*#n"]) -> Float[Tensor, "*all 3 3"]:
    """The matrix that turns by an angle about an axis, right-handed (Rodrigues, through the half angle)."""
    half = 0.5 * angle[..., None]
    sine = torch.sin(half) * normalize(axis, dim=-1)
    return quaternion_to_rotation(torch.cat([torch.cos(half).expand(*sine.shape[:-1], 1), sine], dim=-1))


def slerp(
    start: Float[Tensor, "*#n 4"], end: Float[Tensor, "*#n 4"], fraction: Float[Tensor, "*#n"]
) -> Float[Tensor, "*all 4"]:
    """The rotation a fraction of the way along the arc from start to end; beyond [0, 1] the arc goes on.

    The arc is taken as given, without choosing between q and -q: see `shortest_arcs`.
    """
    fraction = fraction[..., None]
    cosine = (start * end).sum(-1, keepdim=True)
    angle = torch.atan2((end - start * cosine).norm(dim=-1, keepdim=True), cosine)
    sine = torch.sin(angle)
    near = sine < 1e-6
    sine = torch.where(near, 1.0, sine)
    first = torch.where(near, 1 - fraction, torch.sin((1 - fraction) * angle) / sine)
    second = torch.where(near, fraction, torch.sin(fraction * angle) / sine)
    return normalize(first * start + second * end, dim=-1)


def shortest_arcs(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """The same rotations with signs such that every one is on the near side of the one before."""
    if len(quaternions) < 2:
        return quaternions
    dots = (quaternions[1:] * quaternions[:-1]).sum(-1)
    flips = torch.where(dots < 0, -1.0, 1.0).to(quaternions).cumprod(0)
    return torch.cat([quaternions[:1], quaternions[1:] * flips[:, None]])


def rotate(vectors: Float[Tensor, "n xyz=3"], rotation_vector: Float[Tensor, "n 3"]) -> Float[Tensor, "n xyz=3"]:
    """Vectors turned by rotation vectors (axis times angle): Rodrigues' formula, smooth at zero."""
    angle = (rotation_vector.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    axis = rotation_vector / angle
    along = (axis * vectors).sum(-1, keepdim=True) * axis
    return vectors * angle.cos() + torch.linalg.cross(axis, vectors) * angle.sin() + along * (1 - angle.cos())
