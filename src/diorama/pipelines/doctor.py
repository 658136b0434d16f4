"""`diorama doctor`: what this machine can do, what is missing, and the command that mends it."""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    import torch

State = Literal["ok", "optional", "missing"]

_MARKS: dict[State, str] = {"ok": "ok", "optional": "--", "missing": "!!"}

_PACKAGES = {
    "numpy": "arrays",
    "safetensors": "scenes on disk",
    "PIL": "reading photos",
    "av": "reading and writing video",
    "skimage": "meshes, image measures",
    "trimesh": "mesh files",
    "viser": "the viewer",
}
_DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image"}

_EXTRAS = {
    "colmap": ("pycolmap", "camera poses for bare photos"),
    "photos": ("pillow_heif", "iPhone photos (HEIC)"),
    "metrics": ("flip_evaluator", "the perceptual measure FLIP"),
}


@dataclass(frozen=True)
class Options:
    """What this machine can do, what is missing, and the exact command that mends it."""

    folder: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path()
    """Where scenes would be written: write access and free space are checked there."""
    speed: bool = True
    """Measure for about five seconds how fast this machine copies, multiplies and encodes."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    state: State
    """ok; optional: missing, but everything else works; missing: diorama cannot work without it."""
    found: str
    mend: str = ""
    """The command, or the sentence, that mends the gap."""

    def line(self) -> str:
        """The finding as text; what mends it stands below it."""
        text = f"  {_MARKS[self.state]}  {self.name:<17}{self.found}"
        return f"{text}\n      {'':<17}-> {self.mend}" if self.mend else text


def command(options: Options) -> int:
    """Print every finding; 0 if diorama can work here, 2 if something that it needs is missing."""
    missing = 0
    print("What diorama found on this machine (ok: there; --: optional; !!: needed)\n", flush=True)
    for finding in examine(options.folder):
        print(finding.line(), flush=True)
        missing += finding.state == "missing"
    if options.speed and not missing:
        print("\nSpeed, measured now (other programs running make it slower)\n", flush=True)
        for finding in measure():
            print(finding.line(), flush=True)
            missing += finding.state == "missing"
    print("\nReady: try `diorama demo`." if not missing else f"\n{missing} needed thing(s) missing: see !! above.")
    return 2 if missing else 0


def examine(folder: Path) -> Iterator[Finding]:
    """Everything that can be told without measuring."""
    yield _python()
    yield from _torch()
    yield _numba()
    yield _triton()
    for module, purpose in _PACKAGES.items():
        yield _package(module, purpose)
    yield _h264()
    for extra, (module, purpose) in _EXTRAS.items():
        yield _extra(extra, module, purpose)
    yield _writable("output folder", folder.resolve(), "write elsewhere with -o")
    yield _writable("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder that can be written")


def install(requirement: str) -> str:
    """The command that installs a requirement into the Python that runs now."""
    return f'{sys.executable} -m pip install "{requirement}"'


def requirement_of(extra: str) -> str:
    """What `diorama[extra]` would install, as its own package metadata states it."""
    for line in importlib.metadata.requires("diorama") or ():
        requirement, _, condition = line.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", condition):
            return requirement.strip()
    return f"diorama[{extra}]"


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok", f"{version} at {sys.executable}")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("torch", "missing", _reason(error), install("torch>=2.6"))
        return
    yield Finding("torch", "ok", torch.__version__)
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Finding("device", "ok", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    elif torch.backends.mps.is_available():
        yield Finding("device", "ok", "CPU (this Mac's GPU is not used yet)")
    else:
        yield Finding("device", "ok", "CPU (no CUDA device found; not needed)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    few = threads < cores
    advice = f"unset OMP_NUM_THREADS, or set it to {cores}" if few else ""
    yield Finding("threads", "optional" if few else "ok", f"torch uses {threads} of {cores} cores", advice)


def _numba() -> Finding:
    try:
        import numba
    except Exception as error:
        return Finding("Numba", "missing", _reason(error), install("numba>=0.60"))
    return Finding("Numba", "ok", f"{numba.__version__}: fast kernels on the CPU, threads: {numba.get_num_threads()}")


def _cuda() -> bool:
    """Whether there is a torch that sees a CUDA device; a torch that does not load sees none."""
    try:
        import torch
    except Exception:  # said by `_torch`
        return False
    return torch.cuda.is_available()


def _triton() -> Finding:
    if importlib.util.find_spec("triton") is not None:
        return Finding("Triton", "ok", f"{_version('triton')}: fast kernels on CUDA")
    if not _cuda():
        return Finding("Triton", "optional", "not installed; only used with a CUDA device")
    pinned = [line for line in importlib.metadata.requires("torch") or () if line.startswith("triton")]
    requirement = pinned[0].partition(";")[0].strip() if pinned else "triton"
    return Finding("Triton", "optional", "not installed: kernels on CUDA use slow plain torch", install(requirement))


def _package(module: str, purpose: str) -> Finding:
    distribution = _DISTRIBUTIONS.get(module, module)
    try:
        importlib.import_module(module)
    except Exception as error:
        return Finding(distribution, "missing", f"{_reason(error)} ({purpose})", install(distribution))
    return Finding(distribution, "ok", f"{_version(distribution)}: {purpose}")


def _h264() -> Finding:
    try:
        from av.codec import Codec

        Codec("libx264", "w")
    except Exception as error:
        return Finding("h264 video", "optional", f"no encoder ({_reason(error)})", install("av --force-reinstall"))
    return Finding("h264 video", "ok", "libx264, inside av")


def _extra(extra: str, module: str, purpose: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(f"[{extra}]", "optional", f"not installed: {purpose}", install(requirement_of(extra)))
    return Finding(f"[{extra}]", "ok", f"{_version(module)}: {purpose}")


def _writable(name: str, folder: Path, mend: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"diorama")
    except OSError as error:
        return Finding(name, "missing", f"{folder} cannot be written ({error.strerror})", mend)
    free = shutil.disk_usage(folder).free / 2**30
    if free < 1:
        return Finding(name, "optional", f"{folder}, only {free:.2f} GiB free", "free some space")
    return Finding(name, "ok", f"{folder}, {free:.0f} GiB free")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "found"


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "not installed"
    return f"does not load ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"


def measure() -> Iterator[Finding]:
    """Three figures that explain how long a fit takes: memory, arithmetic, hash encoding."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wait = torch.cuda.synchronize if device.type == "cuda" else _nothing
    generator = torch.Generator().manual_seed(0)

    block = torch.zeros(32 << 20, device=device)
    copy = torch.empty_like(block)
    seconds = _time(lambda: copy.copy_(block), wait)
    yield Finding("copy", "ok", f"{2 * block.nbytes / seconds / 1e9:.1f} GB/s read and written")

    side = 1024 if device.type == "cpu" else 8192
    matrix = torch.rand(side, side, generator=generator).to(device)
    seconds = _time(lambda: matrix @ matrix, wait)
    yield Finding("multiply", "ok", f"{2 * side**3 / seconds / 1e9:.0f} GFLOP/s in float32, {side}x{side}")

    try:
        rate = _hash_rate(device, generator, wait)
    except Exception as error:
        yield Finding("hash encoding", "missing", _reason(error), "reinstall diorama, or report it with these lines")
        return
    yield Finding("hash encoding", "ok", f"{rate / 1e6:.2f} million points/s forward and backward, 12 levels")


def _hash_rate(device: "torch.device", generator: "torch.Generator", wait: Callable[[], None]) -> float:
    """Points a second through the encoding that dominates a fit, forward and backward."""
    import torch

    from diorama.kernels.hash_grid import grid_layout, hash_encode

    count, layout = 1 << 16, grid_layout(levels=12, base_resolution=16, finest_resolution=2048, log2_table_size=17)
    points = torch.rand(count, 3, generator=generator).to(device)
    table = torch.rand(layout.entries, 2, generator=generator).to(device).requires_grad_()
    return count / _time(lambda: hash_encode(points, table, layout).sum().backward(), wait)


def _nothing() -> None:
    pass


def _time(work: Callable[[], object], wait: Callable[[], None], budget: float = 1.2) -> float:
    """Fastest of the runs that fit into the budget, in seconds; the first run warms up and is not counted."""
    work()
    wait()
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < budget or best == float("inf"):
        before = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - before)
    return best
