import torch

from diorama.data.targets import draw_targets, targets_at
from tests.systems.drawn import balls


def places(views, targets, view):
    """Column and row of the targets of one view of the first scene."""
    chosen = targets.view[0] == view
    points = (targets.rays.origins + targets.rays.directions)[0, chosen]
    return (views.cameras()[0, view].project(points)[0] - 0.5).round().long()


def test_a_patch_is_a_square_inside_the_picture_and_every_square_is_drawn(rng):
    views = balls(1, 2, 8)
    corners = set()
    for _ in range(200):
        targets = draw_targets(views, 96, 6, rng)
        for view in (0, 1):
            column, row = places(views, targets, view).unbind(-1)
            left, top = int(column.min()), int(row.min())
            square = {(left + x, top + y) for x in range(6) for y in range(6)}
            assert set(zip(column.tolist(), row.tolist(), strict=True)) == square
            corners.add((left, top))
    assert corners == {(x, y) for x in range(3) for y in range(3)}


def test_a_patch_larger_than_the_picture_is_the_picture(rng):
    views = balls(2, 3, 8)
    targets = draw_targets(views, 96, 99, rng)
    assert targets.view.shape == (2, 3 * 64)
    torch.testing.assert_close(targets.colour.reshape(2, 3, 8, 8, 3).movedim(-1, 2), views.images)


def test_a_target_has_the_colour_the_ray_and_the_number_of_its_view():
    views = balls(2, 3, 8)
    x, y = torch.tensor([[[7, 0]] * 3] * 2), torch.tensor([[[2, 5]] * 3] * 2)
    targets = targets_at(views, x, y)
    assert targets.view.tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    torch.testing.assert_close(targets.colour[1, 3], views.images[1, 1, :, 5, 0])
    depth = 2.0
    points = targets.rays.at(depth / targets.rays.cosine)
    for scene in range(2):
        for ray, view in enumerate(targets.view[scene].tolist()):
            pixel, planar = views.cameras()[scene, view].project(points[scene, ray][None])
            torch.testing.assert_close(pixel[0], torch.tensor([[7.5, 2.5], [0.5, 5.5]])[ray % 2], atol=1e-4, rtol=0)
            torch.testing.assert_close(planar[0], torch.tensor(depth))
