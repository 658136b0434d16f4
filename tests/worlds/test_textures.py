"""Textures are bounded, the same in both twins, free of detail finer than a pixel, and patterned as they say."""

import numpy as np
import pytest
import torch

from diorama.worlds import patterns as row
from diorama.worlds.materials import fit_to_kind, sample_materials
from diorama.worlds.photos import with_smaller
from diorama.worlds.roles import LOOKS
from diorama.worlds.textures import texture_colour
from diorama.worlds.textures_numba import texture_colour_at

KINDS = range(12)
COUNT = 400
PHOTOS = torch.stack(
    [with_smaller(torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(k))) for k in range(3)]
)


def drawn(kind: int, count: int = COUNT, seed: int = 0) -> torch.Tensor:
    """Rows of one kind."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.full((count,), kind)
    params = sample_materials(count, generator, photos=3).params
    return fit_to_kind(params, kinds, generator)


def surface(seed: int = 1, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points, normals, footprints."""
    generator = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return torch.rand(count, 3, generator=generator) - 0.5, normals, 0.01 * torch.rand(count, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_both_twins_agree_and_stay_in_the_unit_cube(kind):
    params = drawn(kind)
    points, normals, footprint = surface()
    colour = texture_colour(torch.full((COUNT,), kind), params, points, normals, footprint, PHOTOS)
    rows, pictures = params.numpy(), PHOTOS.numpy()
    twin = [
        texture_colour_at(kind, rows[i], *points[i].tolist(), *normals[i].tolist(), float(footprint[i]), pictures)
        for i in range(COUNT)
    ]
    assert bool(((colour >= 0) & (colour <= 1)).all())
    off = (colour - torch.tensor(twin)).abs().amax(-1) > 1e-3
    assert float(off.float().mean()) < 0.01, "only points on a border may fall on either side"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != row.PLAIN])
def test_every_kind_is_a_pattern(kind):
    params = drawn(kind, 4)
    points, normals, _ = surface(count=300)
    for one in params:
        one[row.STAIN] = 0.0
    spread = [
        texture_colour(torch.full((300,), kind), one.expand(300, -1), points, normals, torch.full((300,), 1e-4), PHOTOS)
        .std(0)
        .mean()
        for one in params
    ]
    assert float(torch.stack(spread).median()) > 0.02


@pytest.mark.parametrize("kind", [row.NOISE, row.STRIPES, row.CHECKS, row.BRICK, row.PHOTO])
def test_far_away_a_pattern_is_calmer(kind):
    params = drawn(kind, 1)
    params[:, row.STAIN] = 0.0
    points, normals, _ = surface(count=400)
    near, far = (
        texture_colour(
            torch.full((400,), kind), params.expand(400, -1), points, normals, torch.full((400,), size), PHOTOS
        )
        .std(0)
        .mean()
        for size in (1e-4, 5.0)
    )
    assert float(far) < 0.5 * float(near)


def test_a_chessboard_turns_over_at_every_side():
    params = torch.zeros(1, row.COLUMNS)
    params[0, row.CELL], params[0, row.COSINE], params[0, row.STAIN_CELL] = 0.5, 1.0, 1.0
    params[0, row.TWO : row.TWO + 3] = 1.0

    def at(x: float, y: float) -> float:
        point, up = torch.tensor([[x, y, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
        return float(texture_colour(torch.tensor([row.CHECKS]), params, point, up, torch.tensor([1e-3]), None)[0, 0])

    assert at(0.25, 0.25) == at(0.75, 0.75) == at(-0.25, -0.25) == 0.0
    assert at(0.75, 0.25) == at(0.25, -0.25) == 1.0
    assert at(0.5, 0.25) == pytest.approx(0.5)


def test_a_photo_is_shown_upright_on_a_wall_and_not_stretched():
    picture = torch.zeros(3, 16, 16)
    picture[0, :8] = 1.0
    params = torch.zeros(1, row.COLUMNS)
    params[0, row.CELL], params[0, row.COSINE], params[0, row.STAIN_CELL] = 1.0, 1.0, 1.0
    params[0, row.ONE : row.ONE + 3] = 1.0
    x, z = torch.meshgrid(torch.arange(40) * 0.05, torch.arange(40) * 0.05, indexing="xy")
    points = torch.stack([x, torch.zeros_like(x), z], dim=-1).reshape(-1, 3)
    wall = torch.tensor([[0.0, -1.0, 0.0]]).expand(1600, 3)
    kind = torch.full((1600,), row.PHOTO)
    colour = texture_colour(
        kind, params.expand(1600, -1), points, wall, torch.full((1600,), 1e-3), with_smaller(picture)[None]
    )
    shown = colour[:, 0].reshape(40, 40)
    assert float(shown.std(1).max()) < 1e-6
    assert float(shown.mean()) == pytest.approx(0.5, abs=0.05)


def test_without_photos_their_place_is_one_flat_colour():
    params = drawn(row.PHOTO)
    params[:, row.STAIN] = 0.0
    points, normals, footprint = surface()
    colour = texture_colour(torch.full((COUNT,), row.PHOTO), params, points, normals, footprint, None)
    assert torch.allclose(colour, params[:, row.ONE : row.ONE + 3].clamp(0, 1))
    nothing = np.zeros((0, 8, 12, 3), np.float32)
    twin = texture_colour_at(row.PHOTO, params[0].numpy(), 0.1, 0.2, 0.3, 0.0, 0.0, 1.0, 0.01, nothing)
    assert twin == pytest.approx(colour[0].tolist(), abs=1e-6)


@pytest.mark.parametrize("role", LOOKS)
def test_materials_depend_on_the_generator_alone(role):
    one, two = (sample_materials(50, torch.Generator().manual_seed(3), role=role, photos=4) for _ in range(2))
    assert torch.equal(one.params, two.params)
    assert torch.equal(one.kind, two.kind)
    other = sample_materials(50, torch.Generator().manual_seed(4), role=role, photos=4)
    assert not torch.equal(one.params, other.params)
