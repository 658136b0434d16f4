"""One sampled scene as a field: it says what its planes say, in memory and on disk."""

from dataclasses import replace

import pytest
import torch

from diorama.errors import InputError
from diorama.fields.sampled_planes import SampledPlanes, SampledPlanesConfig
from diorama.rendering.render import RadianceField
from diorama.scenes.config import from_json, to_json
from diorama.scenes.field import SceneField
from diorama.types import DensityFn, FieldFn
from tests.fields.test_ib_planes import CONFIG, field_of, planes_of
from tests.oracles import ring_cameras


@pytest.fixture
def planes():
    return planes_of(ring_cameras(3))


def points(*shape):
    return 2.0 * torch.randn(*shape, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, polar_channels=0)])
def test_it_says_what_its_planes_say(config):
    planes, reader = planes_of(ring_cameras(3), config), field_of(config)
    field = SampledPlanes.of(planes, reader, half=False)
    where = points(40)
    density, colour = reader(planes, where[None])
    torch.testing.assert_close(field.density(where), density[0])
    torch.testing.assert_close(field(where, where)[1], colour[0])


def test_points_come_in_any_batch(planes):
    field, where = SampledPlanes.of(planes, field_of()), points(2, 3, 4)
    density, colour = field(where, where)
    assert density.shape == (2, 3, 4)
    assert colour.shape == (2, 3, 4, 3)
    torch.testing.assert_close(density[1, 2], field.density(where[1, 2]))


def test_it_is_all_that_scenes_ask_for(planes):
    field = SampledPlanes.of(planes, field_of())
    for protocol in (RadianceField, SceneField, DensityFn, FieldFn):
        assert isinstance(field, protocol)
    assert not any(parameter.requires_grad for parameter in field.parameters())


@pytest.mark.parametrize("half", [True, False])
def test_stored_and_read_it_is_the_same_bits(planes, half):
    field = SampledPlanes.of(planes, field_of(), half=half)
    stored = field.state_dict()
    assert stored["perspective"].dtype == stored["polar"].dtype == (torch.float16 if half else torch.float32)
    assert stored["world_to_camera"].dtype == torch.float32
    back = SampledPlanes(from_json(SampledPlanesConfig, to_json(field.config)))
    back.load_state_dict(stored)
    assert back.perspective.dtype == torch.float32
    assert torch.equal(back.density(points(50)), field.density(points(50)))


def test_the_views_that_are_asked_first_are_kept_and_stored(planes):
    present, first = torch.tensor([[True, False, True]]), torch.tensor([[False, False, True]])
    scene, reader = replace(planes, present=present, first=first), field_of()
    field = SampledPlanes.of(scene, reader, half=False)
    assert field.config.first == (1,)
    torch.testing.assert_close(field.density(points(60)), reader(scene, points(60)[None])[0][0])
    back = SampledPlanes(from_json(SampledPlanesConfig, to_json(field.config)))
    back.load_state_dict(field.state_dict())
    assert torch.equal(back.density(points(60)), field.density(points(60)))
    assert not torch.equal(
        back.density(points(60)), SampledPlanes.of(replace(scene, first=None), reader).density(points(60))
    )


def test_half_precision_moves_little(planes):
    whole, half = (SampledPlanes.of(planes, field_of(), half=half) for half in (False, True))
    torch.testing.assert_close(whole.density(points(50)), half.density(points(50)), atol=5e-3, rtol=5e-3)


def test_numbers_that_float16_cannot_hold_stop_at_its_limit(planes):
    loud = replace(planes, perspective=1e6 * planes.perspective)
    assert bool(SampledPlanes.of(loud, field_of()).state_dict()["perspective"].isfinite().all())


def test_views_that_only_fill_a_batch_are_left_out(planes):
    present = torch.tensor([[True, False, True]])
    field = SampledPlanes.of(replace(planes, present=present), field_of())
    assert field.config.views == 2
    torch.testing.assert_close(field.world_to_camera, planes.world_to_camera[0, [0, 2]])


def test_no_scene_two_scenes_and_no_numbers_are_refused(planes):
    two = planes_of(ring_cameras(4)[torch.arange(4).reshape(2, 2)])
    with pytest.raises(InputError, match="2 scenes"):
        SampledPlanes.of(two, field_of())
    broken = replace(planes, perspective=planes.perspective * float("nan"))
    with pytest.raises(InputError, match="not a number"):
        SampledPlanes.of(broken, field_of())


@pytest.mark.parametrize(
    "wrong", [{"views": 0}, {"first": (1,)}, {"side": (4,)}, {"side": (1 << 20, 1 << 20)}, {"polar_side": (0, 4)}]
)
def test_shapes_that_cannot_be_are_refused_before_memory_is_taken(wrong):
    with pytest.raises(InputError, match="numbers"):
        SampledPlanesConfig(**wrong)


def test_from_where_a_view_was_taken_its_own_plane_is_left_out_if_that_is_asked(planes):
    """And from anywhere else, near by or turned away, all planes are asked."""
    cameras, reader = ring_cameras(3), field_of()
    kept, dropped = (SampledPlanes.of(planes, reader, own_plane=own) for own in ("keep", "drop"))
    where = points(1, 40)
    for view, pose in enumerate(cameras.camera_to_world):
        assert kept.seen_from(pose) is kept
        seen = dropped.seen_from(pose + 1e-5)
        assert isinstance(seen, RadianceField)
        others = SampledPlanes.of(
            replace(planes, present=planes.present & (torch.arange(3) != view)[None]), reader
        ).geometry(where)
        torch.testing.assert_close(seen.geometry(where), others)
        assert not torch.allclose(seen.geometry(where)[0], dropped.geometry(where)[0])
        beside, turned = pose.clone(), pose.clone()
        beside[0, 3] += 0.1
        turned[:3, :3] = pose[:3, [1, 2, 0]]
        assert dropped.seen_from(beside) is dropped
        assert dropped.seen_from(turned) is dropped


def test_from_where_several_squares_of_a_photograph_were_taken_all_of_their_planes_are_left_out(planes):
    twice = replace(planes, world_to_camera=planes.world_to_camera[:, [0, 0, 2]])
    dropped = SampledPlanes.of(twice, field_of(), own_plane="drop")
    seen = dropped.seen_from(ring_cameras(3).camera_to_world[0])
    others = SampledPlanes.of(replace(twice, present=twice.present & (torch.arange(3) == 2)[None]), field_of())
    torch.testing.assert_close(seen.geometry(points(1, 40)), others.geometry(points(1, 40)))
    one_place = replace(planes, world_to_camera=planes.world_to_camera[:, [0, 0, 0]])
    alone = SampledPlanes.of(one_place, field_of(), own_plane="drop")
    assert alone.seen_from(ring_cameras(3).camera_to_world[0]) is alone, "nothing else could paint it"


def test_the_only_plane_of_a_scene_stays(planes):
    alone = replace(planes, present=planes.present & (torch.arange(3) == 1)[None])
    field = SampledPlanes.of(alone, field_of(), own_plane="drop")
    assert field.seen_from(ring_cameras(3).camera_to_world[1]) is field
