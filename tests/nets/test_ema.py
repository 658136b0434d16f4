import pytest
import torch
from torch import nn

from diorama.nets.ema import averaged_model, warmed_decay


def network(value):
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.fill_(value)
        layer.bias.fill_(-value)
    return layer


def set_to(layer, value):
    layer.load_state_dict(network(value).state_dict())


def test_the_decay_warms_up_to_its_value():
    assert warmed_decay(0, 0.995).item() == pytest.approx(0.1)
    assert warmed_decay(8, 0.995).item() == pytest.approx(0.5)
    assert warmed_decay(10**6, 0.995).item() == pytest.approx(0.995)


def test_the_first_update_copies():
    layer = network(1.0)
    average = averaged_model(layer)
    set_to(layer, 5.0)
    average.update_parameters(layer)
    assert torch.equal(average.module.weight, layer.weight)


def test_updates_follow_the_recursion_by_hand():
    layer = network(0.0)
    average = averaged_model(layer, 0.3)
    expected = 0.0
    average.update_parameters(layer)
    for update, value in enumerate([1.0, -2.0, 4.0, 0.5, 3.0, 7.0], start=1):
        set_to(layer, value)
        average.update_parameters(layer)
        decay = min(0.3, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(average.module.weight, torch.full((2, 3), expected))
    torch.testing.assert_close(average.module.bias, torch.full((2,), -expected))


def test_without_warm_up_the_decay_is_constant():
    layer = network(0.0)
    average = averaged_model(layer, 0.9, warm_up=False)
    average.update_parameters(layer)
    set_to(layer, 1.0)
    average.update_parameters(layer)
    torch.testing.assert_close(average.module.weight, torch.full((2, 3), 0.1))


def test_a_saved_average_goes_on_bit_for_bit():
    torch.manual_seed(0)
    layer = network(1.0)
    straight = averaged_model(layer)
    halfway = averaged_model(layer)
    for step in range(6):
        set_to(layer, float(step * step))
        straight.update_parameters(layer)
        if step == 3:
            halfway.load_state_dict(straight.state_dict())
        if step > 3:
            halfway.update_parameters(layer)
    assert torch.equal(straight.module.weight, halfway.module.weight)
    assert straight.n_averaged == halfway.n_averaged == 6


def test_the_average_is_not_trained_and_leaves_the_network_alone():
    layer = network(1.0)
    average = averaged_model(layer)
    average.update_parameters(layer)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert torch.equal(layer.weight, torch.ones(2, 3))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_never_or_wildly_moves_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        averaged_model(network(0.0), decay)
