"""The viewer: scenes live in a browser, drawn here and sent as pictures, from a `RenderFn`."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.errors import InputError
from diorama.scenes.denoising import Denoising
from diorama.types import RenderFn
from diorama.viewer.exhibit import DISTANCE, Exhibit, ObservedFn, vertical_fov, world_of
from diorama.viewer.layers import stand_at
from diorama.viewer.painting import PaintConfig, Speed
from diorama.viewer.panels import Panel
from diorama.viewer.window import Window

if TYPE_CHECKING:
    import viser


class Viewer:
    """A web server that shows exhibits; every browser window has its own camera.

    Two ways to run. By itself (`live=False`): a thread per window draws from coarse to fine while its camera rests.
    Beside a fit (`live=True`): nothing is drawn but within `update`, which the fit calls between its steps, so that
    the field is never read while it changes, and the fit keeps most of the processor.
    """

    def __init__(
        self,
        render: RenderFn,
        cameras: Cameras,
        *,
        name: str = "scene",
        host: str = "127.0.0.1",
        port: int = 8080,
        live: bool = False,
        config: PaintConfig | None = None,
        thumbnails: Float[Tensor, "view 3 h w"] | None = None,
        near: float | None = None,
        far: float | None = None,
        paths: Mapping[str, Cameras] | None = None,
        observed: ObservedFn | None = None,
        denoising: Denoising | None = None,
    ) -> None:
        """Start to serve one exhibit (see `Exhibit` for its parts); `add` shows more.

        Raises InputError where no port from `port` on is free, or the host is not this machine's.
        """
        self.live, self.config = live, config or PaintConfig()
        first = Exhibit(name, render, cameras, thumbnails, near, far, paths or {}, observed, denoising)
        self.exhibits = [first]
        self.windows: dict[int, Window] = {}
        self.panels: dict[int, Panel] = {}
        self.lock = threading.Lock()
        self._speed, self._spent, self._since = Speed(), 0.0, time.perf_counter()
        self._status = ""
        self.server = start_server(host, port)
        self.host, self.port = host, self.server.get_port()
        self._first_view()
        self.server.on_client_connect(self._open)
        self.server.on_client_disconnect(self._close)

    @staticmethod
    def of(exhibit: Exhibit, *, host: str = "127.0.0.1", port: int = 8080) -> "Viewer":
        """A viewer of one exhibit."""
        return Viewer(
            exhibit.render,
            exhibit.cameras,
            name=exhibit.name,
            host=host,
            port=port,
            thumbnails=exhibit.thumbnails,
            near=exhibit.near,
            far=exhibit.far,
            paths=exhibit.paths,
            observed=exhibit.observed,
            denoising=exhibit.denoising,
        )

    @property
    def url(self) -> str:
        """Where to look."""
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def add(self, exhibit: Exhibit) -> None:
        """Show one more scene; windows choose by name."""
        if any(exhibit.name == other.name for other in self.exhibits):
            raise InputError(f"two scenes are called {exhibit.name}. Give each a name of its own.")
        self.exhibits.append(exhibit)
        for panel in list(self.panels.values()):
            panel.refresh_scenes()

    def update(self, step: int, steps: int | None = None, *, render: RenderFn | None = None, note: str = "") -> None:
        """The fit took a step: say so, and draw for whoever watches, within a share of the time (`live_share`).

        render: replaces what draws the first exhibit, where the fit makes a new one. Costs nothing when nobody
        watches. Call it from the thread that fits.
        """
        if render is not None:
            self.exhibits[0] = replace(self.exhibits[0], render=render)
        if not self.windows:
            self._since, self._spent = time.perf_counter(), 0.0
            return
        share = self.config.live_share
        while self._spent <= share * (time.perf_counter() - self._since):
            start = time.perf_counter()
            drew = [self._advance(window) for window in list(self.windows.values())]
            self._spent += time.perf_counter() - start
            if not any(drew):
                break
        if time.perf_counter() - self._since > 5.0:
            self._since, self._spent = time.perf_counter(), 0.0
            self._status = f"step {step}" + (f" of {steps}" if steps else "") + (f", {note}" if note else "")
            for panel in list(self.panels.values()):
                panel.say(self._status)

    def pace(self, config: PaintConfig) -> None:
        """How long pictures may take from now on, in windows that are open too."""
        self.config = config
        for window in list(self.windows.values()):
            window.config = config

    def show_denoising(self, denoising: Denoising | None) -> None:
        """Show the views of the last step of the first exhibit's denoising, in every window; None: the photographs."""
        self.exhibits[0] = replace(self.exhibits[0], denoising=denoising)
        for window in list(self.windows.values()):
            window.exhibit = replace(window.exhibit, denoising=denoising)
            window.show_step(None if denoising is None else len(denoising) - 1)

    def finish(self, render: RenderFn | None = None, *, thumbnails: Float[Tensor, "view 3 h w"] | None = None) -> None:
        """The fit is over: from now on draw in threads, to full size. thumbnails: new ones of the photographs."""
        first = replace(self.exhibits[0], denoising=None)
        first = first if render is None else replace(first, render=render)
        self.exhibits[0] = first if thumbnails is None else replace(first, thumbnails=thumbnails)
        self.live = False
        for window in list(self.windows.values()):
            window.exhibit = self.exhibits[0]
            window.show_step(None)
            window.moved()
            self._start(window)
        for panel in list(self.panels.values()):
            panel.say("finished")

    def wait(self) -> None:
        """Serve until interrupted (Ctrl-C)."""
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
        self.stop()

    def stop(self) -> None:
        """Close all windows' threads and the server."""
        for panel in self.panels.values():
            panel.close()
        for window in self.windows.values():
            window.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _advance(self, window: Window) -> bool:
        if window.idle:
            window.exhibit = next((e for e in self.exhibits if e.name == window.exhibit.name), window.exhibit)
            window.changed()
        return window.advance()

    def _first_view(self) -> None:
        """Where a new window stands: at the first photograph, upright as the photographers stood."""
        exhibit = self.exhibits[0]
        world = world_of(exhibit)
        pose = exhibit.cameras[0].camera_to_world.double().cpu()
        position = world.to_viewer(pose[:3, 3])
        self.server.scene.set_up_direction(tuple(world.up.tolist()))
        start = self.server.initial_camera
        start.position = position.numpy()
        start.look_at = (position + DISTANCE * pose[:3, 2]).numpy()
        start.up = world.up.numpy()
        start.fov = vertical_fov(exhibit.cameras[0])[0]

    def _open(self, client: "viser.ClientHandle") -> None:
        window = Window(client, self.exhibits[0], lock=self.lock, speed=self._speed, config=self.config)
        stand_at(client, window.exhibit, window.world, 0)
        if self.live and self.exhibits[0].denoising is not None:
            window.step = len(self.exhibits[0].denoising) - 1
        window.show_photographs()
        self.panels[client.client_id] = Panel(window, lambda: self.exhibits)
        client.camera.on_update(lambda _: window.moved())
        self.windows[client.client_id] = window
        if not self.live:
            self._start(window)

    def _start(self, window: Window) -> None:
        threading.Thread(target=window.run, daemon=True, name="diorama-window").start()

    def _close(self, client: "viser.ClientHandle") -> None:
        if panel := self.panels.pop(client.client_id, None):
            panel.close()
        if window := self.windows.pop(client.client_id, None):
            window.close()


def start_server(host: str, port: int) -> "viser.ViserServer":
    """viser's server, without its banner; takes the next free port if `port` is taken."""
    import viser

    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:  # viser waits for ever where the host is not ours
            probe.bind((host, 0))
        with contextlib.redirect_stdout(io.StringIO()):
            server = viser.ViserServer(host=host, port=port, label="diorama", verbose=False)
    except OSError as error:
        raise InputError(f"cannot serve on {host}:{port} ({error}). Give another --host or --port.") from error
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
    return server
