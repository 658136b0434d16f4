"""One fit from its plan to its end: steps, checkpoints, callbacks, the look at held-out pixels."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diorama.data.views import Views
from diorama.pipelines.fit import Geometry, HeldOut, Plan, as_scene, build
from diorama.pipelines.workspace import Workspace
from diorama.scenes.scene import Scene
from diorama.systems.diffusionerf import DiffusioNeRF
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential
from diorama.training.watch import Watch, WatchConfig


@dataclass(frozen=True)
class Progress:
    """Where a fit stands, as callbacks see it."""

    step: int
    steps: int
    seconds: float
    losses: dict[str, float]
    psnr: float | None
    """PSNR (dB) over a sample of held-out pixels at the last look; None without held-out photos."""
    scene: Callable[[], Scene]
    """The scene as it is now."""
    sample: int = 0
    """Which of several fits or samples this is (`pipelines.uncertainty`)."""
    replaced: bool = False
    """Whether `scene` is another one after every step (samples) rather than one that changes (fits)."""


CHECKPOINT_SECONDS = 30.0
"""Between checkpoints, or as rarely as keeps them under 5 % of the time."""

Callback = Callable[[Progress], None]
Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Say nothing."""
    del line


@dataclass
class FitRun:
    """A fit that may be run, stopped and gone on with."""

    plan: Plan
    geometry: Geometry
    train: Views
    test: Views
    watched: HeldOut | None
    work: Workspace | None
    callback: Callback | None
    seed: int
    device: str
    say: Say = quiet
    sample: int = 0

    def to_the_end(self, steps: int, provenance: dict[str, Any]) -> Scene:
        """Run (or go on) until all steps are taken."""
        system = build(self.plan, steps, self.seed, self.device)
        optimizer = adam(system, self.plan.preset.optim)
        first, before = self.work.resume(system, optimizer) if self.work else (0, 0.0)
        rate = exponential(self.plan.preset.optim, steps)
        started = saved = time.perf_counter()
        pause, psnr, done, watch = CHECKPOINT_SECONDS, None, first, Watch()
        look = max(steps // 20, 50)

        def scene() -> Scene:
            return self.scene(system, provenance)

        try:
            for step, losses in train_steps(system, optimizer, rate, range(first, steps), self.say):
                watch.look(step, {"photometric": losses["photometric"]}, WatchConfig())
                done = step + 1
                now = time.perf_counter()
                if self.watched is not None and (done % look == 0 or done == steps):
                    psnr = self.watched.psnr(system)
                if self.callback is not None:
                    self.callback(Progress(done, steps, before + now - started, losses, psnr, scene, self.sample))
                if self.work is not None and now - saved > pause and done < steps and watch.calm:
                    self.work.save(system, optimizer, done, before + now - started)
                    saved = time.perf_counter()
                    pause = max(CHECKPOINT_SECONDS, 20.0 * (saved - now))
        except KeyboardInterrupt:
            if self.work is not None and done > first and watch.calm:
                self.work.save(system, optimizer, done, before + time.perf_counter() - started)
            raise
        provenance["seconds"] = round(before + time.perf_counter() - started, 1)
        provenance["held_out_sample_psnr"] = psnr
        if system.at_once is not None:
            provenance["rays_at_once"] = system.at_once
        if system.guide is not None:
            ratios = [[step, round(tau, 4), float(f"{ratio:.3g}")] for step, tau, ratio in system.measurements()]
            loudness = float(system.prior_scale)
            provenance["prior_used"] = system.guide.describe() | {"loudness": loudness, "gradient_ratios": ratios}
        system.open_levels(steps)
        return self.scene(system, provenance)

    def scene(self, system: DiffusioNeRF, provenance: dict[str, Any]) -> Scene:
        """The field as it is now, as a scene."""
        return as_scene(self.plan, system, self.train, self.test, self.geometry.scale, provenance)
