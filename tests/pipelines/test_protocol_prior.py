"""`diorama evaluate PROTOCOL --prior`: fits are given it, tables name it, other scenes are not taken for it."""

import json

import pytest

from diorama.cli.main import main
from diorama.data.splits import make_split
from diorama.errors import InputError
from diorama.pipelines import protocol as protocols
from diorama.pipelines.priors import choose_method
from diorama.pipelines.protocol import FitRequest, run_protocol
from diorama.scenes.storage import save_scene
from tests.pipelines import test_evaluate as evaluated

llff_scene = evaluated.llff_scene


@pytest.fixture
def asked(monkeypatch):
    """Method and prior of every fit; scenes are stored without being fitted."""
    asked = []

    def fake_reconstruct(views, *, split, count, seed, output, notes, preset, method, prior, **rest):
        asked.append((method, prior))
        chosen, opened = choose_method(method, prior)
        described = {} if opened is None else {"prior": {"kind": opened.kind, "checksum": opened.checksum}}
        made = make_split(views, split, count)
        scene = evaluated.unfitted_scene(
            views, made, seed=seed, preset_asked=preset, method=chosen, **described, **notes
        )
        save_scene(scene, output)
        return scene

    monkeypatch.setattr(protocols, "reconstruct", fake_reconstruct)
    return asked


def test_a_prior_is_passed_on_and_named_in_the_table(tmp_path, llff_scene, asked):
    lines, out = [], tmp_path / "out"
    arguments = {"counts": (3,), "seeds": (0,), "say": lines.append}
    small = evaluated.SMALL
    rows = run_protocol(small, llff_scene, out, **arguments, request=FitRequest(prior="tv"))
    assert asked == [("auto", "tv")]
    assert "method auto, prior tv, preset auto" in "\n".join(lines)
    stored = json.loads((out / "fern" / "3" / "0" / "metrics.json").read_text())
    kind, checksum = stored["facts"]["prior"].split()
    assert kind == "total-variation"
    assert choose_method("auto", "tv")[1].checksum.startswith(checksum.strip("()"))
    assert json.loads((out / "results.json").read_text())["request"]["prior"] == "tv"
    assert run_protocol(small, llff_scene, out, **arguments, request=FitRequest(prior="tv")) == rows
    assert len(asked) == 1
    for other in (FitRequest(prior="gaussian"), FitRequest(method="baseline")):
        with pytest.raises(InputError, match=r"made in another way: .*prior"):
            run_protocol(small, llff_scene, out, **arguments, request=other)


def test_without_a_prior_none_is_named(tmp_path, llff_scene, asked):
    arguments = {"counts": (3,), "seeds": (0,), "request": FitRequest(method="baseline"), "say": print}
    run_protocol(evaluated.SMALL, llff_scene, tmp_path / "out", **arguments)
    assert asked == [("baseline", None)]
    assert "prior" not in json.loads((tmp_path / "out" / "fern" / "3" / "0" / "metrics.json").read_text())["facts"]


def test_the_command_line_passes_it_on(tmp_path, llff_scene, asked, monkeypatch):
    monkeypatch.setattr("diorama.eval.protocols.find_protocol", lambda name: evaluated.SMALL)
    words = ["evaluate", "llff", "--data", str(llff_scene), "-o", str(tmp_path / "out"), "--views", "3"]
    assert main([*words, "--prior", "gaussian"]) == 0
    assert asked == [("auto", "gaussian")]
