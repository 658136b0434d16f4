"""A training resumes bit for bit, stops when it goes wrong, and can always be made longer."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from diorama.errors import InputError, OutputError
from diorama.streams import stream
from diorama.training import network as network_module
from diorama.training.checkpoint import weights_of_run
from diorama.training.loop import NonFiniteLossError
from diorama.training.network import Keeping
from diorama.training.run import CHECKPOINT, TRUNK, Length
from diorama.training.watch import WatchConfig
from tests.training.toy import CONFIG, OFTEN, batch_at, exact_loss, noisy_loss, same, small_network, steps


def test_training_learns_and_says_how_far_it_is(tmp_path):
    records = steps(small_network(), tmp_path, 120)
    assert [r.step for r in records] == list(range(1, 121))
    assert sum(r.loss for r in records[-10:]) < 0.2 * sum(r.loss for r in records[:10])
    assert records[-1].seconds_left == 0.0
    assert all(r.steps == 120 and r.samples_per_second > 0 for r in records)


@pytest.mark.parametrize("stop", [1, 7, 33, 39])
def test_a_training_left_after_k_steps_and_resumed_equals_one_never_left(tmp_path, stop):
    whole, cut, again = small_network(), small_network(), small_network(seed=3)
    records = steps(whole, tmp_path / "whole", 40)
    steps(cut, tmp_path / "cut", 40, stop=stop)
    torch.rand(100)
    resumed = steps(again, tmp_path / "cut", 40)
    assert same(whole.state_dict(), again.state_dict())
    assert [r.terms for r in resumed] == [r.terms for r in records[stop:]]
    one, two = weights_of_run(tmp_path / "whole"), weights_of_run(tmp_path / "cut")
    assert same(one.average, two.average)
    assert (one.step, one.averaged) == (two.step, two.averaged)


def test_a_network_in_channels_last_resumes_bit_for_bit_too(tmp_path):
    def picture_at(step):
        return torch.rand(4, 3, 8, 8, generator=stream(1, "pictures", step))

    def denoise(network, batch, generator):
        return {"fit": (network(batch + 0.1 * torch.randn(batch.shape, generator=generator)) - batch).square().mean()}

    def last():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
            return network.to(memory_format=torch.channels_last)

    whole, again = last(), last()
    steps(whole, tmp_path / "whole", 12, loss=denoise, data=picture_at)
    steps(last(), tmp_path / "cut", 12, loss=denoise, data=picture_at, stop=5)
    steps(again, tmp_path / "cut", 12, loss=denoise, data=picture_at)
    assert same(whole.state_dict(), again.state_dict())


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.toy import OFTEN, small_network, batch_at, noisy_loss, CONFIG
from diorama.training.batches import batches_at
from diorama.training.network import train
from diorama.training.run import Length
for record in train(small_network(), noisy_loss, batches_at(batch_at), CONFIG, Length(steps=60), Path(sys.argv[1]),
                    keeping=OFTEN):
    if record.step == 25:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_resumes_from_its_last_checkpoint_bit_for_bit(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "cut")], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    assert weights_of_run(tmp_path / "cut").step > 0
    whole, again = small_network(), small_network(seed=3)
    steps(whole, tmp_path / "whole", 60)
    resumed = steps(again, tmp_path / "cut", 60)
    assert 0 < len(resumed) < 60
    assert same(whole.state_dict(), again.state_dict())
    logged = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    counted = [line["step"] for line in logged if "terms" in line]
    assert counted == sorted(set(counted))


def test_a_finished_run_is_left_alone(tmp_path):
    steps(small_network(), tmp_path, 10)
    again = small_network(seed=3)
    assert steps(again, tmp_path, 10) == []
    assert same(again.state_dict(), weights_of_run(tmp_path).raw)


def test_a_finished_run_is_made_longer_from_before_its_rate_fell(tmp_path):
    long, more = small_network(), small_network(seed=3)
    records = steps(long, tmp_path / "long", 100)
    steps(small_network(), tmp_path / "more", 50)
    lines = []
    added = steps(more, tmp_path / "more", 100, say=lines.append)
    assert [r.step for r in added] == list(range(41, 101))
    assert [r.rate for r in added] == [r.rate for r in records[40:]]
    assert same(long.state_dict(), more.state_dict())
    assert "made longer from step 40" in lines[0]


def test_a_run_at_the_constant_rate_may_be_asked_for_any_other_length(tmp_path):
    whole, cut = small_network(), small_network()
    steps(whole, tmp_path / "whole", 40)
    steps(small_network(), tmp_path / "cut", Length(), stop=20)
    assert same(cut.state_dict(), small_network().state_dict())
    steps(cut, tmp_path / "cut", 40)
    assert same(whole.state_dict(), cut.state_dict())


def test_a_run_that_is_ending_cannot_be_made_shorter(tmp_path):
    steps(small_network(), tmp_path, 50, stop=45)
    with pytest.raises(InputError, match="already ending with step 50"):
        steps(small_network(), tmp_path, 30)
    assert len(steps(small_network(), tmp_path, 50)) == 5


def test_a_lost_trunk_is_named(tmp_path):
    steps(small_network(), tmp_path, 20)
    (tmp_path / TRUNK).unlink()
    with pytest.raises(InputError, match=r"has no trunk\.safetensors"):
        steps(small_network(), tmp_path, 40)


class Seconds:
    """A clock that goes on by a hundredth at every look."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 0.01
        return self.now


def test_a_budget_ends_in_time_with_a_whole_fall_and_its_steps_are_settled_once(tmp_path, monkeypatch):
    monkeypatch.setattr(network_module, "perf_counter", Seconds().perf_counter)
    records = steps(small_network(), tmp_path / "a", Length(budget=4.0), keeping=Keeping(checkpoint_seconds=1e9))
    total = records[-1].steps
    assert records[-1].step == total
    assert records[-1].seconds == pytest.approx(4.0, abs=0.2)
    assert records[-1].rate == pytest.approx(0.01)
    falling = [r.step for r in records if r.step > 4 and r.rate < 1.0]
    assert len(falling) == pytest.approx(0.2 * total, abs=2)
    settled = {r.steps for r in records}
    assert settled == {None, total}
    cut = steps(small_network(), tmp_path / "b", Length(budget=4.0), stop=falling[0] + 2)
    rest = steps(small_network(), tmp_path / "b", Length(budget=4.0))
    assert {r.steps for r in rest} == {cut[-1].steps}
    assert rest[-1].step == cut[-1].steps


def test_a_longer_budget_goes_on_from_before_the_fall(tmp_path, monkeypatch):
    monkeypatch.setattr(network_module, "perf_counter", Seconds().perf_counter)
    first = steps(small_network(), tmp_path, Length(budget=2.0))
    assert steps(small_network(), tmp_path, Length(budget=2.0)) == []
    more = steps(small_network(), tmp_path, Length(budget=4.0))
    fell = next(r.step for r in first if r.step > 4 and r.rate < 1.0)
    assert more[0].step == fell
    assert more[0].rate == 1.0
    assert more[-1].seconds == pytest.approx(4.0, abs=0.2)


def turning_bad(at, value):
    """Data whose loss is not what it was from one step on."""

    def data(step):
        batch = batch_at(step)
        return batch if step < at else batch | {"values": batch["values"] * value}

    return data


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, value):
    with pytest.raises(NonFiniteLossError, match=r"At step 23 the loss terms \['fit'\]"):
        steps(small_network(), tmp_path, 60, data=turning_bad(23, value), keeping=OFTEN)
    kept = weights_of_run(tmp_path)
    assert 0 < kept.step <= 23
    assert all(tensor.isfinite().all() for tensor in kept.raw.values())
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["event"]) == (23, "stopped")
    assert "'fit'" in last["why"]
    whole, mended = small_network(), small_network()
    steps(whole, tmp_path / "whole", 60)
    steps(mended, tmp_path, 60)
    assert same(whole.state_dict(), mended.state_dict())


def test_an_exploding_loss_stops_and_the_checkpoint_is_from_before_it(tmp_path):
    config = replace(CONFIG, watch=WatchConfig(factor=20.0, patience=5, memory=20))
    with pytest.raises(NonFiniteLossError, match="At step 64 the loss term 'fit' has exploded"):
        steps(small_network(), tmp_path, 200, data=turning_bad(60, 1e3), keeping=OFTEN, config=config)
    assert 0 < weights_of_run(tmp_path).step <= 60


def test_a_gradient_that_is_not_finite_names_the_parameter_and_makes_no_update(tmp_path):
    def steep(network, batch, generator):
        terms = exact_loss(network, batch, generator)
        return {"fit": terms["fit"] + 0.0 * (network[0].bias - network[0].bias.detach()).abs().sqrt().sum()}

    network = small_network()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with pytest.raises(NonFiniteLossError, match=r"At step 0 the gradient of 0\.bias is not finite"):
        steps(network, tmp_path, 10, loss=steep)
    assert same(before, dict(network.named_parameters()))


def test_the_gradient_is_clipped_and_its_norm_told_as_it_was(tmp_path):
    def loud(network, batch, generator):
        return {"fit": 1e4 * exact_loss(network, batch, generator)["fit"]}

    network, moved = small_network(dropout=0.0), []
    config = replace(CONFIG, clip=0.5)
    norms = [r.gradient_norm for r in steps(network, tmp_path, 3, loss=loud, config=config)]
    assert min(norms) > 10.0
    moved = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    assert float(moved) == pytest.approx(0.5, rel=1e-4)


def test_accumulation_learns_the_same(tmp_path):
    whole, cut = small_network(dropout=0.0), small_network(dropout=0.0)
    steps(whole, tmp_path / "a", 30, loss=exact_loss)
    steps(cut, tmp_path / "b", 30, loss=exact_loss, config=replace(CONFIG, parts=4))
    for a, b in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_parts_found_when_memory_ran_out_are_kept_by_a_resumed_run(tmp_path):
    def hungry(network, batch, generator):
        if len(batch["points"]) > 4:
            raise torch.OutOfMemoryError("no room")
        return noisy_loss(network, batch, generator)

    lines = []
    first = steps(small_network(), tmp_path, 20, stop=10, loss=hungry, say=lines.append)
    assert [r.parts for r in first] == [2] * 10
    assert lines == ["out of memory: the batch now goes in 2 parts of up to 4 samples"]
    assert [r.parts for r in steps(small_network(), tmp_path, 20, loss=noisy_loss)] == [2] * 10
    assert "out of memory" in (tmp_path / "log.jsonl").read_text()


def test_more_parts_may_be_asked_for_when_a_run_is_resumed_as_ranks_are_told_to(tmp_path):
    def parts(steps_in_all, asked):
        config = replace(CONFIG, parts=asked)
        return {r.parts for r in steps(small_network(), tmp_path, steps_in_all, loss=noisy_loss, config=config)}

    assert [parts(5, 1), parts(10, 4), parts(15, 2)] == [{1}, {4}, {4}]


def test_samples_are_asked_of_the_average_in_evaluation_mode_and_change_nothing(tmp_path):
    looks = []

    def sample(network, step):
        assert not network.training
        assert not torch.is_grad_enabled()
        looks.append((step, network(torch.rand(4, 3)).shape[1]))

    plain, watched = small_network(), small_network()
    steps(plain, tmp_path / "plain", 25)
    steps(watched, tmp_path / "watched", 25, sample=sample, keeping=Keeping(sample_every=10))
    assert looks == [(10, 2), (20, 2), (25, 2)]
    assert same(plain.state_dict(), watched.state_dict())


def test_other_settings_than_those_of_the_folder_are_refused_with_the_difference(tmp_path):
    steps(small_network(), tmp_path, 20, stop=5, about={"network": "small"})
    with pytest.raises(InputError, match=r"about was .*small.*, now .*large"):
        steps(small_network(), tmp_path, 20, about={"network": "large"})


def test_another_network_than_the_checkpoints_is_refused(tmp_path):
    steps(small_network(), tmp_path, 20, stop=5)
    with pytest.raises(InputError, match="another configuration"):
        steps(nn.Sequential(nn.Linear(3, 2)), tmp_path, 20)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    steps(small_network(), tmp_path, 20, stop=5)
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        steps(small_network(), tmp_path, 20)


def test_a_full_disk_stops_the_training_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    steps(small_network(), tmp_path, 20, stop=5)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match="the disk is full"):
        steps(small_network(), tmp_path, 20)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_data_that_ends_too_soon_is_named(tmp_path):
    records = network_module.train(
        small_network(), exact_loss, lambda first: map(batch_at, range(first, 3)), CONFIG, Length(steps=9), tmp_path
    )
    with pytest.raises(InputError, match="the data ended after 3 batches"):
        list(records)


def test_steps_and_a_budget_together_are_an_error():
    with pytest.raises(InputError, match="Give one of them"):
        Length(steps=3, budget=4.0)
