"""Unfinished work beside its output: `OUT.partial/` holds what was asked, what was measured and the last checkpoint."""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.scale import SceneScale
from diorama.data.tensors import load_tensors, save_tensors
from diorama.data.views import Frame, Views
from diorama.errors import InputError
from diorama.files import write_json
from diorama.pipelines.fit import Geometry
from diorama.priors.sampled import SampledViews
from diorama.scenes.storage import camera_tensors, check_scene_place
from diorama.systems.diffusionerf import DiffusioNeRF
from diorama.training.checkpoint import pack, unpack


@runtime_checkable
class CheckPlace(Protocol):
    """Raises OutputError where an output may not be written."""

    def __call__(self, target: Path, *, force: bool) -> None:
        """`force` allows to replace what exists, if it is of the kind that is written."""
        ...


def input_hashes(views: Views) -> dict[str, str]:
    """SHA-256 of every photo as it was read (8 bit) with its camera and masks, by name."""
    hashes = {}
    for index, name in enumerate(views.names):
        digest = hashlib.sha256((views.images[index] * 255).round().to(torch.uint8).numpy().tobytes())
        extras: list[Tensor | None] = [
            None if views.ignore is None else views.ignore[index],
            None if views.object is None else views.object[index],
        ]
        if views.cameras is not None:
            camera = views.cameras[index]
            extras += [camera.camera_to_world, camera.focal, camera.centre, camera.distortion]
        for extra in extras:
            if extra is not None:
                digest.update(extra.contiguous().numpy().tobytes())
        hashes[name] = digest.hexdigest()
    return hashes


@dataclass(frozen=True)
class Workspace:
    """The folder of one unfinished fit."""

    folder: Path

    @staticmethod
    def beside(
        output: Path, request: dict[str, Any], *, force: bool, check: CheckPlace = check_scene_place
    ) -> "Workspace":
        """Open or resume the work for an output, which is a scene unless `check` asks for something else.

        Raises OutputError when the output exists (without `force`), and InputError, with the difference, when the
        unfinished work beside it was asked for in other words.
        """
        check(output, force=force)
        work = Workspace(output.with_name(output.name + ".partial"))
        file = work.folder / "request.json"
        if file.is_file():
            try:
                before = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                before = None
            if before is not None and before != json.loads(json.dumps(request)):
                if not force:
                    raise InputError(
                        f"{work.folder} holds unfinished work with other arguments: {difference(before, request)}. "
                        "Give the same arguments to finish it, choose another -o, or start anew with --force."
                    )
                before = None
            if before is not None:
                return work
            shutil.rmtree(work.folder)
        write_json(file, request)
        return work

    def poses(self, views: Views) -> tuple[Views, float] | None:
        """The views with the poses found before, and their error; None when none were."""
        file = self.folder / "poses.safetensors"
        if not file.is_file():
            return None
        tensors, meta = load_tensors(file)
        points = tensors.pop("points")
        posed = views[views.index_of(meta["names"])]
        cameras = Cameras(lens=meta["lens"], **tensors)
        frame = Frame(meta["frame"], meta["units"])
        skipped = tuple(meta["skipped"])
        return replace(posed, cameras=cameras, points=points, frame=frame, skipped=skipped), meta["error"]

    def save_poses(self, views: Views, error: float) -> None:
        """Keep poses that were found."""
        assert views.cameras is not None
        points = torch.zeros(0, 3) if views.points is None else views.points
        meta = {
            "names": list(views.names), "lens": views.cameras.lens, "frame": views.frame.name,
            "units": views.frame.units, "skipped": list(views.skipped), "error": error,
        }  # fmt: skip
        save_tensors(self.folder / "poses.safetensors", camera_tensors(views.cameras) | {"points": points}, meta)

    def geometry(self) -> Geometry | None:
        """Measured before, or None."""
        file = self.folder / "geometry.safetensors"
        if not file.is_file():
            return None
        tensors, meta = load_tensors(file)
        scale = SceneScale(tensors["near"], tensors["far"], meta["median_depth"], meta["scale"], meta["source"])
        return Geometry(scale, tensors.get("depth"), tensors.get("confidence"), tuple(meta["notes"]))

    def save_geometry(self, geometry: Geometry) -> None:
        """Keep what was measured."""
        tensors = {"near": geometry.scale.near, "far": geometry.scale.far}
        if geometry.depth is not None and geometry.confidence is not None:
            tensors |= {"depth": geometry.depth, "confidence": geometry.confidence}
        meta = {
            "median_depth": geometry.scale.median_depth,
            "scale": geometry.scale.scale,
            "source": geometry.scale.source,
            "notes": list(geometry.notes),
        }
        save_tensors(self.folder / "geometry.safetensors", tensors, meta)

    def sampled(self) -> SampledViews | None:
        """Sampled views of a scene, drawn before, or None."""
        file = self.folder / "sampled.safetensors"
        if not file.is_file():
            return None
        tensors, meta = load_tensors(file)
        seen = {name: tensors.pop(name) for name in ("colour", "deviation", "depth", "observed", "placed")}
        return SampledViews(Cameras(lens=meta["lens"], **tensors), **seen, cut_out=meta["cut_out"])

    def save_sampled(self, views: SampledViews) -> None:
        """Keep sampled views."""
        seen = {
            "colour": views.colour, "deviation": views.deviation, "depth": views.depth, "observed": views.observed,
            "placed": views.placed,
        }  # fmt: skip
        meta = {"lens": views.cameras.lens, "cut_out": views.cut_out}
        save_tensors(self.folder / "sampled.safetensors", camera_tensors(views.cameras) | seen, meta)

    def steps(self) -> int | None:
        """The number of steps settled before, or None."""
        file = self.folder / "steps.json"
        return int(json.loads(file.read_text())["steps"]) if file.is_file() else None

    def save_steps(self, steps: int) -> None:
        """Keep the number of steps: a resumed run never times itself again."""
        write_json(self.folder / "steps.json", {"steps": steps})

    def save(self, system: DiffusioNeRF, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
        """Checkpoint after `step` steps and `seconds` of fitting."""
        save_tensors(
            self.folder / "checkpoint.safetensors", pack(system, optimizer), {"step": step, "seconds": seconds}
        )

    def resume(self, system: DiffusioNeRF, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        """Put the last checkpoint into system and optimiser; the step to go on with and the seconds spent."""
        file = self.folder / "checkpoint.safetensors"
        if not file.is_file():
            return 0, 0.0
        tensors, meta = load_tensors(file)
        unpack(tensors, system, optimizer)
        return int(meta["step"]), float(meta["seconds"])

    def finish(self) -> None:
        """The output stands: the unfinished work may go."""
        shutil.rmtree(self.folder, ignore_errors=True)


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two requests, in words."""
    parts = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
            parts.append(f"{key} of {len(changed)} photos ({', '.join(changed[:3])})")
        else:
            parts.append(f"{key} was {old!r}, now {new!r}")
    return "; ".join(parts)
