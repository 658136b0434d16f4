"""Cameras stand free, see something, and where asked for all see the same."""

from typing import get_args

import pytest
import torch

from diorama.worlds.cameras import Overlap, Policy, Standing, poses, sample_cameras, shared_views
from diorama.worlds.layouts import make_world
from diorama.worlds.trace import render_world

ROOM, OBJECT = make_world("room", 0), make_world("object", 0)
PICTURE = {"width": 32, "height": 24, "focal": 24.0}


@pytest.mark.parametrize("policy", get_args(Policy))
@pytest.mark.parametrize("world", [ROOM, OBJECT], ids=["room", "object"])
def test_every_policy_gives_real_cameras_within_the_stage(world, policy):
    pose = poses(world.stage, policy, 7, torch.Generator().manual_seed(1))
    assert pose.shape == (7, 4, 4)
    rotation = pose[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(7, 3, 3), atol=1e-5)
    if policy != "inside-out":
        assert (pose[:, :3, 3] >= world.stage.low - 1e-5).all()
        assert (pose[:, :3, 3] <= world.stage.high + 1e-5).all()
    assert (rotation[:, 2, 1] < 0).all(), "y points down in pictures"


def test_the_same_generator_gives_the_same_cameras():
    first, second = (
        sample_cameras(ROOM, 5, torch.Generator().manual_seed(3), **PICTURE, overlap=Overlap()) for _ in range(2)
    )
    assert torch.equal(first.camera_to_world, second.camera_to_world)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["room", "object", "outdoor"])
def test_single_cameras_stand_free(kind, seed):
    world = make_world(kind, seed)
    cameras = sample_cameras(world, 6, torch.Generator().manual_seed(seed), **PICTURE).validate()
    depth = render_world(world, cameras).depth
    near = min(Standing().near, 0.5 * world.stage.reach)
    crowded = (depth < near).float().mean((1, 2)) > 2 * Standing().near_share
    assert crowded.sum() <= 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["room", "object", "outdoor", "workshop"])
def test_every_pair_of_a_set_overlaps(kind, seed):
    world = make_world(kind, seed)
    cameras = sample_cameras(world, 5, torch.Generator().manual_seed(seed), **PICTURE, overlap=Overlap())
    assert len(cameras) == 5
    shared = shared_views(cameras, render_world(world, cameras).depth, 0.05)
    assert torch.maximum(shared, shared.T).min() > 0.15


def test_a_view_shares_all_of_itself_and_nothing_with_its_back():
    cameras = sample_cameras(ROOM, 1, torch.Generator().manual_seed(0), **PICTURE)
    pose = cameras.camera_to_world.repeat(2, 1, 1)
    pose[1, :3, [0, 2]] *= -1
    both = type(cameras).pinhole(pose, *(getattr(cameras, each).repeat(2, 1) for each in ("focal", "centre", "size")))
    shared = shared_views(both, render_world(ROOM, both).depth, 0.03)
    assert shared[0, 0] > 0.95
    assert shared[0, 1] == shared[1, 0] == 0
