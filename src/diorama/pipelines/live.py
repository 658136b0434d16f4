"""A scene in the making, live in the browser."""

from typing import TYPE_CHECKING

from diorama.pipelines.fit_run import Progress
from diorama.scenes.scene import Scene
from diorama.viewer.painting import PaintConfig

if TYPE_CHECKING:
    from diorama.viewer.server import Viewer


SAMPLING = PaintConfig(live_share=0.5, live_pause=0.0)
"""Half of the time of a sample may go into pictures of it: every step shows another scene, and there are few."""


class LiveWindow:
    """A fit or a sample in the browser: opened at the first step, told of every further one."""

    def __init__(self) -> None:
        self.viewer: Viewer | None = None

    def show(self, progress: Progress) -> None:
        """Draw the scene as it is now, if a browser looks."""
        if self.viewer is None:
            from diorama.viewer.server import Viewer

            scene = progress.scene()
            self.viewer = Viewer(
                scene.render, scene.cameras, name="scene", live=True, thumbnails=scene.thumbnails,
                near=scene.near, far=scene.far, config=SAMPLING if progress.replaced else None,
            )  # fmt: skip
            print(f"watch it at {self.viewer.url}")
        render = progress.scene().render if progress.replaced else None
        self.viewer.update(progress.step, progress.steps, render=render)

    def close(self, scene: Scene) -> None:
        """Show the finished scene, and close."""
        if self.viewer is not None:
            self.viewer.finish(scene.render)
            self.viewer.stop()
