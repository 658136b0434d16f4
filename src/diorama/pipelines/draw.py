"""Samples of a multi-view model as scenes on disk: one after the other, each whole or absent, together in the end."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diorama.cameras.pinhole import Cameras
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.pipelines.fit_run import Callback, Progress, Say, quiet
from diorama.pipelines.priors import Method
from diorama.pipelines.sampling import Denoised, ExtraViews, Question, draw_scene, question_of
from diorama.pipelines.uncertainty import SPREAD, STORED_SIDE, Several, gather_samples, make_samples, save_spread
from diorama.pipelines.workspace import Workspace
from diorama.scenes.config import to_json
from diorama.scenes.scene import DEFAULT_MEMORY, Scene
from diorama.scenes.storage import load_scene, save_scene
from diorama.systems.gibr import GIBR, GIBRSampling

SPREAD_SCALE = 2
"""Pictures of the spread have at most so many times the model's pixels a side."""


@dataclass(frozen=True)
class Drawing:
    """How many samples are drawn of the same photos, and how."""

    samples: int = 1
    sampling: GIBRSampling = GIBRSampling()
    extra: ExtraViews = ExtraViews()
    distance: float | None = None
    """From the cameras to what they show, user units, where it is known."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"{self.samples} samples were asked for; at least 1 is needed.")
        if self.distance is not None and not 0 < self.distance < float("inf"):
            raise InputError(f"a distance of {self.distance} was given; it must be positive, in units of the cameras.")


def settled_drawing(
    drawing: Drawing | int | None,
    method: Method,
    several: Several | None,
    steps: int | None,
    budget: str | float | None,
    *,
    refine: bool = False,
) -> Drawing | None:
    """How samples are drawn, None for a fit; InputError where what was asked for is of the other kind of method.

    refine: a fit starts from the samples, so what steers fits is welcome.
    """
    if method != "gibr":
        if refine:
            raise InputError(f"{method} draws no samples that a fit could refine. Use --method gibr --refine.")
        if drawing not in (None, 1, Drawing()):
            raise InputError(
                f"several samples, or settings of a sampler, were asked for, and {method} draws none. Use --method "
                "gibr; several fits are --uncertainty N."
            )
        return None
    if not refine and (several is not None or steps is not None or budget is not None):
        raise InputError(
            "gibr fits nothing without --refine: steps, a budget and --uncertainty are of fits. Use --sampler-steps, "
            "and --samples N for several scenes and their spread."
        )
    return Drawing(drawing) if isinstance(drawing, int) else drawing or Drawing()


@dataclass(frozen=True)
class DrawRun:
    """Samples that may be drawn, stopped and gone on with."""

    model: GIBR
    drawing: Drawing
    seed: int = 0
    work: Workspace | None = None
    max_memory: int | None = None
    callback: Callback | None = None
    say: Say = quiet

    def of_photos(
        self,
        train: Views,
        test: Views,
        poses: Cameras | None,
        provenance: dict[str, Any],
        output: Path | None,
        *,
        force: bool = False,
    ) -> Scene:
        """The first of all samples of the photos in `train`; the others and the spread lie beside it in `output`.

        test: photos that are held out. poses: cameras of all photos; see `sampling.question_of`.
        """
        asked = question_of(
            self.model, train, poses=poses, known_distance=self.drawing.distance,
            extra=self.drawing.extra.under(self.drawing.sampling),
        )  # fmt: skip
        for note in asked.notes:
            self.say(note)
        held = test.cameras if len(test) else None
        if self.work is None or output is None:
            return self.one(asked, 0, held, provenance)
        started = time.perf_counter()

        def make(index: int, place: Path) -> None:
            save_scene(self.one(asked, index, held, provenance), place)

        folders = make_samples(make, self.drawing.samples, self.work.folder)
        if len(folders) > 1:
            self.say(f"the spread of {len(folders)} samples is drawn from all photos' cameras")
            device = next(self.model.parameters()).device
            scenes = [quickly(load_scene(folder, device)) for folder in folders]
            save_spread(folders[0], scenes, min(STORED_SIDE, SPREAD_SCALE * self.model.config.pixels))
            self.say(f"{output / SPREAD}: how much the samples disagree, where the photos do not decide")
        gather_samples(folders, output, force=force)
        self.work.finish()
        self.say(f"{time.perf_counter() - started:.1f} s for all of it")
        return load_scene(output, next(self.model.parameters()).device)

    def one(self, asked: Question, index: int, held: Cameras | None, provenance: dict[str, Any]) -> Scene:
        """One sample; the callback hears of every step."""
        started = time.perf_counter()

        def seen(state: Denoised) -> None:
            if self.callback is not None:
                since = time.perf_counter() - started
                self.callback(
                    Progress(state.step, state.steps, since, {}, None, state.scene, sample=index, replaced=True)
                )

        about = provenance | {"samples": self.drawing.samples, "drawing": to_json(self.drawing)}
        scene = draw_scene(
            self.model, asked, index, seed=self.seed, sampling=self.drawing.sampling, provenance=about,
            max_memory=self.max_memory or DEFAULT_MEMORY, say=self.say, seen=seen,
        )  # fmt: skip
        return replace(scene, held_out=held)


def quickly(scene: Scene) -> Scene:
    """The scene with fewer samples along each ray: half the time, and enough for small pictures."""
    return replace(scene, sampling=replace(scene.sampling, coarse=16, fine=16, union=False))
