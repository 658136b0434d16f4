"""Learn what a spiral looks like and draw new points of it: a diffusion prior on one page. 30 seconds on one core.

A small network learns to see the noise in points of a plane. It then makes points out of noise, and tells anywhere
which way the spiral lies: the score, all that a 3D fit asks of a prior. Writes a picture: data, samples, and the score
at three noise levels.
"""

import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import nn

from diorama.diffusion.grids import karras_times
from diorama.diffusion.guidance import clamped
from diorama.diffusion.noise import discrete_cosine
from diorama.diffusion.objective import UniformTimes, denoising_loss, draw_times
from diorama.diffusion.parameterize import as_denoiser, score
from diorama.diffusion.samplers import dpm_solver, noise_from_seeds, pure_noise

STEPS, BATCH, SIDE, OUT = 4000, 512, 360, Path("out/03_tiny_prior.png")
torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
schedule = discrete_cosine()
layers = nn.Sequential(nn.Linear(26, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
layers.append(nn.Linear(128, 2))


def spiral(count):
    turn = torch.rand(count, 1, generator=generator).sqrt() * 3.5 * math.pi
    points = torch.cat([turn.cos(), turn.sin()], dim=1) * turn / 6.0
    return points + 0.04 * torch.randn(count, 2, generator=generator)


def network(x, log_snr):  # the noise in x
    waves = torch.cat([x, log_snr[:, None] / 10.0], dim=1)[:, None] * torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None]
    return layers(torch.cat([x, waves.flatten(1).sin(), waves.flatten(1).cos()], dim=1))


optimiser = torch.optim.Adam(layers.parameters(), lr=2e-3)
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
for step in range(1, STEPS + 1):
    t = draw_times(UniformTimes(), schedule, BATCH, generator, stratified=True)
    noise = torch.randn(BATCH, 2, generator=generator)
    loss = denoising_loss(network, spiral(BATCH), noise, t, schedule, clock=schedule.log_snr).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    decay.step()
    if step % 1000 == 0:
        print(f"step {step:4d}: squared error of the noise {loss.item():.3f}")

denoiser = as_denoiser(network, schedule, clock=schedule.log_snr)
seeded = noise_from_seeds(range(2000))  # point 7 is the same in any batch
start = pure_noise((2000, 2), schedule, seeded)
samples = dpm_solver(clamped(denoiser, -2.5, 2.5), start, schedule, karras_times(schedule, 40, smallest=0.01))
for name, points in (("other data", spiral(2000)), ("samples", samples)):
    print(f"mean distance from {name} to the nearest data {torch.cdist(points, spiral(2000)).amin(1).mean():.3f}")

picture = Image.new("RGB", (5 * SIDE, SIDE), "white")
draw = ImageDraw.Draw(picture)


def place(panel, point):
    return (panel + 0.45 + point[0] / 4.4) * SIDE, (0.45 - point[1] / 4.4) * SIDE


for panel, points in enumerate((spiral(2000), samples, *(spiral(4000),) * 3)):
    draw.point([place(panel, point) for point in points.tolist()], fill="black" if panel < 2 else "darkgray")
grid = torch.cartesian_prod(torch.linspace(-1.8, 2.2, 21), torch.linspace(-2.2, 1.8, 21))
for panel, level in enumerate((0.08, 0.2, 0.5), start=2):
    arrows = score(denoiser, grid, torch.full((len(grid),), level), schedule).detach()
    tips = grid + 0.17 * arrows / (arrows.norm(dim=1, keepdim=True) + 0.5)
    for foot, tip in zip(grid.tolist(), tips.tolist(), strict=True):
        draw.line([place(panel, foot), place(panel, tip)], fill="firebrick")
        draw.ellipse([value + shift for shift in (-1.5, 1.5) for value in place(panel, foot)], fill="firebrick")
OUT.parent.mkdir(exist_ok=True)
picture.save(OUT)
print(f"wrote {OUT}")
