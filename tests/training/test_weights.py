"""Committed half-precision weights are a place to go on from."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from diorama.data.tensors import save_tensors
from diorama.errors import InputError, OutputError
from diorama.nets.ema import averaged_model
from diorama.training.checkpoint import weights_of_run
from diorama.training.network import EmaConfig
from diorama.training.weights import AVERAGE, RAW, Weights, half, load_weights, put_weights, save_raw
from tests.training.toy import CONFIG, OFTEN, same, small_network, steps


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 300 steps, and its weights committed as half precision."""
    folder = tmp_path_factory.mktemp("trained")
    records = steps(small_network(), folder / "run", 300)
    weights = weights_of_run(folder / "run")
    save_tensors(folder / "shipped" / AVERAGE, half(weights.average), {})
    save_raw(folder / "shipped", weights)
    return folder, weights, records


def test_committed_weights_come_back_to_half_precision(trained):
    folder, weights, _ = trained
    back = load_weights(folder / "shipped")
    assert (back.step, back.averaged) == (300, 300)
    for name, tensor in weights.raw.items():
        assert torch.allclose(back.raw[name].double(), tensor.double(), rtol=1e-3, atol=1e-6)
    assert back.raw["0.weight"].dtype == torch.float32
    assert back.raw["3.num_batches_tracked"].dtype == torch.int64
    assert not same(back.raw, back.average)


def test_going_on_warms_adam_up_again_and_loses_nothing_that_was_learned(trained, tmp_path):
    folder, _, before = trained
    start = load_weights(folder / "shipped")
    network = small_network(seed=9)
    records = steps(network, tmp_path, 500, continue_from=start)
    assert [r.step for r in records[:2]] == [301, 302]
    assert [r.rate for r in records[:20]] == pytest.approx([(n + 1) / 20 for n in range(20)])
    assert records[-1].rate == pytest.approx(0.01)
    untrained = sum(r.loss for r in before[:20])
    learned = sum(r.loss for r in before[-20:])
    rewarmed = sum(r.loss for r in records[:20])
    after = sum(r.loss for r in records[-20:])
    assert rewarmed < 2.0 * learned < 0.2 * untrained
    assert after < 1.2 * learned
    assert int(torch.as_tensor(weights_of_run(tmp_path).averaged)) == 500


def test_a_run_that_went_on_from_weights_resumes_bit_for_bit(trained, tmp_path):
    start = load_weights(trained[0] / "shipped")
    whole, cut, again = small_network(), small_network(), small_network()
    steps(whole, tmp_path / "whole", 330, continue_from=start)
    steps(cut, tmp_path / "cut", 330, continue_from=start, stop=11, keeping=OFTEN)
    steps(again, tmp_path / "cut", 330, continue_from=start)
    assert same(whole.state_dict(), again.state_dict())
    with pytest.raises(InputError, match="continue_from was"):
        steps(again, tmp_path / "cut", 330)


def test_without_the_raw_file_the_average_stands_in(trained, tmp_path):
    save_tensors(tmp_path / AVERAGE, half(trained[1].average), {})
    back = load_weights(tmp_path)
    assert same(back.raw, back.average)
    assert (back.step, back.raw_known) == (0, False)


def test_going_on_from_the_average_alone_warms_up_again_and_keeps_the_average(trained, tmp_path):
    save_tensors(tmp_path / AVERAGE, half(trained[1].average), {})
    start, said = load_weights(tmp_path), []
    slow = replace(CONFIG, ema=EmaConfig(decay=0.999))
    records = steps(small_network(seed=9), tmp_path / "run", 40, continue_from=start, config=slow, say=said.append)
    assert [r.rate for r in records[:20]] == pytest.approx([(n + 1) / 20 for n in range(20)])
    assert said[0] == (
        "goes on from averaged weights alone, as there is no raw.safetensors beside them: steps count from 0, the "
        "average is kept; the rate rises over 20 steps"
    )
    after, name = weights_of_run(tmp_path / "run"), "0.weight"
    moved = (after.raw[name] - start.average[name]).norm()
    assert (after.average[name] - start.average[name]).norm() < 0.05 * moved


def test_a_run_from_the_average_alone_resumes_bit_for_bit(trained, tmp_path):
    save_tensors(tmp_path / AVERAGE, half(trained[1].average), {})
    start = load_weights(tmp_path)
    whole, cut, again = small_network(), small_network(), small_network()
    rates = [r.rate for r in steps(whole, tmp_path / "whole", 30, continue_from=start)]
    steps(cut, tmp_path / "cut", 30, continue_from=start, stop=11, keeping=OFTEN)
    assert [r.rate for r in steps(again, tmp_path / "cut", 30, continue_from=start)] == rates[11:]
    assert same(whole.state_dict(), again.state_dict())


def test_a_network_inside_a_whole_is_found_by_its_prefix(trained, tmp_path):
    inside = {f"network.{name}": tensor for name, tensor in trained[1].average.items()} | {"mean": torch.zeros(3)}
    save_tensors(tmp_path / AVERAGE, inside, {})
    assert same(load_weights(tmp_path, inside="network.").average, trained[1].average)


def test_weights_of_another_network_are_refused(trained):
    start = load_weights(trained[0] / "shipped")
    other = nn.Linear(3, 2)
    with pytest.raises(InputError, match="another configuration"):
        put_weights(start, other, averaged_model(other))


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"holds no model.safetensors"):
        load_weights(tmp_path)


def test_what_half_precision_cannot_hold_is_not_written(tmp_path):
    with pytest.raises(OutputError, match="weight holds 1e\\+05, which half precision cannot"):
        save_raw(tmp_path, Weights({"weight": torch.tensor([1e5])}, {}, 1, 1))
    assert not (tmp_path / RAW).exists()


def test_the_log_of_a_run_from_weights_begins_at_their_step(trained, tmp_path):
    steps(small_network(), tmp_path, 305, continue_from=load_weights(trained[0] / "shipped"), config=CONFIG)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert (first["step"], first["event"]) == (300, "begins")
