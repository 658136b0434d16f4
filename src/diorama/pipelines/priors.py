"""Which method is meant, and its weights: by name, by folder, or those that come with the package."""

from pathlib import Path
from typing import Literal

from diorama.errors import InputError
from diorama.nets.pretrained import kind_of, shipped
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.prior import NullPrior, PatchEncoding, Prior
from diorama.priors.total_variation import TotalVariationPrior
from diorama.systems.gibr import GIBR

Method = Literal["auto", "baseline", "diffusionerf", "gibr"]

SHIPPED_PRIOR = "rgbd-patch-small"
"""What `--method diffusionerf` takes unless told otherwise."""

FITTED_GAUSSIAN = "rgbd-patch-gaussian"
"""The Gaussian fitted to our own worlds; `gaussian` is the untrained one until it is shipped."""

SHIPPED_GIBR = "gibr-small"
"""The multi-view model that `--method gibr` takes unless told otherwise."""

UNTRAINED = ("null", "tv", "gaussian")
"""Priors whose names are no weights."""


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


def open_gibr(name: GIBR | Prior | Path | str | None, device: str = "cpu") -> GIBR:
    """A multi-view model from a folder or a shipped name; None: the shipped one. InputError where there is none."""
    if isinstance(name, GIBR):
        return name.to(device).eval().requires_grad_(False)
    if isinstance(name, Prior) or str(name) in UNTRAINED:
        raise InputError(f"gibr was to sample from the prior {name}, which is no multi-view model. Give its folder.")
    if name is None and SHIPPED_GIBR not in shipped():
        raise InputError(
            f"this version of diorama comes without weights for GIBR ({SHIPPED_GIBR}). Train some (diorama train gibr "
            "-o RUN) and give --prior RUN/model; or reconstruct with --method baseline."
        )
    return GIBR.from_pretrained(SHIPPED_GIBR if name is None else name, device)


def names_gibr(prior: GIBR | Prior | Path | str | None) -> bool:
    """Whether what was named as a prior is a multi-view model."""
    if prior is None or isinstance(prior, Prior) or str(prior) in UNTRAINED:
        return False
    return isinstance(prior, GIBR) or kind_of(prior) == GIBR.kind


def choose_method(
    method: Method, prior: GIBR | Prior | Path | str | None, photos: int | None = None, device: str = "cpu"
) -> tuple[Method, GIBR | Prior | None]:
    """The method that is meant, and its prior: what is named decides, gibr or diffusionerf.

    photos: how many are learned from: a single one is given to gibr, and so are two, whose samples then start a fit
    (`starts_from_samples`), if weights for it come with the package; None, where a fit was asked for, leaves that out.
    """
    if method == "baseline" and prior is not None:
        raise InputError("the baseline knows no prior, and one was given. Use --method diffusionerf, or leave it out.")
    too_few = method == "auto" and prior is None and photos in (1, 2) and SHIPPED_GIBR in shipped()
    if method == "gibr" or too_few or (method == "auto" and names_gibr(prior)):
        return "gibr", open_gibr(prior, device)
    if method == "diffusionerf" or prior is not None:
        if isinstance(prior, GIBR):
            raise InputError("diffusionerf was to be guided by a multi-view model, which knows no patches. Use gibr.")
        return "diffusionerf", open_prior(prior)
    return "baseline", None


def starts_from_samples(
    method: Method, prior: GIBR | Prior | Path | str | None, photos: int | None, chosen: Method
) -> bool:
    """Whether `choose_method` gave two photos to gibr of itself: a fit to so few is mended by starting from samples."""
    return method == "auto" and prior is None and photos == 2 and chosen == "gibr"


def why_method(
    asked: Method,
    chosen: Method,
    prior: GIBR | Prior | Path | str | None,
    *,
    photos: int | None = None,
    fitted: bool = False,
) -> str:
    """Why `choose_method` chose, in words.

    photos: how many are learned from. fitted: whether what steers a fit was asked for.
    """
    if asked != "auto":
        return "as asked"
    if prior is not None:
        return "the prior that was named is for it"
    if chosen == "gibr" and photos == 2:
        return f"two photos seldom show depth; samples of {SHIPPED_GIBR} start a fit to them (docs/papers/gibr.md)"
    if chosen == "gibr":
        return f"a single photo shows no depth, and {SHIPPED_GIBR} has learned what scenes look like"
    if photos == 1 and SHIPPED_GIBR not in shipped():
        return (
            f"no prior was named, and {SHIPPED_GIBR}, to which a single photo would go, does not come with this version"
        )
    if photos == 1 and fitted:
        return (
            "no prior was named, and a preset, steps, a budget or several fits steer a fit; else one photo goes to gibr"
        )
    return "no prior was named, and the one over patches does not win at equal seconds (docs/papers/diffusionerf.md)"
