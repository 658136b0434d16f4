"""A step of GIBR's training in bf16, and on two ranks."""

from pathlib import Path

import pytest
import torch

from diorama.data.multiview import MultiViews
from diorama.pipelines.gibr import TIME_LAWS, scene_loss
from diorama.pipelines.train_options import Options, settled_gibr
from diorama.systems.gibr import GIBRTraining, draw_noisy, training_loss
from diorama.training.batches import batches_at
from diorama.training.checkpoint import weights_of_run
from diorama.training.gradient import batch_gradient
from diorama.training.network import TrainingConfig, train
from diorama.training.optim import AdamWConfig
from diorama.training.run import Length
from diorama.training.schedule import ScheduleConfig
from tests.systems.drawn import TINY, balls, model_of
from tests.training.ranks import two_ranks

LOOP = TrainingConfig(optim=AdamWConfig(rate=1e-2, eps=1e-2), schedule=ScheduleConfig(warm_up=0))
"""A large epsilon: what Adam does then changes smoothly with the gradient."""


def test_a_step_in_bf16_is_finite_and_near_the_exact_one():
    """And not the same: it was taken in bf16."""
    batch, gradients, losses = balls(2, 4).to_batch(), {}, {}
    for precision in ("full", "bf16"):
        model = model_of(noise=0.05).requires_grad_()
        loss = scene_loss(TINY, GIBRTraining(rays=64))
        terms, _ = batch_gradient(model, loss, batch, 1, 0, precision, lambda line: None)
        losses[precision] = torch.stack(list(terms.values()))
        gradients[precision] = torch.cat([part.grad.flatten() for part in model.parameters()])
        assert set(terms) == {"noisy", "clean", "held_out"}
        assert gradients[precision].dtype == torch.float32
        assert bool(gradients[precision].isfinite().all())
    torch.testing.assert_close(losses["bf16"], losses["full"], rtol=0.03, atol=1e-3)
    assert float(torch.cosine_similarity(gradients["bf16"], gradients["full"], dim=0)) > 0.98
    assert not torch.equal(gradients["bf16"], gradients["full"])


def batch_at(step):
    """Two scenes, other ones at every step."""
    return balls(2 + 2 * step, 4).each(lambda part: part[2 * step :]).to_batch()


def loss_of_each(network, batch, generator, /):
    """The training loss of one scene after the other; what is random about a scene depends on the scene alone."""
    del generator
    views, terms = MultiViews.from_batch(batch), []
    for index in range(len(views)):
        scene = views.each(lambda part, index=index: part[index : index + 1])
        own = torch.Generator().manual_seed(int(1e4 * scene.camera_to_world[0, 1, :3, 3].norm()))
        terms.append(training_loss(network, scene, TINY, GIBRTraining(rays=16), own))
    return {name: torch.stack([one[name] for one in terms]).mean() for name in terms[0]}


def trained(folder, first=0, count=2):
    """The model after three steps on a part of each batch, and the records of the steps."""

    def part(step):
        return {name: tensor[first : first + count] for name, tensor in batch_at(step).items()}

    model = model_of(noise=0.05).requires_grad_()
    return model, list(train(model, loss_of_each, batches_at(part), LOOP, Length(steps=3), folder))


RANK = """
import sys
from pathlib import Path
import torch
from diorama.training.distributed import process_group
from tests.systems.test_gibr_training import trained

with process_group(torch.device("cpu")) as (share, device):
    trained(Path(sys.argv[1]), share.rank, 1)
"""


@pytest.mark.slow
def test_two_ranks_with_a_scene_each_are_one_rank_with_both(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    said, codes = two_ranks(script, tmp_path / "two", seconds=250)
    assert not any(codes), said
    _, records = trained(tmp_path / "one")
    _, half = trained(tmp_path / "half", 0, 1)
    one, two, other = (weights_of_run(tmp_path / name) for name in ("one", "two", "half"))
    for name, tensor in one.raw.items():
        torch.testing.assert_close(two.raw[name], tensor, atol=1e-5, rtol=1e-4)
    assert any(float((other.raw[name] - tensor).abs().amax()) > 1e-3 for name, tensor in one.raw.items())
    assert len({record.loss for record in records + half}) == 6, "each step and each part has its own scenes"


def test_high_times_are_the_noisier_half_and_uniform_ones_all():
    views, seen = balls(2, 4), {}
    for name, law in TIME_LAWS.items():
        training = GIBRTraining(times=law)
        draws = [draw_noisy(TINY, training, views, torch.Generator().manual_seed(seed))[1] for seed in range(200)]
        seen[name] = torch.cat(draws)
    assert 0.5 < float(seen["high"].amin()) < 0.51
    assert 0.99 < float(seen["high"].amax()) <= 1.0
    assert abs(float(seen["uniform"].mean()) - 0.5) < 0.06
    assert settled_gibr(Options("gibr", Path("out"), size="tiny")).training.times == TIME_LAWS["uniform"]
    asked = settled_gibr(Options("gibr", Path("out"), size="tiny", times="high"))
    assert asked.training.times == TIME_LAWS["high"]
