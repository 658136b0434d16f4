"""The curriculum of GIBR `small`: stages follow each other, and a call that was stopped goes on."""

import pytest

from diorama.diffusion.objective import UniformTimes
from diorama.pipelines.train_options import settled_gibr
from recipes import gibr_small
from recipes.gibr_small import STAGES, Options, main, run_stages


@pytest.fixture
def asked(monkeypatch):
    """Trainings that end at once and leave a model."""
    calls = []

    def command(options):
        calls.append(options)
        (options.output / "model").mkdir(parents=True)
        (options.output / "model" / "config.json").write_text("{}")

    monkeypatch.setattr(gibr_small, "command", command)
    return calls


def test_each_stage_goes_on_from_the_one_before_on_the_same_worlds(asked, tmp_path):
    run_stages(Options(tmp_path))
    assert [one.output.name for one in asked] == [stage.name for stage in STAGES]
    assert asked[0].continue_from is None
    assert [one.continue_from for one in asked[1:]] == [one.output / "model" for one in asked[:-1]]
    assert {(one.squares, one.scenes) for one in asked} == {
        (squares, tmp_path / f"scenes_{squares}") for squares in ("middle", "anywhere")
    }


def test_it_begins_near_a_regression_and_ends_with_large_pictures_and_more_views(asked, tmp_path):
    run_stages(Options(tmp_path))
    settled = [settled_gibr(one) for one in asked]
    first, *rest = settled
    assert (first.training.no_clean, first.training.times) == (0.0, UniformTimes(0.5, 1.0))
    assert all(one.training.times == UniformTimes() for one in rest)
    assert (settled[-1].config.pixels, settled[-1].config.views) == (64, 5)
    sizes = [one.config.pixels for one in settled]
    assert sizes == sorted(sizes)


def test_bf16_is_for_machines_that_have_it(asked, tmp_path, monkeypatch):
    for lacking, precision in ((True, "full"), (False, "bf16")):
        monkeypatch.setattr(gibr_small, "lacks_bf16", lambda device, lacking=lacking: lacking)
        run_stages(Options(tmp_path / precision))
        assert asked[-1].precision == precision


def test_what_is_done_is_not_done_again(asked, tmp_path):
    run_stages(Options(tmp_path))
    count = len(asked)
    assert main(Options(tmp_path)) == 0
    assert len(asked) == count


def test_the_time_is_up_as_by_ctrl_c(monkeypatch, tmp_path):
    def command(options):
        while True:
            pass

    monkeypatch.setattr(gibr_small, "command", command)
    assert main(Options(tmp_path, minutes=0.01)) == 130
