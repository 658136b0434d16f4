"""Results as text: one row per scene or setting, and under it what the numbers are."""

import html
from collections.abc import Mapping, Sequence

from diorama.eval.measure import SceneResult

UNMEASURED = "not measured"

LEGEND = {
    "psnr": "PSNR in dB over all pixels that count (higher is better; 100 = identical)",
    "psnr_masked": "PSNR in dB over the object mask",
    "ssim_uniform7": "SSIM, uniform 7x7 window, images in [0, 1] (as scikit-image; higher)",
    "ssim_gaussian11": "SSIM, Gaussian 11x11 window, sigma 1.5 (as torchmetrics; higher)",
    "ssim_signed7": "SSIM, uniform 7x7 window, images in [-1, 1], range 2 (as in DiffusioNeRF's tables; higher)",
    "ms_ssim": "multi-scale SSIM, five scales (higher; images of 176 pixels a side or more)",
    "flip": "mean LDR FLIP error, 67 pixels per degree (lower)",
    "lpips": "LPIPS (lower)",
    "lpips_vgg16": "LPIPS 0.1 with VGG16 (lower)",
    "lpips_alexnet": "LPIPS 0.1 with AlexNet (lower)",
    "average_vgg16": "(MSE sqrt(1 - ssim_uniform7) lpips_vgg16)^(1/3) per view (lower)",
    "average_alexnet": "(MSE sqrt(1 - ssim_uniform7) lpips_alexnet)^(1/3) per view (lower)",
    "depth_abs_rel": "mean |depth - truth| / truth (lower)",
    "depth_median_abs": "median |depth - truth| in the user's units (lower)",
    "depth_median_abs_m": "median |depth - truth| in metres (lower)",
    "depth_inliers": "share of pixels with max(depth / truth, truth / depth) < 1.25 (higher)",
    "share": "share of the pixels that count",
    "near_mass": "share of light stopped nearer than half of the view's first-percentile surface depth (lower)",
    "psnr_mean_colour": "PSNR of the training photos' mean colour: the floor to beat",
}
"""What each column is, if it has no ending of `ENDINGS`."""

ENDINGS = {
    "_masked": "object on white",
    "_visible": "of what a training photo saw",
    "_occluded": "of what lies in a training photo's frame, but behind something in all of them",
    "_outside": "of what lies in no training photo's frame",
}
"""What a column with such an ending is measured on."""


def legend(column: str) -> str:
    """One line on a column."""
    if column in LEGEND:
        return LEGEND[column]
    for ending, what in ENDINGS.items():
        if column.endswith(ending):
            stem = column.removesuffix(ending)
            return f"{LEGEND.get(stem, stem)}, {what}"
    return column


def format_value(column: str, value: float | None) -> str:
    """A number as tables show it; a column that was not measured says so, never 0."""
    if value is None:
        return UNMEASURED
    return f"{value:.2f}" if column.startswith("psnr") else f"{value:.3f}" if abs(value) < 1000 else f"{value:.1f}"


def text_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Aligned columns, in the order in which they first appear; a cell a row lacks stays empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    widths = {c: max(len(c), *(len(row.get(c, "")) for row in rows)) for c in columns} if rows else {}
    lines = ["  ".join(c.ljust(widths[c]) for c in columns)]
    lines += ["  ".join(row.get(c, "").ljust(widths[c]) for c in columns) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def html_table(title: str, tables: Sequence[Sequence[Mapping[str, str]]], notes: Sequence[str]) -> str:
    """A self-contained page of tables and notes; everything is escaped."""
    parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>']
    parts.append(
        "<style>body{font:14px system-ui,sans-serif;margin:2rem}td,th{padding:.15rem .8rem;text-align:left}</style>"
    )
    parts.append(f"<h1>{html.escape(title)}</h1>")
    for rows in filter(None, tables):
        columns = list(dict.fromkeys(column for row in rows for column in row))
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(row.get(column, ''))}</td>" for column in columns) + "</tr>"
            for row in rows
        )
        parts.append(f"<table><tr>{head}</tr>{body}</table>")
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    return "\n".join(parts) + "</html>\n"


def scene_table(result: SceneResult) -> str:
    """The means of one scene as `column value what-it-is` lines under its facts."""
    facts = [f"{key}: {value}" for key, value in result.facts.items()]
    rows = [
        {"column": column, f"mean of {len(result.views)} views": format_value(column, value), "is": legend(column)}
        for column, value in result.mean.items()
    ]
    reasons = [f"{column}: {UNMEASURED}; {reason}" for column, reason in result.missing.items()]
    return "\n".join([result.title, *facts, "", text_table(rows), *reasons])


def short_digest(digest: str) -> str:
    """The first 12 characters of a split hash, enough to tell splits apart by eye."""
    return digest[:12] if digest else "none"
