"""The fit on a capture of many photos: PSNR against wall time, Numba against the torch reference, peak memory.

    python -m benchmarks.fit --data ../shared/data/fox

The named setting (fox at 135 x 240, every eighth photo held out, seconds of fitting alone) is the one a peer was
measured in. Ratios come from one run; absolute times belong to the machine that is named beside them.
"""

import json
import math
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.machine import machine
from diorama.data.open import open_views
from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.kernels.twins import use_twin
from diorama.pipelines.fit import as_scene, build, measure_geometry, plan_fit, seconds_per_step
from diorama.pipelines.presets import PresetName
from diorama.scenes.scene import Scene
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential


@dataclass(frozen=True)
class Options:
    """PSNR against wall time on one capture."""

    data: Path
    """Folder of posed photos."""
    seconds: float = 120.0
    """Seconds of measuring geometry and of fitting; compiling the kernels and measuring PSNR are not counted."""
    max_side: int = 240
    preset: PresetName = "laptop"
    seeds: tuple[int, ...] = (0,)
    reference_steps: int = 4
    """Steps timed at each of five places with the torch reference kernels; 0 leaves that out."""
    output: Path = Path("benchmarks/results/fit.json")


def main(options: Options) -> dict[str, Any]:
    """Run, print and write the figures."""
    views = open_views(options.data, max_side=options.max_side)
    split = make_split(views, "every8", None)
    train, test = views[views.index_of(split.train)], views[views.index_of(split.test)]
    size = f"{views.images.shape[-1]}x{views.images.shape[-2]}"
    print(f"{options.data.name} at {size}: {len(train)} photos, {len(test)} held out ({split.digest[:12]})")
    result: dict[str, Any] = {
        "setting": f"{options.data.name} at {size}, every eighth photo held out, preset {options.preset}",
        "split": split.digest, "seconds": options.seconds, "machine": machine(), "runs": [],
    }  # fmt: skip
    if options.reference_steps:
        result["step"] = step_ratio(train, options)
    for seed in options.seeds:
        result["runs"].append(curve(train, test, options, seed))
    result["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(f"peak memory {result['peak_memory_gb']} GB")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1))
    return result


def step_ratio(train: Views, options: Options) -> dict[str, float]:
    """Seconds per training step with Numba and with the torch reference, by turns in one run."""
    plan = plan_fit(train, measure_geometry(train, stereo=False), options.preset)
    times: dict[str, list[float]] = {"numba": [], "reference": []}
    for _ in range(3):
        times["numba"].append(seconds_per_step(plan, 0, "cpu"))
        with use_twin("reference"):
            times["reference"].append(seconds_per_step(plan, 0, "cpu", options.reference_steps))
    fast, slow = min(times["numba"]), min(times["reference"])
    print(f"training step: Numba {1e3 * fast:.1f} ms, torch reference {1e3 * slow:.1f} ms, ratio {slow / fast:.1f}")
    return {"numba_ms": 1e3 * fast, "reference_ms": 1e3 * slow, "ratio": slow / fast}


def curve(train: Views, test: Views, options: Options, seed: int) -> dict[str, Any]:
    """One fit that is stopped by the clock, looked at six times on the way."""
    since = time.perf_counter()
    geometry = measure_geometry(train, stereo=options.preset != "paper")
    measuring = time.perf_counter() - since
    plan = plan_fit(train, geometry, options.preset)
    each = seconds_per_step(plan, seed, "cpu")
    steps = int((options.seconds - measuring) / each)
    system = build(plan, steps, seed, "cpu")
    optimizer = adam(system, plan.preset.optim)
    looks = {max(1, round(steps * share)) for share in (1 / 12, 1 / 6, 1 / 3, 1 / 2, 3 / 4, 1)}
    points, spent, since = [], measuring, time.perf_counter()
    for step, _ in train_steps(system, optimizer, exponential(plan.preset.optim, steps), range(steps)):
        if step + 1 not in looks:
            continue
        spent += time.perf_counter() - since
        scene = as_scene(plan, system, train, test, geometry.scale, {})
        value, rate = held_out_psnr(scene, test)
        points.append({"step": step + 1, "seconds": round(spent, 1), "psnr": round(value, 3), "rays_per_second": rate})
        print(
            f"seed {seed}: step {step + 1:5d}, {spent:6.1f} s, {value:.2f} dB, {rate:,.0f} rays/s rendered", flush=True
        )
        since = time.perf_counter()
    speed = steps / (spent - measuring)
    return {"seed": seed, "geometry_seconds": measuring, "steps": steps, "steps_per_second": speed, "curve": points}


def held_out_psnr(scene: Scene, test: Views) -> tuple[float, float]:
    """Mean PSNR (dB) over the held-out photos at full size, and rays rendered per second."""
    assert test.cameras is not None
    start = time.perf_counter()
    seen = scene.render(test.cameras)
    seconds = time.perf_counter() - start
    errors = (seen.colour - test.images).square().flatten(1).mean(1)
    return sum(-10 * math.log10(float(e)) for e in errors) / len(errors), int(seen.depth.numel() / seconds)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
