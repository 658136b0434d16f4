"""Which prior a fit is given: by name, by folder, or the one that comes with the package."""

from pathlib import Path
from typing import Literal

from diorama.errors import InputError
from diorama.nets.pretrained import shipped
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.prior import NullPrior, PatchEncoding, Prior
from diorama.priors.total_variation import TotalVariationPrior

Method = Literal["auto", "baseline", "diffusionerf"]

SHIPPED_PRIOR = "rgbd-patch-small"
"""What `--method diffusionerf` takes unless told otherwise."""

FITTED_GAUSSIAN = "rgbd-patch-gaussian"
"""The Gaussian fitted to our own worlds; `gaussian` is the untrained one until it is shipped."""


def open_prior(name: Prior | Path | str | None) -> Prior:
    """A prior from `null`, `tv`, `gaussian`, a shipped name or a folder; None stands for the shipped network.

    InputError where there is none of that name, with what there is.
    """
    if isinstance(name, Prior):
        return name.frozen()
    known = shipped()
    match str(name) if name is not None else SHIPPED_PRIOR:
        case "null":
            return NullPrior()
        case "tv":
            return TotalVariationPrior(PatchEncoding())
        case "gaussian" if FITTED_GAUSSIAN in known:
            return Prior.from_pretrained(FITTED_GAUSSIAN)
        case "gaussian":
            return GaussianPrior.natural(PatchEncoding()).frozen()
        case chosen if name is None and chosen not in known:
            raise InputError(
                f"this version of diorama comes without weights for the RGBD prior ({SHIPPED_PRIOR}). "
                "Give --prior tv, gaussian, null or the folder of a prior you trained; or use --method baseline."
            )
        case chosen:
            return Prior.from_pretrained(chosen)


def choose_method(method: Method, prior: Prior | Path | str | None) -> tuple[Method, Prior | None]:
    """The method that is meant, and its prior: a prior that is named means diffusionerf."""
    if method == "baseline" and prior is not None:
        raise InputError("the baseline knows no prior, and one was given. Use --method diffusionerf, or leave it out.")
    if method == "diffusionerf" or prior is not None:
        return "diffusionerf", open_prior(prior)
    return "baseline", None
