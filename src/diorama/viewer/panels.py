"""The controls of one browser window."""

import io
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from diorama.viewer.exhibit import Exhibit, vertical_fov
from diorama.viewer.layers import Mode, place, stand_at
from diorama.viewer.window import Window

if TYPE_CHECKING:
    import viser

MODES: dict[str, Mode] = {"Colour": "colour", "Depth": "depth", "Observed": "observed"}
"""What a button shows."""

DENOISED = "As the model had them after a step of sampling, in place of the photographs"
UNSEEN = "What no photograph saw is pale: reddish where hidden from all, bluish where in no frame"


class Panel:
    """Buttons and sliders of one window; `say` shows a line of status."""

    def __init__(self, window: Window, exhibits: Callable[[], Sequence[Exhibit]]) -> None:
        self.window, self.exhibits = window, exhibits
        self.gui = window.client.gui
        self.status = self.gui.add_markdown("")
        self.player: Player | None = None
        self.scenes = self._scene_choice()
        self._picture_controls()
        self.denoising = self.gui.add_folder("Denoising", visible=False)
        with self.denoising:
            self._step_controls()
        self._offer_steps()
        with self.gui.add_folder("Camera"):
            self._camera_controls()
        self.paths = self.gui.add_folder("Path", visible=bool(window.exhibit.paths))
        with self.paths:
            self._path_controls()

    def say(self, line: str) -> None:
        """Show a line of status."""
        self.status.content = line

    def refresh_scenes(self) -> None:
        """Offer the exhibits there are now."""
        self.scenes.options = tuple(exhibit.name for exhibit in self.exhibits())
        self.scenes.visible = len(self.scenes.options) > 1

    def close(self) -> None:
        """Stop what runs."""
        if self.player is not None:
            self.player.stop()

    def _scene_choice(self) -> "viser.GuiDropdownHandle[str]":
        names = tuple(exhibit.name for exhibit in self.exhibits())
        choice = self.gui.add_dropdown("Scene", names, initial_value=self.window.exhibit.name, visible=len(names) > 1)

        @choice.on_update
        def _(_: Any) -> None:
            chosen = next(exhibit for exhibit in self.exhibits() if exhibit.name == choice.value)
            self.window.look_at(chosen)
            stand_at(self.window.client, chosen, self.window.world, 0)
            self._offer_steps()
            self._offer_paths()

        return choice

    def _picture_controls(self) -> None:
        window = self.window
        told = window.exhibit.observed is not None
        mode = self.gui.add_button_group("Show", ("Colour", "Depth", "Observed") if told else ("Colour", "Depth"))
        fade = self.gui.add_checkbox("Fade the unseen", initial_value=False, visible=told, hint=UNSEEN)
        finest = self.gui.add_dropdown("Finest", ("full", "1/2", "1/4"), initial_value="full", hint="Size when at rest")
        photographs = self.gui.add_checkbox("Photographs", initial_value=True)
        size = self.gui.add_slider("Their size", 0.02, 0.4, 0.02, initial_value=window.photograph_size)

        @mode.on_click
        def _(_: Any) -> None:
            window.mode = MODES[mode.value]
            window.recolour()

        @fade.on_update
        def _(_: Any) -> None:
            window.fade = fade.value
            window.recolour()

        @finest.on_update
        def _(_: Any) -> None:
            width, height = window.canvas()
            share = {"full": 1.0, "1/2": 0.5, "1/4": 0.25}[finest.value]
            window.largest = max(window.config.smallest, round(width * height * share**2))
            window.moved()

        def photographs_changed(_: Any) -> None:
            window.photograph_size = size.value if photographs.value else 0.0
            window.show_photographs()

        photographs.on_update(photographs_changed)
        size.on_update(photographs_changed)

    def _step_controls(self) -> None:
        self.steps_shown = self.gui.add_checkbox("Show the views", initial_value=False, hint=DENOISED)
        self.step = self.gui.add_slider("After step", 1, 2, 1, initial_value=1)

        def changed(_: Any) -> None:
            step = self.step.value - 1 if self.steps_shown.value else None
            if step != self.window.step:
                self.window.show_step(step)

        self.steps_shown.on_update(changed)
        self.step.on_update(changed)

    def _offer_steps(self) -> None:
        denoising = self.window.exhibit.denoising
        steps = 0 if denoising is None else len(denoising)
        self.denoising.visible = steps > 1
        self.steps_shown.value = False  # type: ignore[misc]  # mypy does not see viser's setter
        if steps > 1:
            self.step.max = steps
            self.step.value = steps  # type: ignore[misc]

    def _camera_controls(self) -> None:
        window = self.window
        number = self.gui.add_number("Photograph", 0, min=0, max=max(0, len(window.exhibit.cameras) - 1), step=1)
        home = self.gui.add_button("Back to the first photograph")
        picture = self.gui.add_button("Save this picture", hint="A PNG, as large as the photographs")
        camera = self.gui.add_button("Save this camera", hint="A transforms.json for `diorama render --cameras`")

        @number.on_update
        def _(_: Any) -> None:
            stand_at(window.client, window.exhibit, window.world, min(number.value, len(window.exhibit.cameras) - 1))

        @home.on_click
        def _(_: Any) -> None:
            stand_at(window.client, window.exhibit, window.world, 0)

        @picture.on_click
        def _(_: Any) -> None:
            window.client.send_file_download("picture.png", picture_of(window), save_immediately=True)

        @camera.on_click
        def _(_: Any) -> None:
            text = json.dumps(camera_of(window), indent=2)
            window.client.send_file_download("camera.json", text.encode(), save_immediately=True)

    def _path_controls(self) -> None:
        self.path = self.gui.add_dropdown("Path", tuple(self.window.exhibit.paths) or ("none",))
        self.seconds = self.gui.add_slider("Seconds", 2, 60, 1, initial_value=12)
        self.play = self.gui.add_button("Play")

        @self.play.on_click
        def _(_: Any) -> None:
            if self.player is not None and self.player.playing:
                self.player.stop()
                return
            path = self.window.exhibit.paths.get(self.path.value)
            if path is not None:
                self.player = Player(self.window, path, float(self.seconds.value), self._played)
                self.play.label = "Stop"

    def _played(self) -> None:
        self.play.label = "Play"

    def _offer_paths(self) -> None:
        self.path.options = tuple(self.window.exhibit.paths) or ("none",)
        self.paths.visible = bool(self.window.exhibit.paths)


class Player:
    """Moves a window's camera along a path, once, in its own thread."""

    def __init__(self, window: Window, path: Any, seconds: float, done: Callable[[], None]) -> None:
        self.window, self.path, self.seconds, self.done = window, path, seconds, done
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="diorama-path")
        self._thread.start()

    @property
    def playing(self) -> bool:
        """Whether the camera is still on its way."""
        return self._thread.is_alive() and not self._stop.is_set()

    def stop(self) -> None:
        """Stay where the camera is."""
        self._stop.set()

    def _run(self) -> None:
        start, poses = time.monotonic(), self.path.camera_to_world.double().cpu()
        fov = vertical_fov(self.path[0])[0]
        while not self._stop.is_set() and not self.window.closed:
            share = (time.monotonic() - start) / self.seconds
            if share >= 1:
                break
            place(self.window.client, self.window.world, poses[int(share * len(poses))], fov)
            self._stop.wait(0.08)
        self._stop.set()
        self.done()


def picture_of(window: Window) -> bytes:
    """What the window shows, rendered as a PNG with as many pixels as the photographs have."""
    import numpy as np
    from PIL import Image

    size = window.exhibit.cameras.size[0].tolist()
    width, height = window.canvas()
    share = math.sqrt(size[0] * size[1] / (width * height))
    width, height = max(1, round(width * share)), max(1, round(height * share))
    with window.lock, torch.no_grad():
        colour = window.exhibit.render(window.camera()(width, height, (0, height))).colour[0]
    levels = (colour.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels)).save(file, format="PNG")
    return file.getvalue()


def camera_of(window: Window) -> dict[str, Any]:
    """The window's camera in the user's frame, as a `transforms.json` (whose camera axes are OpenGL's)."""
    width, height = window.canvas()
    camera = window.camera()(width, height, (0, height))
    pose = camera.camera_to_world[0].double() @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    (fx, fy), (cx, cy) = camera.focal[0].tolist(), camera.centre[0].tolist()
    intrinsics = {"w": width, "h": height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    return intrinsics | {"frames": [{"file_path": "camera.png", "transform_matrix": pose.tolist()}]}
