"""One browser window: its camera, what it shows, and the pictures drawn for it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from diorama.cameras.pinhole import Cameras
from diorama.cameras.rotations import quaternion_to_rotation
from diorama.scenes.visibility import Observed
from diorama.types import Rendering
from diorama.viewer.exhibit import Exhibit, depth_range, window, world_of
from diorama.viewer.layers import Mode, add_photographs, hide_near, image_of, show_picture
from diorama.viewer.painting import PaintConfig, Speed, fitting, ladder, observed_coarsely, paint

if TYPE_CHECKING:
    import viser

log = logging.getLogger(__name__)


class Window:
    """Draws for one client. `advance` does the next small piece of work, whoever calls it.

    lock: held while drawing, so that windows take turns. speed: shared by the windows of a server.
    """

    def __init__(
        self,
        client: "viser.ClientHandle",
        exhibit: Exhibit,
        *,
        lock: AbstractContextManager,
        speed: Speed,
        config: PaintConfig,
    ) -> None:
        self.client, self.config = client, config
        self.exhibit, self.world = exhibit, world_of(exhibit)
        self.mode: Mode = "colour"
        self.fade = False
        """Whether what no photograph saw is pale."""
        self.largest = config.largest
        self.photographs: list[viser.CameraFrustumHandle] = []
        self.photograph_size = 0.08
        self.step: int | None = None
        """Of the denoising, whose views stand in place of the photographs; None: the photographs."""
        self.last: Rendering | None = None
        self.shown = threading.Event()
        """Set whenever a picture has been sent."""
        self.wake = threading.Event()
        self.closed = False
        self.lock, self._speed = lock, speed
        self._moved, self._shown_at = True, 0.0
        self._work: Iterator[Rendering | None] | None = None
        self._camera: Callable[[int, int, tuple[int, int]], Cameras] | None = None

    def look_at(self, exhibit: Exhibit) -> None:
        """Show another exhibit: its photographs, and a new picture."""
        self.exhibit, self.world, self.step = exhibit, world_of(exhibit), None
        self.show_photographs()
        self.moved()

    def show_photographs(self) -> None:
        """(Re)draw the frusta; none if their size is 0."""
        for handle in self.photographs:
            handle.remove()
        self.photographs = []
        if self.photograph_size > 0:
            self.photographs = add_photographs(
                self.client, self.exhibit, self.world, self.photograph_size, self.step
            )  # fmt: skip

    def show_step(self, step: int | None) -> None:
        """Put the views of a step of the denoising in place of the photographs; None: the photographs again."""
        self.step = step
        self.show_photographs()

    def moved(self) -> None:
        """The camera moved, or something else made the picture out of date: start again, coarse."""
        self._moved = True
        self.wake.set()

    def changed(self) -> None:
        """The scene changed under a resting camera: draw one picture of medium size, without going back to coarse."""
        if self.idle and time.perf_counter() - self._shown_at > self.config.live_pause:
            seconds = self.config.live_seconds
            width, height = self.canvas()
            most = min(self.largest, width * height, self._speed.pixels_per_second * seconds)
            self._work = self._paint([fitting(most, width, height)])

    def recolour(self) -> None:
        """Show the last picture again, in another mode; one that asks what was seen is left to who draws."""
        if self._asks_what_was_seen:
            self.moved()
        elif self.last is not None:
            self._show(self.last)

    @property
    def _asks_what_was_seen(self) -> bool:
        wanted = self.mode == "observed" or (self.mode == "colour" and self.fade)
        return wanted and self.exhibit.observed is not None

    def canvas(self) -> tuple[int, int]:
        """Width and height of the window in pixels."""
        return max(1, self.client.camera.image_width), max(1, self.client.camera.image_height)

    @property
    def idle(self) -> bool:
        """Whether the finest picture of the resting camera is on show."""
        return self._work is None and not self._moved

    def camera(self) -> Callable[[int, int, tuple[int, int]], Cameras]:
        """The window's camera as it is now, in the user's frame: a function of (width, height, rows)."""
        handle, world = self.client.camera, self.world
        position = torch.as_tensor(handle.position).double().clone()
        rotation = quaternion_to_rotation(torch.as_tensor(handle.wxyz).double())
        fov, aspect = float(handle.fov), float(handle.aspect)

        def snapshot(width: int, height: int, rows: tuple[int, int]) -> Cameras:
            return window(world, position, rotation, fov=fov, aspect=aspect, width=width, height=height, rows=rows)

        return snapshot

    def sizes(self) -> list[tuple[int, int]]:
        """The pictures to draw after a move, coarse to fine."""
        width, height = self.canvas()
        config = replace(self.config, largest=min(self.config.largest, self.largest))
        return ladder(self._speed.pixels_per_second, width, height, config)

    def advance(self) -> bool:
        """Draw the next strip, and show a picture that got finished; False if there was nothing to do."""
        if self.closed:
            return False
        if self._moved:
            self._moved = False
            self._work = self._paint(self.sizes())
        if self._work is None:
            return False
        with self.lock:
            picture = next(self._work, self)
        if picture is self:
            self._work = None
        elif isinstance(picture, Rendering):
            self._show(picture)
        return True

    def run(self) -> None:
        """Draw until the window is closed: the body of the window's thread."""
        while not self.closed:
            try:
                if not self.advance():
                    self.wake.wait(timeout=1.0)
                    self.wake.clear()
            except Exception as error:  # a fault in a scene must be seen, and must not end the window
                if not self.closed:
                    log.exception("drawing failed")
                    self.client.add_notification("Drawing failed", f"{type(error).__name__}: {error}", color="red")
                self._work = None

    def _paint(self, sizes: list[tuple[int, int]]) -> Iterator[Rendering | None]:
        self._camera = self.camera()
        return paint(self.exhibit.render, self._camera, sizes, self._speed, self.config)

    def _show(self, picture: Rendering) -> None:
        near, far = depth_range(self.exhibit, self.world)
        hide_near(self.client, self.photographs, self.photograph_size)
        observed: Observed | None = None
        if self.exhibit.observed is not None and self._camera is not None and self._asks_what_was_seen:
            with self.lock:
                observed = observed_coarsely(self.exhibit.observed, self._camera, picture, self.config)
        photographs = len(self.exhibit.cameras)
        image = image_of(picture, self.mode, near, far, observed=observed, photographs=photographs)
        show_picture(self.client, picture, self.world, image)
        self.last, self._shown_at = picture, time.perf_counter()
        self.shown.set()

    def close(self) -> None:
        """Stop drawing."""
        self.closed = True
        self.wake.set()
