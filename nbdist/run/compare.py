"""Two series side by side, by resolution: stores, whose frames are read, or experiments, whose frames are rendered.

What is compared is `intensity`, in photons, over the pixels that are usable in both. Resolution shells hold equal shares of reciprocal
space between the corners and the middle of the detector, as the first of the two has it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.experiment import load_experiment
from nbdist.formats.text import said_of, user_path
from nbdist.frames.labels import Images
from nbdist.frames.products import INTENSITY
from nbdist.kernels.devices import Device, pick_device
from nbdist.run.context import make_context
from nbdist.run.rendering import render_frame
from nbdist.scene import Scene
from nbdist.store import open_group, read_frame, summarize_series

EXPERIMENT_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Series:
    """The frames of a store, or of an experiment, that are compared.

    Attributes
    ----------
    name
        Where they are from.
    scene
        What they are of.
    complete
        Numbers of the frames there are.
    images
        Expected photons of a frame, an image (slow, fast) a panel.
    """

    name: str
    scene: Scene
    complete: Container[int]
    images: Callable[[int], Images]


@dataclass(frozen=True)
class Agreement:
    """How two sets of pixels agree; photons, of all frames together.

    Attributes
    ----------
    d_max_A, d_min_A
        Resolution of the pixels, Angstrom.
    pixels
        How many values were compared.
    largest, largest_other
        The largest photon count of each.
    difference
        The largest difference of a pixel.
    sum, sum_other
        All photons of each.
    correlation
        Pearson's coefficient; None where either is the same everywhere.
    """

    d_max_A: float
    d_min_A: float
    pixels: int
    largest: float
    largest_other: float
    difference: float
    sum: float
    sum_other: float
    correlation: float | None


@dataclass(frozen=True)
class Comparison:
    """How the frames of two series agree.

    Attributes
    ----------
    whole, shells
        All pixels, and those of each resolution shell from the middle outwards; a shell without pixels is left out.
    frame, panel
        Where the largest difference is.
    images
        The two images there.
    """

    whole: Agreement
    shells: list[Agreement]
    frame: int
    panel: int
    images: tuple[NDArray[Any], NDArray[Any]]


def series_at(location: str, device: Device = "auto") -> Series:
    """The frames of a store, or of an experiment file (.yaml, .yml, .json).

    Raises
    ------
    NbdistError
        If there is neither.
    """
    if Path(location).suffix in EXPERIMENT_SUFFIXES:
        experiment = load_experiment(user_path(Path(location)))
        with said_of(location):
            context = make_context(experiment, device=pick_device(device, experiment.sampling.method))
        return Series(
            location, context.scene, range(experiment.scan.frames), lambda frame: render_frame(context, frame)
        )
    group, summary = open_group(location), summarize_series(location)
    return Series(
        location,
        summary.scene,
        summary.found.frames,
        lambda frame: INTENSITY.images(read_frame(group, frame)),
    )


def compare(
    one: Series,
    other: Series,
    frames: Sequence[int] = (0,),
    panels: Sequence[int] | None = None,
    shells: int = 10,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Compare frames of two series, pixel by pixel.

    Parameters
    ----------
    frames
        Their numbers, the same in both.
    panels
        Which panels; all where left out.
    shells
        Into how many resolution shells the detector is divided.
    report
        Called with (frames compared, all that are).

    Raises
    ------
    RunError
        If the detectors differ in shape, a frame or a panel is not there, or no pixel is usable in both.
    """
    shapes, its = one.scene.experiment.detector.shapes, other.scene.experiment.detector.shapes
    if shapes != its:
        raise RunError(
            f"{other.name}: has panels of {_shapes(its)} pixels, {one.name} of {_shapes(shapes)}; only equal ones compare"
        )
    for series in (one, other):
        missing = [frame for frame in frames if frame not in series.complete]
        if missing:
            raise RunError(f"{series.name}: frame {missing[0]} is not there, of {series.scene.experiment.scan.frames}")
    panels = range(len(shapes)) if panels is None else panels
    for panel in panels:
        if not 0 <= panel < len(shapes):
            raise RunError(f"panel {panel}: lies outside 0:{len(shapes)}")
    scene, other_scene = one.scene, other.scene
    wavelength_A = scene.experiment.beam.mean_wavelength_A
    usable, cubes = {}, {}
    for panel in panels:
        geometry = scene.instrument.panels[panel]
        usable[panel] = geometry.usable & other_scene.instrument.panels[panel].usable
        slow, fast = np.nonzero(usable[panel])
        cubes[panel] = geometry.resolution_A(slow + 0.5, fast + 0.5, wavelength_A) ** -3.0
    every = np.concatenate(list(cubes.values()))
    if not every.size:
        raise RunError(f"{one.name} and {other.name}: no pixel is usable in both")
    edges = np.linspace(every.min(), every.max(), shells + 1)
    shell = {
        panel: np.clip(np.searchsorted(edges, its, side="right") - 1, 0, shells - 1) for panel, its in cubes.items()
    }

    sums = np.zeros((6, shells))  # values, a, b, a^2, b^2, a b
    most = np.zeros((3, shells))  # a, b, |a - b|
    worst, place, seen = -1.0, (frames[0], panels[0]), (np.zeros((0, 0)), np.zeros((0, 0)))
    for done, frame in enumerate(frames, start=1):
        pair = one.images(frame), other.images(frame)
        for panel in panels:
            a, b = (np.asarray(images[panel], dtype=np.float64)[usable[panel]] for images in pair)
            if not a.size:
                continue
            difference = np.abs(a - b)
            for row, values in enumerate((np.ones_like(a), a, b, a * a, b * b, a * b)):
                sums[row] += np.bincount(shell[panel], values, shells)
            for row, values in enumerate((a, b, difference)):
                np.maximum.at(most[row], shell[panel], values)
            if difference.max() > worst:
                worst, place, seen = float(difference.max()), (frame, panel), (pair[0][panel], pair[1][panel])
        report(done, len(frames))
    found = [
        _agreement(edges[n] ** (-1 / 3), edges[n + 1] ** (-1 / 3), sums[:, n], most[:, n])
        for n in range(shells)
        if sums[0, n]
    ]
    whole = _agreement(edges[0] ** (-1 / 3), edges[-1] ** (-1 / 3), sums.sum(axis=1), most.max(axis=1))
    return Comparison(whole, found, *place, seen)


def _shapes(shapes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{slow} x {fast}" for slow, fast in shapes)


def _agreement(d_max_A: float, d_min_A: float, sums: NDArray[np.float64], most: NDArray[np.float64]) -> Agreement:
    values, a, b, aa, bb, ab = (float(number) for number in sums)
    of_a, of_b = values * aa - a * a, values * bb - b * b
    # below the rounding of the squares there is no variation to correlate
    varies = of_a > 1e-12 * values * aa and of_b > 1e-12 * values * bb
    return Agreement(
        d_max_A=float(d_max_A),
        d_min_A=float(d_min_A),
        pixels=int(values),
        largest=float(most[0]),
        largest_other=float(most[1]),
        difference=float(most[2]),
        sum=a,
        sum_other=b,
        correlation=(values * ab - a * b) / float(np.sqrt(of_a * of_b)) if varies else None,
    )
