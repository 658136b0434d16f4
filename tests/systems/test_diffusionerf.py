"""The fit on a toy: laws of determinism and schedules, and one tiny run end to end."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.data.pixels import PixelPool
from diorama.data.scale import scene_scale
from diorama.data.views import Views
from diorama.fields.hashgrid import GridConfig, HashFieldConfig
from diorama.pipelines.fit import Geometry, build, plan_fit
from diorama.pipelines.presets import FEW_PARTS, SPARE_PARTS, extended, few, laptop, paper, without
from diorama.rendering.render import RayRendering
from diorama.systems.diffusionerf import DiffusioNeRF
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential

TINY_FIELD = HashFieldConfig(
    grid=GridConfig(levels=6, log2_table_size=12, finest_resolution=128),
    hidden=16, geometry=7, colour_hidden=16, colour_layers=1, sh_degree=1,
    proposal=GridConfig(levels=3, log2_table_size=10, finest_resolution=32),
)  # fmt: skip


def tiny(preset):
    sampling = replace(preset.fit.sampling, coarse=16, fine=8)
    fit = replace(preset.fit, rays=128, sampling=sampling)
    return replace(preset, field=TINY_FIELD, fit=fit, optim=replace(preset.optim, warm_up=0))


@pytest.fixture(scope="module")
def photos_of_a_wall():
    """Four cameras in a row before a wall at z = 3, whose colour is a smooth function of the place."""
    poses = torch.eye(4).repeat(4, 1, 1)
    poses[:, 0, 3] = torch.linspace(-0.6, 0.6, 4)
    cameras = Cameras.pinhole(
        poses, torch.full((4, 2), 30.0), torch.full((4, 2), 12.0), torch.full((4, 2), 24, dtype=torch.int64)
    )
    y, x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    pictures = []
    for shift in poses[:, 0, 3]:
        place = (x - 12) / 30 * 3 + shift
        height = (y - 12) / 30 * 3
        pictures.append(torch.stack([0.5 + 0.4 * (3 * place).sin(), 0.5 + 0.4 * (4 * height).cos(), 0 * x + 0.3]))
    bounds = torch.tensor([[2.0, 4.0]]).repeat(4, 1)
    return Views(torch.stack(pictures), ("a", "b", "c", "d"), cameras, bounds=bounds)


def plan_of(views, preset):
    return plan_fit(views, Geometry(scene_scale(views), None, None, ()), preset)


def run(views, preset, steps, seed=0):
    plan = plan_of(views, preset)
    system = build(plan, steps, seed, "cpu")
    optimizer = adam(system, preset.optim)
    history = [losses for _, losses in train_steps(system, optimizer, exponential(preset.optim, steps), range(steps))]
    return system, optimizer, history


def test_a_tiny_fit_learns_the_wall(photos_of_a_wall):
    _, _, history = run(photos_of_a_wall, tiny(laptop()), 60)
    first = sum(h["photometric"] for h in history[:10])
    last = sum(h["photometric"] for h in history[-10:])
    assert last < 0.7 * first


def test_the_same_seed_gives_the_same_field_bit_for_bit(photos_of_a_wall):
    one, two, other = (run(photos_of_a_wall, tiny(laptop()), 12, seed)[0] for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.field.table, other.field.table)


def test_a_term_that_is_off_leaves_the_others_random_numbers_alone(photos_of_a_wall):
    preset = tiny(few("forward-facing", False))
    with_patches = run(photos_of_a_wall, preset, 1)[2][0]
    without_patches = run(photos_of_a_wall, without(preset, "smoothness"), 1)[2][0]
    assert "smoothness" in with_patches
    assert "smoothness" not in without_patches
    assert with_patches["photometric"] == without_patches["photometric"]


@pytest.mark.parametrize("part", FEW_PARTS)
def test_every_part_of_few_can_be_taken_out(photos_of_a_wall, part):
    full = tiny(few("forward-facing", False))
    assert without(full, part) != full
    run(photos_of_a_wall, without(full, part), 2)


@pytest.mark.parametrize("part", SPARE_PARTS)
def test_every_spare_part_can_be_added(photos_of_a_wall, part):
    full = tiny(few("forward-facing", False))
    assert extended(full, part) != full
    run(photos_of_a_wall, extended(full, part), 2)


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="entropy"):
        extended(laptop(), "magic")
    with pytest.raises(ValueError, match="table-decay"):
        without(laptop(), "magic")


def test_coarse_to_fine_opens_levels_by_half_time(photos_of_a_wall):
    plan = plan_of(photos_of_a_wall, tiny(extended(few("forward-facing", False), "coarse-to-fine")))
    system = build(plan, 100, 0, "cpu")
    system.open_levels(0)
    assert system.field.level_weights is not None
    assert system.field.open_degree == 0
    system.open_levels(50)
    assert system.field.level_weights is None
    assert system.field.open_degree == TINY_FIELD.sh_degree


def test_table_decay_adds_the_gradient_of_the_mean_square_of_every_level(photos_of_a_wall):
    plan = plan_of(photos_of_a_wall, tiny(few("forward-facing", False)))
    system = build(plan, 100, 0, "cpu")
    field = system.field
    field.table.grad = torch.zeros_like(field.table)
    system.after_backward(0)
    parts = zip(field.layout.offsets, field.layout.sizes, strict=True)
    table = field.table.detach().clone().requires_grad_()
    loss = 0.1 * sum(table[offset : offset + size].square().mean() for offset, size in parts)
    loss.backward()
    torch.testing.assert_close(field.table.grad, table.grad)


def test_the_published_preset_runs_with_its_terms(photos_of_a_wall):
    preset = tiny(paper("forward-facing"))
    preset = replace(preset, field=replace(TINY_FIELD, space="sphere", radius=7.5, proposal=None))
    _, _, history = run(photos_of_a_wall, preset, 2)
    assert {"photometric", "must_hit", "frustum", "density_decay"} <= history[0].keys()


def test_pixels_carry_the_colour_and_the_ray_of_their_place(photos_of_a_wall):
    pool = PixelPool(photos_of_a_wall)
    view, x, y = torch.tensor([1, 3]), torch.tensor([0, 23]), torch.tensor([5, 11])
    batch = pool.at(view, x, y)
    torch.testing.assert_close(batch.colour, photos_of_a_wall.images[view, :, y, x])
    points = batch.rays.origins + batch.rays.directions * (3.0 / batch.rays.cosine)[:, None]
    for index in range(2):
        pixel, depth = pool.cameras[view[index]].project(points[index : index + 1])
        torch.testing.assert_close(pixel[0], torch.stack([x[index], y[index]]) + 0.5, atol=1e-4, rtol=0)
        torch.testing.assert_close(depth[0], torch.tensor(3.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_thirty_steps_on_cuda_equal_thirty_on_the_processor(photos_of_a_wall):
    preset = tiny(few("forward-facing", False))
    plan = plan_of(photos_of_a_wall, preset)
    ends = {}
    for device in ("cpu", "cuda"):
        system = build(plan, 30, 0, device)
        optimizer = adam(system, preset.optim)
        steps = train_steps(system, optimizer, exponential(preset.optim, 30), range(30))
        ends[device] = [losses["photometric"] for _, losses in steps]
    torch.testing.assert_close(torch.tensor(ends["cuda"]), torch.tensor(ends["cpu"]), rtol=0.05, atol=1e-3)


def test_spec_07_the_published_distortion_gains_nothing_by_drawing_light_nearer():
    """Neither its value nor its gradient knows the scale of a scene."""
    nearer = torch.ones((), requires_grad=True)
    edges = nearer * torch.linspace(0.5, 4.0, 13).expand(5, -1)
    weights = torch.rand(5, 12, generator=torch.Generator().manual_seed(0)).softmax(-1)
    distance = (weights * 0.5 * (edges[:, 1:] + edges[:, :-1])).sum(-1)
    flat = torch.zeros(5, 13)
    seen = RayRendering(torch.zeros(5, 3), distance, weights.sum(-1), weights, edges, flat, (flat, weights))
    spread = DiffusioNeRF.spread(SimpleNamespace(config=paper("inward").fit), seen)
    assert float(spread.detach().min()) > 0.1
    spread.sum().backward()
    assert abs(float(nearer.grad)) < 1e-5
