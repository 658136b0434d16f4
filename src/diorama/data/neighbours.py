"""Which photos see the same thing from a helpful angle: the pairs worth matching."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float

from diorama.cameras.pinhole import Cameras


def choose_neighbours(
    cameras: Cameras,
    near: Float[torch.Tensor, "view"],
    far: Float[torch.Tensor, "view"],
    *,
    count: int = 4,
    angle: float = 10.0,
) -> list[list[int]]:
    """For every view the `count` others to compare it with, best first: much of it in sight, from a helpful angle.

    A grid of points between near and far (planar, user units) is carried into every other view; a pair's score is the
    mean over the grid of (in sight) x (how helpful the angle between the two rays is; `angle` degrees is best, less
    falls off quickly, more slowly). A view that shares nothing with any other gets an empty list.
    """
    cameras = cameras.to(torch.float64)
    size = cameras.size.to(cameras.focal)
    u, v = torch.meshgrid(torch.linspace(0.1, 0.9, 5), torch.linspace(0.1, 0.9, 5), indexing="xy")
    fractions = torch.stack([u, v], -1).reshape(1, -1, 2).to(size)
    directions = cameras.unproject(fractions * size[:, None])
    inverse = torch.lerp((1 / near)[:, None], (1 / far)[:, None], torch.tensor([0.15, 0.4, 0.65]).to(near)).to(size)
    local = (directions[:, None] / inverse[..., None, None]).flatten(1, 2)
    points = local @ cameras.camera_to_world[:, :3, :3].mT + cameras.origins[:, None]
    chosen = []
    for index in range(len(cameras)):
        pixels, depth = cameras.project(points[index].expand(len(cameras), -1, -1))
        sight = ((depth > 0) & (pixels >= 0).all(-1) & (pixels <= size[:, None]).all(-1)).to(size)
        rays = F.normalize(points[index] - cameras.origins[:, None], dim=-1)
        between = torch.rad2deg(torch.arccos((rays * rays[index]).sum(-1).clamp(-1, 1)))
        spread = torch.where(between < angle, angle / 2, 1.5 * angle)
        helpful = torch.exp(-0.5 * ((between - angle) / spread) ** 2) * (between > 0.2)
        score = (sight * helpful).mean(-1)
        # Wide apart is better than nothing: a small share for sight alone keeps three views in a wide ring together.
        score = score + 0.02 * (sight * (between > 0.2)).mean(-1)
        score[index] = 0
        order = score.argsort(descending=True, stable=True).tolist()
        chosen.append([other for other in order if float(score[other]) > 0.002][:count])
    return chosen
