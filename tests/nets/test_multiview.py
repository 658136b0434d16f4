import json
import warnings
from dataclasses import asdict, replace

import jaxtyping
import pytest
import torch

from diorama.errors import InputError
from diorama.nets.attention import FullAttention, as_tokens
from diorama.nets.epipolar import epipolar_mask
from diorama.nets.multiview import MultiViewUNet
from diorama.nets.multiview_config import MultiViewConfig, gibr_base, gibr_large, gibr_small, gibr_tiny
from diorama.nets.pretrained import MOST_SHIPPED_PARAMETERS

TINY = gibr_tiny()
SMALL = replace(gibr_small(), width=16, multipliers=(1, 2, 2), groups=4)
SIZES = pytest.mark.parametrize("config", [TINY, SMALL], ids=["tiny", "small"])
SIDE = 16


def built(config, seed=0, noise=0.05):
    """A network; `noise` moves every weight, so that layers which start at zero take part."""
    torch.manual_seed(seed)
    network = MultiViewUNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return network


def scene(views=3, scenes=2, side=SIDE, seed=1):
    """Keyword arguments of a forward pass: every second view is clean."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(scenes, views, *shape, generator=generator)

    return {
        "images": normal(3, side, side),
        "time": torch.rand(scenes, views, generator=generator),
        "clean": (torch.arange(views) % 2 == 1).expand(scenes, views),
        "pose": normal(16),
        "rays": normal(6, side, side),
    }


def changed(given, name, function):
    return {**given, name: function(given[name])}


def of_views(given, order):
    return {name: value[:, order] for name, value in given.items()}


def padded(given, views, filler=float("nan")):
    """Views that are absent, and hold nonsense, up to `views` of them."""
    count = views - given["time"].shape[1]
    more = {}
    for name, value in given.items():
        empty = torch.full((value.shape[0], count, *value.shape[2:]), filler if value.is_floating_point() else 1)
        more[name] = torch.cat([value, empty.to(value.dtype)], dim=1)
    return more, (torch.arange(views) < views - count).expand(given["time"].shape[0], views)


def first_sees_second(network, given, **more):
    """Largest gradient of the first view's planes with respect to the second view's image."""
    images = given["images"].clone().requires_grad_()
    network(**{**given, "images": images}, **more)[:, 0].square().sum().backward()
    return images.grad[:, 1].abs().max().item()


@pytest.mark.parametrize(
    ("config", "count"),
    [(gibr_tiny(), 188_232), (gibr_small(), 6_124_048), (gibr_base(), 7_349_232), (gibr_large(), 90_019_760)],
)
def test_the_sizes_have_their_parameter_counts(config, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in MultiViewUNet(config).parameters()) == count


def test_small_and_base_may_be_shipped():
    with torch.device("meta"):
        for config in (gibr_small(), gibr_base()):
            count = sum(parameter.numel() for parameter in MultiViewUNet(config).parameters())
            assert count <= MOST_SHIPPED_PARAMETERS


@pytest.mark.parametrize(
    ("config", "views", "side", "least", "most"),
    [(gibr_tiny(), 3, 32, 0.5e9, 0.8e9), (gibr_small(), 4, 48, 3.5e9, 4.5e9), (gibr_base(), 6, 96, 45e9, 60e9)],
)
def test_the_sizes_cost_so_many_flops_a_scene(config, views, side, least, most):
    """A flop is half a multiply-add here, as torch counts them; forward only."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = MultiViewUNet(config)
        network(
            torch.zeros(1, views, 3, side, side), torch.zeros(1, views), torch.zeros(1, views, dtype=torch.bool),
            torch.zeros(1, views, 16), torch.zeros(1, views, 6, side, side),
        )  # fmt: skip
    assert least < counter.get_total_flops() < most


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_planes_have_the_resolution_of_the_image_over_the_plane_scale(scale):
    config = replace(SMALL, patch=4, plane_scale=scale)
    assert built(config)(**scene(side=32)).shape == (2, 3, 32, 32 // scale, 32 // scale)


def test_the_planes_of_a_large_network_are_half_as_large_as_its_images():
    with torch.device("meta"):
        network = MultiViewUNet(gibr_large())
        out = network(
            torch.zeros(1, 2, 3, 256, 128), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool),
            torch.zeros(1, 2, 16), torch.zeros(1, 2, 6, 256, 128),
        )  # fmt: skip
    assert out.shape == (1, 2, 48, 128, 64)


@SIZES
@pytest.mark.parametrize("views", [1, 2, 5])
def test_any_number_of_views_is_read(config, views):
    out = built(config)(**scene(views))
    assert out.shape == (2, views, config.out_channels, SIDE, SIDE)
    assert out.isfinite().all()


@SIZES
def test_the_order_of_the_views_is_the_order_of_their_planes_and_nothing_else(config):
    network, given, order = built(config), scene(4), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        torch.testing.assert_close(network(**of_views(given, order)), network(**given)[:, order], rtol=0, atol=1e-4)


@SIZES
def test_scenes_do_not_see_each_other(config):
    network, given = built(config), scene(3, scenes=3)
    alone = {name: value[1:2] for name, value in given.items()}
    with torch.no_grad():
        torch.testing.assert_close(network(**given)[1:2], network(**alone), rtol=0, atol=1e-5)


@SIZES
@pytest.mark.parametrize("filler", [float("nan"), 1e6])
def test_three_views_padded_to_six_are_three_views_whatever_pads_them(config, filler):
    network, given = built(config), scene(3)
    more, present = padded(given, 6, filler)
    with torch.no_grad():
        out = network(**more, present=present)
        torch.testing.assert_close(out[:, :3], network(**given), rtol=0, atol=1e-5)
    assert (out[:, 3:] == 0).all()


@SIZES
def test_absent_views_give_no_gradient_and_spoil_none(config):
    network = built(config)
    given = scene(2)
    more, present = padded(given, 3)
    network(**more, present=present).square().sum().backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    network(**given).square().sum().backward()
    for gradient, parameter in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-3)


def test_scenes_of_a_batch_may_have_different_numbers_of_views():
    network, given = built(SMALL), scene(4)
    present = torch.tensor([[True, False, True, False], [True, True, True, True]])
    with torch.no_grad():
        out = network(**given, present=present)
        first = network(**{name: value[:1, [0, 2]] for name, value in given.items()})
        torch.testing.assert_close(out[:1, [0, 2]], first, rtol=0, atol=1e-5)
        second = network(**{name: value[1:] for name, value in given.items()})
        torch.testing.assert_close(out[1:], second, rtol=0, atol=1e-5)


def test_a_scene_without_any_view_is_zero_and_harms_no_other():
    network, given = built(SMALL), scene(2)
    out = network(**given, present=torch.tensor([[False, False], [True, True]]))
    out.square().sum().backward()
    assert (out[0] == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@SIZES
def test_views_see_each_other_through_attention_and_through_nothing_else(config):
    given = scene(2)
    assert first_sees_second(built(config), given) > 0
    assert first_sees_second(built(replace(config, cross_view=False)), given) == 0
    levels = tuple(False for _ in config.attention)
    assert first_sees_second(built(replace(config, attention=levels, middle_attention=False)), given) == 0


def test_attention_within_views_is_that_of_single_views():
    """The ablation without cross-view attention has the same weights, so it is each view in a scene of its own."""
    network, given = built(SMALL), scene(3)
    apart = MultiViewUNet(replace(SMALL, cross_view=False))
    apart.load_state_dict(network.state_dict())
    single = {name: value.reshape(-1, 1, *value.shape[2:]) for name, value in given.items()}
    with torch.no_grad():
        torch.testing.assert_close(apart(**given).flatten(0, 1)[:, None], network(**single), rtol=0, atol=1e-5)


def test_a_mask_of_own_views_is_attention_within_views():
    def own_view(height, width):
        pixels = height * width
        view = torch.arange(3).repeat_interleave(pixels)
        return (view[:, None] == view).expand(2, -1, -1)

    network, given = built(SMALL), scene(3)
    apart = MultiViewUNet(replace(SMALL, cross_view=False))
    apart.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(**given, mask=own_view), apart(**given), rtol=0, atol=1e-5)
        assert (network(**given) - apart(**given)).abs().max() > 1e-3
    assert first_sees_second(network, given, mask=own_view) == 0


def test_a_mask_is_asked_once_for_every_level_with_attention_and_may_have_no_opinion():
    asked = []

    def indifferent(height, width):
        asked.append((height, width))

    network, given = built(SMALL), scene(2, side=32)
    given["images"], given["rays"] = given["images"][..., :16, :], given["rays"][..., :16, :]
    with torch.no_grad():
        assert torch.equal(network(**given, mask=indifferent), network(**given))
    assert asked == [(4, 8), (2, 4)]


def test_a_pixel_that_may_look_nowhere_looks_at_itself():
    network, given = built(SMALL), scene(2)
    with torch.no_grad():
        out = network(**given, mask=lambda height, width: torch.zeros(2, *[2 * height * width] * 2, dtype=torch.bool))
    assert out.isfinite().all()


@SIZES
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_whether_a_view_is_clean_matters_even_at_time_zero(config, noise):
    network, given = built(config, noise=noise), changed(scene(2), "time", torch.zeros_like)
    with torch.no_grad():
        difference = network(**given) - network(**changed(given, "clean", torch.logical_not))
    assert difference.abs().amax(dim=(2, 3, 4)).min() > 1e-3


@SIZES
def test_the_time_of_a_clean_view_is_not_read(config):
    network, given = built(config), scene(4)
    with torch.no_grad():
        out = network(**given)
        assert torch.equal(out, network(**changed(given, "time", lambda time: torch.where(given["clean"], 0.7, time))))


@SIZES
def test_every_view_has_its_own_time(config):
    """Without attention to others, the time of a view changes its own planes alone."""
    network = built(replace(config, cross_view=False))
    given = changed(scene(3), "clean", torch.zeros_like)
    with torch.no_grad():
        later = changed(given, "time", lambda time: time + torch.tensor([0.0, 0.1, 0.0]))
        difference = (network(**later) - network(**given)).abs().amax(dim=(0, 2, 3, 4))
    assert difference[1] > 1e-3
    assert difference[0] == difference[2] == 0


@pytest.mark.parametrize(("embed", "reads"), [("matrix", {"pose"}), ("rays", {"rays"}), ("both", {"pose", "rays"})])
def test_cameras_enter_by_the_ways_that_were_chosen(embed, reads):
    network, given = built(replace(SMALL, camera_embed=embed)), scene(2)
    with torch.no_grad():
        out = network(**given)
        for name in ("pose", "rays"):
            moved = (network(**changed(given, name, lambda value: value + 0.1)) - out).abs().max().item()
            assert moved > 1e-3 if name in reads else moved == 0
        assert torch.equal(network(**{name: v for name, v in given.items() if name in reads or name in {
            "images", "time", "clean"}}), out)  # fmt: skip


@SIZES
def test_a_fresh_network_gives_planes_that_are_not_zero_and_follow_the_image(config):
    network, given = built(config, noise=0.0), scene(2)
    with torch.no_grad():
        out = network(**given)
        assert 0.1 < out.std() < 3
        assert (network(**changed(given, "images", torch.neg)) - out).std() > 0.01


@SIZES
def test_every_parameter_of_a_network_in_use_gets_a_gradient(config):
    network = built(config)
    network(**scene(2)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@SIZES
def test_the_same_answer_in_channels_last_order(config):
    network, given = built(config), scene(3)
    with torch.no_grad():
        plain = network(**given)
        torch.testing.assert_close(network.to(memory_format=torch.channels_last)(**given), plain, rtol=0, atol=1e-4)


@SIZES
@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_autocast_answers_in_float32_within_three_percent(config, training):
    network, given = built(config), scene(3)
    more, present = padded(given, 4)
    with torch.no_grad():
        exact = network(**given)
    with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
        rough = network(**more, present=present)[:, :3]
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() < 0.03 * exact.norm()


def test_a_whole_image_can_be_in_double_precision():
    network, given = built(SMALL), scene(2)
    double = {name: value.double() if value.is_floating_point() else value for name, value in given.items()}
    with torch.no_grad():
        assert network(**double).dtype == torch.float64


def test_a_compiled_network_computes_the_same():
    """Traced whole, without a graph break; no compiler is needed for `aot_eager`."""
    network, given = built(replace(TINY, multipliers=(1,), attention=(True,), middle_attention=False)), scene(3)
    present = torch.tensor([[True, True, False], [True, True, True]])
    with torch.no_grad():
        eager = network(**given, present=present)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its own parts
            out = torch.compile(network, backend="aot_eager", fullgraph=True)(**given, present=present)
            out.square().mean().backward()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
        torch._dynamo.reset()
    torch.testing.assert_close(out.detach(), eager, rtol=0, atol=1e-4)
    assert network.stem.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 2, 4, SIDE, SIDE)}, "2 views of 4 channels"),
        ({"images": torch.zeros(2, 2, 3, 12, 10), "rays": torch.zeros(2, 2, 6, 12, 10)},
         r"12 high and 10 wide.*multiples of 8.*16 x 16"),
        ({"pose": None}, "16 numbers of every pose; given are none"),
        ({"pose": torch.zeros(2, 2, 12)}, "given are 12"),
        ({"rays": None}, "map of rays"),
    ],
)  # fmt: skip
def test_what_the_network_cannot_read_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        built(SMALL)(**{**scene(2), **change})


def test_a_scene_of_no_views_is_refused():
    with pytest.raises(InputError, match="0 views"):
        built(SMALL)(**scene(0))


def test_a_mask_for_views_that_do_not_see_each_other_is_refused():
    with pytest.raises(InputError, match="do not see each other"):
        built(replace(SMALL, cross_view=False))(**scene(2), mask=lambda height, width: None)


@pytest.mark.parametrize("config", [gibr_tiny(), gibr_small(), gibr_base(), gibr_large()])
def test_a_config_comes_back_from_json(config):
    assert MultiViewConfig.from_settings(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multipliers": (1, 2)}, "one answer about attention for each"),
        ({"attention": [True, False, "full"]}, "attention of a U-Net cannot be"),
        ({"camera_embed": "quaternion"}, "camera_embed of a U-Net cannot be"),
        ({"cross_view": 1}, "cross_view of a U-Net cannot be 1"),
        ({"width": 10**9}, r"must lie in \[2, 4096\]"),
        ({"width": 18}, "multiples of 4 groups"),
        ({"multipliers": (1, 2, 0)}, r"\[1, 64\]"),
        ({"heads": 3}, "multiples of 3 heads"),
        ({"plane_scale": 4}, "Choose a divisor of 2"),
        ({"time_scale": -1.0}, "time_scale"),
        ({"views": 4}, "views"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        MultiViewConfig.from_settings({**asdict(SMALL), **change})


def test_what_another_view_shows_is_learnt_across_views():
    """Four scenes whose first views are equal, and their planes are not to be: without the second views the error of
    any answer is 1, the variance of what is wanted."""
    torch.manual_seed(0)
    network = MultiViewUNet(replace(TINY, out_channels=3, camera_embed="matrix"))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    images = torch.randn(4, 2, 3, 4, 4)
    images[:, 0] = images[0, 0]
    wanted = torch.tensor([[1.0, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]])[:, :, None, None]
    time, clean, pose = torch.zeros(4, 2), torch.ones(4, 2, dtype=torch.bool), torch.zeros(4, 2, 16)
    losses = []
    for _ in range(100):
        loss = (network(images, time, clean, pose)[:, 0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.5


def test_planes_start_without_a_pattern_of_squares():
    """Pixels of a square have weights of their own in the head; for flat features they would differ by as much as
    the features of different channels do, and no pixel of a plane may tell to which square it belongs."""
    torch.manual_seed(0)
    network = MultiViewUNet(SMALL)
    squares = torch.randn(1, SMALL.out_channels, 2, 2).repeat(1, 1, 8, 8)
    joined = network.join(squares)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(joined, squares[:, :, :2, :2].mean((-1, -2), keepdim=True).expand_as(joined))
    flat = torch.full((1, SMALL.out_channels, 8, 8), 3.0)
    torch.testing.assert_close(network.join(flat), flat)
    assert MultiViewUNet(TINY).join is None, "there are no squares"


def cross_product(t):
    x, y, z = t
    return torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def pair(first_to_second):
    """The fundamental matrices of a scene of two views."""
    matrices = torch.zeros(1, 2, 2, 3, 3)
    matrices[0, 0, 1], matrices[0, 1, 0] = first_to_second, first_to_second.mT
    return matrices


@pytest.mark.parametrize(("band", "rows"), [(0.4, 0), (1.2, 1), (2.0, 2)])
def test_cameras_side_by_side_look_along_the_rows(band, rows):
    height, width = 5, 7
    mask = epipolar_mask(pair(cross_product([1.0, 0, 0])), height, width, band=band)[0]
    row = torch.arange(height).repeat_interleave(width)
    close = (row[:, None] - row).abs() <= rows
    everywhere = torch.ones_like(close)
    assert torch.equal(mask, torch.cat([torch.cat([everywhere, close], 1), torch.cat([close, everywhere], 1)]))


def test_cameras_behind_each_other_look_along_lines_through_the_middle():
    """The line through middle and pixel; its distance from another pixel is a cross product over a length."""
    height, width, band = 4, 6, 0.7
    to_camera = torch.tensor(
        [[1.0, 0, -0.5], [0, 1.0, -0.5], [0, 0, 1.0]]
    )  # shares of the sides to a focal length of 1
    mask = epipolar_mask(pair(to_camera.mT @ cross_product([0, 0, 1.0]) @ to_camera), height, width, band=band)[0]
    y, x = torch.meshgrid(torch.arange(height) - 1.5, torch.arange(width) - 2.5, indexing="ij")
    place = torch.stack([x, y], -1).reshape(-1, 2)
    turned = place[:, None, 0] * place[:, 1] - place[:, None, 1] * place[:, 0]
    assert torch.equal(mask[:24, 24:], turned.abs() / place.norm(dim=-1)[:, None] <= band)


def test_what_both_views_show_may_be_looked_at_from_both_sides():
    """The pixels that hold the images of a point lie near each other's lines, in views of any two poses."""
    from diorama.cameras.conditioning import relative_intrinsics, world_to_camera
    from diorama.cameras.pinhole import Cameras
    from diorama.cameras.poses import look_at

    torch.manual_seed(0)
    poses = torch.stack([look_at(torch.tensor(eye), torch.zeros(3), torch.tensor([0.0, 0, 1]))
                         for eye in ([3.0, 0, 1], [2.0, 2, 0.5])])  # fmt: skip
    height, width = 12, 16
    focal, centre, size = torch.tensor([[40.0, 44], [17, 11], [2 * width, 2 * height]])[:, None].expand(-1, 2, -1)
    cameras = Cameras.pinhole(poses, focal, centre, size.long())
    points = torch.rand(200, 3) - 0.5
    shares = cameras.project(points)[0] / torch.tensor([2.0 * width, 2 * height])
    cells = (shares * torch.tensor([width, height])).floor().long()
    inside = ((cells >= 0) & (cells < torch.tensor([width, height]))).all(-1).all(0)
    assert inside.sum() > 100
    index = (cells[..., 1] * width + cells[..., 0])[:, inside]

    extrinsics, numbers = world_to_camera(cameras), relative_intrinsics(cameras)
    matrices = torch.zeros(1, 2, 2, 3, 3)
    to_pixels = torch.stack([torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]) for fx, fy, cx, cy in numbers])
    for a, b in ((0, 1), (1, 0)):
        rotation = extrinsics[b, :, :3] @ extrinsics[a, :, :3].mT
        translation = extrinsics[b, :, 3] - rotation @ extrinsics[a, :, 3]
        essential = cross_product(translation.tolist()) @ rotation
        matrices[0, a, b] = to_pixels[b].inverse().mT @ essential @ to_pixels[a].inverse()
    mask = epipolar_mask(matrices, height, width, band=2.0)[0]
    assert mask[index[0], height * width + index[1]].all()
    assert mask[height * width + index[1], index[0]].all()
    assert mask[: height * width, height * width :].float().mean() < 0.5


def test_a_mask_by_geometry_neither_sees_the_scale_of_its_matrices_nor_autocast():
    matrices = pair(cross_product([1.0, 0.3, -0.2]))
    mask = epipolar_mask(matrices, 6, 8, band=1.0)
    assert 0 < mask[0, :48, 48:].float().mean() < 0.5
    assert torch.equal(epipolar_mask(-1024 * matrices, 6, 8, band=1.0), mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(epipolar_mask(matrices, 6, 8, band=1.0), mask)


def test_two_views_from_one_place_have_no_lines_and_see_all_of_each_other():
    assert epipolar_mask(torch.zeros(1, 2, 2, 3, 3), 3, 4, band=0.5).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_pixel_gathers_from_itself_and_from_where_the_mask_lets_it_look(dtype):
    """The derivative of what pixel n of a scene becomes by what pixel m was; float64 fused, bfloat16 written out."""
    torch.manual_seed(0)
    attention = FullAttention(8, 2, 4, cosine=False, groups=None).to(dtype)
    mask = epipolar_mask(pair(cross_product([0, 0, 1.0])), 3, 4, band=0.8) & (torch.rand(1, 24, 24) < 0.8)
    mask = mask | torch.eye(24, dtype=torch.bool)
    maps = torch.randn(2, 8, 3, 4, dtype=dtype)

    def tokens(x):
        return as_tokens(attention(x, views=2, mask=mask[:, None]), views=2).sum(dim=(0, 2))

    jacobian = torch.autograd.functional.jacobian(tokens, maps)  # n, view, channel, h, w
    influence = jacobian.abs().sum(dim=2).reshape(24, 24)
    assert torch.equal(influence > 0, mask[0])
