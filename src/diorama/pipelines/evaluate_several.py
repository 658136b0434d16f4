"""Several scenes measured together: samples of the same photos by those held out, generated ones by themselves."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval.consistency import scene_consistency
from diorama.eval.measure import HeldOut, SceneResult, ViewResult, mean_measured
from diorama.eval.metrics import psnr
from diorama.eval.perceptual import Lpips
from diorama.eval.samples import spread_map
from diorama.eval.tables import format_value, text_table
from diorama.eval.uncertainty import coverage, sparsification
from diorama.files import write_json
from diorama.pipelines.evaluate import evaluate, open_again
from diorama.pipelines.fit_run import Say, quiet
from diorama.scenes.storage import load_scene, read_card
from diorama.types import Rendering

SEVERAL = "several.json"
"""What was measured of several scenes together, beside the first of them or in the folder of all."""

LARGEST = 96
"""Pixels a side of the pictures in which generated scenes are compared."""


def evaluate_several(
    folders: Sequence[Path],
    place: Path,
    photos: Views | Path | str | None = None,
    *,
    lpips: Sequence[Lpips | Path | str] = (),
    device: str | None = None,
    say: Say = quiet,
) -> dict[str, Any]:
    """Figures of several scenes, also written to `place/several.json`.

    Samples of one set of photos: each as `evaluate` does it, then the first, the mean and the best of them, and whether
    their spread knows where they err. Scenes that were generated: whether each agrees with itself from all of its
    views, and how much they differ. InputError where they are neither.
    """
    if not folders:
        raise InputError(f"{place} holds no scenes. Give a scene, or a folder of scenes.")
    first, *others = [read_card(folder)["provenance"] for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        if any(first.get(key) != other.get(key) for key in ("photos", "method")):
            raise InputError(
                f"{folder} is no other sample of what {folders[0]} is: it was made of other photos, or by another "
                "method. Evaluate each of them by itself."
            )
    if "split" in first:
        content = against_photos(folders, photos, lpips, device, say)
    else:
        content = among_themselves(folders, device, say)
    write_json(place / SEVERAL, content)
    return content


# Samples of the same photos ------------------------------------------------------------------------------------------


class Pictures:
    """Held-out photos and what every sample makes of them, by name of the photo."""

    def __init__(self) -> None:
        self.photo: dict[str, HeldOut] = {}
        self.drawn: dict[str, list[Float[Tensor, "3 h w"]]] = {}

    def look(self, held: HeldOut, rendering: Rendering, result: ViewResult) -> None:
        """As `evaluate` calls it."""
        del result
        self.photo[held.name] = held
        self.drawn.setdefault(held.name, []).append(rendering.colour[0].clamp(0, 1))


def against_photos(
    folders: Sequence[Path],
    photos: Views | Path | str | None,
    lpips: Sequence[Lpips | Path | str],
    device: str | None,
    say: Say,
) -> dict[str, Any]:
    """What samples are worth: each alone, and together."""
    views = photos if isinstance(photos, Views) else open_again(load_scene(folders[0]), photos)
    pictures, results = Pictures(), []
    for index, folder in enumerate(folders):
        say(f"sample {index}: {folder}")
        results.append(evaluate(folder, views, lpips=lpips, device=device, look=pictures.look, say=say))
    return {"scenes": len(folders), "first_mean_best": together(results)} | of_the_spread(pictures)


def together(results: Sequence[SceneResult]) -> dict[str, dict[str, float | None]]:
    """Of every column: the first sample's mean over photos, the mean over samples, the least and the largest."""
    table = {}
    for column, first in results[0].mean.items():
        numbers = [value for result in results if (value := result.mean.get(column)) is not None]
        table[column] = {
            "first": first, "mean": mean_measured(list(numbers)),
            "least": min(numbers, default=None), "largest": max(numbers, default=None),
        }  # fmt: skip
    return table


def of_the_spread(pictures: Pictures) -> dict[str, Any]:
    """PSNR of the samples' mean picture, and how well their spread foretells the error of that picture."""
    means, errors, spreads = [], [], []
    for name, drawn in pictures.drawn.items():
        held, samples = pictures.photo[name], torch.stack(drawn)
        keep = torch.ones(samples.shape[-2:], dtype=torch.bool) if held.keep is None else held.keep
        mean = samples.mean(0)
        means.append(float(psnr(mean[None], held.photo[None], keep[None].float())))
        errors.append((mean - held.photo).square().mean(0).sqrt()[keep])
        spreads.append(spread_map(samples[:, None])[0][keep])
    error, spread = torch.cat(errors), torch.cat(spreads)
    order = sparsification(error, spread)
    return {
        "psnr_of_mean": sum(means) / len(means),
        "spread": float(spread.square().mean().sqrt()),
        "error": float(error.square().mean().sqrt()),
        "ause": order.ause,
        "relative_ause": order.relative_ause,
        "coverage": [asdict(one) for one in coverage(error, spread)],
    }


# Scenes from nothing -------------------------------------------------------------------------------------------------


@torch.no_grad()
def among_themselves(folders: Sequence[Path], device: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Agreement of each generated scene with itself, and how far apart the scenes are."""
    rows, shown = {}, []
    for folder in folders:
        scene = load_scene(folder, device or "cpu")
        side = min(LARGEST, int(scene.cameras.size.amin()))
        cameras = scene.cameras.resize(side, side)
        found = scene_consistency(scene.render, cameras)
        shown.append(scene.render(cameras).colour)
        rows[folder.name] = {key: None if value != value else value for key, value in asdict(found).items()}
        say(f"{folder}: {found.consistent:.0%} of the points that other views could see are where these see them")
    apart = [
        float((one - other).square().mean().sqrt())
        for index, one in enumerate(shown) for other in shown[:index] if one.shape == other.shape
    ]  # fmt: skip
    return {"scenes": len(folders), "agreement": rows, "apart": sum(apart) / len(apart) if apart else None}


# As text -------------------------------------------------------------------------------------------------------------


def several_text(content: dict[str, Any]) -> str:
    """What was measured, for the terminal."""
    if "agreement" in content:
        rows = [
            {
                "scene": name,
                **{key: format_value(key, None if value is None else float(value)) for key, value in row.items()},
            }
            for name, row in content["agreement"].items()
        ]
        apart = content["apart"]
        last = "" if apart is None else f"\nscenes differ by {apart:.3f} (root mean square over colours in [0, 1])"
        return text_table(rows) + last
    rows = [
        {"column": column, **{key: format_value(column, value) for key, value in row.items()}}
        for column, row in content["first_mean_best"].items()
    ]
    within = {one["deviations"]: one["share"] for one in content["coverage"]}
    return "\n".join(
        [
            text_table(rows),
            f"PSNR of the mean picture of {content['scenes']} samples: {content['psnr_of_mean']:.2f} dB",
            f"spread {content['spread']:.3f}, error of the mean picture {content['error']:.3f}",
            f"AUSE {content['ause']:.4f}, {content['relative_ause']:.0%} of the error (0: it orders pixels as errors)",
            f"errors within 1 and 2 deviations: {within[1.0]:.0%} and {within[2.0]:.0%} (68 % and 95 % of a Gaussian)",
        ]
    )
