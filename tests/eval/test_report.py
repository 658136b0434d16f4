"""Reports: whole, self-contained, escaped, and honest about what was not measured."""

import io
import json

import torch

from diorama.eval.measure import Columns, SceneResult, ViewResult, held_out, measured_views
from diorama.eval.report import disparity, encode_jpeg, html_page, panels, shrink, to_json
from diorama.eval.tables import LEGEND, format_value, legend, scene_table, text_table
from diorama.files import write_json
from tests.oracles import exact_rendering, exact_views, ring_cameras

RESULT = SceneResult(
    "a <b>scene</b>",
    (ViewResult("<script>alert(1)</script>.jpg", (64, 48), {"psnr": 21.5, "lpips": None}),),
    {"split": "every8 & more", "seed": "0"},
    {"lpips": "no weights were given: --lpips FILE"},
)


def test_names_are_escaped_in_html():
    page = html_page(RESULT, {RESULT.views[0].name: {"photo": b"jpeg", "<i>": b"x"}})
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.jpg" in page
    assert "<b>scene" not in page
    assert "every8 &amp; more" in page
    assert "<i>" not in page


def test_the_page_needs_no_other_file_and_runs_nothing():
    page = html_page(RESULT, {RESULT.views[0].name: {"photo": b"jpeg"}})
    assert "http" not in page
    assert "<script" not in page
    assert 'src="data:image/jpeg;base64,' in page


def test_an_unmeasured_column_says_so_everywhere():
    assert format_value("lpips", None) == "not measured"
    assert ">not measured</td>" in html_page(RESULT, {})
    assert "--lpips FILE" in html_page(RESULT, {})
    assert "not measured" in scene_table(RESULT)
    stored = to_json(RESULT)
    assert stored["mean"]["lpips"] is None
    assert stored["not_measured"]["lpips"].startswith("no weights")


def test_json_holds_every_view_and_reads_back(tmp_path):
    write_json(tmp_path / "metrics.json", to_json(RESULT))
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["views"][0] == {
        "name": RESULT.views[0].name,
        "size": [64, 48],
        "values": {"psnr": 21.5, "lpips": None},
    }
    assert stored["facts"]["split"] == "every8 & more"


def test_panels_show_photo_render_error_and_both_depths():
    from PIL import Image

    views = exact_views(ring_cameras(1))
    held, rendering, _ = next(measured_views(exact_rendering, held_out(views), Columns(flip=False)))
    pictures = panels(held, rendering, longest_side=32)
    assert list(pictures) == ["photo", "render", "error", "depth", "true depth"]
    for jpeg in pictures.values():
        image = Image.open(io.BytesIO(jpeg))
        assert image.size == (32, 24)
    black = Image.open(io.BytesIO(pictures["error"])).convert("L")
    assert max(black.getextrema()) < 8, "an exact render has no error"


def test_a_panel_shows_what_no_training_photo_saw():
    views = exact_views(ring_cameras(1))
    held, rendering, _ = next(measured_views(exact_rendering, held_out(views), Columns(flip=False)))
    nothing = torch.zeros(48, 64, dtype=torch.bool)
    plain, pale = (
        panels(held, rendering, parts={"visible": ~part, "occluded": part, "outside": nothing})["unseen is pale"]
        for part in (nothing, ~nothing)
    )
    assert plain == panels(held, rendering)["render"] != pale


def test_disparity_is_one_near_and_zero_where_unknown():
    depth = torch.tensor([[1.0, 2.0, 4.0, 0.0]])
    shown = disparity(depth, depth)
    assert shown[0, 0] > shown[0, 1] > shown[0, 2]
    assert shown[0, 3] == 0
    assert disparity(depth, torch.zeros(1, 4)).abs().max() == 0


def test_pictures_are_shrunk_but_never_enlarged():
    assert shrink(torch.rand(3, 40, 20), 10).shape == (3, 10, 5)
    assert shrink(torch.rand(3, 4, 2), 10).shape == (3, 4, 2)
    assert encode_jpeg(torch.full((3, 4, 4), 2.0))[:2] == b"\xff\xd8"


def test_tables_align_and_every_column_explains_itself():
    text = text_table([{"a": "1", "long": "2"}, {"a": "333", "b": "4"}])
    assert [line.split() for line in text.splitlines()] == [["a", "long", "b"], ["1", "2"], ["333", "4"]]
    assert "object on white" in legend("flip_masked")
    assert "no training photo's frame" in legend("depth_abs_rel_outside")
    assert "PSNR" in legend("psnr_visible")
    assert "share of the pixels" in legend("share_occluded")
    assert legend("psnr_masked") == LEGEND["psnr_masked"]
