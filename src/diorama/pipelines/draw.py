"""Samples of a multi-view model as scenes on disk: one after the other, each whole or absent, together in the end."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.pipelines.fit_run import Callback, Progress, Say, quiet
from diorama.pipelines.priors import Method
from diorama.pipelines.question import ExtraViews, Question, question_of
from diorama.pipelines.sampling import Denoised, draw_scene
from diorama.pipelines.uncertainty import SPREAD, STORED_SIDE, Several, gather_samples, make_samples, save_spread
from diorama.pipelines.workspace import Workspace
from diorama.scenes.config import to_json
from diorama.scenes.denoising import Denoising, save_with_denoising
from diorama.scenes.scene import DEFAULT_MEMORY, Scene
from diorama.scenes.storage import load_scene, save_scene
from diorama.systems.gibr import GIBR, GIBRSampling

REFINED_SAMPLES = 4
"""Drawn where a fit starts from them and nobody says how many: one alone cannot tell what to doubt."""

SPREAD_SCALE = 2
"""Pictures of the spread have at most so many times the model's pixels a side."""


@dataclass(frozen=True)
class Drawing:
    """How many samples are drawn of the same photos, and how."""

    samples: int | None = None
    """Unset: 1, or `REFINED_SAMPLES` where a fit starts from them."""
    sampling: GIBRSampling = GIBRSampling()
    extra: ExtraViews = ExtraViews()
    distance: float | None = None
    """From the cameras to what they show, user units, where it is known."""
    keep_steps: bool = False
    """Store with every scene what its views looked like after every step (`scenes.denoising`)."""

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise InputError(f"{self.samples} samples were asked for; at least 1 is needed.")
        if self.count > 1 and self.extra.count == 0:
            raise InputError(
                f"{self.count} samples were asked for, and no invented views: the photos alone decide then, and all "
                "samples are alike. Ask for one, or let the model add cameras."
            )
        if self.distance is not None and not 0 < self.distance < float("inf"):
            raise InputError(f"a distance of {self.distance} was given; it must be positive, in units of the cameras.")

    @property
    def count(self) -> int:
        """How many samples: as said, else one."""
        return 1 if self.samples is None else self.samples


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

    refine: a fit starts from the samples, so what steers fits is welcome, and several are drawn unless one is asked for
    or nothing is drawn at random. The result says how many.
    """
    if method != "gibr":
        if refine:
            raise InputError(f"{method} draws no samples that a fit could refine. Use --method gibr --refine.")
        if drawing not in (None, 1, Drawing(), Drawing(1)):
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
    drawing = Drawing(drawing) if isinstance(drawing, int) else drawing or Drawing()
    several_by_default = refine and drawing.samples is None and drawing.extra.count != 0
    return replace(drawing, samples=REFINED_SAMPLES if several_by_default else drawing.count)


@dataclass(frozen=True, kw_only=True)
class DrawProgress(Progress):
    """Where the drawing of a sample stands, as callbacks see it.

    images: all views as the model would have them now, in [0, 1], given ones first. cameras: theirs, user frame.
    """

    images: Float[Tensor, "view 3 h w"]
    cameras: Cameras


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

    @property
    def limit(self) -> int:
        """Bytes for the rays in flight."""
        return DEFAULT_MEMORY if self.max_memory is None else self.max_memory

    @property
    def device(self) -> torch.device:
        """Where the model is, and the scenes."""
        return next(self.model.parameters()).device

    def question(self, train: Views, poses: Cameras | None = None) -> Question:
        """What the model is asked about photos, said aloud. poses: see `question.question_of`."""
        asked = question_of(
            self.model, train, poses=poses, known_distance=self.drawing.distance,
            extra=self.drawing.extra.under(self.drawing.sampling),
        )  # fmt: skip
        for note in asked.notes:
            self.say(note)
        return asked

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

        test: photos that are held out. poses: cameras of all photos; see `question.question_of`.
        """
        asked = self.question(train, poses)
        held = test.cameras if len(test) else None
        if self.work is None or output is None:
            return self.one(asked, 0, held, provenance)
        started = time.perf_counter()
        folders = self.kept(asked, held, provenance, self.work.folder)
        if len(folders) > 1:
            self.say(f"the spread of {len(folders)} samples is drawn from all photos' cameras")
            scenes = [quickly(load_scene(folder, self.device)) for folder in folders]
            side = min(STORED_SIDE, SPREAD_SCALE * self.model.config.pixels)
            save_spread(folders[0], scenes, side, max_memory=self.limit)
            self.say(f"{output / SPREAD}: how much the samples disagree, where the photos do not decide")
        gather_samples(folders, output, force=force)
        self.work.finish()
        self.say(f"{time.perf_counter() - started:.1f} s for all of it")
        return load_scene(output, self.device)

    def kept(self, asked: Question, held: Cameras | None, provenance: dict[str, Any], folder: Path) -> list[Path]:
        """Where all samples lie as scenes below a folder; those that are whole there are not drawn again."""

        def make(index: int, place: Path) -> None:
            scene, denoising = self.drawn(asked, index, held, provenance)
            if self.drawing.keep_steps:
                save_with_denoising(scene, denoising, place)
            else:
                save_scene(scene, place)

        return make_samples(make, self.drawing.count, folder)

    def one(self, asked: Question, index: int, held: Cameras | None, provenance: dict[str, Any]) -> Scene:
        """One sample; the callback hears of every step."""
        return self.drawn(asked, index, held, provenance)[0]

    def drawn(
        self, asked: Question, index: int, held: Cameras | None, provenance: dict[str, Any]
    ) -> tuple[Scene, Denoising]:
        """As `one`, and what the views looked like after every step."""
        started, cameras, steps = time.perf_counter(), asked.cameras, list[Tensor]()

        def seen(state: Denoised) -> None:
            steps.append(state.images.cpu())
            if self.callback is not None:
                since = time.perf_counter() - started
                progress = DrawProgress(
                    state.step, state.steps, since, {}, None, state.scene, sample=index, replaced=True,
                    images=steps[-1], cameras=cameras,
                )  # fmt: skip
                self.callback(progress)

        about = provenance | {"samples": self.drawing.count, "drawing": to_json(self.drawing)}
        scene = draw_scene(
            self.model, asked, index, seed=self.seed, sampling=self.drawing.sampling, provenance=about,
            max_memory=self.limit, say=self.say, seen=seen,
        )  # fmt: skip
        return replace(scene, held_out=held), Denoising.of(cameras, steps)


def quickly(scene: Scene) -> Scene:
    """The scene with fewer samples along each ray: half the time, and enough for small pictures."""
    return replace(scene, sampling=replace(scene.sampling, coarse=16, fine=16, union=False))
