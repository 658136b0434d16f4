"""The tables of the benchmark of GIBR, and which goals were reached."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from benchmarks.gibr_ablation import FIRST
from benchmarks.gibr_photos import BASELINE, REFINED
from benchmarks.pairs import Difference, digits_of
from benchmarks.rows import Row
from diorama.eval.tables import format_value, text_table

WORLD_COLUMNS = (
    "psnr", "ssim", "psnr_visible", "psnr_hidden", "depth_rank_corr", "consistent", "confirmed", "confirmed_truth",
    "colour_psnr", "near_mass", "frechet", "frechet_hidden", "frechet_floor", "sharpness", "fine",
)  # fmt: skip
OWN_COLUMNS = ("psnr_own_in", "psnr_own_out", "psnr_one_step", "psnr_mean_colour")
SAMPLE_COLUMNS = (
    "psnr_first", "psnr_mean", "psnr_of_mean", "psnr_best", "spread", "spread_visible", "spread_hidden", "seconds",
)  # fmt: skip
PHOTO_COLUMNS = (
    "psnr", "psnr_masked", "psnr_visible", "psnr_occluded", "psnr_outside", "ssim_uniform7", "sharpness", "fine",
    "frechet", "psnr_mean_colour",
)  # fmt: skip
PHOTO_PAIRS = (
    (REFINED, BASELINE), (REFINED, "few"), (REFINED, "regression-refine"), (REFINED, "gibr"), ("gibr", "regression"),
)  # fmt: skip
PAIRED_COLUMNS = ("psnr", "psnr_visible", "psnr_occluded", "psnr_outside", "ssim_uniform7", "sharpness", "frechet")
SCENE_COLUMNS = ("psnr", "psnr_visible", "frechet")

LEAST_GAIN_OF_DROPOUT = 1.0
"""dB on held-out views."""
MOST_LOSS_ON_VISIBLE = 0.5
"""dB that the whole model may lose to the regression on pixels that a given view shows."""


def statistic(values: Sequence[float]) -> Difference | None:
    """Mean, standard error (None of a single value) and count; None of nothing."""
    if not values:
        return None
    count, mean = len(values), sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1) / count) if count > 1 else None
    return Difference(mean, spread, count)


def paired(rows: Sequence[Row], variant: str, baseline: str, column: str) -> Difference | None:
    """variant - baseline over rows that agree in all else; None without a pair."""

    def where(row: Row) -> tuple[object, ...]:
        return (row["table"], row["scene"], row["views"], row["seed"])

    base = {where(row): row["mean"].get(column) for row in rows if row["variant"] == baseline}
    pairs = [(row["mean"].get(column), base.get(where(row))) for row in rows if row["variant"] == variant]
    return statistic([value - other for value, other in pairs if value is not None and other is not None])


# Goals ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A goal and what was found; reached is None where nothing was measured."""

    goal: str
    found: str
    needed: str
    reached: bool | None

    def __str__(self) -> str:
        """One line that starts with pass, FAIL or open."""
        word = {True: "pass", False: "FAIL", None: "open"}[self.reached]
        return f"{word}  {self.goal}: {self.found}; needed: {self.needed}"


def judged(
    goal: str, difference: Difference | None, column: str, needed: str, reached: Callable[[Difference], bool]
) -> Verdict:
    """A goal that a paired difference decides."""
    if difference is None:
        return Verdict(goal, "no pairs yet", needed, None)
    return Verdict(goal, difference.text(digits_of(column)), needed, reached(difference))


def above_error(difference: Difference) -> bool:
    """More than 0 by more than its standard error."""
    return difference.mean > (difference.error or 0.0)


def below_error(difference: Difference) -> bool:
    """Less than 0 by more than its standard error."""
    return -difference.mean > (difference.error or 0.0)


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """All goals."""
    ablation = [row for row in rows if row["table"] == "ablation"]
    dropout = paired(ablation, "full", "no-own-dropout", "psnr")
    hidden, visible = (paired(ablation, FIRST, "regression", column) for column in ("frechet_hidden", "psnr_visible"))
    found = [
        judged(
            "own-plane dropout on against off, held-out views (psnr)", dropout, "psnr",
            f"above {LEAST_GAIN_OF_DROPOUT:g} dB", lambda one: one.mean > LEAST_GAIN_OF_DROPOUT,
        ),
        judged(
            "against the regression, hidden pixels (frechet_hidden)", hidden, "frechet_hidden",
            "below 0 by more than its standard error", below_error,
        ),
        judged(
            "against the regression, visible pixels (psnr_visible)", visible, "psnr_visible",
            f"a loss of at most {MOST_LOSS_ON_VISIBLE:g} dB", lambda one: one.mean >= -MOST_LOSS_ON_VISIBLE,
        ),
        falling_spread(rows),
    ]  # fmt: skip
    for where, count in product(("development", "test"), (2, 3)):
        of_set = [row for row in rows if row["table"] == "photos" and row["views"] == count and row["set"] == where]
        for baseline in (BASELINE, "few"):
            gain = paired(of_set, REFINED, baseline, "psnr")
            goal = f"real photos ({where}), {count} given: {REFINED} against {baseline} (psnr)"
            found.append(judged(goal, gain, "psnr", "above 0 by more than its standard error", above_error))
    return found


def falling_spread(rows: Sequence[Row]) -> Verdict:
    """Whether samples agree the more, the more views are given."""
    measured = sorted((row["views"], row["mean"].get("spread")) for row in rows if row["table"] == "inputs")
    spreads = [spread for _, spread in measured if spread is not None]
    goal, needed = "spread over samples, by inputs", "each below the one before"
    if len(spreads) < 2:
        return Verdict(goal, "not measured yet", needed, None)
    told = ", ".join(f"{count}: -" if spread is None else f"{count}: {spread:.4f}" for count, spread in measured)
    return Verdict(goal, told, needed, all(after < before for before, after in pairwise(spreads)))


# Tables --------------------------------------------------------------------------------------------------------------


def report(rows: Sequence[Row]) -> str:
    """All tables for which there are rows, and the goals."""
    parts = []
    for title, of, table in (
        ("ablation (mean +- standard error over seeds)", "ablation", ablation_table),
        ("inputs (mean +- standard error over worlds)", "inputs", worlds_table),
        ("samplers (mean +- standard error over worlds)", "samplers", worlds_table),
        ("photos, every row", "photos", photos_table),
        ("photos (mean +- standard error over scenes and seeds)", "photos", photo_means),
        (f"photos, each scene ({' / '.join(SCENE_COLUMNS)}, mean over seeds)", "photos", photo_scenes),
        ("photos, paired over scenes and seeds (mean +- standard error, pairs)", "photos", photo_pairs),
        ("photos, PSNR by angle to the nearest given photo (mean, photos)", "photos", angle_table),
    ):
        some = [row for row in rows if row["table"] == of]
        if some:
            parts.append(f"{title}\n{table(some)}")
    parts.append("\n".join(map(str, verdicts(rows))))
    return "\n\n".join(parts)


def ablation_table(rows: Sequence[Row]) -> str:
    """A line per variant."""
    text = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        some = [row for row in rows if row["variant"] == variant]
        line = {"variant": variant, "steps": " ".join(str(row["steps"]) for row in some)}
        for column in (*WORLD_COLUMNS, *OWN_COLUMNS):
            line[column] = spread_text(column, [row["mean"].get(column) for row in some])
        text.append(line)
    return text_table(text)


def worlds_table(rows: Sequence[Row]) -> str:
    """A line per row. cost: its seconds over those of the first row, where both were measured on the same machine."""
    text = []
    first = rows[0]["mean"].get("seconds")
    for row in rows:
        line = {"inputs": str(row["views"]), "sampler": row["variant"], "samples": str(row["samples"])}
        for column in (*SAMPLE_COLUMNS, *WORLD_COLUMNS):
            each = [world.get(column) for world in row["worlds"]]
            of_set = column.startswith("frechet")
            line[column] = spread_text(column, [row["mean"].get(column)] if of_set else each)
            if column == "seconds" and first and row.get("machine") == rows[0].get("machine"):
                line["cost"] = f"{row['mean']['seconds'] / first:.2f}"
        text.append(line)
    return text_table(text)


def photos_table(rows: Sequence[Row]) -> str:
    """A line per row."""
    text = []
    for row in rows:
        line = {k: str(row[k]) for k in ("scene", "views", "variant", "seed")} | {"size": row["resolution"]}
        line |= {c: format_value(c, row["mean"][c]) for c in PHOTO_COLUMNS if row["mean"].get(c) is not None}
        seconds = row.get("seconds")
        text.append(line | ({} if seconds is None else {"s": f"{seconds:.0f}"}))
    return text_table(text)


def photo_means(rows: Sequence[Row]) -> str:
    """A line per method and number of given photos."""
    text = []
    for where, count, variant in dict.fromkeys((row["set"], row["views"], row["variant"]) for row in rows):
        some = [row for row in rows if (row["set"], row["views"], row["variant"]) == (where, count, variant)]
        line = {"scenes": where, "views": str(count), "variant": variant}
        for column in PHOTO_COLUMNS:
            line[column] = spread_text(column, [row["mean"].get(column) for row in some])
        text.append(line)
    return text_table(text)


def photo_scenes(rows: Sequence[Row]) -> str:
    """A line per method, a column per scene and number of given photos."""
    text = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        line = {"variant": variant}
        for views, scene in sorted({(row["views"], row["scene"]) for row in rows}):
            some = [row for row in rows if (row["variant"], row["views"], row["scene"]) == (variant, views, scene)]
            found = [
                statistic([row["mean"][c] for row in some if row["mean"].get(c) is not None]) for c in SCENE_COLUMNS
            ]
            line[f"{scene}, {views}"] = " / ".join("-" if one is None else f"{one.mean:.2f}" for one in found)
        text.append(line)
    return text_table(text)


def photo_pairs(rows: Sequence[Row]) -> str:
    """A line per pair of methods and number of given photos: the first less the second."""
    text = []
    for where, count in sorted({(row["set"], row["views"]) for row in rows}):
        some = [row for row in rows if (row["set"], row["views"]) == (where, count)]
        for variant, baseline in PHOTO_PAIRS:
            line = {"scenes": where, "views": str(count), "pair": f"{variant} - {baseline}"}
            for column in PAIRED_COLUMNS:
                found = paired(some, variant, baseline, column)
                line[column] = "" if found is None else found.text(digits_of(column))
            text.append(line)
    return text_table(text)


def angle_table(rows: Sequence[Row]) -> str:
    """PSNR of all photos of a method in each bin of angle."""
    text = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        line = {"variant": variant}
        bins: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            for low, high, count, mean in row["angles"] if row["variant"] == variant else []:
                bins.setdefault(f"{low:g}-{high:g}", []).extend([] if mean is None else [(count, mean)])
        for name, found in bins.items():
            total = sum(count for count, _ in found)
            line[name] = f"{sum(count * mean for count, mean in found) / total:.2f} ({total})" if total else ""
        text.append(line)
    return text_table(text)


def spread_text(column: str, values: Sequence[float | None]) -> str:
    """`17.20 +- 0.31 (3)`; nothing where it was not measured."""
    found = statistic([value for value in values if value is not None])
    if found is None:
        return ""
    digits = 2 if column.startswith(("psnr", "colour_psnr")) else 4 if column.startswith("spread") else 3
    around = "" if found.error is None else f" +- {found.error:.{digits}f}"
    return f"{found.mean:.{digits}f}{around} ({found.count})"
