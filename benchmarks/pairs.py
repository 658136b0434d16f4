"""Rows of fits compared in pairs (same scene, same photos, same seed), and what the trained prior was to reach."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rows import Row
from diorama.eval.tables import format_value, text_table

COLUMNS = (
    "psnr", "psnr_visible", "psnr_hidden", "psnr_masked", "ssim_uniform7", "ssim_uniform7_masked", "depth_abs_rel",
    "depth_abs_rel_visible", "depth_abs_rel_hidden",
)  # fmt: skip
IDENTITY = ("scene", "views", "variant", "equal", "seed")
BASELINE, TRAINED = "few", "prior"


@dataclass(frozen=True)
class Difference:
    """Of pairs: the mean, its standard error (None for a single pair), and how many there are.

    Pairs of one scene are taken for independent, so with few scenes the error is rather too small."""

    mean: float
    error: float | None
    count: int

    def text(self, digits: int) -> str:
        """`+1.20 +- 0.30 (9)`."""
        around = "" if self.error is None else f" +- {self.error:.{digits}f}"
        return f"{self.mean:+.{digits}f}{around} ({self.count})"


def paired(rows: Sequence[Row], variant: str, column: str) -> Difference | None:
    """(variant - baseline) over same scene, views, seed and length; None without a pair."""
    base = {pair_key(row): row["mean"].get(column) for row in rows if row["variant"] == BASELINE}
    differences = []
    for row in rows:
        value, reference = row["mean"].get(column), base.get(pair_key(row))
        if row["variant"] == variant and value is not None and reference is not None:
            differences.append(value - reference)
    count = len(differences)
    if not count:
        return None
    mean = sum(differences) / count
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences) / (count - 1) / count) if count > 1 else None
    return Difference(mean, spread, count)


def pair_key(row: Row) -> tuple[Any, ...]:
    """What two rows must share to be compared; for equal seconds that is the machine too."""
    shared = tuple(row[k] for k in IDENTITY if k != "variant")
    return (*shared, json.dumps(row["machine"], sort_keys=True)) if row["equal"] == "seconds" else shared


def digits_of(column: str) -> int:
    """Decimals that are shown of a column's differences."""
    return 2 if column.startswith("psnr") else 4


# What was to be reached ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """What the trained prior is to do to one column of some groups of scenes, against the baseline."""

    what: str
    groups: tuple[str, ...]
    column: str
    sign: int
    """1 where more is better, -1 where less is."""
    may_lose: float | None = None
    """None: it must win, by more than its standard error. Else it may lose this much, or one standard error."""

    def verdict(self, difference: Difference) -> bool:
        """Whether a difference reaches it; a single pair has a standard error of 0 here."""
        gain, error = self.sign * difference.mean, difference.error or 0.0
        return gain > error if self.may_lose is None else gain >= -max(self.may_lose, error)

    @property
    def needed(self) -> str:
        """In words."""
        if self.may_lose is not None:
            return f"a loss of at most {self.may_lose:g} or one standard error"
        return f"{'above' if self.sign > 0 else 'below'} 0 by more than its standard error"


GOALS = (
    Goal("depth against the sensor", ("apc_box",), "depth_abs_rel", -1),
    Goal("depth of procedural worlds", ("workshops", "rooms"), "depth_abs_rel", -1),
    Goal("DTU, the object", ("dtu_scan24",), "psnr_masked", 1),
    Goal("DTU, the whole photo", ("dtu_scan24",), "psnr", 1),
    Goal("LLFF", ("llff_fern",), "psnr", 1, may_lose=0.3),
)


@dataclass(frozen=True)
class Verdict:
    """A goal, and whether it was reached; None where nothing was measured."""

    goal: Goal
    equal: str
    difference: Difference | None

    @property
    def reached(self) -> bool | None:
        """True, False, or None without a pair."""
        return None if self.difference is None else self.goal.verdict(self.difference)

    def __str__(self) -> str:
        """One line that starts with pass, FAIL or open."""
        goal = self.goal
        word = {True: "pass", False: "FAIL", None: "open"}[self.reached]
        found = "no pairs yet" if self.difference is None else self.difference.text(digits_of(goal.column))
        return f"{word}  {goal.what} ({goal.column}), equal {self.equal}: {found}; needed: {goal.needed}"


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """All goals, at equal steps and at equal seconds."""
    return [
        Verdict(goal, equal, paired(_some(rows, goal.groups, equal), TRAINED, goal.column))
        for equal in ("steps", "seconds")
        for goal in GOALS
    ]


def verdict_text(rows: Sequence[Row]) -> str:
    """A line per goal, and whether the prior has earned to be the default."""
    found = verdicts(rows)
    deciding = [verdict.reached for verdict in found if verdict.equal == "seconds"]
    earned = "not known yet" if None in deciding and False not in deciding else "yes" if all(deciding) else "no"
    return "\n".join([*map(str, found), f"the prior as default (all goals at equal seconds): {earned}"])


def _some(rows: Sequence[Row], groups: Sequence[str], equal: str) -> list[Row]:
    return [row for row in rows if row["group"] in groups and row["equal"] == equal]


# Tables --------------------------------------------------------------------------------------------------------------


def paired_table(rows: Sequence[Row]) -> str:
    """Differences to the baseline, by group of scenes, number of views and what is equal."""
    text = []
    groups = dict.fromkeys((row["group"], row["views"], row["equal"]) for row in rows)
    for group, views, equal in groups:
        some = [row for row in _some(rows, (group,), equal) if row["views"] == views]
        for variant in dict.fromkeys(row["variant"] for row in some if row["variant"] != BASELINE):
            line = {"scenes": group, "views": str(views), "equal": equal, "variant": variant}
            for column in COLUMNS:
                found = paired(some, variant, column)
                if found is not None:
                    line[column] = found.text(digits_of(column))
            text.append(line)
    return text_table(text)


def table(rows: Sequence[Row]) -> str:
    """Every row."""
    shown = [column for column in COLUMNS if any(row["mean"].get(column) is not None for row in rows)]
    text = [
        {
            **{k: str(row[k]) for k in IDENTITY}, "size": row["resolution"],
            **{c: format_value(c, row["mean"].get(c)) for c in shown},
            "steps": str(row["steps"]), "s": f"{row['seconds']:.0f}",
        }
        for row in rows
    ]  # fmt: skip
    return text_table(text)
