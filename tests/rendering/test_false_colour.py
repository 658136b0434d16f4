import torch

from diorama.rendering.false_colour import INFERNO, RAMP, colour_counts, colour_depth, fade, heat, ramp


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


def test_only_what_nobody_saw_fades_and_it_turns_grey_with_the_tint_of_its_reason():
    colour = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    hidden, outside = torch.zeros(4, 5, dtype=torch.bool), torch.zeros(4, 5, dtype=torch.bool)
    hidden[0], outside[1] = True, True
    shown = fade(colour, hidden, outside)
    assert torch.equal(shown[:, 2:], colour[:, 2:])
    assert ((shown[0] > shown[1]) & (shown[0] > shown[2]))[0].all(), "reddish"
    assert ((shown[2] > shown[1]) & (shown[2] > shown[0]))[1].all(), "bluish"
    assert (shown[:, 0].amax(0) - shown[:, 0].amin(0) < 0.25).all()
    assert shown[:, :2].std(-1).mean() < colour[:, :2].std(-1).mean()


def test_counts_go_from_grey_over_orange_to_blue():
    none, one, two, four, all_ = colour_counts(torch.tensor([0, 1, 2, 4, 8]), 8).T
    assert none.std() == 0
    assert one[0] > one[2]
    assert all_[2] > all_[0]
    torch.testing.assert_close(all_, torch.tensor(RAMP[1]))
    assert (two - one).abs().max() > 0.1
    assert (four - two).abs().max() > 0.1
    assert colour_counts(torch.tensor([1, 0]), 1).isfinite().all()
