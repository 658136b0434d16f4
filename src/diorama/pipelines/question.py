"""What a multi-view model is asked: photographs (or none) and cameras in the user's frame, as views in its own.

Photographs become squares of the model's size, several of a long one; cameras are normalised, and further cameras are
added for which the model invents pictures (`cameras.cover`).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from diorama.cameras.cover import CoverConfig, cover
from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.cameras.poses import Similarity, capture_shape, gaze
from diorama.cameras.undistortion import undistorted_cameras
from diorama.data.multiview import MultiViews, normalise_cameras
from diorama.data.scale import scene_scale
from diorama.data.square import crop_cameras, on_background, square_tiles, straightened
from diorama.data.view_choice import viewing_distance
from diorama.data.views import Frame, Views
from diorama.errors import InputError, ViewsError
from diorama.pipelines.workspace import input_hashes
from diorama.rendering.render import Background
from diorama.systems.gibr import GIBR, GIBRSampling

LEAST_VIEWS = 4
"""Fewer views than this are never given to a model, noisy ones counted."""

FIELD_OF_VIEW = math.radians(55.0)
"""Along the longer side of a photograph that says nothing of its lens."""

SHOWN = (2, 128)
"""Context pictures have so many times the model's pixels along their shorter side, at least so many, and no more than
the photos have."""

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
                f"{given} views of photos and {count} further cameras. A model renders every view from the others: two "
                "views are needed. Give more photos, or let it add cameras."
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
        """Whether there is one photograph, or all were taken from one place, so that they show no depth."""
        return self.context.cameras is None or viewing_distance(self.context.cameras) is None


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
    if not model.config.denoises and extra.count is None:
        extra = replace(extra, count=0)
        notes.append("the model learned to regress: nothing is invented, and what photos do not show is a guess")
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
    """Photographs as a scene shows them: lenses straightened, the shortest side of all of them `side` pixels.

    images: 3 channels, padded as in `photos`; cameras: user frame, each with a size of its own."""
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
