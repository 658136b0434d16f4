"""What the verbs that show a scene share about its observed map: pictures in which the unseen is pale, and shares."""

from diorama.cameras.pinhole import Cameras
from diorama.rendering.false_colour import fade
from diorama.scenes.visibility import HasContext, Observed, observe
from diorama.types import RenderFn, Rendering


class Fading:
    """Makes pale in renderings what no photograph saw, and counts the pixels of each part as they pass."""

    def __init__(self, scene: HasContext) -> None:
        self.scene = scene
        self.pixels = {"visible": 0, "occluded": 0, "outside": 0}

    @property
    def photographs(self) -> int:
        """How many could have seen something."""
        return len(self.scene.context)

    def look(self, cameras: Cameras, rendering: Rendering) -> tuple[Rendering, Observed]:
        """A rendering of the cameras with its unseen parts pale, and what was seen."""
        observed = observe(self.scene, cameras, rendering)
        for name, part in observed.parts().items():
            self.pixels[name] += int(part.sum())
        return faded(rendering, observed), observed

    def over(self, render: RenderFn) -> RenderFn:
        """A `RenderFn` that looks at all it draws."""

        def pale(cameras: Cameras) -> Rendering:
            return self.look(cameras, render(cameras))[0]

        return pale

    def words(self) -> str:
        """The shares so far, for the terminal."""
        total = max(1, sum(self.pixels.values()))
        visible, occluded, outside = (100 * count / total for count in self.pixels.values())
        return (
            f"of the surfaces shown {visible:.0f} % were seen by a photograph, {occluded:.0f} % lay behind something, "
            f"{outside:.0f} % in no photograph's frame"
        )


def faded(rendering: Rendering, observed: Observed) -> Rendering:
    """The rendering with what no photograph saw pale."""
    hidden, outside = observed.occluded, observed.outside
    colour = fade(rendering.colour.transpose(0, 1), hidden, outside).transpose(0, 1)
    return Rendering(colour.contiguous(), rendering.depth, rendering.opacity)
