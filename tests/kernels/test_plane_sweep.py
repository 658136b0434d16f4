import pytest
import torch

from diorama.kernels.plane_sweep import Sources, sweep_scores, sweep_scores_reference
from tests.textured import arc_cameras, textured_views


def one_sweep(count=3, size=(61, 47)):
    views = textured_views(arc_cameras(count, 6.0, size), supersample=1)
    cameras = views.cameras
    grey = views.images.mean(1)
    width, height = size
    grid = torch.stack(torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), -1)
    directions = cameras[[0]].unproject(grid.reshape(1, -1, 2)).reshape(height, width, 3)
    rotation = cameras.camera_to_world[1:, :3, :3].mT
    sources = Sources(
        grey[1:],
        torch.ones_like(grey[1:], dtype=torch.bool),
        rotation @ cameras.camera_to_world[0, :3, :3],
        (rotation @ (cameras.origins[0] - cameras.origins[1:])[..., None])[..., 0],
        cameras.focal[1:],
        cameras.centre[1:],
    )
    return grey[0], torch.ones_like(grey[0], dtype=torch.bool), directions, sources, torch.linspace(0.2, 0.7, 9)


@pytest.mark.parametrize(("radius", "best"), [(1, 1), (3, 2), (2, 5)])
def test_the_fast_twin_gives_the_scores_of_the_readable_one(radius, best):
    grey, valid, directions, sources, planes = one_sweep(4)
    valid[5:20, 10:30] = False
    sources.valid[1, :, :25] = False
    fast = sweep_scores(grey, valid, directions, sources, planes, radius=radius, best=best)
    slow = sweep_scores_reference(grey, valid, directions, sources, planes, radius=radius, best=best)
    difference = (fast - slow).abs()
    assert (
        float((difference > 1e-4).float().mean()) < 2e-3
    )  # a pixel on the very border may be in for one, out for other
    assert float((slow > -1).float().mean()) > 0.3


def test_a_photo_agrees_fully_with_itself_whatever_its_exposure():
    grey, valid, directions, sources, planes = one_sweep(2)
    same = Sources(
        (grey * 0.5 + 0.2)[None],
        torch.ones_like(grey, dtype=torch.bool)[None],
        torch.eye(3)[None],
        torch.zeros(1, 3),
        sources.focal,
        sources.centre,
    )
    scores = sweep_scores(grey, valid, directions, same, planes, radius=3, best=1)
    assert float(scores[:, 1:-1, 1:-1].median()) > 0.95


def test_what_no_neighbour_sees_scores_minus_one():
    grey, valid, directions, sources, planes = one_sweep(2)
    behind = Sources(
        sources.images,
        sources.valid,
        torch.diag(torch.tensor([-1.0, 1.0, -1.0]))[None],
        torch.zeros(1, 3),
        sources.focal,
        sources.centre,
    )
    for twin in (sweep_scores, sweep_scores_reference):
        assert bool((twin(grey, valid, directions, behind, planes) == -1).all())


def test_no_neighbours_and_no_planes_are_no_error():
    grey, valid, directions, sources, planes = one_sweep(2)
    none = Sources(*(getattr(sources, name)[:0] for name in Sources.__dataclass_fields__))
    for twin in (sweep_scores, sweep_scores_reference):
        assert bool((twin(grey, valid, directions, none, planes) == -1).all())
        assert twin(grey, valid, directions, sources, planes[:0]).shape == (0, *grey.shape)
