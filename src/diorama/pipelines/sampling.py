"""Scenes drawn from a multi-view model: every draw of `systems.gibr.sample` becomes one `Scene` in the user's frame.

What the model is asked is made of photographs by `question`.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import diorama
from diorama.cameras.pinhole import Cameras
from diorama.data.views import Views
from diorama.diffusion.samplers import noise_from_seeds
from diorama.fields.build import sample_bytes
from diorama.fields.ib_planes import OwnPlane, Planes
from diorama.fields.sampled_planes import SampledPlanes
from diorama.pipelines.fit_run import Say, quiet
from diorama.pipelines.question import ExtraViews, Question, question_of
from diorama.scenes.config import to_json
from diorama.scenes.scene import DEFAULT_MEMORY, Scene
from diorama.streams import stream
from diorama.systems.gibr import GIBR, GIBRSampling, Sample, sample
from diorama.types import Rendering

WEIGHED, DRAWN = 64, 24
"""Samples of a ray of a sampled scene: so many only looked up (`SampledPlanes.proposal`), so many asked for colour."""

LEAST_CHUNK = 64
"""Rays at a time, however little memory is allowed."""


@dataclass(frozen=True)
class Denoised:
    """Where the drawing of a scene stands."""

    step: int
    """Steps done, from 1."""
    steps: int
    images: Float[Tensor, "view 3 h w"]
    """All views as the model would have them now, in [0, 1]."""
    scene: Callable[[], Scene]
    """The scene behind them."""


def sample_scenes(
    model: GIBR,
    views: Views,
    *,
    samples: int = 1,
    seed: int = 0,
    sampling: GIBRSampling = GIBRSampling(),
    extra: ExtraViews = ExtraViews(),
    known_distance: float | None = None,
    max_memory: int = DEFAULT_MEMORY,
    say: Say = quiet,
    seen: Callable[[int, Denoised], None] | None = None,
) -> list[Scene]:
    """Scenes that show what posed photographs (or a single one without a pose) show, and invent the rest.

    Sample number k is the same however many are drawn. known_distance: from the cameras to what they show, user units,
    where it is known. max_memory: bytes for the rays in flight. seen: told the number of the sample and where it
    stands, after every step.
    Raises InputError for what the caller can mend, SamplingError where the model answers with what is not a number.
    """
    asked = question_of(model, views, extra=extra.under(sampling), known_distance=known_distance)
    for note in asked.notes:
        say(note)
    scenes = []
    for index in range(samples):
        told = None if seen is None else (lambda state, index=index: seen(index, state))
        drawn = draw_scene(
            model, asked, index, seed=seed, sampling=sampling, max_memory=max_memory, say=say, seen=told
        )  # fmt: skip
        scenes.append(drawn)
    return scenes


def draw_scene(
    model: GIBR,
    asked: Question,
    index: int = 0,
    *,
    seed: int = 0,
    sampling: GIBRSampling = GIBRSampling(),
    provenance: dict[str, Any] | None = None,
    max_memory: int = DEFAULT_MEMORY,
    say: Say = quiet,
    seen: Callable[[Denoised], None] | None = None,
) -> Scene:
    """Sample number `index` of a question, on the model's device; seed and number alone decide it.

    max_memory: bytes for the rays in flight; where that is still too much, less is tried, and said.
    """
    device = next(model.parameters()).device
    views = asked.views.to(device)
    given = torch.arange(views.images.shape[1], device=device)[None] < asked.given
    if asked.in_one_place:  # such views are one, which cannot tell depth
        sampling = replace(sampling, given_first=False)
    started = time.perf_counter()
    about = (provenance or {}) | {
        "method": "gibr", "seed": seed, "sample": index, "steps": sampling.steps, "sampling": to_json(sampling),
        "weights": model.checksum, "photos": asked.hashes, "question": list(asked.notes),
        "extra_cameras": described(asked.extra),
        "versions": {"diorama": diorama.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip

    def scene_of(drawn: Sample) -> Scene:
        return as_scene(model, asked, drawn, about, sampling.final_own_plane)

    def told(step: int, steps: int, images: Tensor, planes: Planes) -> None:
        if seen is not None:
            seen(Denoised(step + 1, steps, images[0], lambda: scene_of(Sample(images, planes))))

    chunk = chunk_of(model, sampling, views.images.shape[1], max_memory)
    noise = noise_from_seeds([seed_of(seed, index)])
    drawn = sample(model, views, given, noise, sampling, chunk=chunk, say=say, seen=told)
    about["seconds"] = round(time.perf_counter() - started, 2)
    side = model.config.pixels
    scene, each = with_limits(scene_of(drawn), side, max_memory)
    about["seconds_per_frame"] = {"side": side, "seconds": round(each, 3)}
    say(
        f"sample {index}: {about['seconds']:.1f} s for {sampling.steps} steps; a frame of {side} x {side} takes "
        f"{each:.2f} s"
    )
    return scene


def seed_of(seed: int, index: int) -> int:
    """The seed of one sample's noise."""
    return stream(seed, "gibr sample", index).initial_seed()


def as_scene(
    model: GIBR, asked: Question, drawn: Sample, provenance: dict[str, Any], own_plane: OwnPlane = "keep"
) -> Scene:
    """A draw as a scene in the user's frame; near and far stand about what the cameras look at until measured.

    Without photographs the invented views stand in for them. own_plane: see `GIBRSampling.final_own_plane`.
    """
    context = asked.context
    assert context.cameras is not None
    unit = 1.0 / asked.similarity.scale
    return Scene(
        field=SampledPlanes.of(drawn.planes, model.field, own_plane=own_plane),
        sampling=replace(model.config.sampling, coarse=WEIGHED, fine=DRAWN, union=False),
        background=asked.background,
        sphere=None,
        similarity=asked.similarity,
        cameras=context.cameras,
        names=context.names,
        frame=context.frame,
        near=0.3 * unit,
        far=4.0 * unit,
        provenance=provenance,
        thumbnails=context.images[:, :3] if asked.given else drawn.images[0].cpu(),
    )


def with_limits(scene: Scene, side: int, max_memory: int = DEFAULT_MEMORY) -> tuple[Scene, float]:
    """The scene with near and far as its context cameras see them, and the seconds that one of their pictures took.

    side: pixels of the pictures. max_memory: bytes for their samples.
    """
    started = time.perf_counter()
    seen = scene.render(scene.cameras.resize(side, side), max_memory=max_memory)
    each = (time.perf_counter() - started) / len(scene.cameras)
    near, far = depth_limits(seen) or (scene.near, scene.far)
    return replace(scene, near=near, far=far), each


def depth_limits(seen: Rendering) -> tuple[float, float] | None:
    """Between which depths nearly all surfaces lie: 2 % and 98 %, at most 20 times the median; None without any."""
    depth = seen.depth[(seen.opacity > 0.5) & torch.isfinite(seen.depth) & (seen.depth > 0)].double()
    if len(depth) < 2:
        return None
    near, middle, far = depth[:: 1 + len(depth) // 1_000_000].quantile(torch.tensor([0.02, 0.5, 0.98]).double())
    far = torch.minimum(far, 20 * middle)
    return (float(near), float(far)) if far > near else None


def described(cameras: Cameras) -> list[dict[str, Any]]:
    """Pinhole cameras as plain numbers."""
    parts = (cameras.camera_to_world, cameras.focal, cameras.centre, cameras.size)
    rows = zip(*(part.tolist() for part in parts), strict=True)
    return [dict(zip(("camera_to_world", "focal", "centre", "size"), row, strict=True)) for row in rows]


def chunk_of(model: GIBR, sampling: GIBRSampling, views: int, max_memory: int) -> int:
    """Rays at a time, within a limit of memory; a processor's caches hold no more than the largest of a CPU."""
    ray_bytes = (sampling.coarse + sampling.fine) * sample_bytes(model.config.planes, views)
    largest = 1024 if next(model.parameters()).device.type == "cpu" else 1 << 15
    return max(LEAST_CHUNK, min(largest, max_memory // ray_bytes))
