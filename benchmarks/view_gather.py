"""How fast features are gathered from views: Numba against the torch reference, in one run on one machine, and what
share of a field's time it takes beside the perceptron that each view's features go through.

    python -m benchmarks.view_gather [--repeats 5] [--output benchmarks/results/view_gather.json]

The case is a training step of GIBR's `small`: scenes seen by a ring of cameras, points along random rays of each of
them, and the view a ray belongs to skipped. Times are the least of the repeats, the twins taking turns, because other
work on the machine only ever adds time. Floors count the bytes that must move, each once, at the speed of a large copy.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.hash_grid import Times, ceilings
from benchmarks.machine import machine
from diorama.cameras.poses import look_at
from diorama.kernels.twins import Twin, use_twin
from diorama.kernels.view_gather import gather_views, pool_views

RESULTS = Path(__file__).parent / "results" / "view_gather.json"


@dataclass(frozen=True)
class Case:
    """Sizes of a training step."""

    scenes: int = 8
    views: int = 5
    rays: int = 96
    """Per view."""
    samples: int = 40
    channels: int = 24
    polar_channels: int = 8
    plane: int = 48
    polar: int = 24
    hidden: int = 48
    """Width of the perceptron's two layers."""

    @property
    def lookups(self) -> int:
        """Points times views."""
        return self.scenes * self.views * self.points

    @property
    def points(self) -> int:
        """Of a scene."""
        return self.views * self.rays * self.samples


@dataclass(frozen=True)
class Inputs:
    """What `gather_views` is given."""

    points: Tensor
    world_to_camera: Tensor
    intrinsics: Tensor
    planes: Tensor
    polar: Tensor
    skip: Tensor

    def gather(self) -> tuple[Tensor, Tensor]:
        where = (self.points, self.world_to_camera, self.intrinsics)
        return gather_views(*where, self.planes, self.polar, min_depth=0.05, skip=self.skip)


def training_step(case: Case) -> Inputs:
    """Cameras on a ring about the origin, points from half to one and a half times their distance from it."""
    g = torch.Generator().manual_seed(0)
    shape = (case.scenes, case.views)
    turn = 2 * torch.pi * (torch.arange(case.views) / case.views + torch.rand(case.scenes, 1, generator=g))
    centres = torch.stack([2 * turn.cos(), 2 * turn.sin(), torch.full(shape, 0.7)], dim=-1).reshape(-1, 3)
    poses = look_at(centres, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).reshape(*shape, 4, 4).float()
    ideal = (torch.rand(*shape, case.rays, 2, generator=g) - 0.5) / 1.1
    rays = torch.cat([ideal, torch.ones(*shape, case.rays, 1)], dim=-1) @ poses[..., :3, :3].mT
    depth = 2.1 * (0.5 + (torch.arange(case.samples) + torch.rand(*shape, case.rays, case.samples, generator=g)) / 40)
    points = poses[..., None, None, :3, 3] + depth[..., None] * rays[..., None, :]
    own = torch.eye(case.views, dtype=torch.bool).repeat_interleave(case.points // case.views, dim=1)
    maps = (
        torch.randn(*shape, channels, side, side, generator=g).requires_grad_()
        for channels, side in ((case.channels, case.plane), (case.polar_channels, case.polar))
    )
    intrinsics = torch.tensor([1.1, 1.1, 0.5, 0.5]).expand(*shape, 4)
    world_to_camera = torch.linalg.inv(poses)[..., :3, :]
    return Inputs(points.reshape(case.scenes, -1, 3), world_to_camera, intrinsics, *maps, own.expand(*shape, -1))


def time_both(forward: Callable[[], Tensor], twins: tuple[Twin, ...], repeats: int) -> dict[Twin, Times]:
    """Forward and backward of the twins, taking turns, after one turn that compiles and warms."""
    gradient, best = torch.randn_like(forward()), dict.fromkeys(twins, Times(float("inf"), float("inf")))
    for turn in range(repeats + 1):
        for twin in twins:
            with use_twin(twin):
                start = time.perf_counter()
                out = forward()
                middle = time.perf_counter()
                out.backward(gradient)
                end = time.perf_counter()
            if turn:
                best[twin] = Times(min(best[twin].forward, middle - start), min(best[twin].backward, end - middle))
    return best


def work(case: Case) -> dict[str, float]:
    """Bytes that must move: points and maps read, features and distances written; backward the other way round."""
    width = case.channels + 1 + case.polar_channels
    maps = case.scenes * case.views * (case.channels * case.plane**2 + case.polar_channels * case.polar**2)
    forward = 4 * (case.lookups * (3 / case.views + width + 1) + maps) + case.lookups
    return {"forward": forward, "backward": forward - 4 * case.lookups, "both": 2 * forward - 4 * case.lookups}


def compare(times: dict[Twin, Times], what: str) -> dict[str, float]:
    """Both twins' seconds and their ratio."""
    slow, fast = getattr(times["reference"], what), getattr(times["numba"], what)
    return {"reference_seconds": slow, "numba_seconds": fast, "ratio": slow / fast}


def measure(case: Case, repeats: int) -> dict[str, dict[Twin, Times]]:
    """Gathering, the perceptron on what was gathered, and the maximum over views of what the perceptron made of it."""
    inputs = training_step(case)
    gathered = time_both(lambda: inputs.gather()[0], ("numba", "reference"), repeats)
    features, distance = (tensor.detach() for tensor in inputs.gather())
    given = torch.cat([features, distance[..., None]], dim=-1).requires_grad_()
    perceptron = nn.Sequential(
        nn.Linear(given.shape[-1], case.hidden), nn.SiLU(), nn.Linear(case.hidden, case.hidden), nn.SiLU()
    )
    passed = time_both(lambda: perceptron(given), ("numba",), repeats)
    hidden = perceptron(given).detach().requires_grad_()
    pooled = time_both(lambda: pool_views(hidden, ~inputs.skip, "max")[0], ("numba", "reference"), repeats)
    return {"gather": gathered, "perceptron": passed, "maximum": pooled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    case, limits = Case(), ceilings(options.repeats)
    report: dict[str, object] = {"machine": machine(), "ceilings": limits, "case": asdict(case)}
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    print(f"{case.lookups} lookups; copy {limits['bytes_per_second'] / 1e9:.1f} GB/s\n")
    measured, needed = measure(case, options.repeats), work(case)
    print("  operation      what  torch ms  numba ms  ratio  floor ms")
    for name in ("gather", "maximum"):
        rows = {what: compare(measured[name], what) for what in ("forward", "backward", "both")}
        for what, row in rows.items():
            floor = ""
            if name == "gather":
                row["floor_seconds"] = needed[what] / limits["bytes_per_second"]
                floor = f"{row['floor_seconds'] * 1e3:9.1f}"
            times = f"{row['reference_seconds'] * 1e3:9.1f} {row['numba_seconds'] * 1e3:9.1f} {row['ratio']:6.1f}"
            print(f"{name:>11} {what:>9} {times} {floor}")
        report[name] = rows
    perceptron = measured["perceptron"]["numba"]
    print(f" perceptron      both {perceptron.both * 1e3:19.1f}")
    report["perceptron"] = {"forward": perceptron.forward, "backward": perceptron.backward, "both": perceptron.both}
    shares = {
        twin: measured["gather"][twin].both / (measured["gather"][twin].both + perceptron.both)
        for twin in ("numba", "reference")
    }
    print(
        f"\nshare of gathering in gathering and perceptron: {shares['numba']:.0%} ({shares['reference']:.0%} in torch)"
    )
    report["share_of_gathering"] = shares
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
