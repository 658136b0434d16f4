"""diorama: 3D scenes from a few photos, or from none.

    views = diorama.open_views("photos/")
    scene = diorama.reconstruct(views)
    scene.save("scene")

Names are loaded when first used: `import diorama` itself reads no file, touches no GPU and imports no torch.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diorama.cameras.pinhole import Cameras
    from diorama.data.open import open_views
    from diorama.data.views import Views
    from diorama.pipelines.evaluate import evaluate
    from diorama.pipelines.export import export
    from diorama.pipelines.generate import generate
    from diorama.pipelines.reconstruct import reconstruct
    from diorama.pipelines.render import render
    from diorama.priors.prior import Prior
    from diorama.scenes.scene import Scene
    from diorama.scenes.storage import load_scene

__version__ = "0.1.0"

__all__ = [
    "Cameras",
    "Prior",
    "Scene",
    "Views",
    "__version__",
    "evaluate",
    "export",
    "generate",
    "load_scene",
    "open_views",
    "reconstruct",
    "render",
]

_HOMES = {
    "Cameras": "diorama.cameras.pinhole",
    "Prior": "diorama.priors.prior",
    "Scene": "diorama.scenes.scene",
    "Views": "diorama.data.views",
    "evaluate": "diorama.pipelines.evaluate",
    "export": "diorama.pipelines.export",
    "generate": "diorama.pipelines.generate",
    "load_scene": "diorama.scenes.storage",
    "open_views": "diorama.data.open",
    "reconstruct": "diorama.pipelines.reconstruct",
    "render": "diorama.pipelines.render",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"diorama has no {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _FrontDoor(ModuleType):
    """`diorama.export` is the verb, although a room of the same name exists: Python would bind the room here as soon as
    anything imported it. Reach the room with `from diorama.export import ...`."""

    @property
    def export(self) -> object:
        return __getattr__("export")

    @export.setter
    def export(self, room: object) -> None:
        pass


sys.modules[__name__].__class__ = _FrontDoor
