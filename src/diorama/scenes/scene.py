"""Scene: what every system returns and every verb takes."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.poses import Similarity
from diorama.cameras.rays import Rays, camera_rays
from diorama.data.views import Frame
from diorama.rendering.chunk import Chunk
from diorama.rendering.render import Background, RadianceField, SamplingConfig, background_colour, render_rays
from diorama.rendering.sampling import ray_limits
from diorama.scenes.field import OwnViewsField, SceneField
from diorama.scenes.visibility import ContextDepth, context_depth
from diorama.types import Rendering

DEFAULT_MEMORY = 2 << 30
"""Bytes a render may take for its samples when nothing else is said."""

WEIGHED_BYTES = 256
"""About how much memory a sample takes that a proposal only weighs."""


@dataclass(frozen=True)
class Scene:
    """A radiance field that knows where it lies in the user's world. Not on disk until `save`.

    field works in a normalised frame (metre-like); `similarity` leads from the user's frame into it. cameras: the
    context photos' cameras, user frame. near, far: where surfaces lie in front of them, user units. sphere: radius of
    the ball that holds everything, in normalised metres; None for unbounded scenes. provenance: method, preset, seed,
    versions, split, input hashes: JSON-ready.
    """

    field: SceneField
    sampling: SamplingConfig
    background: Background
    sphere: float | None
    similarity: Similarity
    cameras: Cameras
    names: tuple[str, ...]
    frame: Frame
    near: float
    far: float
    provenance: dict[str, Any]
    thumbnails: Float[Tensor, "view 3 h w"] | None = None
    held_out: Cameras | None = None
    """Cameras (user frame) of the photos kept for measuring, in the order of `provenance["split"]["test"]`."""

    def __call__(self, cameras: Cameras) -> Rendering:
        """A scene is a `RenderFn`."""
        return self.render(cameras)

    @torch.no_grad()
    def render(
        self,
        cameras: Cameras,
        *,
        max_memory: int = DEFAULT_MEMORY,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rendering:
        """Colour, planar depth (user units) and opacity from cameras in the user's frame.

        Cameras of different sizes give pictures padded with zeros at the right and the bottom. max_memory: bytes for
        samples; where that is still too much, fewer rays are taken at a time, with a warning, and MemoryLimitError is
        raised where a single one does not fit. progress: called with (pixels done, pixels in all).
        """
        normal = self.similarity.apply_cameras(cameras)
        sizes = [(int(w), int(h)) for w, h in cameras.size.tolist()]
        width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
        colour = torch.zeros(len(sizes), 3, height, width)
        depth, opacity = torch.zeros(len(sizes), height, width), torch.zeros(len(sizes), height, width)
        total, done = sum(w * h for w, h in sizes), 0
        for index, (w, h) in enumerate(sizes):
            rays = camera_rays(normal[index], pixel_grid(w, h).reshape(-1, 2).to(normal.focal)).to(self.field.device)
            field: RadianceField = self.field
            if isinstance(self.field, OwnViewsField):
                field = self.field.seen_from(normal.camera_to_world[index])
            through, parts = partial(self._render_some, rays, field), []
            for part in Chunk(min(w * h, self.chunk(max_memory, field)), _warn).pieces(through, w * h):
                parts.append(part)
                done += len(part[1])
                if progress is not None:
                    progress(done, total)
            rgb, distance, stopped = (torch.cat(part) for part in zip(*parts, strict=True))
            colour[index, :, :h, :w] = rgb.cpu().reshape(h, w, 3).permute(2, 0, 1)
            planar = distance * rays.cosine / self.similarity.scale
            depth[index, :h, :w] = (planar * (stopped > 1e-3)).cpu().reshape(h, w)
            opacity[index, :h, :w] = stopped.cpu().reshape(h, w)
        return Rendering(colour, depth, opacity)

    def _render_some(self, rays: Rays, field: RadianceField, here: slice) -> tuple[Tensor, Tensor, Tensor]:
        return self.render_normalised(rays[here], field)

    def render_normalised(self, rays: Rays, field: RadianceField | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, distance along the ray and opacity of rays in the normalised frame.

        field: what they go through, if not the scene's own (`scenes.field.OwnViewsField`).
        """
        near, far = ray_limits(rays, self.sampling.near, self.sampling.far, self.sphere)
        background = background_colour(self.background, len(near), None, rays.origins)
        out = render_rays(self.field if field is None else field, rays, near, far, self.sampling, background)
        return out.colour.clamp(0.0, 1.0), out.distance, out.opacity.clamp(0.0, 1.0)

    def chunk(self, max_memory: int, field: RadianceField | None = None) -> int:
        """Rays at a time: few enough for memory and the processor's caches; field as in `render_normalised`."""
        sampling, each = self.sampling, self.field.bytes_per_sample
        weighed = each if (self.field if field is None else field).proposal is None else WEIGHED_BYTES
        coloured = sampling.fine + sampling.coarse * sampling.union
        largest = 2048 if self.field.device.type == "cpu" else 1 << 17
        return max(64, min(largest, int(max_memory) // (sampling.coarse * weighed + coloured * each)))

    @torch.no_grad()
    def density(self, points: Float[Tensor, "*n xyz=3"], *, max_memory: int = DEFAULT_MEMORY) -> Float[Tensor, "*n"]:
        """Density per user unit at points of the user's frame. max_memory: bytes, as in `render`."""
        flat = self._normalised(points).reshape(-1, 3)
        parts = self._few_points(max_memory).pieces(lambda here: self.field.density(flat[here]).cpu(), len(flat))
        found = torch.cat([flat.new_zeros(0).cpu(), *parts])
        return found.reshape(points.shape[:-1]) * self.similarity.scale

    @torch.no_grad()
    def colour(
        self,
        points: Float[Tensor, "*n xyz=3"],
        directions: Float[Tensor, "*n xyz=3"],
        *,
        max_memory: int = DEFAULT_MEMORY,
    ) -> Float[Tensor, "*n rgb=3"]:
        """Colour in [0, 1] at points seen along unit directions, both in the user's frame; max_memory: as before."""
        rotation = self.similarity.rotation.to(self.field.device, torch.float32)
        turned = (directions.to(self.field.device, torch.float32) @ rotation.T).reshape(-1, 3)
        flat = self._normalised(points).reshape(-1, 3)
        parts = self._few_points(max_memory).pieces(
            lambda here: self.field(flat[here], turned[here])[1].cpu(), len(flat)
        )
        return torch.cat([flat.new_zeros(0, 3).cpu(), *parts]).reshape(points.shape)

    def _few_points(self, max_memory: int) -> Chunk:
        """Points at a time."""
        return Chunk(max(64, int(max_memory) // self.field.bytes_per_sample), _warn, "points")

    def _normalised(self, points: Float[Tensor, "*n xyz=3"]) -> Float[Tensor, "*n xyz=3"]:
        """Points of the user's frame as the field takes them."""
        return self.similarity.apply_points(points).to(self.field.device, torch.float32)

    @property
    def photographed(self) -> Cameras:
        """The cameras of `cameras` that photographs were taken with: none where all views were invented."""
        return self.cameras[:0] if self.provenance.get("photos") == {} else self.cameras

    @cached_property
    def context(self) -> ContextDepth:
        """Depth from the photographs' cameras, small: what tells seen from unseen. Drawn when first asked for."""
        return context_depth(self.photographed, self.render)

    def bounds(self) -> Float[Tensor, "two xyz=3"]:
        """Lowest and highest corner of a box in the user's frame that holds what the context photos saw.

        The box of the photos' view frustums from near to far, cut at the ball that holds the field where there is one.
        """
        cameras, corners = self.cameras, []
        for index in range(len(cameras)):
            size = cameras.size[index].to(cameras.focal)
            frame = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]]).to(size) * size
            directions = cameras[index].unproject(frame)
            directions = directions / directions[:, 2:].clamp_min(1e-3)
            rotation, origin = cameras.camera_to_world[index, :3, :3], cameras.origins[index]
            corners += [directions * depth @ rotation.T + origin for depth in (self.near, self.far)]
        points = torch.cat(corners)
        low, high = points.amin(0), points.amax(0)
        if self.sphere is not None:
            centre = self.similarity.inverse().apply_points(torch.zeros(1, 3, dtype=torch.float64))[0].to(low)
            reach = self.sphere / self.similarity.scale
            low, high = torch.maximum(low, centre - reach), torch.minimum(high, centre + reach)
        return torch.stack([low, high])

    def save(self, path: Path | str, *, force: bool = False) -> Path:
        """Write the scene as a folder; see `scenes.storage.save_scene`."""
        from diorama.scenes.storage import save_scene

        return save_scene(self, path, force=force)


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=4)
