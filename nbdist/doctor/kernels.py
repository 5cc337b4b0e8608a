"""The C++ compiler and the folder of compiled kernels."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from importlib.util import find_spec
from pathlib import Path

from nbdist.doctor.findings import Finding, at_home
from nbdist.errors import NbdistError, how_to_get, one_line
from nbdist.formats.amounts import size
from nbdist.formats.text import user_path
from nbdist.native.build import FOLDER_VARIABLE, BuildError, Source, built, cache_folder, find_compiler
from nbdist.private_folder import UnsafeFolderError, lock_folder, trusted_folder

TRIAL = 'extern "C" int nbdist_trial() { return 42; }\n'


def compiler(has_torch: bool | None = None) -> Finding:
    """The C++ compiler, and whether code that it makes for this machine is loaded and right."""
    name = "compiler"
    try:
        found = find_compiler()
    except BuildError as error:
        return _without(name, str(error), "install g++ or clang++, or name one by CXX", has_torch)
    named = ", named by CXX" if os.environ.get("CXX") else ""
    said = f"{found.version.splitlines()[0].strip()}{named}"
    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=lock_folder()) as scratch:
            source = Path(scratch) / "trial.cpp"
            source.write_text(TRIAL, encoding="utf-8")
            answer = built(Source(source), Path(scratch)).code.nbdist_trial()
    except (NbdistError, OSError) as error:
        advice = "what it says is what stands in the way; another one may be named by CXX"
        return _without(name, f"{said}, which fails: {one_line(error)}", advice, has_torch)
    if answer != 42:
        return Finding(name, f"{said}, whose code does not work", "fault", "name another one by CXX")
    return Finding(name, f"{said}; compiles and loads")


def _without(name: str, found: str, advice: str, has_torch: bool | None) -> Finding:
    """What no compiler means: PyTorch renders, tens of times slower, as do kernels that were compiled ahead."""
    has_torch = find_spec("torch") is not None if has_torch is None else has_torch
    if has_torch or os.environ.get(FOLDER_VARIABLE):
        instead = "PyTorch renders, tens of times slower" if has_torch else "kernels that were compiled ahead are used"
        return Finding(name, f"{found}; {instead}", "note", advice)
    return Finding(name, found, "fault", f"{advice}; without one, PyTorch renders slowly: {how_to_get('torch')}")


def cache(folder: Path | None = None) -> Finding:
    """Where compiled kernels are kept, whose it is, who can write there, and what is in it."""
    named = bool(os.environ.get(FOLDER_VARIABLE)) and folder is None
    folder = user_path(cache_folder()) if folder is None else folder
    shown = at_home(folder)
    try:
        info = trusted_folder(folder).stat()
    except FileNotFoundError:
        if named:
            said = f"{shown}, named by {FOLDER_VARIABLE}, is not there"
            return Finding("kernels", said, "note", "nbdist kernels build DIR fills it")
        return Finding("kernels", f"{shown}: made by the first run")
    except (OSError, UnsafeFolderError) as error:
        advice = (
            "a folder in which you alone can write will do (chmod go-w, also what is above it), or another, named by "
            f"{FOLDER_VARIABLE if named else 'XDG_CACHE_HOME'}; until then kernels are compiled into one for temporary files"
        )
        return Finding("kernels", f"{shown} is not used: {at_home(one_line(error))}", "note", advice)
    libraries = list(folder.glob("*.so"))
    total = sum(library.stat().st_size for library in libraries)
    mode = f"{stat.S_IMODE(info.st_mode):o}"
    found = f"{shown}: {len(libraries)} compiled, {size(total)}, owner {_owner(info.st_uid)}, mode {mode}"
    numbers = {"libraries": len(libraries), "bytes": total, "mode": mode, "owned": info.st_uid == os.getuid()}
    if not os.access(folder, os.W_OK):
        return Finding("kernels", f"{found}, not writable", "ok" if named else "note", numbers=numbers)
    return Finding("kernels", found, numbers=numbers)


def _owner(number: int) -> str:
    if number == os.getuid():
        return "you"
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def locks() -> Finding:
    """The folder of this user's locks on this machine."""
    try:
        lock_folder()
    except (OSError, NbdistError) as error:
        return Finding("locks", one_line(error), "fault", "TMPDIR may name a folder of yours for temporary files")
    return Finding("locks", "a private folder for temporary files is there")
