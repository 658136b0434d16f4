"""Denoisers made of denoisers."""

from torch import Tensor

from diorama.types import Denoiser


def guided(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance: unconditional + scale * (conditional - unconditional), in the clean estimates.

    Scale 1 is the conditional denoiser and 0 the unconditional, at one call instead of two; above 1 exaggerates. The
    same in noise, v and score, which are linear in the clean estimate. Papers that write (1 + s) mean scale = 1 + s.
    Conditions are bound by the caller: `guided(lambda x, t: net(x, t, label), lambda x, t: net(x, t, None), 2.0)`.
    Source: arXiv 2207.12598, eq. 6.
    """
    if scale == 1.0:
        return conditional
    if scale == 0.0:
        return unconditional

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        without = unconditional(x, t)
        return without + scale * (conditional(x, t) - without)

    return denoise


def clamped(denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """A denoiser whose clean estimates stay in the range of the data."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return denoiser(x, t).clamp(low, high)

    return denoise
