"""Compiles the C++ sources for this machine and loads them; one library for each variant, kept in a cache directory."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from nbdist.errors import NbdistError
from nbdist.physics.orientation_sum import Variant

HEADERS = ("crystal.h", "detector.h", "machine.h", "vectors.h")
FLAGS = (
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
    "-shared",
    "-fPIC",
    "-pthread",
)
SHAPES = ("square", "round", "gauss", "tophat")
COMPILERS = ("g++", "c++", "clang++")


class BuildError(NbdistError):
    """The kernel cannot be compiled on this machine; the message is one line."""


def cache_directory() -> Path:
    """Where compiled kernels are kept: beside torch's own where TORCHINDUCTOR_CACHE_DIR names a place, else the user's cache."""
    shared = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if shared:
        return Path(shared) / "nbdist"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "nbdist"


def library(variant: Variant, sharp: bool) -> ctypes.CDLL:
    """The kernel's library for a variant, compiled if the cache does not hold it; `curved` makes no difference.

    `sharp` keeps what float32 rounds off a distance before it is multiplied by the number of cells.

    Raises
    ------
    BuildError
        If there is no C++ compiler, or it fails.
    """
    real = "double" if variant.dtype == torch.float64 else "float"
    macros = {
        "REAL": real,
        "SHAPE": SHAPES.index(variant.shape),
        "INTERPOLATE": int(variant.interpolate),
        "SHARP": int(sharp and variant.dtype == torch.float32),
        "UNIFORM": int(variant.uniform),
    }
    return load("kernel.cpp", tuple(f"-D{name}={value}" for name, value in macros.items()))


@functools.cache
def load(source: str, macros: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library made of one of this package's sources, compiled if the cache does not hold it.

    Raises
    ------
    BuildError
        If there is no C++ compiler, or it fails.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256("\0".join([*FLAGS, *macros, _machine()]).encode())
    for name in (source, *HEADERS):
        digest.update((here / name).read_bytes())
    name = f"{Path(source).stem}-{digest.hexdigest()[:24]}"
    folder = cache_directory()
    for path in sorted(folder.glob(f"{name}-*.so")):
        if path.name == f"{name}-{path.stat().st_size}.so":  # a library cut short would kill the process that loads it
            try:
                return ctypes.CDLL(str(path))
            except OSError:  # not what was written: made again
                break
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _compile(here / source, macros, folder, name)
    except OSError:  # a home that cannot be written to, or that nothing is executed from
        pass
    try:
        with tempfile.TemporaryDirectory(prefix="nbdist-") as temporary:
            return _compile(here / source, macros, Path(temporary), name)
    except OSError as error:
        raise BuildError(f"neither {folder} nor a temporary folder will do ({str(error).splitlines()[0]})") from None


def _compile(source: Path, macros: tuple[str, ...], folder: Path, name: str) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise BuildError(f"no C++ compiler ({', '.join(COMPILERS)})")
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    unfinished = Path(temporary)
    try:
        machine = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
        command = [*compiler.split(), *FLAGS, machine, *macros, str(source), "-o", temporary]
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        except OSError as error:
            raise BuildError(f"the C++ compiler {compiler} does not run ({error.strerror})") from None
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
            raise BuildError(f"{compiler} failed: {lines[0].strip() if lines else f'exit {done.returncode}'}")
        path = folder / f"{name}-{unfinished.stat().st_size}.so"
        unfinished.replace(path)  # whole or not at all: other processes may look for it
    finally:
        unfinished.unlink(missing_ok=True)
    return ctypes.CDLL(str(path))


def _machine() -> str:
    """What the code was compiled for: a cache may lie in a home that machines with other instructions share."""
    description = [platform.system(), platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        description += sorted({line for line in lines if line.startswith(wanted)})
    except OSError:
        description.append(platform.processor())
    return "\n".join(description)
