"""What is measured of scenes of worlds, whose depth and hidden pixels are known exactly, and of sets of pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.rows import Row
from diorama.data.multiview import MultiViews
from diorama.eval.consistency import reprojection_consistency
from diorama.eval.distribution import RANDOM_CONV, frechet_distance
from diorama.eval.measure import LEAST_PIXELS, mean_measured
from diorama.eval.metrics import depth_rank_corr, psnr, ssim_uniform7
from diorama.eval.samples import spread_map, summarise_samples
from diorama.eval.sharpness import spectrum_distance
from diorama.scenes.pictures import Pictures
from diorama.scenes.visibility import known_depth, observe
from diorama.types import Rendering

MEASURES = (
    "diorama.eval.consistency", "diorama.eval.distribution", "diorama.eval.measure", "diorama.eval.metrics",
    "diorama.eval.samples", "diorama.eval.sharpness", "diorama.scenes.visibility",
)  # fmt: skip
"""Modules that decide the figures of what was rendered."""

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Sight:
    """Which pixels of held-out views show what a given view sees, and which show what none does; sky is neither."""

    visible: Bool[Tensor, "view h w"]
    hidden: Bool[Tensor, "view h w"]


def true_sight(held: MultiViews, given: MultiViews) -> Sight:
    """By the true depth of one scene's views."""
    depth = given.depth[0]
    context = known_depth(given.cameras()[0], torch.where(depth > 0, depth, torch.inf))
    surface = (held.depth[0] > 0).to(held.depth)
    parts = observe(context, held.cameras()[0], Rendering(held.images[0], held.depth[0], surface)).parts()
    return Sight(parts["visible"], parts["occluded"] | parts["outside"])


def scene_values(made: Pictures, held: MultiViews, sight: Sight) -> dict[str, float | None]:
    """All figures of one sampled scene, rendered from held-out cameras (a batch of one scene).

    psnr, ssim: means over views. psnr_visible, psnr_hidden: over those pixels of all views. consistent, confirmed,
    colour_psnr: of the renders among each other; confirmed_truth: what the true depth reaches. sharpness, fine: of the
    spectrum, in dB.
    """
    photos, colour = held.images[0], made.colour[0]
    known = held.depth[0] > 0
    agree = reprojection_consistency(Rendering(colour, made.depth[0], made.opacity[0]), held.cameras()[0])
    truth = reprojection_consistency(Rendering(photos, held.depth[0], known.to(photos)), held.cameras()[0])
    ranks = [depth_rank_corr(seen, true) for seen, true in zip(made.depth[0], held.depth[0], strict=True)]
    spectra = [spectrum_distance(render, photo) for render, photo in zip(colour, photos, strict=True)]
    values = {
        "psnr": float(psnr(colour, photos).mean()),
        "ssim": float(ssim_uniform7(colour, photos).mean()),
        "psnr_visible": psnr_over(colour, photos, sight.visible),
        "psnr_hidden": psnr_over(colour, photos, sight.hidden),
        "share_hidden": float(sight.hidden.float().mean()),
        "depth_rank_corr": mean_measured([number(rank) for rank in ranks]),
        "consistent": number(agree.consistent),
        "confirmed": number(agree.confirmed),
        "colour_psnr": number(agree.colour_psnr),
        "confirmed_truth": number(truth.confirmed),
        "near_mass": float(made.near_mass[0][known].mean()) if bool(known.any()) else None,
        "sharpness": mean_measured([spectrum.distance for spectrum in spectra]),
        "fine": mean_measured([spectrum.fine for spectrum in spectra]),
    }
    return values


def psnr_over(
    colour: Float[Tensor, "view 3 h w"], photos: Float[Tensor, "view 3 h w"], part: Bool[Tensor, "view h w"]
) -> float | None:
    """PSNR over some pixels of all views together; None where they are too few."""
    if int(part.sum()) < LEAST_PIXELS:
        return None
    made, wanted = (stack.movedim(0, 1).flatten(1, 2) for stack in (colour, photos))
    return float(psnr(made, wanted, part.flatten(0, 1).to(photos)))


def sample_values(
    samples: Float[Tensor, "sample view 3 h w"], photos: Float[Tensor, "view 3 h w"], sight: Sight
) -> dict[str, float | None]:
    """Several samples of one scene: PSNR of the first, their mean, the best; spread over all and some of the pixels."""
    found = summarise_samples(samples, photos)
    spread = spread_map(samples) if len(samples) > 1 else None

    def over(part: Bool[Tensor, "view h w"]) -> float | None:
        if spread is None or int(part.sum()) < LEAST_PIXELS:
            return None
        return float(spread[part].square().mean().sqrt())

    return {
        "psnr_first": found.first, "psnr_mean": found.mean, "psnr_of_mean": found.of_mean, "psnr_best": found.best,
        "spread": found.spread, "spread_visible": over(sight.visible), "spread_hidden": over(sight.hidden),
    }  # fmt: skip


def set_values(
    renders: Float[Tensor, "picture 3 h w"], photos: Float[Tensor, "picture 3 h w"], hidden: Bool[Tensor, "picture h w"]
) -> dict[str, float | None]:
    """Frechet distances (`random-conv-v1`) between renders and photographs of the same views.

    frechet_hidden: pixels that are not hidden show the photograph in both sets, so that only hidden ones differ.
    frechet_floor: between every second and every other photograph, that is between fewer.
    """
    if len(photos) < 4:
        return {"frechet": None, "frechet_hidden": None, "frechet_floor": None}
    composed = torch.where(hidden[:, None], renders, photos)
    return {
        "frechet": frechet_distance(renders, photos, RANDOM_CONV).value,
        "frechet_hidden": frechet_distance(composed, photos, RANDOM_CONV).value,
        "frechet_floor": frechet_distance(photos[::2], photos[1::2], RANDOM_CONV).value,
    }


def means(rows: Sequence[Values]) -> dict[str, float | None]:
    """Mean of every column over the rows in which it was measured."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return {column: mean_measured([row.get(column) for row in rows]) for column in columns}


def rounded(values: Values) -> Row:
    """Five significant digits: what a file of results needs."""
    return {name: None if value is None else float(f"{value:.5g}") for name, value in values.items()}


def number(value: float) -> float | None:
    """None for what is not a number."""
    return None if math.isnan(value) else value
