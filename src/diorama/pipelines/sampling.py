"""Scenes drawn from a multi-view model: photographs (or none) and cameras in, scenes in the user's frame out.

Photographs become squares of the model's size, several of a long one; cameras are normalised, further cameras are added
for which the model invents pictures (`cameras.cover`), and every draw of `systems.gibr.sample` becomes one `Scene`.
"""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

import diorama
from diorama.cameras.cover import CoverConfig, cover
from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.cameras.poses import Similarity, capture_shape, gaze
from diorama.cameras.undistortion import undistorted_cameras
from diorama.data.multiview import MultiViews, normalise_cameras
from diorama.data.scale import scene_scale
from diorama.data.square import crop_cameras, on_background, square_tiles, straightened
from diorama.data.view_choice import viewing_distance
from diorama.data.views import Frame, Views
from diorama.diffusion.samplers import noise_from_seeds
from diorama.errors import InputError, ViewsError
from diorama.fields.build import sample_bytes
from diorama.fields.ib_planes import OwnPlane, Planes
from diorama.fields.sampled_planes import SampledPlanes
from diorama.pipelines.fit_run import Say, quiet
from diorama.pipelines.workspace import input_hashes
from diorama.rendering.render import Background
from diorama.scenes.config import to_json
from diorama.scenes.scene import DEFAULT_MEMORY, Scene
from diorama.streams import stream
from diorama.systems.gibr import GIBR, GIBRSampling, Sample, sample
from diorama.types import Rendering

LEAST_VIEWS = 4
"""Fewer views than this are never given to a model, noisy ones counted."""

FIELD_OF_VIEW = math.radians(55.0)
"""Along the longer side of a photograph that says nothing of its lens."""

SHOWN = (2, 128)
"""Context pictures have so many times the model's pixels along their shorter side, at least so many, and no more than
the photos have."""

ONE_PLACE = 1e-5
"""Cameras that are no farther apart than this (units of the normalised frame) stand in one place."""

WEIGHED, DRAWN = 64, 24
"""Samples of a ray of a sampled scene: so many only looked up (`SampledPlanes.proposal`), so many asked for colour."""

LEAST_CHUNK = 64
"""Rays at a time, however little memory is allowed."""

WIDE_APART = 2.0
"""Focal lengths that differ by more than this factor are remarked on."""


@dataclass(frozen=True)
class ExtraViews:
    """How many cameras are added, for which the model invents pictures."""

    count: int | None = None
    """Exactly so many; None: as many as make the views at least those the model learned from, and at least four."""
    least: int = 1
    """At least so many, unless `count` says otherwise: what is drawn at random are their pictures alone."""
    where: CoverConfig = CoverConfig()

    def under(self, sampling: GIBRSampling) -> "ExtraViews":
        """The same, or with two cameras at least where guidance compares with these alone."""
        return replace(self, least=max(self.least, 2)) if sampling.guidance else self

    def beside(self, given: int, trained: int) -> int:
        """How many are added to so many given views. InputError where that makes fewer than two views in all."""
        count = max(self.least, max(LEAST_VIEWS, trained) - given) if self.count is None else self.count
        if count < 0 or given + count < 2:
            raise InputError(
                f"{given} photos and {count} further cameras. A model renders every view from the others: two views "
                "are needed. Give more photos, or let it add cameras."
            )
        return count


@dataclass(frozen=True)
class Question:
    """What a model is asked: one scene, the given views first, then those that it invents.

    views: normalised, on the CPU; a long photograph is several of them. given: how many of them are of photographs.
    similarity leads from the user's frame there. context: what the scene shows as its photographs, whole, lenses
    straightened, cameras in the user's frame. cameras: of all views, user frame. notes: what was done and why, a line
    each.
    """

    views: MultiViews
    given: int
    similarity: Similarity
    context: Views
    cameras: Cameras
    background: Background
    hashes: dict[str, str]
    notes: tuple[str, ...]

    @property
    def extra(self) -> Cameras:
        """The invented views' cameras, user frame."""
        return self.cameras[self.given :]

    @property
    def in_one_place(self) -> bool:
        """Whether all given views were taken from one place, so that they show no depth."""
        places = self.views.camera_to_world[0, : self.given, :3, 3]
        return len(places) > 0 and bool((places - places[0]).norm(dim=-1).amax() <= ONE_PLACE)


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


# What is asked -------------------------------------------------------------------------------------------------------


def question_of(
    model: GIBR,
    views: Views,
    *,
    extra: ExtraViews = ExtraViews(),
    known_distance: float | None = None,
    poses: Cameras | None = None,
) -> Question:
    """Photographs as a model is asked about them.

    poses: cameras of the same capture in the user's frame, whose photos may be held out: where a single given camera
    leaves the scale open, they tell it.
    """
    if len(views) == 0:
        raise InputError("there are no photos. Give one at least; `diorama generate` makes scenes from none.")
    photos, notes = with_camera(views)
    assert photos.cameras is not None
    notes += remarks(photos, model)
    if photos.object is not None:
        photos = on_background(photos, 1.0)
        notes.append("objects are put before a white background, and the scene is drawn so")
    square, cut = square_tiles(photos, model.config.pixels)
    notes.append(f"crop: {cut}")
    assert square.cameras is not None
    assert photos.cameras is not None
    middle = crop_cameras(undistorted_cameras(photos.cameras), model.config.pixels)
    distance, told = distance_of(photos, known_distance, poses)
    notes.append(f"scale: {told}")
    normal, similarity = normalise_cameras(middle, 0, known_distance=distance)
    tiles, back = similarity.apply_cameras(square.cameras), similarity.inverse()
    count = extra.beside(len(square), model.config.views)
    more = cover(normal, count, config=extra.where)
    notes.append(f"{len(views)} photos are given, {count} further views are invented")
    notes += more_than_learned(model, len(square) + count)
    more_there = back.apply_cameras(more).to(square.cameras.focal.device, square.cameras.focal.dtype)
    return Question(
        one_scene(square.images, join_cameras([tiles, more])),
        len(square),
        similarity,
        shown_whole(photos, shown_side(photos, model.config.pixels)),
        join_cameras([square.cameras, more_there]),
        "white" if photos.object is not None else model.config.background,
        input_hashes(views),
        tuple(notes),
    )


def shown_whole(photos: Views, side: int) -> Views:
    """Photographs as a scene shows them: lenses straightened, the shortest side of all of them `side` pixels."""
    straight, _ = straightened(photos)
    assert straight.cameras is not None
    cameras = straight.cameras
    share = side / int(cameras.size.amin())
    sizes = (cameras.size * share).round().long().tolist()
    height, width = (max(1, round(share * length)) for length in straight.images.shape[-2:])
    small = [cameras[index : index + 1].resize(*one) for index, one in enumerate(sizes)]
    images = interpolate(straight.images[:, :3], (height, width), mode="area" if share < 1 else "bilinear")
    return Views(images, straight.names, join_cameras(small), frame=straight.frame, layout=straight.layout)


def more_than_learned(model: GIBR, views: int) -> tuple[str, ...]:
    """What is said of more views than the model learned from; else nothing."""
    learned = model.config.views
    if views <= learned:
        return ()
    return (f"{views} views at once; the model learned from {learned}, more may serve it less",)


def one_scene(images: Float[Tensor, "given 3 s s"], cameras: Cameras) -> MultiViews:
    """Normalised cameras and the pictures of the first of them; the others' are left black."""
    side = images.shape[-1]
    blank = torch.zeros(len(cameras) - len(images), 3, side, side)
    return MultiViews(
        torch.cat([images[:, :3], blank])[None],
        cameras.camera_to_world[None].float(),
        cameras.focal[None].float(),
        cameras.centre[None].float(),
        torch.zeros(1, len(cameras), side, side),
    )


def with_camera(views: Views) -> tuple[Views, list[str]]:
    """The views; a single one without a camera becomes the world, with a lens from EXIF or a guessed one.

    Raises ViewsError for several views without cameras.
    """
    if views.cameras is not None:
        return views, []
    if len(views) > 1:
        raise ViewsError(f"{len(views)} photos without cameras. Find them first: diorama pose PHOTOS -o POSED.")
    size = views.true_sizes.clone()
    hint = math.nan if views.focal_hints is None else float(views.focal_hints[0])
    focal = hint if math.isfinite(hint) else 0.5 * float(size.amax()) / math.tan(0.5 * FIELD_OF_VIEW)
    camera = Cameras.pinhole(torch.eye(4)[None], torch.full((1, 2), focal), 0.5 * size.float(), size)
    source = "EXIF" if math.isfinite(hint) else f"a guess of {math.degrees(FIELD_OF_VIEW):.0f} degrees across"
    note = f"{views.names[0]} has no pose: its camera is the frame, its focal length {focal:.0f} px from {source}"
    posed = replace(views, cameras=camera, focal_hints=None, sizes=None, frame=Frame(f"the camera of {views.names[0]}"))
    return posed, [note]


def remarks(photos: Views, model: GIBR) -> list[str]:
    """What is unusual about photographs, in words."""
    assert photos.cameras is not None
    cameras, notes = photos.cameras, []
    if photos.ignore is not None and bool(photos.ignore.any()):
        notes.append("ignored pixels are shown to the model all the same: it knows no masks")
    relative = cameras.focal[:, 0] / photos.true_sizes.amin(-1).to(cameras.focal)
    ratio = float(relative.amax() / relative.amin())
    if ratio > WIDE_APART:
        notes.append(f"focal lengths differ by a factor of {ratio:.1f}; invented views have the median one")
    if len(photos) > 1 and viewing_distance(cameras) is None:
        notes.append(f"all {len(photos)} cameras stand in one place, which shows no depth: they count as one")
    elif len(photos) > 1 and capture_shape(cameras) == "inside-out":
        notes.append("the cameras look outwards, or share no point: where no two photos overlap, depth is a guess")
    least = int(photos.true_sizes.amin())
    if least < model.config.pixels:
        notes.append(f"a photo of {least} px is enlarged to the model's {model.config.pixels}")
    return notes


def distance_of(photos: Views, known: float | None, poses: Cameras | None) -> tuple[float | None, str]:
    """How far the given cameras are from what they show (user units; None: they tell themselves), and who says so."""
    assert photos.cameras is not None
    if known is not None:
        return known, f"{known:g} user units from the cameras to what they show, as given"
    own = viewing_distance(photos.cameras)
    if own is not None:
        return None, f"the cameras look at a point {own:.4g} user units ahead"
    if poses is not None and viewing_distance(poses) is not None:
        focus = gaze(poses)[0]
        away = float((photos.cameras.origins.double() - focus.double()).norm(dim=-1).median())
        if away > 0:
            told = f"all {len(poses)} cameras of the capture, held out or not, look at a point"
            return away, f"{told} {away:.4g} user units from the given one"
    measured = scene_scale(photos)
    if "camera geometry" not in measured.source:
        return measured.median_depth, f"a median depth of {measured.median_depth:.4g} user units by {measured.source}"
    return None, "nothing tells it; what the camera shows is put one user unit ahead"


def shown_side(photos: Views, pixels: int) -> int:
    """Pixels a side of the context pictures of a scene."""
    times, least = SHOWN
    return max(pixels, min(max(times * pixels, least), int(photos.true_sizes.amin())))


# What is drawn -------------------------------------------------------------------------------------------------------


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
    largest = 2048 if next(model.parameters()).device.type == "cpu" else 1 << 15
    return max(LEAST_CHUNK, min(largest, max_memory // ray_bytes))
