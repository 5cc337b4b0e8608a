"""Draws the detector frame of each convention: `python detector_frames.py` writes mosflm.png, denzo.png, ... into this folder.

Nothing in a drawing is told to this script. Vectors are those of `CONVENTIONS`; the panel, its corners and the spot of the beam are
where `resolve` puts them for an experiment of that convention; and Xbeam and Ybeam are measured, by moving each.
"""

from __future__ import annotations

from typing import get_args

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from nbdist.experiment import validate
from nbdist.experiment.detector import Convention
from nbdist.scene import resolve
from nbdist.scene.panels import CONVENTIONS, Axes, PanelGeometry

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes as Drawing

Array = NDArray[np.float64]

PIXEL_MM, FAST_PIXELS, SLOW_PIXELS = 0.1, 800, 600
XBEAM_MM, YBEAM_MM = 25.0, 35.0
OUTSIDE = 70
"""Pixels from a panel to what is written along its edges."""
PANEL, BEAM, CRYSTAL, LAB = "#4c72b0", "#c44e52", "#55a868", "#555555"


def panel_of(convention: Convention, xbeam_mm: float, ybeam_mm: float) -> PanelGeometry:
    """The panel that an experiment of a convention has, with a beam centre."""
    panel = {
        "fpixels": FAST_PIXELS,
        "spixels": SLOW_PIXELS,
        "pixel_size_mm": PIXEL_MM,
        "distance_mm": 100.0,
        "beam_center_mm": [xbeam_mm, ybeam_mm],
    }
    detector = {"convention": convention, "pivot": "beam", "panels": [panel]}
    crystal = {"cell": [50, 50, 50, 90, 90, 90]}
    experiment = validate(
        {"detector": detector, "crystal": crystal, "structure_factors": {"kind": "uniform", "F": 100}}
    )
    return resolve(experiment).instrument.panels[0]


def spot_pixels(convention: Convention, xbeam_mm: float, ybeam_mm: float) -> Array:
    """Where the direct beam meets that panel: slow and fast pixel coordinates (2,)."""
    panel = panel_of(convention, xbeam_mm, ybeam_mm)
    return panel.coordinates(panel.beam)


class View:
    """Seen along the beam, from the source, with the spindle axis to the right; millimetres about the spot of the beam."""

    def __init__(self, its: Axes) -> None:
        self.beam, self.right = np.array(its.beam), np.array(its.spindle)
        self.up = -np.cross(self.beam, self.right)

    def seen(self, vectors: Array) -> Array:
        """Vectors (..., 3) from the side of the source: to the right and up (..., 2)."""
        return np.stack([vectors @ self.right, vectors @ self.up], axis=-1)

    def towards(self, vector: Array) -> float:
        """By how much a unit vector comes towards the eye: 1, 0 or -1 for the axes of a convention."""
        return float(-vector @ self.beam)


def arrow(drawing: Drawing, start: Array, along: Array, colour: str, text: str) -> None:
    """An arrow, with a text beyond its point."""
    end = start + along
    style = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    drawing.annotate("", tuple(end), tuple(start), arrowprops=style)
    right, up = along / np.linalg.norm(along)
    across = "left" if right > 0.5 else "center"
    level = "center" if right > 0.5 else "bottom" if up > 0 else "top"
    drawing.text(end[0] + 1.5 * right, end[1] + 1.5 * up, text, color=colour, fontsize=11, ha=across, va=level)


def axis(drawing: Drawing, view: View, at: Array, vector: Array, length: float, colour: str, text: str) -> None:
    """A unit vector of the laboratory: an arrow, or a circle with a point (towards the eye) or a cross (away from it)."""
    along = view.towards(vector)
    if abs(along) < 0.5:
        arrow(drawing, at, length * view.seen(vector), colour, text)
        return
    drawing.plot(*at, "o", ms=14, mfc="white", mec=colour, mew=2)
    drawing.plot(*at, "." if along > 0 else "x", ms=7, color=colour, mew=2)
    drawing.text(at[0] + 4, at[1] - 5, text, color=colour, ha="left", va="center", fontsize=11)


def measure(drawing: Drawing, start: Array, end: Array, text: str) -> None:
    """A line with a point at either end, and what it measures."""
    style = {"arrowstyle": "<|-|>", "color": BEAM, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "linestyle": "--"}
    drawing.annotate("", tuple(end), tuple(start), arrowprops=style)
    turn = 90 if abs(end[1] - start[1]) > abs(end[0] - start[0]) else 0
    shift = np.array([-3.6, 0.0]) if turn else np.array([0.0, 3.6])
    x, y = (start + end) / 2 + shift
    drawing.text(x, y, text, color=BEAM, ha="center", va="center", rotation=turn, fontsize=10)


def draw(convention: Convention) -> None:
    """Write the drawing of a convention, NAME.png."""
    its = CONVENTIONS[convention]
    view, panel = View(its), panel_of(convention, XBEAM_MM, YBEAM_MM)
    spot = 1e3 * panel.positions_m(*spot_pixels(convention, XBEAM_MM, YBEAM_MM))

    def on_panel(slow: float, fast: float) -> Array:
        return view.seen(1e3 * panel.positions_m(slow, fast) - spot)

    figure, drawing = plt.subplots(figsize=(6, 6))
    corners = [on_panel(0, 0), on_panel(0, FAST_PIXELS), on_panel(SLOW_PIXELS, FAST_PIXELS), on_panel(SLOW_PIXELS, 0)]
    drawing.add_patch(plt.Polygon(corners, facecolor="#eef2f8", edgecolor=PANEL, lw=1.5))
    drawing.plot(*on_panel(0, 0), "s", ms=10, color=PANEL)
    x, y = on_panel(-OUTSIDE, -OUTSIDE)
    drawing.text(x, y, "first", color=PANEL, ha="center", va="center", fontsize=10)
    arrow(drawing, on_panel(-OUTSIDE, 40), 24 * view.seen(panel.fast), PANEL, "fast")
    arrow(drawing, on_panel(40, -OUTSIDE), 24 * view.seen(panel.slow), PANEL, "slow")

    here = spot_pixels(convention, XBEAM_MM, YBEAM_MM)
    for xbeam, ybeam, text in ((0.0, YBEAM_MM, "Xbeam"), (XBEAM_MM, 0.0, "Ybeam")):
        measure(drawing, on_panel(*spot_pixels(convention, xbeam, ybeam)), on_panel(*here), text)
    axis(drawing, view, np.zeros(2), np.array(its.beam), 0, BEAM, "beam")

    points = np.array(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, level = (low[0] + high[0]) / 2, high[1] + 20
    axis(drawing, view, np.array([middle - 28, level]), np.array(its.spindle), 18, CRYSTAL, "spindle")
    axis(drawing, view, np.array([middle + 14, level]), np.array(its.polarization), 10, CRYSTAL, "E")
    for name, vector in zip("xyz", np.eye(3), strict=True):
        axis(drawing, view, np.array([low[0] - 26, level - 6]), vector, 11, LAB, name)
    drawing.set(xlim=(middle - 72, middle + 46), ylim=(low[1] - 14, low[1] + 108), aspect="equal")
    drawing.set_title(convention, family="monospace", fontsize=14)
    drawing.axis("off")
    figure.savefig(f"{convention}.png", dpi=100, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    for convention in get_args(Convention):
        draw(convention)
