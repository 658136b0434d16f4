"""Curves of a training as one page that any browser opens: what the log and the looks at held-out data say."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from diorama.files import write_text
from diorama.pipelines.looks import read_figures

WIDTH, HEIGHT, PAD = 460, 200, 36
"""Pixels of a plot, and of the margin for its numbers."""

Series = Sequence[tuple[float, float]]
"""(step, value) in order of steps."""

COLOURS = ("#1f6fb4", "#c8502d", "#2f8f4e", "#8350a8", "#8a6d1d", "#3b3b3b", "#c03878")

_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    "<style>body{{font:14px sans-serif;margin:1.5em}}figure{{display:inline-block;margin:0.6em}}"
    "figcaption{{font-weight:bold}}text{{font:10px sans-serif;fill:#555}}</style><h1>{title}</h1>{plots}</html>\n"
)


def write_curves(folder: Path) -> Path:
    """Draw `held_out.json` and the losses of `log.jsonl` of a run as `curves.html`."""
    plots: dict[str, dict[str, Series]] = {"loss, means over neighbouring steps": dict(losses(folder))}
    for name, series in held_out_series(folder).items():
        plots.setdefault(name.split(".")[0].split("_")[0], {})[name] = series
    drawn = "".join(plot(name, lines) for name, lines in plots.items())
    file = folder / "curves.html"
    write_text(file, _PAGE.format(title=html.escape(folder.name), plots=drawn))
    return file


def losses(folder: Path) -> dict[str, Series]:
    """Every loss term by step, as logged."""
    file = folder / "log.jsonl"
    series: dict[str, list[tuple[float, float]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            record = json.loads(line)
        except ValueError:  # the line that a kill cut short
            continue
        for name, value in record.get("terms", {}).items():
            series.setdefault(name, []).append((float(record["step"]), float(value)))
    return {name: smoothed(line) for name, line in series.items()}


def held_out_series(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Every number of `held_out.json` by step; numbers inside of others are called `outer.inner`."""
    series: dict[str, list[tuple[float, float]]] = {}
    for step, figures in sorted(read_figures(folder).items(), key=lambda item: int(item[0])):
        for name, value in flat(figures).items():
            series.setdefault(name, []).append((float(step), value))
    return series


def flat(figures: Mapping[str, object], before: str = "") -> dict[str, float]:
    """Nested numbers under one name each."""
    out: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{before}{name}.")
        elif isinstance(value, int | float) and math.isfinite(value):
            out[before + name] = float(value)
    return out


def smoothed(series: Series, points: int = 200) -> list[tuple[float, float]]:
    """Means over neighbours, at most `points` of them."""
    size = max(1, -(-len(series) // points))
    parts = [series[start : start + size] for start in range(0, len(series), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def plot(name: str, lines: Mapping[str, Series]) -> str:
    """One figure of some lines over the steps, with their last values."""
    values = [point for line in lines.values() for point in line]
    if not values:
        return ""
    left, right = min(x for x, _ in values), max(x for x, _ in values)
    low, high = min(y for _, y in values), max(y for _, y in values)
    across, up = max(right - left, 1e-9), max(high - low, 1e-9)
    parts = []
    for number, (title, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [((x - left) / across, (y - low) / up) for x, y in line]
        points = " ".join(
            f"{PAD + x * (WIDTH - 2 * PAD):.1f},{HEIGHT - PAD - y * (HEIGHT - 2 * PAD):.1f}" for x, y in places
        )
        label = f"{html.escape(title)} {line[-1][1]:.4g}"
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            f'<text x="{PAD + 4}" y="{14 + 11 * number}" style="fill:{colour}">{label}</text>'
        )
    parts.append(f'<text x="2" y="{HEIGHT - PAD}">{low:.4g}</text><text x="2" y="{PAD}">{high:.4g}</text>')
    parts.append(f'<text x="{WIDTH - PAD}" y="{HEIGHT - 12}" text-anchor="end">step {right:.0f}</text>')
    svg = f'<svg width="{WIDTH}" height="{HEIGHT}" style="background:#fafafa">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{html.escape(name)}</figcaption>{svg}</figure>"
