"""A pixel becomes a ray, a point, and a pixel again.

Photographs the scene in the box, lifts pixels to surface points with the exact depth, and finds them in another photo.
"""

from pathlib import Path

import torch

from diorama.cameras.rays import camera_rays
from diorama.data.images import write_png
from diorama.worlds.builtin import cameras_around, table_top
from diorama.worlds.trace import photograph

OUT = Path("out/examples")
OUT.mkdir(parents=True, exist_ok=True)

# Two cameras: OpenCV axes (x right, y down, z forward), camera-to-world, pixels with centres at +0.5.
cameras = cameras_around((-10.0, 10.0), width=160, height=120)
views = photograph(table_top(), cameras, samples=4)
for name, image in zip(views.names, views.images, strict=True):
    write_png(OUT / name, image)

# Rays through some pixel centres of the first camera.  # [view=1, n, xy]
generator = torch.Generator().manual_seed(0)
column = torch.randint(60, 100, (1, 200), generator=generator)
row = torch.randint(60, 100, (1, 200), generator=generator)
rays = camera_rays(cameras[[0]], torch.stack([column, row], dim=-1) + 0.5)

# Depth is planar (along the optical axis); distance along the ray is depth / cosine.  # [1, n, xyz]
assert views.depth is not None
depth = views.depth[0, row, column]
points = rays.origins + rays.directions * (depth / rays.cosine)[..., None]

# The way back is exact.
again, depth_again = cameras[[0]].project(points)
print(f"back in the same photo: {(again - 0.5 - torch.stack([column, row], -1)).abs().max():.1e} pixels off")
print(f"                        {(depth_again - depth).abs().max():.1e} metres off")

# In the other photo the points show the same colours, where nothing hides them.
other, depth_there = cameras[[1]].project(points)
seen = other.floor().long().clamp(torch.tensor(0), torch.tensor([159, 119]))
visible = (views.depth[1, seen[..., 1], seen[..., 0]] - depth_there).abs() < 0.02
here = views.images[0][:, row, column][:, visible]
there = views.images[1][:, seen[..., 1], seen[..., 0]][:, visible]
print(f"in the other photo:     {int(visible.sum())} of 200 visible, colours {(here - there).abs().mean():.3f} apart")
print(f"photos: {OUT}/")
