"""How fast the hash grid is: Numba against the torch reference, in one run on one machine, and against its roofline.

    python -m benchmarks.hash_grid [--points 131072] [--repeats 5] [--output benchmarks/results/hash_grid.json]

Times are the least of the repeats, the twins taking turns, because other work on the machine only ever adds time.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.machine import machine
from diorama.kernels.compositing import composite
from diorama.kernels.hash_grid import GridLayout, grid_layout, hash_encode
from diorama.kernels.twins import Twin, use_twin

RESULTS = Path(__file__).parent / "results" / "hash_grid.json"
CASES = ((16, 19, 2), (12, 17, 2), (17, 21, 2))
"""(levels, log2 of the table size, features): the prototype's, that of `laptop`, and the paper's."""


@dataclass(frozen=True)
class Times:
    """Seconds of one twin."""

    forward: float
    backward: float

    @property
    def both(self) -> float:
        return self.forward + self.backward


def least(function: Callable[[], object], repeats: int) -> float:
    """Least seconds of several calls, after one that compiles and warms."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def ceilings(repeats: int) -> dict[str, float]:
    """What the machine does on a large copy (bytes read and written per second) and a large float32 matmul."""
    source, target = torch.ones(2**26), torch.empty(2**26)
    left, right = torch.rand(2048, 2048), torch.rand(2048, 2048)
    return {
        "bytes_per_second": 2 * source.nbytes / least(lambda: target.copy_(source), repeats),
        "flops_per_second": 2 * 2048**3 / least(lambda: left @ right, repeats),
    }


def ray_points(count: int) -> torch.Tensor:
    """Points as a fit asks for them: 64 along each of many random chords of the unit cube."""
    g = torch.Generator().manual_seed(0)
    rays = -(-count // 64)
    near, far = torch.rand(2, rays, 1, 3, generator=g)
    return torch.lerp(near, far, torch.linspace(0, 1, 64)[:, None]).reshape(-1, 3)[:count].contiguous()


def time_twins(layout: GridLayout, features: int, points: torch.Tensor, repeats: int) -> dict[Twin, Times]:
    """Forward and backward of both twins, taking turns."""
    g = torch.Generator().manual_seed(1)
    table = torch.randn(layout.entries, features, generator=g).requires_grad_()
    gradient = torch.randn(len(points), layout.levels * features, generator=g)
    best: dict[Twin, Times] = {}
    for turn in range(repeats + 1):
        for twin in ("numba", "reference"):
            if twin == "reference" and turn > max(2, repeats // 2):
                continue
            table.grad = None
            with use_twin(twin):
                start = time.perf_counter()
                out = hash_encode(points, table, layout)
                middle = time.perf_counter()
                out.backward(gradient)
                end = time.perf_counter()
            last = best.get(twin, Times(float("inf"), float("inf")))
            if turn:
                best[twin] = Times(min(last.forward, middle - start), min(last.backward, end - middle))
    return best


def work(layout: GridLayout, features: int, points: int) -> dict[str, dict[str, float]]:
    """Least bytes and FLOPs of forward and backward, every corner counted as a read from memory of its own."""
    visits = points * layout.levels
    shares = 16  # three axes' places and weights, and their eight products
    rows, in_and_out = visits * 8 * features * 4, points * 12 + visits * features * 4
    flops = visits * (shares + 16 * features)
    return {
        "forward": {"bytes": rows + in_and_out, "flops": flops},
        "backward": {"bytes": 2 * rows + in_and_out + layout.entries * features * 4, "flops": flops},
    }


def compare(
    times: dict[Twin, Times], needed: dict[str, dict[str, float]], what: str, limits: dict[str, float]
) -> dict[str, float]:
    """Both twins' seconds, their ratio, and the roofline's floor: the longer of moving the bytes and of the sums."""
    parts = list(needed.values()) if what == "both" else [needed[what]]
    total = {unit: sum(part[unit] for part in parts) for unit in ("bytes", "flops")}
    slow, fast = getattr(times["reference"], what), getattr(times["numba"], what)
    floor = max(total[unit] / limits[f"{unit}_per_second"] for unit in total)
    return {"reference_seconds": slow, "numba_seconds": fast, "ratio": slow / fast, "floor_seconds": floor} | total


def compositing_times(repeats: int) -> dict[Twin, float]:
    """Forward and backward of compositing 4096 rays of 48 bins."""
    g = torch.Generator().manual_seed(2)
    density = torch.rand(4096, 48, generator=g, requires_grad=True)
    colour = torch.rand(4096, 48, 3, generator=g, requires_grad=True)
    edges = torch.rand(4096, 49, generator=g).cumsum(-1)
    times: dict[Twin, float] = {}

    def step() -> None:
        rgb, depth, _, _ = composite(density, colour, edges)
        (rgb.sum() + depth.sum()).backward()

    for twin in ("numba", "reference"):
        with use_twin(twin):
            times[twin] = least(step, 4 * repeats)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=131072)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    limits = ceilings(options.repeats)
    report: dict[str, object] = {"machine": machine(), "ceilings": limits, "points": options.points}
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    print(f"copy {limits['bytes_per_second'] / 1e9:.1f} GB/s, sgemm {limits['flops_per_second'] / 1e9:.0f} GFLOP/s\n")
    points, rows = ray_points(options.points), []
    print("levels  table      what  torch ms  numba ms  ratio  floor ms   GB/s")
    for levels, log2_size, features in CASES:
        layout = grid_layout(levels, 16, 2048, log2_size)
        times = time_twins(layout, features, points, options.repeats)
        needed = work(layout, features, len(points))
        measured = {what: compare(times, needed, what, limits) for what in ("forward", "backward", "both")}
        for what, row in measured.items():
            print(
                f"{levels:6d} {'2^' + str(log2_size):>6} {what:>9} {row['reference_seconds'] * 1e3:9.1f}"
                f" {row['numba_seconds'] * 1e3:9.1f} {row['ratio']:6.1f} {row['floor_seconds'] * 1e3:9.1f}"
                f" {row['bytes'] / row['numba_seconds'] / 1e9:6.1f}"
            )
        rows.append({"levels": levels, "log2_table_size": log2_size, "features": features} | measured)
    compositing = compositing_times(options.repeats)
    slow, fast = compositing["reference"], compositing["numba"]
    print(f"\ncompositing 4096 x 48, both ways: {slow * 1e3:.2f} and {fast * 1e3:.2f} ms, ratio {slow / fast:.1f}")
    report |= {"hash_grid": rows, "compositing_seconds": compositing}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
