"""Fit a radiance field to photos, by hand: rays, a field, a renderer, an optimiser, and nothing else.

`diorama.reconstruct` does this with better losses; here every step is on one page. About 20 seconds on two cores.
"""

import torch

from diorama.cameras.pinhole import pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.eval.metrics import psnr
from diorama.fields.hashgrid import GridConfig, HashField, HashFieldConfig
from diorama.rendering.render import SamplingConfig, render_rays
from diorama.worlds.builtin import cameras_around, table_top
from diorama.worlds.trace import photograph

WIDTH, HEIGHT, STEPS, RAYS = 64, 48, 200, 1024
torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)

# Eight photos for the fit, one held out. The world is z-up, in metres; the table is about a metre across.
photos = photograph(
    table_top(), cameras_around(tuple(map(float, range(-35, 40, 10))), width=WIDTH, height=HEIGHT), samples=4
)
held_out = photograph(table_top(), cameras_around((0.0,), width=WIDTH, height=HEIGHT), samples=4)

field = HashField(HashFieldConfig(grid=GridConfig(levels=8, log2_table_size=14, finest_resolution=256), proposal=None))
sampling = SamplingConfig(coarse=32, fine=16, near=0.3, far=100.0)
optimiser = torch.optim.Adam(field.parameters(), lr=1e-2, eps=1e-15)
grid = pixel_grid(WIDTH, HEIGHT).reshape(1, -1, 2)


def render(rays, generator=None):
    near, far = torch.full_like(rays.cosine, sampling.near), torch.full_like(rays.cosine, sampling.far)
    return render_rays(field, rays, near, far, sampling, torch.zeros_like(rays.origins), generator).colour


def quality():
    with torch.no_grad():
        picture = render(camera_rays(held_out.cameras[0], grid[0])).T.reshape(3, HEIGHT, WIDTH)
    return float(psnr(picture, held_out.images[0]))


# All pixels of all photos as one long list of rays.
rays = camera_rays(photos.cameras, grid.expand(len(photos), -1, -1))
rays = type(rays)(rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3), rays.cosine.reshape(-1))
colours = photos.images.permute(0, 2, 3, 1).reshape(-1, 3)

print(f"step {0:4d}: held-out PSNR {quality():.1f} dB")
for step in range(1, STEPS + 1):
    chosen = torch.randint(len(colours), (RAYS,), generator=generator)
    loss = (render(rays[chosen], generator) - colours[chosen]).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % 50 == 0:
        print(f"step {step:4d}: held-out PSNR {quality():.1f} dB, loss {loss.item():.4f}")
