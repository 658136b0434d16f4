"""Two processes on half a batch each are one process on the whole of it."""

import json
import subprocess
import sys

import pytest
import torch

from diorama.training.checkpoint import weights_of_run
from diorama.training.distributed import Share, current_share, mean_over_ranks, process_group
from tests.training.ranks import environment, two_ranks
from tests.training.toy import batch_at, exact_loss, small_network, steps

RANK = """
import sys
from pathlib import Path
import torch
from diorama.training.batches import batches_at, slice_batch
from diorama.training.distributed import process_group
from diorama.training.network import train
from diorama.training.run import Length
from tests.training.toy import CONFIG, batch_at, exact_loss, small_network

with process_group(torch.device("cpu")) as (share, device):
    half = slice(4 * share.rank, 4 * share.rank + 4)
    batches = batches_at(lambda step: slice_batch(batch_at(step), half))
    network = small_network(dropout=0.0)
    for stop in (12, None):
        records = train(network, exact_loss, batches, CONFIG, Length(steps=30), Path(sys.argv[1]))
        for record in records:
            if record.step == stop:
                break
        records.close()
    print(f"rank {share.rank}: {record.step} {record.terms['fit']!r}")
"""


def by_torchrun(script, folder):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder)],
        env=environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return [done.stdout, done.stderr], [done.returncode]


@pytest.mark.parametrize("launch", [two_ranks, pytest.param(by_torchrun, marks=pytest.mark.slow)])
def test_two_ranks_equal_one_rank_with_the_double_batch(tmp_path, launch):
    """Both also leave after 12 steps and go on."""
    two, script = tmp_path / "two", tmp_path / "rank.py"
    script.write_text(RANK)
    said, codes = launch(script, two)
    assert not any(codes), said
    one = small_network(dropout=0.0)
    records = steps(one, tmp_path / "one", 30, loss=exact_loss)
    both = weights_of_run(two)
    for name, tensor in one.state_dict().items():
        assert torch.allclose(tensor, both.raw[name], atol=1e-5)
    for name, tensor in weights_of_run(tmp_path / "one").average.items():
        assert torch.allclose(tensor, both.average[name], atol=1e-5)
    told = [line.split(": ")[1] for text in said for line in text.splitlines() if line.startswith("rank ")]
    assert len(told) == 2
    assert told[0] == told[1]
    assert abs(float(told[0].split()[1]) - records[-1].loss) < 1e-5
    begins = [json.loads(line) for line in (two / "log.jsonl").read_text().splitlines() if "begins" in line]
    assert [(line["step"], line["ranks"]) for line in begins] == [(0, 2), (12, 2)]


def test_alone_there_is_no_group_to_join(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group(torch.device("cpu")) as (share, device):
        assert share == current_share() == Share(0, 1)
        assert device == torch.device("cpu")
        assert torch.equal(mean_over_ranks(torch.ones(2)), torch.ones(2))
    assert len(batch_at(0)["points"]) == 8
