"""Results as files: JSON with every view's numbers, and one HTML page that needs nothing else to be looked at."""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from diorama.eval.measure import HeldOut, SceneResult
from diorama.eval.tables import format_value, legend
from diorama.rendering.false_colour import fade, heat
from diorama.types import Rendering

FORMAT_VERSION = 1
"""Of metrics.json; goes up when a field changes its meaning."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1240px; padding: 0 1rem; color: #1c1c1e }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
td.number { font-variant-numeric: tabular-nums } .unmeasured { color: #888 }
h2 { margin: 2rem 0 .3rem; font-size: 1rem }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: .5rem }
figure { margin: 0 } img { width: 100%; display: block; border-radius: 3px } figcaption { color: #666; font-size: 13px }
@media (prefers-color-scheme: dark) { body { background: #151517; color: #e8e8ea } figcaption { color: #aaa } }
"""

Panels = Mapping[str, Mapping[str, bytes]]
"""View name -> caption -> JPEG."""


def to_json(result: SceneResult) -> dict[str, Any]:
    """A JSON-ready form; a column that was not measured is null, and `not_measured` holds the reason."""
    return {
        "version": FORMAT_VERSION,
        "title": result.title,
        "facts": dict(result.facts),
        "mean": result.mean,
        "not_measured": dict(result.missing),
        "views": [{"name": v.name, "size": list(v.size), "values": dict(v.values)} for v in result.views],
    }


def panels(
    held: HeldOut, rendering: Rendering, longest_side: int = 320, parts: Mapping[str, Bool[Tensor, "h w"]] | None = None
) -> dict[str, bytes]:
    """Photo, render, error and depth of one view (and the true depth where there is one) as small JPEGs.

    parts: those of `scenes.visibility.Observed.parts`; adds the render with what no training photo saw pale.

    The error is the mean absolute difference over channels; white heat is 0.5 or more. Depths are shown as disparity,
    near is light, on one scale for both."""
    photo, colour = held.photo.float(), rendering.colour[0].clamp(0, 1).float()
    error = (colour - photo).abs().mean(0)
    if held.keep is not None:
        error = error * held.keep
    shown = {"photo": photo, "render": colour, "error": heat(2 * error)}
    reference = rendering.depth[0] if held.depth is None else held.depth
    shown["depth"] = heat(disparity(rendering.depth[0], reference.to(rendering.depth)))
    if held.depth is not None:
        shown["true depth"] = heat(disparity(held.depth, held.depth))
    if parts is not None:
        shown["unseen is pale"] = fade(colour, parts["occluded"], parts["outside"])
    return {caption: encode_jpeg(shrink(image, longest_side)) for caption, image in shown.items()}


def disparity(depth: Float[Tensor, "h w"], reference: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Inverse depth, 0 at the 98th and 1 at the 2nd percentile of the reference's depths; 0 where unknown."""
    known = (reference > 0) & reference.isfinite()
    if not known.any():
        return torch.zeros_like(depth)
    values = reference[known].sort().values
    near, far = (values[int(share * (len(values) - 1))] for share in (0.02, 0.98))
    span = (1 / near - 1 / far).clamp(min=1e-12)
    return torch.where(depth > 0, (1 / depth.clamp(min=1e-12) - 1 / far) / span, torch.zeros_like(depth))


def shrink(image: Float[Tensor, "3 h w"], longest_side: int) -> Float[Tensor, "3 height width"]:
    """Area-averaged down to at most `longest_side` pixels; never enlarged."""
    height, width = image.shape[-2:]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return functional.interpolate(image[None], size=size, mode="area")[0]


def encode_jpeg(image: Float[Tensor, "3 h w"]) -> bytes:
    """An image in [0, 1] as JPEG bytes."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def html_page(result: SceneResult, pictures: Panels) -> str:
    """One self-contained page: facts, means, and the pictures and numbers of every view. All names are escaped."""
    title = html.escape(result.title)
    facts = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in result.facts.items())
    means = "".join(
        f"<tr><th>{html.escape(c)}</th>{_cell(c, v)}<td>{html.escape(_explain(result, c))}</td></tr>"
        for c, v in result.mean.items()
    )
    views = "".join(_view_section(view.name, view.values, pictures.get(view.name, {})) for view in result.views)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><h1>{title}</h1>'
        f"<table>{facts}</table><table><tr><th>column</th><th>mean of {len(result.views)} views</th><th></th></tr>"
        f"{means}</table>{views}</html>\n"
    )


def _cell(column: str, value: float | None) -> str:
    kind = "number" if value is not None else "unmeasured"
    return f'<td class="{kind}">{format_value(column, value)}</td>'


def _explain(result: SceneResult, column: str) -> str:
    reason = result.missing.get(column, result.missing.get(column.removesuffix("_masked")))
    return legend(column) if reason is None else f"{legend(column)}: {reason}"


def _view_section(name: str, values: Mapping[str, float | None], pictures: Mapping[str, bytes]) -> str:
    numbers = ", ".join(f"{html.escape(c)} {format_value(c, v)}" for c, v in values.items() if v is not None)
    figures = "".join(
        f'<figure><img alt="{html.escape(caption)} of {html.escape(name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"><figcaption>{html.escape(caption)}'
        "</figcaption></figure>"
        for caption, jpeg in pictures.items()
    )
    return f'<h2>{html.escape(name)}</h2><p>{numbers}</p><div class="row">{figures}</div>'
