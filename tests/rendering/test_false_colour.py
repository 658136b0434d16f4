import torch

from diorama.rendering.false_colour import INFERNO, RAMP, colour_depth, heat, ramp


def test_heat_grows_brighter_and_survives_anything():
    strip = heat(torch.linspace(0, 1, 20)[None])
    brightness = (strip * torch.tensor([0.3, 0.6, 0.1])[:, None, None]).sum(0)[0]
    assert (brightness.diff() > 0).all()
    assert heat(torch.tensor([[torch.nan, -5.0, torch.inf]])).isfinite().all()


def test_a_ramp_passes_through_its_colours():
    for colours in (RAMP, INFERNO):
        torch.testing.assert_close(ramp(torch.linspace(0, 1, len(colours)), colours).T, torch.tensor(colours))


def test_depth_is_even_in_inverse_depth_and_dark_where_there_is_nothing():
    depth = torch.tensor([1.0, 1.6, 4.0, 1.0])
    shown = colour_depth(depth, torch.tensor([1.0, 1.0, 1.0, 0.0]), 1.0, 4.0)
    torch.testing.assert_close(shown[:, 0], torch.tensor(RAMP[-1]))
    torch.testing.assert_close(shown[:, 1], torch.tensor(RAMP[len(RAMP) // 2]))
    torch.testing.assert_close(shown[:, 2], torch.tensor(RAMP[0]))
    assert (shown[:, 3] == 0).all()
