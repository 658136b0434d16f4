"""The published few-view protocols: which photos, at which size, measured how, and what others reached.

Source: specs/diffusionerf.md, sections 5 and 6, that is arXiv 2302.12231 (Table 1) for the figures and the RegNeRF
convention for DTU's masks. The lists of photos themselves are made by `data.splits` (mode `protocol`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch.nn import functional

from diorama.data.views import Views
from diorama.errors import InputError

DTU_SCANS = (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)
"""The fifteen scans of PixelNeRF and RegNeRF (spec 5.2)."""
LLFF_SCENES = ("fern", "flower", "fortress", "horns", "leaves", "orchids", "room", "trex")


@dataclass(frozen=True)
class Published:
    """One row of a published table: (PSNR, SSIM, LPIPS, Average) by number of views; means over the whole set."""

    method: str
    backbone: str
    """The LPIPS net of that table, as far as it is known."""
    figures: Mapping[int, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Protocol:
    """A benchmark. layout: the reader's name of its folders, marker: how one
    knows them; size: (width, height), None to keep the photos' own;
    members: scene names that belong to it, empty where any scene may be measured."""

    name: str
    split: str
    size: tuple[int, int] | None
    layout: str
    marker: str
    masks: str | None
    """How photos' masks enter the table: `object on white`, or none."""
    originals: tuple[tuple[int, int], ...] = ()
    """Sizes of the photos the authors started from; copies of other sizes are a departure."""
    members: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = field(default=())


LLFF = Protocol(
    name="llff",
    split="every8",
    size=(504, 378),
    layout="llff",
    marker="poses_bounds.npy",
    masks=None,
    originals=((4032, 3024), (4000, 3000)),
    members=LLFF_SCENES,
    published=(
        Published(
            "RegNeRF (CVPR 2022)",
            "mostly VGG",
            {3: (19.08, 0.587, 0.336, 0.146), 6: (21.10, 0.760, 0.206, 0.086), 9: (24.86, 0.820, 0.161, 0.067)},
        ),
        Published(
            "geometric baseline of 2302.12231",
            "AlexNet",
            {3: (19.88, 0.590, 0.192, 0.118), 6: (24.28, 0.765, 0.101, 0.071), 9: (25.10, 0.802, 0.084, 0.060)},
        ),
        Published(
            "DiffusioNeRF (2302.12231)",
            "AlexNet",
            {3: (19.79, 0.568, 0.209, 0.127), 6: (23.79, 0.747, 0.114, 0.075), 9: (25.02, 0.785, 0.096, 0.064)},
        ),
    ),
    notes=("RegNeRF's 6-view PSNR of 21.10 is probably a misprint; re-runs give about 23.1 (spec 6.1)",),
)

DTU = Protocol(
    name="dtu",
    split="protocol",
    size=(400, 300),
    layout="dtu",
    marker="cameras_sphere.npz or cameras.npz",
    masks="object on white",
    originals=((1600, 1200),),
    members=tuple(f"scan{number}" for number in DTU_SCANS),
    published=(
        Published(
            "RegNeRF (CVPR 2022)",
            "mostly VGG",
            {3: (18.89, 0.745, 0.190, 0.112), 6: (22.20, 0.841, 0.117, 0.071), 9: (24.93, 0.884, 0.089, 0.047)},
        ),
        Published(
            "geometric baseline of 2302.12231",
            "AlexNet",
            {3: (13.60, 0.661, 0.212, 0.185), 6: (16.43, 0.759, 0.147, 0.092), 9: (22.01, 0.853, 0.071, 0.056)},
        ),
        Published(
            "DiffusioNeRF (2302.12231)",
            "AlexNet",
            {3: (16.20, 0.698, 0.160, 0.135), 6: (20.34, 0.818, 0.093, 0.052), 9: (25.18, 0.883, 0.046, 0.033)},
        ),
    ),
    notes=(
        "whether 2302.12231 masked its DTU figures is not stated; both kinds are printed here",
        "the 6-view Averages of 2302.12231 are lower than its tabulated means allow (spec 6.1)",
    ),
)

CO3D = Protocol(
    name="co3d",
    split="auto",
    size=None,
    layout="co3d",
    marker="gt_cameras.npz or frame_annotations.jgz",
    masks="object on white",
    notes=("photos keep their own size; no published figures are stored for this protocol",),
)

PROTOCOLS: tuple[Protocol, ...] = (LLFF, DTU, CO3D)


def find_protocol(name: str) -> Protocol | None:
    """The protocol of that name, or None (then the word is a scene's path)."""
    return next((protocol for protocol in PROTOCOLS if protocol.name == name), None)


def departures(protocol: Protocol, scene: str, on_disk: tuple[int, int] | None) -> list[str]:
    """What differs from the published protocol for one scene; to be printed with every table.

    on_disk: (width, height) of the photo files, None if unknown."""
    lines = []
    if protocol.members and not any(_names_member(scene, member) for member in protocol.members):
        what = f"{len(protocol.members)} scenes: {', '.join(protocol.members)}"
        lines.append(f"{scene} is not among the protocol's {what}")
    if protocol.members:
        lines.append(f"one scene is not comparable with the published means over {len(protocol.members)} scenes")
    if on_disk is not None and protocol.size is not None and on_disk not in (protocol.size, *protocol.originals):
        copies, used, first = (f"{w}x{h}" for w, h in (on_disk, protocol.size, protocol.originals[0]))
        lines.append(f"photos area-resized to {used} from copies of {copies}, not from the authors' {first}")
    return lines


def at_protocol_size(views: Views, protocol: Protocol) -> Views:
    """The photos and cameras at the protocol's size, by area averaging; masks likewise, depth by nearest neighbour.

    InputError where photos and protocol differ in shape by more than rounding, or the photos are smaller."""
    if protocol.size is None or views.cameras is None:
        return views
    width, height = protocol.size
    found_height, found_width = views.images.shape[-2:]
    if (found_width, found_height) == (width, height):
        return views
    uniform = (views.cameras.size == views.cameras.size[0]).all()
    skewed = abs(found_width * height / (found_height * width) - 1) > 0.01
    if not uniform or skewed or found_width < width:
        raise InputError(
            f"the {protocol.name} protocol measures at {width}x{height}; these are {found_width}x{found_height}. "
            "Photos of one size, of that shape and at least as large are needed."
        )

    def area(planes: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(planes.float(), size=(height, width), mode="area")

    ignore = None if views.ignore is None else area(views.ignore[:, None])[:, 0] > 0
    depth = None if views.depth is None else functional.interpolate(views.depth[:, None], size=(height, width))[:, 0]
    return replace(
        views,
        images=area(views.images).to(views.images),
        cameras=views.cameras.resize(width, height),
        ignore=ignore,
        object=None if views.object is None else area(views.object[:, None])[:, 0],
        depth=depth,
    )


def _names_member(scene: str, member: str) -> bool:
    """Whether a folder's name (`llff_fern`, `dtu_scan24`) ends in a member's."""
    return scene == member or scene.endswith(("_" + member, "-" + member))
