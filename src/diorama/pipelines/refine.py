"""Sampled scenes as the start of a fit: what several samples agree on, where no photograph shows the surface."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from diorama.cameras.cover import cover
from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.cameras.poses import Similarity
from diorama.data.square import crop_cameras, tile_cameras
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.nets.pretrained import shipped
from diorama.pipelines.draw import DrawRun
from diorama.pipelines.fit import Geometry, sure_depth
from diorama.pipelines.priors import SHIPPED_PRIOR, open_prior
from diorama.priors.prior import Prior
from diorama.priors.sampled import SampledViews
from diorama.scenes.scene import DEFAULT_MEMORY, Scene
from diorama.scenes.storage import load_scene
from diorama.scenes.visibility import ContextDepth, context_depth, known_depth, observe
from diorama.types import Rendering

DRAWN = "drawn"
"""Of unfinished work: the folder of the sampled scenes that a fit starts from."""


@dataclass(frozen=True)
class RefineConfig:
    """From where, and how finely, sampled scenes are looked at."""

    pixels: int = 48
    """Side of the pictures: that of the model, which knows nothing finer."""
    views: int = 12
    """Cameras besides those of the photographs."""


def prior_beside() -> Prior | None:
    """What a fit asks besides the samples: the patch prior that comes with the package, if one does."""
    return open_prior(None) if SHIPPED_PRIOR in shipped() else None


def drawn_views(run: DrawRun, train: Views, similarity: Similarity, stereo: ContextDepth | None) -> SampledViews:
    """Samples of the training photos as a fit hears them: drawn before an interruption, or drawn now and kept.

    similarity: from the user's frame to the fit's. stereo: what photographs tell of depth.
    InputError for a single photo, which no fit can be made of.
    """
    if train.cameras is None or len(train) < 2:
        raise InputError(f"{len(train)} photo to refine from; a fit needs two with cameras. Leave --refine out.")
    found = None if run.work is None else run.work.sampled()
    if found is None:
        scenes, config = drawn_scenes(run, train), RefineConfig(pixels=run.model.config.pixels)
        found = sampled_views(scenes, train.cameras, similarity, config, stereo=stereo, max_memory=run.limit)
        if run.work is not None:
            run.work.save_sampled(found)
    run.say(heard(found, run.model.config.pixels))
    return found


def drawn_scenes(run: DrawRun, train: Views) -> list[Scene]:
    """All samples of the training photos; each is kept in the unfinished work as soon as it is drawn."""
    asked = run.question(train)
    if run.work is None:
        return [run.one(asked, index, None, {}) for index in range(run.drawing.count)]
    folders = run.kept(asked, None, {}, run.work.folder / DRAWN)
    return [load_scene(folder, run.device) for folder in folders]


def sampled_views(
    scenes: Sequence[Scene],
    photos: Cameras,
    similarity: Similarity,
    config: RefineConfig = RefineConfig(),
    *,
    stereo: ContextDepth | None = None,
    max_memory: int = DEFAULT_MEMORY,
    tick: Callable[[], None] | None = None,
) -> SampledViews:
    """Mean and spread over samples of one scene, seen from the photographs' places and from around them.

    photos: the photographs' own cameras, whole, user frame: what they show counts as observed (by the first sample's
    depth). similarity: from the user's frame to the fit's, in which the result is. stereo: the photographs' measured
    depth (`stereo_depth`). max_memory: bytes for the samples of rays. tick: called after each rendering.
    InputError where there is no sample.
    """
    if not scenes:
        raise InputError("there is no sampled scene to start a fit from. Draw one sample at least.")
    first = scenes[0]
    cameras = looked_from(first, config)
    seen = []
    for scene in scenes:
        seen.append(scene.render(cameras, max_memory=max_memory))
        if tick is not None:
            tick()
    colour = torch.stack([one.colour for one in seen])
    deviation = colour.var(0).mean(1).sqrt() if len(seen) > 1 else torch.zeros_like(seen[0].depth)
    depth = mean_depth(seen) * similarity.scale
    observed = observe(context_depth(photos, partial(first.render, max_memory=max_memory)), cameras, seen[0]).visible
    placed = torch.zeros_like(observed) if stereo is None else observe(stereo, cameras, seen[0]).visible
    moved = similarity.apply_cameras(cameras).to(torch.float32)
    cut_out = first.background == "white"
    return SampledViews(moved, colour.mean(0), deviation, depth.float(), observed, placed, cut_out)


def stereo_depth(train: Views, geometry: Geometry) -> ContextDepth | None:
    """The photographs' stereo depth as far as it is sure (user frame); None where none was measured."""
    if geometry.depth is None or geometry.confidence is None or train.cameras is None:
        return None
    return known_depth(train.cameras, sure_depth(geometry.depth, geometry.confidence, train))


def looked_from(scene: Scene, config: RefineConfig) -> Cameras:
    """The squares of a sampled scene's photographs and places around them, user frame, with few pixels."""
    normal = scene.similarity.apply_cameras(scene.cameras)
    more = cover(crop_cameras(normal, config.pixels), config.views)
    return scene.similarity.inverse().apply_cameras(join_cameras([tile_cameras(normal, config.pixels), more]))


def mean_depth(seen: Sequence[Rendering]) -> torch.Tensor:
    """Planar depth (view h w), the mean over samples of its inverse, turned back; 0 where any of them met nothing."""
    depths = torch.stack([one.depth for one in seen])
    solid = (depths > 0).all(0)
    inverse = (1.0 / depths.clamp_min(1e-12)).mean(0)
    return torch.where(solid, 1.0 / inverse, torch.zeros_like(inverse))


def heard(views: SampledViews, pixels: int) -> str:
    """What the samples have to say, in one line."""
    unseen, open_depth = (float((~part).float().mean()) for part in (views.observed, views.placed))
    doubt = float(views.deviation.mean())
    return (
        f"{len(views.colour)} sampled views of {pixels} pixels: {unseen:.0%} of their pixels show what no photo does, "
        f"{open_depth:.0%} what stereo has no depth for; samples differ by {doubt:.3f} on average"
    )
