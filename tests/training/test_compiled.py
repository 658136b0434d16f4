"""A compiled network learns what the network itself would; `eager` is the tracer without a compiler."""

import pytest
import torch

from diorama.errors import InputError
from diorama.training.checkpoint import weights_of_run
from diorama.training.compiled import compiled
from tests.training.toy import same, small_network, steps


@pytest.fixture
def traced(monkeypatch):
    """What was compiled, by the tracer alone."""
    seen, real = [], torch.compile

    def eager(what):
        seen.append(what)
        return real(what, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    yield seen
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")  # of the tracer, about what it traces
def test_a_compiled_training_ends_with_the_same_weights_and_goes_on_without(traced, tmp_path):
    plain, quick, again = small_network(), small_network(), small_network(seed=3)
    steps(plain, tmp_path / "plain", 12)
    steps(quick, tmp_path / "quick", 12, compile=True, stop=6)
    assert traced[-1] is quick
    steps(again, tmp_path / "quick", 12)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    assert same(weights_of_run(tmp_path / "quick").raw, again.state_dict()), "under the names of the network itself"


def test_where_nothing_can_be_compiled_it_is_said_before_the_first_step(monkeypatch):
    def fails(what):
        def called(*given):
            raise RuntimeError("No working C++ compiler found")

        return called

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(InputError, match=r"cannot compile here \(No working C\+\+ compiler found\)"):
        compiled(small_network())
