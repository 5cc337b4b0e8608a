"""Figures of a report: what comes of plain numbers. Matplotlib is imported when used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.pictures import new_figure
from nbdist.formats.scales import Scale, unit_label
from nbdist.formats.views import COLOURS, State, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
ACROSS = 3
"""Pictures or curves side by side."""


@dataclass(frozen=True)
class SpotPicture:
    """Pixels about a spot.

    Attributes
    ----------
    view, first
        The pixels, and the row and the column of the first of them.
    title
        What the spot is.
    place
        Its centroid, slow and fast.
    box
        First row, row after the last, first column, column after the last of its bounding box; None where it has none.
    """

    view: View
    first: tuple[int, int]
    title: str
    place: tuple[float, float]
    box: tuple[int, int, int, int] | None


def spots_figure(pictures: Sequence[SpotPicture], units: str) -> Figure:
    """A figure of spots side by side, each on a logarithmic scale of its own from its least pixel to its brightest."""
    from matplotlib.patches import Rectangle

    figure, places = _grid(len(pictures), 3.0, 2.9, 0.45)
    colours = np.array([COLOURS.get(state, (0.0, 0.0, 0.0, 0.0)) for state in State])
    for axes, its in zip(places, pictures, strict=False):
        (top, left), (rows, columns) = its.first, its.view.values.shape
        extent = (float(left), float(left + columns), float(top + rows), float(top))
        scale = Scale.of([its.view], "auto")
        hidden = np.ma.masked_array(its.view.values, ~its.view.drawn)
        image = axes.imshow(hidden, cmap="gray_r", norm=scale.norm, extent=extent, interpolation="nearest")
        axes.imshow(colours[its.view.states], extent=extent, interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.03)
        bar.set_ticks(
            scale.ticks[:: max(1, len(scale.ticks) // 5)], labels=scale.labels[:: max(1, len(scale.ticks) // 5)]
        )
        bar.ax.minorticks_off()
        bar.ax.tick_params(labelsize=6)
        axes.plot(its.place[1], its.place[0], marker="+", color="tab:red", markersize=7, markeredgewidth=0.9)
        if its.box is not None:
            first_slow, last_slow, first_fast, last_fast = its.box
            frame = (first_fast, first_slow), last_fast - first_fast, last_slow - first_slow
            axes.add_patch(Rectangle(*frame, fill=False, edgecolor="tab:blue", linewidth=0.9))
        axes.set(xlim=extent[:2], ylim=extent[2:])
        axes.set_title(its.title, fontsize=8, loc="left")
        axes.locator_params(nbins=6, integer=True)
        axes.tick_params(labelsize=6)
    figure.supxlabel("fast (pixels)", fontsize=8)
    figure.supylabel("slow (pixels)", fontsize=8)
    figure.text(
        1 - 0.1 / figure.get_figwidth(),
        1 - 0.1 / figure.get_figheight(),
        unit_label(units),
        fontsize=8,
        ha="right",
        va="top",
    )
    return figure


@dataclass(frozen=True)
class Curve:
    """Photons of a reflection by rotation.

    Attributes
    ----------
    title
        What it is of.
    edges_deg
        Where its frames begin, and where the last ends (n + 1,).
    pixels, predicted, labels
        Photons of each frame (n,): of its pixels, NaN for frames that are not there; predicted; and those of its label, None where the
        store has none.
    """

    title: str
    edges_deg: Array
    pixels: Array
    predicted: Array
    labels: Array | None


def rocking_figure(curves: Sequence[Curve]) -> Figure:
    """A figure of rocking curves side by side: bars of what pixels hold, a line of what is predicted, dots of labels."""
    figure, places = _grid(len(curves), 3.2, 2.5)
    for axes, its in zip(places, curves, strict=False):
        there = np.isfinite(its.pixels)
        axes.stairs(np.where(there, its.pixels, 0), its.edges_deg, fill=True, color="0.8", label="pixels")
        axes.stairs(its.predicted, its.edges_deg, baseline=None, color="tab:orange", linewidth=1.2, label="predicted")
        if its.labels is not None:
            middle = (its.edges_deg[1:] + its.edges_deg[:-1]) / 2
            axes.plot(middle, its.labels, ".", color="tab:blue", markersize=5, label="label")
        axes.set_title(its.title, fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.set_ylim(bottom=0)
    places[0].legend(fontsize=7, frameon=False)
    figure.supxlabel("rotation (degrees)", fontsize=8)
    figure.supylabel("photons in the frame", fontsize=8)
    return figure


def wilson_figure(squared_per_A2: Array, curves: Mapping[str, tuple[Array, Array | None]]) -> Figure:
    """A figure of the natural logarithm of mean intensities by 1 / (4 d^2).

    Parameters
    ----------
    squared_per_A2
        1 / (4 d^2) in the middle of each shell (n,).
    curves
        Mean squared amplitude of what went in and of what came out (n,), electron^2, NaN for none, by the name of a crystal.
    """
    figure = new_figure((7.0, 4.0), "constrained")
    axes = figure.subplots()
    for number, (name, (given, rendered)) in enumerate(curves.items()):
        colour, of = f"C{number}", f" of {name}" if len(curves) > 1 else ""
        axes.plot(squared_per_A2, _logarithm(given), "-", color=colour, label=f"amplitudes{of}")
        if rendered is not None:
            axes.plot(squared_per_A2, _logarithm(rendered), "o", color=colour, fillstyle="none", label=f"frames{of}")
    _spacings_above(axes)
    axes.set_xlabel("1 / (4 d²)  (1/Å²)")
    axes.set_ylabel("ln of the mean of F²  (electron²)")
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)
    return figure


def shells_figure(edges_A: Array, photons: Array, background: Array | None) -> Figure:
    """A figure of mean photons a pixel by resolution.

    Parameters
    ----------
    edges_A
        Spacings between shells (n + 1,), the coarsest first; it may be infinite.
    photons, background
        Mean of the pixels of each shell (n,), NaN for none, and what of it is background.
    """
    figure = new_figure((7.0, 3.6), "constrained")
    axes = figure.subplots()
    cubes = 1 / edges_A**3
    axes.stairs(np.nan_to_num(photons), cubes, fill=True, color="tab:blue", alpha=0.45, label="all photons")
    if background is not None:
        axes.stairs(np.nan_to_num(background), cubes, fill=True, color="0.6", label="background")
        axes.legend(frameon=False, fontsize=8)
    axes.set_xticks(cubes[1:], [f"{d:.3g}" for d in edges_A[1:]])
    axes.set_xlabel("d (Å): shells of equal volume in reciprocal space")
    axes.set_ylabel("photons per pixel")
    axes.set_xlim(cubes[0], cubes[-1])
    axes.set_ylim(bottom=0)
    return figure


def _logarithm(values: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log(values), np.nan)


def _spacings_above(axes: Axes) -> None:
    """Write spacings d along the top, of places 1 / (4 d^2)."""
    low, high = axes.get_xlim()

    def place_of(d: float) -> float:
        return 1 / (4 * d * d)

    named = [
        d for d in (20, 10, 5, 4, 3, 2.5, 2, 1.8, 1.6, 1.4, 1.2, 1.1, 1, 0.9, 0.8, 0.7) if low < place_of(d) < high
    ]
    placed: list[float] = []
    for d in reversed(named):
        if not placed or abs(place_of(d) - place_of(placed[-1])) > 0.06 * (high - low):
            placed.append(d)
    above = axes.secondary_xaxis("top")
    above.set_xticks([place_of(d) for d in placed], [f"{d:g}" for d in placed])
    above.set_xlabel("d (Å)")


def _grid(number: int, wide: float, high: float, right: float = 0.15) -> tuple[Figure, list[Axes]]:
    """Places of equal size for so many things, in rows, with so many inches to their right; those that are left over are empty."""
    across = min(ACROSS, number)
    down = -(-number // across)
    size = wide * across + 0.2 + right, high * down + 0.45
    figure = new_figure(size)
    # in inches: a layout that matplotlib works out takes longer than all else
    figure.subplots_adjust(0.75 / size[0], 0.6 / size[1], 1 - right / size[0], 1 - 0.35 / size[1], 0.3, 0.32)
    places = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in places[number:]:
        axes.set_axis_off()
    return figure, places
