"""A scene in the making, live in the browser."""

from functools import partial
from typing import TYPE_CHECKING

from diorama.pipelines.draw import DrawProgress
from diorama.pipelines.fit_run import Progress
from diorama.pipelines.quantities import memory_limit
from diorama.scenes.denoising import Denoising
from diorama.scenes.scene import Scene
from diorama.types import RenderFn
from diorama.viewer.painting import PaintConfig

if TYPE_CHECKING:
    from diorama.viewer.server import Viewer


SAMPLING = PaintConfig(live_share=0.5, live_pause=0.0)
"""Half of the time of a sample may go into pictures of it: every step shows another scene, and there are few."""


class LiveWindow:
    """A fit or a sample in the browser: opened at the first step, told of every further one.

    max_memory: for the samples of a picture's rays, as `500MB`.
    """

    def __init__(self, max_memory: str | int | None = None) -> None:
        self.viewer: Viewer | None = None
        self.max_memory = memory_limit(max_memory)
        self._replaced = False

    def show(self, progress: Progress) -> None:
        """Draw the scene as it is now, if a browser looks."""
        if self.viewer is None:
            self.viewer = self._opened(progress)
        elif self._replaced and not progress.replaced:  # the samples are drawn, and a fit starts from them
            self.viewer.pace(PaintConfig())
            self.viewer.show_denoising(None)
        if isinstance(progress, DrawProgress):
            self.viewer.show_denoising(Denoising.of(progress.cameras, [progress.images]))
        another = progress.replaced or self._replaced
        self._replaced = progress.replaced
        render = self._render(progress.scene()) if another else None
        note = f"scene {progress.sample}" if progress.sample else ""
        self.viewer.update(progress.step, progress.steps, render=render, note=note)

    def close(self, scene: Scene) -> None:
        """Show the finished scene, and close."""
        if self.viewer is not None:
            self.viewer.finish(self._render(scene), thumbnails=scene.thumbnails)
            self.viewer.stop()

    def _opened(self, progress: Progress) -> "Viewer":
        from diorama.viewer.server import Viewer

        scene = progress.scene()
        viewer = Viewer(
            self._render(scene), scene.cameras, name="scene", live=True, thumbnails=scene.thumbnails,
            near=scene.near, far=scene.far, config=SAMPLING if progress.replaced else None,
        )  # fmt: skip
        print(f"watch it at {viewer.url}")
        return viewer

    def _render(self, scene: Scene) -> RenderFn:
        return partial(scene.render, max_memory=self.max_memory)
