"""The trace of one pixel of an experiment, and its files: the log, what it was made on, and what of."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nbdist.errors import RunError
from nbdist.experiment import Experiment
from nbdist.formats.files import whole_path
from nbdist.formats.trace_log import trace_log
from nbdist.kernels.devices import pick_device
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.version import __version__

if TYPE_CHECKING:
    from nbdist.frames.trace import Choice, PixelTrace

LOG, ENVIRONMENT, SNAPSHOT = "trace.log", "environment.json", "config_snapshot.json"
SECTIONS = ("crystal", "detector", "beam", "scan", "sampling")


def trace_experiment(
    experiment: Experiment,
    pixel: tuple[int, int],
    frame: int,
    choice: Choice,
    device: str = "cpu",
    panel: int = 0,
) -> PixelTrace:
    """The chain of one pixel; see `nbdist.frames.trace.trace_pixel`.

    Raises
    ------
    NbdistError
        If the experiment is wrong, or the pixel, frame, source or domain lies outside it.
    """
    from nbdist.frames.renderer import Renderer
    from nbdist.frames.trace import trace_pixel

    if experiment.sampling.integrated:
        raise RunError("a trace is of the sum, term by term; sampling.method integrated has no such terms: give sum")
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
        ("mosaic", choice.mosaic or 0, lattices[choice.lattice].domains),
    ):
        if not 0 <= number < count:
            raise RunError(f"{name} {number} lies outside 0:{count}")
    if scene.instrument.sources.weights[choice.source] == 0:
        raise RunError(f"source {choice.source} has weight 0 and adds nothing")
    reflections = load_reflections(scene)
    renderer = Renderer(scene, reflections, pick_device(device), "eager")
    return trace_pixel(renderer, reflections, pixel, frame, choice, panel)


def write_trace(folder: Path, trace: PixelTrace, experiment: Experiment, about: Mapping[str, object]) -> list[Path]:
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
        LOG: trace_log(trace.lines, trace.notes),
        ENVIRONMENT: json.dumps({**environment(), **about}, indent=1) + "\n",
        SNAPSHOT: json.dumps({**{name: content[name] for name in SECTIONS}, **others}, indent=1) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with whole_path(folder / name) as beside:
                beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}") from None
    return [folder / name for name in files]


def environment() -> dict[str, object]:
    """Versions, threads and platform of this process."""
    from importlib.metadata import version

    import torch

    return {
        "versions": {"nbdist": __version__, **{name: version(name) for name in ("torch", "numpy")}},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "byte_order": sys.byteorder,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
    }
