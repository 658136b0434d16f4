"""Spherical harmonics: a direction becomes the numbers a colour may depend on."""

import torch
from jaxtyping import Float
from torch import Tensor


def spherical_harmonics(directions: Float[Tensor, "*batch xyz=3"], degree: int) -> Float[Tensor, "*batch k"]:
    """Real spherical harmonics up to `degree` (0 to 3) of unit directions: (degree + 1)^2 numbers, constant first.

    Convention: orthonormal basis (the mean square over the sphere times 4 pi is one), order l, then m from -l to l.
    """
    if not 0 <= degree <= 3:
        raise ValueError(f"spherical harmonics of degree 0 to 3 are known, {degree} was asked for")
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        basis += [0.4886025119029199 * y, 0.4886025119029199 * z, 0.4886025119029199 * x]
    if degree >= 2:
        basis += [
            1.0925484305920792 * x * y,
            1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            0.4570457994644658 * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            0.4570457994644658 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=-1)
