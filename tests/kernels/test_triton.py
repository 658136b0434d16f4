"""The Triton twins against the references: interpreted on the CPU (marker `triton`), run on CUDA (marker `gpu`).

Interpreted: TRITON_INTERPRET=1 python -m pytest -o addopts= -m triton tests/kernels, in a process of its own.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from diorama.kernels import pooled_mlp
from diorama.kernels.compositing import composite, composite_reference, ray_weights, ray_weights_reference
from diorama.kernels.hash_grid import grid_layout, hash_encode, hash_encode_reference
from diorama.kernels.resample import outer_bound, resample
from diorama.kernels.twins import use_twin
from diorama.kernels.view_agreement import view_agreement, view_agreement_reference
from diorama.kernels.view_gather import gather_views, gather_views_reference
from tests.kernels.test_pooled_mlp import make
from tests.kernels.test_view_agreement import seen_features
from tests.kernels.test_view_gather import scene_with, some_skipped

interpreted = pytest.param(
    "cpu",
    marks=[
        pytest.mark.triton,
        pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1"),
        pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs the extra `kernels`"),
    ],
)
cuda = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
)
on_each_device = pytest.mark.parametrize("device", [interpreted, cuda])


@pytest.fixture(autouse=True)
def triton_twin():
    with use_twin("triton"):
        yield


def gradients(outputs, inputs):
    g = torch.Generator().manual_seed(3)
    total = sum((out * torch.randn(out.shape, generator=g).to(out)).sum() for out in outputs)
    return torch.autograd.grad(total, inputs)


def points_for(count: int) -> torch.Tensor:
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1
    points[:: max(count // 4, 1)] = torch.tensor([0.0, 1.0, 0.5])
    return points


@on_each_device
@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 301])
@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.0, 0.25]])
def test_hash_encoding_agrees_with_the_reference(device, count, features, weights):
    layout = grid_layout(4, 4, 40, 8)
    generator = torch.Generator().manual_seed(2)
    table = torch.randn(layout.entries, features, generator=generator).to(device).requires_grad_()
    points = points_for(count).to(device).requires_grad_()
    level_weights = None if weights is None else torch.tensor(weights, device=device)
    got = hash_encode(points, table, layout, level_weights)
    wanted = hash_encode_reference(points, table, layout, level_weights)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    for one, other in zip(gradients([got], [points, table]), gradients([wanted], [points, table]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@on_each_device
@pytest.mark.parametrize(("rays", "bins"), [(0, 3), (1, 1), (5, 7), (3, 64)])
@pytest.mark.parametrize("last_opaque", [False, True])
def test_compositing_agrees_with_the_reference(device, rays, bins, last_opaque):
    g = torch.Generator().manual_seed(4)
    density = (torch.rand(rays, bins, generator=g) * 4).to(device).requires_grad_()
    colour = torch.rand(rays, bins, 3, generator=g).to(device).requires_grad_()
    edges = torch.rand(rays, bins + 1, generator=g).cumsum(-1).to(device)
    got = composite(density, colour, edges, last_opaque=last_opaque)
    wanted = composite_reference(density, colour, edges, last_opaque)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    ours, theirs = gradients(got, [density, colour]), gradients(wanted, [density, colour])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    one = gradients([ray_weights(density, edges, last_opaque=last_opaque)], [density])[0]
    other = gradients([ray_weights_reference(density, edges, last_opaque)], [density])[0]
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@on_each_device
def test_solid_walls_and_empty_bins_stay_finite(device):
    edges = torch.tensor([[0.5, 1.0, 1.0, 2.0, 3.0, 1e10]], device=device)
    density = torch.tensor([[0.0, 1e8, 0.3, 1e8, 1e8]], device=device, requires_grad=True)
    colour = torch.full((1, 5, 3), 0.5, device=device, requires_grad=True)
    outputs = composite(density, colour, edges)
    torch.testing.assert_close(outputs[2], torch.ones(1, device=device))
    for tensor in (*outputs, *gradients(outputs, [density, colour])):
        assert tensor.isfinite().all()


@on_each_device
def test_resampling_runs_where_its_tensors_are(device):
    edges = torch.linspace(0, 1, 9, device=device).expand(3, -1)
    weights = torch.ones(3, 8, device=device, requires_grad=True)
    drawn = resample(edges, weights, 8)
    torch.testing.assert_close(drawn, edges.contiguous())
    outer_bound(drawn, torch.ones(3, 8, device=device), edges, weights).sum().backward()
    assert weights.grad is not None


@on_each_device
@pytest.mark.parametrize("count", [0, 1, 101])
@pytest.mark.parametrize(("plane", "polar"), [((24, 6, 9), (8, 4, 6)), ((5, 1, 1), (0, 1, 1)), ((1, 5, 4), (3, 1, 1))])
def test_gathering_from_views_agrees_with_the_reference(device, count, plane, polar):
    scene = scene_with(count=count, plane=plane, polar=polar)
    *where, planes, polar_maps = (tensor.to(device) for tensor in scene)
    skip = some_skipped(2, 3, count).to(device)
    maps = [planes.requires_grad_(), polar_maps.requires_grad_()]
    got = gather_views(*where, *maps, min_depth=0.1, skip=skip)
    wanted = gather_views_reference(*where, *maps, skip=skip, min_depth=0.1)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients(got[:1], maps), gradients(wanted[:1], maps), rtol=1e-3, atol=1e-4)


@on_each_device
def test_gathering_at_and_beside_a_camera_centre_is_finite(device):
    local = torch.tensor([[0.0, 0, 0], [-0.0, 0, -0.0], [1, 0, 0], [0, -1, 0], [0, 0, -1], [torch.nan, 0, 1]])
    _, _, intrinsics, planes, polar = scene_with(1, 1)
    where = (local[None].to(device), torch.eye(3, 4, device=device)[None, None], intrinsics.to(device))
    maps = [planes.to(device).requires_grad_(), polar.to(device).requires_grad_()]
    features, distance = gather_views(*where, *maps, min_depth=0.1)
    assert (features[..., :6] == 0).all()
    assert all(tensor.isfinite().all() for tensor in (features, distance[..., :5], *gradients([features], maps)))


@on_each_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [0, 1, 101])
def test_the_largest_answers_over_views_and_their_gradients_agree_with_the_reference(device, count, dtype):
    generator = torch.Generator().manual_seed(1)
    keep = torch.rand(4, count, generator=generator) < 0.6
    keep[:, :5] = False
    h = (torch.randint(-3, 4, (int(keep.sum()), 24), generator=generator) / 3).to(device, dtype)  # many are equal
    gradient, keep = torch.randn(count, 24, generator=generator).to(device, dtype), keep.to(device)
    assert torch.equal(pooled_mlp._largest(h, keep, "triton"), pooled_mlp._largest(h, keep, "reference"))
    ours, theirs = (pooled_mlp._to_largest(h, keep, gradient, twin) for twin in ("triton", "reference"))
    assert torch.equal(ours, theirs)


@on_each_device
def test_an_answer_that_is_not_a_number_stays_so(device):
    h = torch.zeros(6, 4, device=device)
    h[4, 2] = torch.nan
    kept = torch.ones(2, 3, dtype=torch.bool, device=device)
    assert int(pooled_mlp._largest(h, kept, "triton").isnan().sum()) == 1


@on_each_device
@pytest.mark.parametrize("views", [1, 3])
def test_an_mlp_over_views_agrees_with_the_reference(device, views):
    features, keep, weights, biases, more = make(torch.float32, views=views)
    found = []
    for function in (pooled_mlp.pooled_mlp, pooled_mlp.pooled_mlp_reference):
        given = [leaf.to(device).clone().requires_grad_() for leaf in (features, *weights, *biases)]
        rows = lambda scene, rows: more(scene, rows.cpu()).to(device)  # noqa: E731
        pooled, known = function(given[0], keep.to(device), given[1:3], given[3:], rows)
        found.append([pooled, known, *gradients([pooled], given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@on_each_device
@pytest.mark.parametrize("count", [0, 1, 101])
@pytest.mark.parametrize("views", [1, 4])
def test_agreement_of_views_agrees_with_the_reference(device, count, views):
    features = seen_features(2, views, count, channels=6).to(device).requires_grad_()
    got, wanted = view_agreement(features, 6), view_agreement_reference(features, 6)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients([got], [features]), gradients([wanted], [features]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.triton
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs the extra `kernels`")
def test_the_kernels_compile_for_a_cuda_device_though_none_is_here():
    code = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from diorama.kernels import compositing_triton, hash_grid_triton, pooled_mlp_triton, view_agreement_triton
from diorama.kernels import view_gather_triton

sizes = ("count", "levels", "bins", "last_opaque", "views", "height", "width", "rows", "columns")

def check(kernel, **constants):
    kinds = {"grid": "*i32", "skip": "*u8", "keep": "*u8", "row": "*i64", "min_depth": "fp32"}
    kinds |= dict.fromkeys(sizes, "i32") | dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
    compile(ASTSource(kernel, signature, constexprs=constants), target=GPUTarget("cuda", 80, 32))

for kernel in (hash_grid_triton._forward, hash_grid_triton._to_table, hash_grid_triton._to_positions):
    check(kernel, features=2, block=256)
for kernel in (compositing_triton._weights, compositing_triton._weights_backward):
    check(kernel, width=64)
for kernel in (compositing_triton._composite, compositing_triton._composite_backward):
    check(kernel, least=1e-6, width=64)
for kernel in (view_gather_triton._gather, view_gather_triton._to_maps):
    check(kernel, channels=24, around=8, lanes=32, around_lanes=8, block=32)
for kernel in (pooled_mlp_triton._largest, pooled_mlp_triton._to_largest):
    check(kernel, channels=48, lanes=64, block=16)
for kernel in (view_agreement_triton._agreement, view_agreement_triton._to_features):
    check(kernel, channels=24, lanes=32, block=16)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_choose_triton_by_themselves():
    layout = grid_layout(16, 16, 2048, 19)
    table = torch.randn(layout.entries, 2, device="cuda", requires_grad=True)
    points = torch.rand(100_003, 3, device="cuda", requires_grad=True)
    with use_twin(None):
        got = hash_encode(points, table, layout)
    wanted = hash_encode_reference(points, table, layout)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    for one, other in zip(gradients([got], [points, table]), gradients([wanted], [points, table]), strict=True):
        assert (one - other).norm() / other.norm() < 1e-4
