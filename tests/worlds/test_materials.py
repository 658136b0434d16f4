"""Materials are drawn within their ranges, and their colours are distributed as those of photographs."""

import torch

from diorama.worlds import patterns as row
from diorama.worlds.materials import join_materials, sample_materials
from diorama.worlds.palettes import Draw, PaletteConfig, linear_colour, palettes
from diorama.worlds.roles import LOOKS


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_photos_take_their_share_only_where_there_are_photos():
    without = sample_materials(2000, rng(), photos=0)
    assert not bool((without.kind == row.PHOTO).any())
    with_them = sample_materials(2000, rng(), photos=7)
    share = float((with_them.kind == row.PHOTO).float().mean())
    assert 0.45 < share < 0.55
    assert all(0.1 <= look.photos <= 0.5 for look in LOOKS.values())
    assert set(with_them.params[with_them.kind == row.PHOTO][:, row.PICTURE].tolist()) == set(map(float, range(7)))


def test_brightness_varies_more_than_hue():
    colour = palettes(Draw(4000, rng()), PaletteConfig())[:, 0].log()
    grey = colour.mean(-1)
    yellow = (colour[:, 0] + colour[:, 1]) / 2 - colour[:, 2]
    red = (colour[:, 0] - colour[:, 1]) / 2
    assert float(grey.std()) > float(yellow.std()) > float(red.std())
    assert float(yellow.mean()) > 0.05, "the world is warm"


def test_colours_of_one_material_are_relatives():
    colour = palettes(Draw(4000, rng()), PaletteConfig()).log()
    chroma = colour - colour.mean(-1, keepdim=True)
    within = (chroma[:, 0] - chroma[:, 1]).norm(dim=-1).mean()
    between = (chroma[:-1, 0] - chroma[1:, 0]).norm(dim=-1).mean()
    assert float(within) < 0.75 * float(between)


def test_reflectance_is_between_soot_and_snow():
    colour = palettes(Draw(4000, rng()), PaletteConfig(), lighter=0.8)
    assert float(colour.min()) > 0.01
    assert float(colour.max()) < 0.93


def test_rows_are_taken_and_joined_in_order():
    many = sample_materials(5, rng())
    again = join_materials([many[[0, 1]], many[slice(2, 5)]])
    assert torch.equal(again.params, many.params)
    assert len(again) == 5
    assert many.to("cpu").params.equal(many.params)


def test_most_things_are_matt_and_few_mirror():
    many = sample_materials(2000, rng())
    assert float((many.gloss == 0).float().mean()) > 0.5
    assert 0.02 < float((many.mirror > 0).float().mean()) < 0.1
    assert float(many.mirror.max()) < 1


def test_opponent_channels_are_what_they_say():
    one = torch.full((1,), -1.5)
    grey, yellow, red = (linear_colour(one, one * 0 + y, one * 0 + r)[0] for y, r in ((0, 0), (0.5, 0), (0, 0.2)))
    assert torch.allclose(grey, grey[0].expand(3))
    assert float(yellow[0]) == float(yellow[1]) > float(yellow[2])
    assert float(red[0]) > float(red[2]) > float(red[1])


def test_calm_roles_have_calm_colours():
    loud, calm = (palettes(Draw(2000, rng()), PaletteConfig(), calm=calm).log().std(1).mean() for calm in (1.0, 0.3))
    assert float(calm) < 0.5 * float(loud)
