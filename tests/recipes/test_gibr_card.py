"""The card of a GIBR: curve, rows of the benchmark and sheet land beside the weights, once."""

import json

import pytest
import torch

from diorama.data.images import write_png
from diorama.errors import InputError
from diorama.files import write_json
from diorama.pipelines.looks import add_figures, add_sheet
from diorama.systems.gibr import GIBR
from recipes.card import BEGIN, END
from recipes.gibr_card import Options, curve_of, main
from tests.systems.drawn import TINY


@pytest.fixture
def runs(tmp_path):
    """Two stages; the second looks again at the step where the first ended."""
    made = []
    for name, pixels, looks in (("1_small", 32, {10: 20.0, 20: 21.0}), ("2_large", 48, {20: 20.5, 30: 22.25})):
        run = tmp_path / name
        run.mkdir()
        write_json(run / "run.json", {"about": {"data": {"worlds": {"seed": 7}, "pixels": pixels, "views": 4}}})
        for step, value in looks.items():
            add_figures(run, step, {"psnr_held_out": value, "near_mass": None, "loss_by_t": {"0.5": 0.1}})
            add_sheet(run, step, torch.full((3, 4, 4), step / 30))
        made.append(run)
    return tuple(made)


def test_the_curve_of_all_stages_and_the_rows_of_these_weights_alone_are_written_once(runs, tmp_path):
    model = GIBR(TINY).eval()
    place = model.save_pretrained(tmp_path / "model", card="How it was made.")
    results = tmp_path / "gibr.json"
    row = {"table": "inputs", "scene": "worlds", "views": 2, "variant": "dpm-10", "seed": 0}
    kept = GIBR.from_pretrained(place).checksum
    rows = [{**row, "model": kept, "mean": {"psnr": 23.456}}, {**row, "model": "another", "mean": {"psnr": 11.111}}]
    write_json(results, {"rows": rows})
    options = Options(place, runs=runs, results=results)
    assert main(options) == main(options) == 0
    card = (place / "README.md").read_text()
    assert (card.count(BEGIN), card.count(END)) == (1, 1)
    assert "How it was made." in card
    assert "| 20 | 7 | 48 | 4 | 20.50 |" in card, "the later stage speaks for a step of both"
    assert "23.46" in card
    assert "11.11" not in card
    assert "near mass" not in card, "nobody measured it"
    assert list(json.loads((place / "curve.json").read_text())) == ["10", "20", "30"]
    assert main(Options(place, runs=runs[1:], results=results)) == 0
    assert (place / "README.md").read_text() == card, "what is known of earlier stages stays"
    assert main(Options(place, results=results)) == 0
    assert (place / "README.md").read_text() == card, "and all of it where no stage is at hand"
    write_png(tmp_path / "wanted.png", torch.full((3, 4, 4), 1.0))
    assert (place / "sheet.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()


def test_a_folder_that_is_no_training_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no figures"):
        curve_of([tmp_path], {})
