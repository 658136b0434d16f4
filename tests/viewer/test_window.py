"""A window shows what its panel was asked for; here without a browser, whose part is played by a record."""

import contextlib
import io
import threading
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import viser

from diorama.cameras.rotations import rotation_to_quaternion
from diorama.scenes.denoising import Denoising
from diorama.scenes.visibility import context_depth, observe
from diorama.viewer.exhibit import Exhibit, world_of
from diorama.viewer.layers import image_of
from diorama.viewer.painting import PaintConfig, Speed
from diorama.viewer.panels import Panel
from diorama.viewer.window import Window
from tests.oracles import exact_rendering, ring_cameras
from tests.viewer.test_server import free_port

PHOTOGRAPHS = ring_cameras(3, 96, 72, arc=60.0)


class Client(viser.ClientHandle):
    """Stands behind the photographers and writes down what it is sent."""

    def __init__(self, gui):
        world = world_of(Exhibit("oracle", exact_rendering, PHOTOGRAPHS))
        pose = ring_cameras(4, elevation=2.5).camera_to_world[2].double()
        self.shown, self.gui = [], gui
        self.scene = SimpleNamespace(set_background_image=lambda image, **_: self.shown.append(image))
        self.camera = SimpleNamespace(
            position=world.to_viewer(pose[:3, 3]).numpy(), wxyz=rotation_to_quaternion(pose[:3, :3]).numpy(),
            fov=0.8, aspect=1.5, image_width=90, image_height=60,
        )  # fmt: skip


@pytest.fixture
def gui():
    """A real panel's controls by their names, without anybody who looks at them."""
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host="127.0.0.1", port=free_port(), verbose=False)
    yield server.gui
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def controls_of(gui, monkeypatch):
    """Names of controls, filled in as a panel makes them."""
    made = {}

    def noted(make, name, *arguments, **more):
        made[name] = make(name, *arguments, **more)
        return made[name]

    for kind in ("add_button_group", "add_checkbox"):
        monkeypatch.setattr(gui, kind, partial(noted, getattr(gui, kind)))
    return made


def watching(gui, exhibit):
    window = Window(Client(gui), exhibit, lock=threading.Lock(), speed=Speed(1e9), config=PaintConfig())
    return window, Panel(window, lambda: [exhibit])


def drawn(window, client):
    """The picture on show once the camera rests."""
    while window.advance():
        pass
    return torch.from_numpy(client.shown[-1].astype(np.float32) / 255).permute(2, 0, 1)


def until(condition):
    """Wait for what happens in a thread of the server."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the panel did not do it"
        time.sleep(0.02)


def test_the_panel_shows_how_many_photographs_saw_what_and_lets_the_unseen_fade(gui, monkeypatch):
    context = context_depth(PHOTOGRAPHS, exact_rendering)
    exhibit = Exhibit("oracle", exact_rendering, PHOTOGRAPHS, observed=lambda view, seen: observe(context, view, seen))
    controls = controls_of(gui, monkeypatch)
    window, _ = watching(gui, exhibit)
    camera = window.camera()(90, 60, (0, 60))
    seen = exact_rendering(camera)
    told = observe(context, camera, seen)
    assert {0, 1} <= set(told.count.unique().tolist())

    def looks_like(mode, **more):
        wanted = image_of(seen, mode, 1.0, 6.0, photographs=3, **more)
        return (drawn(window, window.client) - wanted).abs().mean() < 0.01

    assert looks_like("colour")
    assert controls["Fade the unseen"].visible
    controls["Fade the unseen"].value = True
    until(lambda: window.fade and looks_like("colour", observed=told))
    controls["Show"].value = "Observed"
    until(lambda: window.mode == "observed" and looks_like("observed", observed=told))
    controls["Show"].value = "Depth"
    until(lambda: window.mode == "depth")
    controls["Show"].value = "Colour"
    controls["Fade the unseen"].value = False
    until(lambda: window.mode == "colour" and not window.fade and looks_like("colour"))


def test_a_slider_goes_through_the_steps_that_the_views_came_out_of_the_noise_by(gui, monkeypatch):
    views = torch.rand(3, 4, 3, 6, 6)
    denoising = Denoising.of(ring_cameras(4, 6, 6, arc=60.0), list(views))
    alone = Exhibit("photos", exact_rendering, PHOTOGRAPHS, thumbnails=torch.zeros(3, 3, 6, 6))
    controls = controls_of(gui, monkeypatch)
    window, panel = watching(gui, replace(alone, denoising=denoising))
    shown = {}

    def frustum(name, *_, image, **__):
        shown[name] = torch.from_numpy(image).permute(2, 0, 1) / 255
        return SimpleNamespace(on_click=lambda _: None, remove=lambda: shown.pop(name))

    window.client.scene.add_camera_frustum = frustum
    window.show_photographs()

    def looks_like(images):
        pictures = [shown[name] for name in sorted(shown)]
        return len(pictures) == len(images) and float((torch.stack(pictures) - images).abs().max()) < 0.01

    assert panel.denoising.visible
    assert (panel.step.max, panel.step.value) == (3, 3)
    assert looks_like(alone.thumbnails)
    controls["Show the views"].value = True
    until(lambda: looks_like(views[2]))
    panel.step.value = 1
    until(lambda: looks_like(views[0]))
    controls["Show the views"].value = False
    until(lambda: looks_like(alone.thumbnails))
    window.look_at(alone)
    panel._offer_steps()
    assert not panel.denoising.visible


def test_a_scene_that_cannot_tell_what_was_seen_does_not_offer_it(gui, monkeypatch):
    controls = controls_of(gui, monkeypatch)
    window, _ = watching(gui, Exhibit("fit", exact_rendering, PHOTOGRAPHS))
    assert tuple(controls["Show"].options) == ("Colour", "Depth")
    assert not controls["Fade the unseen"].visible
    window.fade = True
    drawn(window, window.client)
