"""Traces as files: making one from an experiment, writing it with what it was made on and of, and comparing two logs.

trace.log holds one `KEY value ...` a line, 15 significant digits. Keys that belong to an orientation repeat, in the order of phi steps
and mosaic domains, after a `phi_step`, a `phi_deg` and a `mosaic_domain` line that say which. Sentences follow the key `note`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbdist.errors import FileFormatError, RunError
from nbdist.experiment import Experiment
from nbdist.formats.text import read_text
from nbdist.kernels.devices import Device, pick_device
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

if TYPE_CHECKING:
    from nbdist.frames.trace import Choice, PixelTrace

LOG, ENVIRONMENT, SNAPSHOT = "trace.log", "environment.json", "config_snapshot.json"
SECTIONS = ("crystal", "detector", "beam", "scan", "sampling")
FOREIGN_PREFIX = "TRACE_C:"
INDEX_KEYS = ("phi_step", "phi_deg", "mosaic_domain", "layer", "subpixel", "source")
"""Keys that say where a number belongs: not factors, not compared."""
Entry = tuple[str, tuple[float, ...]]


def trace_experiment(
    experiment: Experiment,
    pixel: tuple[int, int],
    frame: int,
    choice: Choice,
    device: Device = "cpu",
    panel: int = 0,
) -> PixelTrace:
    """The chain of one pixel; see `frames.trace.trace_pixel`.

    Raises
    ------
    NbdistError
        If the experiment is wrong, or the pixel, frame, source or domain lies outside it.
    """
    from nbdist.frames.renderer import Renderer
    from nbdist.frames.trace import trace_pixel

    scene = resolve(experiment)
    lattices, shapes = scene.specimen.lattices, scene.instrument.shapes
    for name, number, count in (("panel", panel, len(shapes)), ("lattice", choice.lattice, len(lattices))):
        if not 0 <= number < count:
            raise RunError(f"{name} {number} lies outside 0:{count}")
    slow, fast = shapes[panel]
    if not (0 <= pixel[0] < slow and 0 <= pixel[1] < fast):
        raise RunError(f"pixel {pixel[0]} {pixel[1]} lies outside the image of {slow} x {fast} pixels (slow x fast)")
    for name, number, count in (
        ("frame", frame, experiment.scan.frames),
        ("source", choice.source, len(scene.instrument.sources)),
        ("mosaic", choice.mosaic or 0, len(lattices[choice.lattice].mosaic)),
    ):
        if not 0 <= number < count:
            raise RunError(f"{name} {number} lies outside 0:{count}")
    if scene.instrument.sources.weights[choice.source] == 0:
        raise RunError(f"source {choice.source} has weight 0 and adds nothing")
    reflections = load_reflections(scene)
    renderer = Renderer(scene, reflections, pick_device(device), "eager")
    return trace_pixel(renderer, reflections, pixel, frame, choice, panel)


def log_text(trace: PixelTrace) -> str:
    """The trace as it is written to trace.log."""
    lines = [f"{line.key} {' '.join(shown(value) for value in line.values)}" for line in trace.lines]
    return "\n".join([*lines, *(f"note {note}" for note in trace.notes)]) + "\n"


def shown(value: float) -> str:
    """A number in 15 significant digits; a whole one as it is."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def write_trace(folder: Path, trace: PixelTrace, experiment: Experiment, about: dict[str, Any]) -> list[Path]:
    """Write trace.log, environment.json and config_snapshot.json; return their paths.

    Parameters
    ----------
    about
        What was traced (pixel, frame, device ...), for environment.json.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    content = experiment.model_dump(mode="json")
    others = {name: value for name, value in content.items() if name not in SECTIONS}
    files = {
        LOG: log_text(trace),
        ENVIRONMENT: json.dumps(environment() | about, indent=1) + "\n",
        SNAPSHOT: json.dumps({**{name: content[name] for name in SECTIONS}, **others}, indent=1) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}") from None
    return [folder / name for name in files]


def environment() -> dict[str, Any]:
    """Versions, threads and platform of this process."""
    from importlib.metadata import version

    import torch

    return {
        "versions": {name: version(name) for name in ("nbdist", "torch", "numpy")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "byte_order": sys.byteorder,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
    }


# ---- comparing


@dataclass(frozen=True)
class Comparison:
    """One factor in two logs; a side that does not have it is None. `place` tells repeated keys apart."""

    key: str
    place: str
    here: tuple[float, ...] | None
    there: tuple[float, ...] | None

    @property
    def relative(self) -> float | None:
        """Length of the difference over the longer of the two; None where one side is missing or has another length."""
        if self.here is None or self.there is None or len(self.here) != len(self.there):
            return None
        size = max(_length(self.here), _length(self.there))
        return _length([a - b for a, b in zip(self.here, self.there, strict=True)]) / size if size else 0.0


def read_trace(path: Path) -> list[Entry]:
    """Read a trace.log of nbdist, or the `TRACE_C: key value ...` lines of nanoBragg's output.

    Raises
    ------
    FileFormatError
        If the file is missing or holds neither.
    """
    lines = read_text(path, "trace").splitlines()
    foreign = [line.split(FOREIGN_PREFIX, 1)[1] for line in lines if FOREIGN_PREFIX in line]
    entries = list(_entries(foreign or lines))
    if not entries:
        raise FileFormatError(f"{path} holds no trace: neither `KEY value` nor `{FOREIGN_PREFIX} key value` lines")
    return entries


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        key, *words = re.split(r"[\s=,:]+", line.strip())
        numbers = []
        for word in words:
            try:
                numbers.append(float(word))
            except ValueError:
                break  # a unit or a remark after the numbers
        if re.fullmatch(r"[A-Za-z_]\w*", key) and numbers and key != "note":
            yield key, tuple(numbers)


def compare(here: Iterable[Entry], there: Iterable[Entry]) -> list[Comparison]:
    """Pair the factors of two logs: the n-th line of a key with the n-th of the same key.

    Order is that of `here`, then what only `there` has.
    """
    others: dict[str, list[tuple[float, ...]]] = {}
    for key, values in there:
        others.setdefault(key, []).append(values)
    compared, index = [], dict[str, str]()
    for key, values in here:
        if key in INDEX_KEYS:
            others.pop(key, None)
            index[key] = " ".join(f"{value:g}" for value in values)
            continue
        place = ""
        if key in ("hkl_frac", "hkl_rounded", "F_cell", "term") or key.startswith("F_latt"):
            place = ", ".join(f"{name} {index[name]}" for name in INDEX_KEYS if name != "phi_deg" and name in index)
        rest = others.get(key, [])
        compared.append(Comparison(key, place, values, rest.pop(0) if rest else None))
    for key, left in others.items():
        compared += [Comparison(key, "", None, values) for values in left if key not in INDEX_KEYS]
    return compared


def first_difference(compared: Iterable[Comparison], tolerance: float) -> Comparison | None:
    """The first factor of the chain that both have and that differs by more than `tolerance`."""
    for one in compared:
        both = one.here is not None and one.there is not None
        if both and (one.relative is None or not one.relative <= tolerance):
            return one
    return None


def _length(vector: Iterable[float]) -> float:
    return sum(value * value for value in vector) ** 0.5
