"""A browser shows the scene, and what it shows follows its camera."""

import shutil
import socket
import time

import numpy as np
import pytest
import torch

from diorama.errors import InputError
from diorama.types import Rendering
from diorama.viewer.exhibit import Exhibit
from diorama.viewer.painting import PaintConfig
from diorama.viewer.server import Viewer
from tests.oracles import CENTRE, exact_rendering, ring_cameras

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
LEFT = (slice(180, 600), slice(0, 560))
"""The part of the page that no panel and no notice covers."""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium not found (apt-get install -y chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 900, "height": 600})
    yield page
    page.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def picture(page):
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(float) / 255


def until(page, condition, seconds=60.0):
    """Wait for something to become true while the browser lives on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the browser did not get there"
        page.wait_for_timeout(100)


def opened(page, viewer):
    page.goto(viewer.url)
    until(page, lambda: viewer.windows)
    return next(iter(viewer.windows.values()))


def expected(window, width=900, height=600):
    return exact_rendering(window.camera()(width, height, (0, height))).colour[0].permute(1, 2, 0).numpy()


def agrees(page, window, tolerance=0.06):
    """Whether the page shows what the world looks like from the window's camera, photographs left out."""
    error = np.abs(picture(page) - expected(window))[LEFT]
    return np.median(error) < tolerance and error.mean() < 2 * tolerance


@pytest.mark.browser
def test_a_browser_sees_the_scene_and_what_it_sees_follows_the_mouse(page):
    cameras = ring_cameras(4, 160, 120)
    photographs = exact_rendering(cameras).colour
    with Viewer(exact_rendering, cameras, thumbnails=photographs, port=free_port()) as viewer:
        window = opened(page, viewer)
        until(page, lambda: window.idle and agrees(page, window))
        before, pose = picture(page), window.camera()(90, 60, (0, 60)).camera_to_world[0]
        page.mouse.move(300, 350)
        page.mouse.down()
        page.mouse.move(420, 320, steps=5)
        page.mouse.up()
        until(page, lambda: (window.camera()(90, 60, (0, 60)).camera_to_world[0] - pose).abs().max() > 0.1)
        until(page, lambda: window.idle and agrees(page, window))
        assert np.abs(picture(page) - before)[LEFT].mean() > 0.05
        # the same world in false colours: the ball is one smooth hue, and nothing of its pattern is left
        window.mode = "depth"
        window.recolour()
        until(page, lambda: not agrees(page, window))


@pytest.mark.browser
def test_pictures_and_things_in_the_browser_are_aligned(page):
    """A red ball that the browser draws at a known point of the user's world is where the camera says it is."""

    def white(cameras):
        width, height = cameras.size[0].tolist()
        one = torch.ones(1, height, width)
        return Rendering(one[:, None].expand(1, 3, -1, -1), torch.zeros_like(one), torch.zeros_like(one))

    with Viewer(white, ring_cameras(3), port=free_port()) as viewer:
        window = opened(page, viewer)
        window.photograph_size = 0.0
        window.show_photographs()
        point = torch.tensor(CENTRE) + torch.tensor([-0.1, -0.45, -0.2])
        position = tuple(window.world.to_viewer(point).tolist())
        window.client.scene.add_icosphere("/mark", radius=0.3, color=(255, 0, 0), position=position, material="toon3")

        def red():
            image = picture(page)
            return (image[..., 0] > 0.4) & (image[..., 1] < 0.2) & (image[..., 2] < 0.2)

        until(page, lambda: window.idle and red()[LEFT].sum() > 50)
        page.wait_for_timeout(500)
        rows, columns = np.nonzero(red() & np.isin(np.arange(900), np.arange(560))[None])
        pixels, _ = window.camera()(900, 600, (0, 600)).project(point[None, None])
        assert abs(columns.mean() + 0.5 - float(pixels[0, 0, 0])) < 2.5
        assert abs(rows.mean() + 0.5 - float(pixels[0, 0, 1])) < 2.5


@pytest.mark.browser
def test_a_fit_is_watched_while_it_changes_and_nobody_else_draws(page):
    grey = [0.1]

    def fit(cameras):
        width, height = cameras.size[0].tolist()
        one = torch.ones(1, height, width)
        return Rendering(grey[0] * one[:, None].expand(1, 3, -1, -1), one, one)

    config = PaintConfig(live_share=0.9, live_pause=0.2, live_seconds=0.05)
    with Viewer(fit, ring_cameras(3), port=free_port(), live=True, config=config) as viewer:
        viewer.update(0)
        window = opened(page, viewer)
        page.wait_for_timeout(500)
        assert not window.shown.is_set()

        def step_and_look(value):
            grey[0] = value
            viewer.update(1, 10, note="loss 0.1")
            return abs(np.median(picture(page)[LEFT]) - value) < 0.05

        until(page, lambda: step_and_look(0.3))
        until(page, lambda: step_and_look(0.8))
        grey[0] = 0.5
        viewer.finish()
        until(page, lambda: abs(np.median(picture(page)[LEFT]) - 0.5) < 0.05)


@pytest.mark.browser
def test_several_scenes_are_chosen_by_name(page):
    with Viewer(exact_rendering, ring_cameras(3), name="first", port=free_port()) as viewer:
        viewer.add(Exhibit("second", exact_rendering, ring_cameras(5)))
        window = opened(page, viewer)
        panel = next(iter(viewer.panels.values()))
        assert panel.scenes.options == ("first", "second")
        panel.scenes.value = "second"
        until(page, lambda: window.exhibit.name == "second" and len(window.photographs) == 5)
        with pytest.raises(InputError, match="a name of its own"):
            viewer.add(Exhibit("second", exact_rendering, ring_cameras(3)))


@pytest.mark.browser
def test_a_fault_of_the_scene_is_said_and_the_window_lives_on(page):
    broken = [True]

    def render(cameras):
        if broken[0]:
            raise RuntimeError("no light")
        return exact_rendering(cameras)

    with Viewer(render, ring_cameras(3), port=free_port()) as viewer:
        window = opened(page, viewer)
        page.get_by_text("no light").first.wait_for(timeout=20_000)
        broken[0] = False
        window.moved()
        until(page, window.shown.is_set)


def test_the_viewer_serves_this_machine_alone_unless_told():
    with Viewer(exact_rendering, ring_cameras(2), port=free_port()) as viewer:
        assert viewer.url.startswith("http://127.0.0.1:")
        assert viewer.server.get_host() == "127.0.0.1"
        viewer.update(3)


def test_a_taken_port_gives_way_to_the_next():
    with (
        Viewer(exact_rendering, ring_cameras(2), port=free_port()) as first,
        Viewer(exact_rendering, ring_cameras(2), port=first.port) as second,
    ):
        assert second.port != first.port


def test_a_host_that_is_not_ours_is_refused_with_advice():
    with pytest.raises(InputError, match="--host"):
        Viewer(exact_rendering, ring_cameras(2), host="203.0.113.7", port=free_port())
