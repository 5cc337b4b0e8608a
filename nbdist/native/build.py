"""Compiles the C++ sources for this machine and loads them: one library for each variant, compiled once, kept in a private folder.

Code is loaded only from folders that nobody but this user (or root) can write into or replace. The name of a library says what it was
made of (sources, options, processor), by which compiler, and what is in it (a hash, checked before it is loaded); it is put into its
place whole, under a name that is new, so that no process finds its code changed under it. A lock lets one process of a machine compile
while the others wait for the result.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbdist.errors import NbdistError
from nbdist.private_folder import UnsafeFolderError, lock_folder, private_folder, trusted_folder

logger = logging.getLogger(__name__)

HEADERS = Path(__file__).parent
"""Of all sources: how wide the machine's vectors are, for instance."""
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
COMPILERS = ("g++", "c++", "clang++")
CHANGE_RESULTS = (
    "-ffast-math",
    "-Ofast",
    "-funsafe-math",
    "-fassociative-math",
    "-freciprocal-math",
    "-ffinite-math",
    "-fsingle-precision-constant",
    "-fno-signed-zeros",
    "-fno-honor-",
    "-fapprox-func",
    "-fcx-limited-range",
    "-ffp-model",
    "-fp-model",
    "-mrecip",
    "-mfpmath=387",
)
"""Beginnings of options that allow a compiler other results than C++ promises: they have no place in CXX."""
FOLDER_VARIABLE = "NBDIST_KERNELS"
"""Names the folder of compiled kernels, where it is not the user's cache: an image's or a cluster's, or one's own."""
COMPILER_LIMIT_S = 600.0
"""A compilation takes seconds; one that takes this long on a busy machine does not end."""
VERSION_LIMIT_S = 60.0
LOOK_EVERY_S = 0.05
"""How often a process that waits for another's compilation looks whether it is over."""
HASH_DIGITS = 24


class BuildError(NbdistError):
    """Code cannot be compiled on this machine; the message is one line."""


@dataclass(frozen=True)
class Library:
    """Compiled code, and the compiler that made it: its version, and what the user had it do besides."""

    code: ctypes.CDLL
    compiler: str


@dataclass(frozen=True)
class Source:
    """A source with the options that it alone has, macros for instance: what a library is made of, whoever compiles it.

    It includes headers of its folder, and of this one.
    """

    path: Path
    own_options: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Options of the compiler, but where it finds headers."""
        machine = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
        return (*FLAGS, machine, *self.own_options)

    @functools.cached_property
    def name(self) -> str:
        """Beginning of the names of its libraries: what they are made of, and the machine whose instructions they use."""
        digest = hashlib.sha256("\0".join([*self.options, _machine()]).encode())
        headers = (header for folder in (self.path.parent, HEADERS) for header in sorted(folder.glob("*.h")))
        for file in (self.path, *headers):
            digest.update(file.read_bytes())
        return f"{self.path.stem}-{digest.hexdigest()[:HASH_DIGITS]}"


@dataclass(frozen=True)
class Compiler:
    """The C++ compiler of this process: the words of its command, and what it says of itself."""

    words: tuple[str, ...]
    version: str

    @property
    def identity(self) -> str:
        """Version and options in one line, as records name it."""
        return " ".join([self.version.splitlines()[0].strip(), *(word for word in self.words if word.startswith("-"))])

    @property
    def name(self) -> str:
        """What libraries are named by: another file, version or option is another compiler."""
        files = (str(Path(found).resolve()) if (found := shutil.which(word)) else word for word in self.words)
        return hashlib.sha256("\0".join([*files, self.version]).encode()).hexdigest()[:8]


@functools.cache
def load(source: Source) -> Library:
    """The library made of a source, compiled where no folder of compiled kernels holds it.

    Raises
    ------
    BuildError
        If there is no C++ compiler, it fails, or it does not come to an end.
    """
    for folder in _named_folder():
        with contextlib.suppress(BuildError):  # there may be no compiler here
            if (found := _find(folder, f"{source.name}-{find_compiler().name}-*.so")) is not None:
                return found
        if (found := _find(folder, f"{source.name}-*.so")) is not None:
            return found
    refused = []
    for place in (_cache_folder, _machine_folder, _passing_folder):
        try:
            with place() as folder:
                return built(source, folder)
        except (
            OSError,
            UnsafeFolderError,
        ) as error:  # cannot be written to, is not ours alone, or nothing is executed from it
            refused.append(str(error).splitlines()[0])
    raise BuildError(f"there is no folder to compile it in: {'; '.join(refused)}")


def built(source: Source, folder: Path) -> Library:
    """The library made of a source by this process's compiler, from a folder, compiled there where it is missing.

    Raises
    ------
    BuildError
        If there is no C++ compiler, it fails, or it does not come to an end.
    UnsafeFolderError
        If others can write into the folder or replace it.
    OSError
        If the folder cannot be written, or what is in it cannot be loaded.
    """
    folder, compiler = trusted_folder(folder), find_compiler()
    pattern = f"{source.name}-{compiler.name}-*.so"
    if (found := _find(folder, pattern)) is not None:
        return found
    with _one_at_a_time(folder / f"{source.name}-{compiler.name}.lock"):
        if (found := _find(folder, pattern)) is not None:
            return found
        return Library(ctypes.CDLL(str(_compile(source, compiler, folder))), compiler.identity)


def find_compiler() -> Compiler:
    """The C++ compiler that CXX names, or the first that is there.

    Raises
    ------
    BuildError
        If there is none, it does not run, or CXX has it change results.
    """
    named = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)
    if named is None:
        raise BuildError(f"no C++ compiler ({', '.join(COMPILERS)})")
    return _asked(named)


@functools.cache
def _asked(named: str) -> Compiler:
    words = tuple(named.split())
    for word in words[1:]:
        if word.startswith(CHANGE_RESULTS):
            raise BuildError(f"CXX: {word} lets the compiler change results; leave it out")
    return Compiler(words, _output([*words, "--version"], VERSION_LIMIT_S).strip() or named)


def processor() -> str:
    """This machine's processor in one line: its model, and a hash of the instructions it has."""
    models = {line.partition(":")[2].strip() for line in _machine().splitlines() if line.startswith("model name")}
    name = ", ".join(sorted(models)) or platform.processor() or platform.machine()
    return f"{name} ({hashlib.sha256(_machine().encode()).hexdigest()[:8]})"


def _named_folder() -> Iterator[Path]:
    """The folder that the user names, where it is there and may be trusted."""
    if named := os.environ.get(FOLDER_VARIABLE):
        try:
            yield trusted_folder(named)
        except FileNotFoundError:
            pass
        except (OSError, UnsafeFolderError) as error:
            logger.warning("%s is not used: %s", FOLDER_VARIABLE, error)


def cache_folder() -> Path:
    """Where compiled kernels are kept: the folder that the user names, or one of the user's cache; it may not be there."""
    named = os.environ.get(FOLDER_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "nbdist" / "kernels"
    return Path(named or cache)


@contextlib.contextmanager
def _cache_folder() -> Iterator[Path]:
    yield private_folder(cache_folder())


@contextlib.contextmanager
def _machine_folder() -> Iterator[Path]:
    yield private_folder(lock_folder() / "kernels")


@contextlib.contextmanager
def _passing_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nbdist-") as folder:
        yield Path(folder)


def _find(folder: Path, pattern: str) -> Library | None:
    """A library of that name whose content is what its name says; it is loaded."""
    for path in sorted(folder.glob(pattern)):
        try:
            whole = path.stem.rpartition("-")[2] == _content(path)  # one cut short would kill the process that loads it
            if whole:
                compiler = str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["compiler"])
                return Library(ctypes.CDLL(str(path)), compiler)
        except (OSError, ValueError, KeyError, TypeError):  # nothing is executed from here, or half of the pair is gone
            continue
    return None


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_DIGITS]


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock file while compiling, so that others wait; where nothing can be locked, or for too long, they do not."""
    with lock.open("wb") as file:
        end = time.monotonic() + COMPILER_LIMIT_S
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOOK_EVERY_S)
            except OSError:  # a file system without locks
                break
        yield


def _compile(source: Source, compiler: Compiler, folder: Path) -> Path:
    """Compile, and publish the result under a name that is new; it and its description are readable for everybody: an image's are."""
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as scratch:  # the compiler's own files are code, too
        unfinished, beside = Path(scratch) / "library.so", Path(scratch) / "library.json"
        command = [*compiler.words, *source.options, f"-I{HEADERS}", str(source.path), "-o", str(unfinished)]
        _output(command, COMPILER_LIMIT_S, scratch)
        path = folder / f"{source.name}-{compiler.name}-{_content(unfinished)}.so"
        about = {"compiler": compiler.identity, "options": source.own_options, "processor": processor()}
        beside.write_text(json.dumps(about), encoding="utf-8")
        unfinished.chmod(0o755)
        beside.chmod(0o644)
        beside.replace(path.with_suffix(".json"))
        _publish(unfinished, path)
    return path


def _publish(unfinished: Path, path: Path) -> None:
    """Give a file its name, unless one has it: that holds the same, and may be mapped by others, or was damaged."""
    if path.exists() and _content(path) != _content(unfinished):
        path.unlink()
    try:
        path.hardlink_to(unfinished)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        unfinished.rename(path)


def _output(command: list[str], limit_s: float, scratch: str | None = None) -> str:
    """What a compiler prints; it and whatever it starts are ended with this call, at the latest.

    What it keeps for itself meanwhile lies in `scratch`, where that is given.

    Raises
    ------
    BuildError
        If it does not run, fails, or does not come to an end.
    """
    options: dict[str, Any] = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if scratch is not None:
        options["env"] = {**os.environ, "TMPDIR": scratch}
    try:
        process = subprocess.Popen(command, **options, text=True, errors="replace", start_new_session=True)
    except OSError as error:
        raise BuildError(f"the C++ compiler {command[0]} does not run ({error.strerror})") from None
    with process:
        try:
            printed, complaints = process.communicate(timeout=limit_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # the command starts the compiler proper
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"{command[0]} did not come to an end in {limit_s:g} s") from None
            raise
    if process.returncode != 0:
        lines = [line for line in complaints.splitlines() if "error" in line.lower()] or complaints.splitlines()
        raise BuildError(f"{command[0]} failed: {lines[0].strip() if lines else f'exit {process.returncode}'}")
    return printed


@functools.cache
def _machine() -> str:
    """What the code is compiled for: a folder of kernels may be shared by machines with other instructions."""
    description = [platform.system(), platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        description += sorted({line for line in lines if line.startswith(wanted)})
    except OSError:
        description.append(platform.processor())
    return "\n".join(description)
