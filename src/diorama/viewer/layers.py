"""What a browser window shows: the rendered picture behind everything, and the photographs as frusta in front."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.rotations import rotation_to_quaternion
from diorama.rendering.false_colour import colour_counts, colour_depth, fade
from diorama.scenes.visibility import Observed
from diorama.types import Rendering
from diorama.viewer.exhibit import DISTANCE, Exhibit, World, vertical_fov

if TYPE_CHECKING:
    import viser

Mode = Literal["colour", "depth", "observed"]
"""observed: how many photographs saw what is there."""

PHOTOGRAPH, DENOISED = (240, 140, 40), (90, 170, 250)
"""Colours of the frusta: orange of photographs, blue of views that are denoised."""

DEPTH_STEP = 65536 / 100_000
"""viser packs depth into three bytes and the browser blends neighbouring pixels of each byte on its own. Multiples of
this step use one byte alone, which may be blended."""

DEPTH_LIMIT = 255 * DEPTH_STEP
"""The deepest depth of such an image; stands for nothing there."""


def show_picture(client: "viser.ClientHandle", picture: Rendering, world: World, image: Float[Tensor, "3 h w"]) -> None:
    """Put an image behind the frusta of a browser window; what is nearer in its rendering (one view) hides what is
    behind."""
    levels = (image.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).cpu().numpy()
    client.scene.set_background_image(
        np.ascontiguousarray(levels), format="jpeg", jpeg_quality=92, depth=background_depth(picture, world)
    )


def image_of(
    picture: Rendering,
    mode: Mode,
    near: float,
    far: float,
    *,
    observed: Observed | None = None,
    photographs: int = 0,
) -> Float[Tensor, "3 h w"]:
    """A rendering (one view) as a mode shows it; in colour, what was `observed` by none of the photographs is pale."""
    if mode == "depth":
        return colour_depth(picture.depth[0], picture.opacity[0], near, far)
    colour = picture.colour[0]
    if observed is None:
        return colour
    if mode == "observed":
        relief = 0.5 + 0.5 * colour.mean(0)
        return torch.where(observed.surface[0], colour_counts(observed.count[0], photographs) * relief, 0.0)
    return fade(colour, observed.occluded[0], observed.outside[0])


def background_depth(picture: Rendering, world: World) -> np.ndarray:
    """Depth of a picture in the viewer's world, in steps that survive blending; far away where nothing is."""
    depth = picture.depth[0].double() * world.scale
    solid = (picture.opacity[0] > 0.5) & torch.isfinite(depth) & (depth > 0)
    steps = (torch.where(solid, depth, DEPTH_LIMIT) / DEPTH_STEP).round().clamp(1, 255)
    return (steps * DEPTH_STEP + 1e-6).cpu().numpy()


def add_photographs(
    client: "viser.ClientHandle", exhibit: Exhibit, world: World, size: float, step: int | None = None
) -> "list[viser.CameraFrustumHandle]":
    """The photographs of an exhibit where they were taken; `size` is relative to the distance of the photographers.

    A click on one takes the window's camera there. step: of the denoising, whose views stand in their place.
    """
    handles, cameras, pictures, tint = [], exhibit.cameras, exhibit.thumbnails, PHOTOGRAPH
    if step is not None and exhibit.denoising is not None:
        cameras, pictures, tint = exhibit.denoising.cameras, exhibit.denoising.images(step), DENOISED
    positions = world.to_viewer(cameras.origins.cpu())
    for index in range(len(cameras)):
        camera = cameras[index]
        fov, aspect = vertical_fov(camera)
        picture = None
        if pictures is not None:
            picture = (pictures[index].clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).cpu().numpy()
        handle = client.scene.add_camera_frustum(
            f"/photographs/{index:04d}",
            fov,
            aspect,
            scale=size * DISTANCE,
            thickness=2.0,
            thickness_units="screen",
            color=tint,
            image=None if picture is None else np.ascontiguousarray(picture),
            format="jpeg",
            wxyz=rotation_to_quaternion(camera.camera_to_world[:3, :3].cpu()).numpy(),
            position=tuple(positions[index].tolist()),
            cast_shadow=False,
            receive_shadow=False,
        )

        def go_there(_: object, camera: Cameras = camera) -> None:
            place(client, world, camera.camera_to_world.double().cpu(), vertical_fov(camera)[0])

        handle.on_click(go_there)
        handles.append(handle)
    return handles


def hide_near(client: "viser.ClientHandle", photographs: "list[viser.CameraFrustumHandle]", size: float) -> None:
    """Hide the photographs that a window's camera stands in: they would frame everything else."""
    for handle in photographs:
        away = float(np.linalg.norm(np.asarray(handle.position) - client.camera.position))
        visible = away > 1.2 * size * DISTANCE
        if handle.visible != visible:
            handle.visible = visible


def stand_at(client: "viser.ClientHandle", exhibit: Exhibit, world: World, index: int) -> None:
    """Put the window's camera where a photograph was taken, with that photograph's field of view."""
    camera = exhibit.cameras[index]
    pose = camera.camera_to_world.double().cpu()
    place(client, world, pose, vertical_fov(camera)[0])


def place(client: "viser.ClientHandle", world: World, pose: torch.Tensor, fov: float | None = None) -> None:
    """Put the window's camera at a camera-to-world pose (4, 4) of the user's frame, turning around what it looks at."""
    position = world.to_viewer(pose[:3, 3])
    with client.atomic():
        client.camera.up_direction = (-pose[:3, 1]).numpy()
        client.camera.position = position.numpy()
        client.camera.look_at = (position + DISTANCE * pose[:3, 2]).numpy()
        if fov is not None:
            client.camera.fov = fov
