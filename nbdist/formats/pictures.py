"""Pictures of frames as PNG: one frame or a projection of several, and a contact sheet of a series. Matplotlib is imported when used."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError, one_line
from nbdist.formats.text import user_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

LARGEST_SIDE_PIXELS = 900
DECADES = 4.0
"""Orders of magnitude below the brightest spot that are drawn."""


FAINT = 0.02
"""Part of an image's pixels that are drawn as if there was nothing."""


def _figure(size_inches: tuple[float, float]) -> Figure:
    """An empty figure with a canvas of its own: neither the screen nor the backend that a notebook names has a part in it."""
    named = os.environ.pop("MPLBACKEND", None)  # read, and refused where it is unknown, when matplotlib is imported
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    figure = Figure(figsize=size_inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def shrink(image: NDArray[Any], side: int = LARGEST_SIDE_PIXELS) -> tuple[NDArray[Any], int]:
    """Take the maximum over squares of pixels until the image is no longer than `side`: no spot gets lost.

    Returns the smaller image and how many pixels a side were merged.
    """
    factor = -(-max(image.shape) // side)
    if factor == 1:
        return image, 1
    rows, columns = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    padded = np.zeros((rows * factor, columns * factor), dtype=image.dtype)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded.reshape(rows, factor, columns, factor).max(axis=(1, 3)), factor


def _limits(image: NDArray[Any]) -> tuple[float, float]:
    """Darkest and brightest value drawn: from the brightest spots down `DECADES`, and no further than the faint edge of a background."""
    top = float(image.max())
    if top <= 0:
        return 1e-3, 1.0
    typical = float(np.quantile(image[image > 0], FAINT))
    low = max(top * 10**-DECADES, min(typical, top / 10))
    return low, top


def _draw(
    axes: Axes, image: NDArray[Any], limits: tuple[float, float], extent: tuple[float, float, float, float]
) -> AxesImage:
    from matplotlib.colors import LogNorm

    low, top = limits
    return axes.imshow(
        np.maximum(image, low),
        cmap="gray_r",
        norm=LogNorm(low, top),
        extent=extent,
        interpolation="nearest",
        aspect="equal",
    )


@dataclass(frozen=True)
class Marks:
    """What is drawn over a picture, in pixel coordinates (slow, fast).

    Attributes
    ----------
    spots
        Where reflections are (n, 2), each a small circle.
    kinds
        Number of the colour of each, int (n,).
    names
        What is written beside each; none where it is empty.
    rings
        Curves (m, 2), broken where they have no number, and the name of each.
    beam
        Where the beam meets the panel (2,), with numbers where it does.
    """

    spots: NDArray[np.float64]
    kinds: NDArray[np.integer[Any]]
    names: Sequence[str]
    rings: Sequence[tuple[NDArray[np.float64], str]]
    beam: NDArray[np.float64]


def _draw_marks(axes: Axes, marks: Marks, extent: tuple[float, float, float, float]) -> None:
    left, right, bottom, top = extent
    axes.set(xlim=(left, right), ylim=(bottom, top), autoscale_on=False)

    def shown(places: NDArray[np.float64]) -> NDArray[np.bool_]:
        slow, fast = places.T
        return np.asarray((slow > top) & (slow < bottom) & (fast > left) & (fast < right))

    for curve, name in marks.rings:
        axes.plot(curve[:, 1], curve[:, 0], color="tab:green", linewidth=0.7, linestyle="--")
        seen = curve[shown(curve)]
        if len(seen):
            slow, fast = seen[len(seen) // 2]
            behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
            axes.text(fast, slow, name, color="tab:green", fontsize=8, clip_on=True, bbox=behind, zorder=5)
    if shown(marks.beam[None])[0]:
        axes.plot(marks.beam[1], marks.beam[0], marker="+", color="tab:green", markersize=10)
    for kind in np.unique(marks.kinds):
        slow, fast = marks.spots[marks.kinds == kind].T
        axes.scatter(fast, slow, s=22, facecolors="none", edgecolors=f"C{kind % 10}", linewidths=0.6)
    for (slow, fast), kind, name in zip(marks.spots, marks.kinds, marks.names, strict=False):
        axes.annotate(
            name, (fast, slow), (2, 2), textcoords="offset points", fontsize=5, color=f"C{kind % 10}", clip_on=True
        )


def frame_picture(
    image: NDArray[Any], origin: tuple[int, int], title: str, units: str, output: Path, marks: Marks | None = None
) -> None:
    """Write a PNG of one image, dark spots on white, on a logarithmic scale.

    Parameters
    ----------
    image
        (slow, fast) photons.
    origin
        Slow and fast coordinate of its first pixel.
    title, units
        What it shows, and the scale's name.
    marks
        What is drawn over it.
    """
    small, _ = shrink(image)
    extent = (origin[1], origin[1] + image.shape[1], origin[0] + image.shape[0], origin[0])
    figure = _figure((8.2, 7.2 * min(2.0, max(0.4, image.shape[0] / image.shape[1]))))
    axes = figure.subplots()
    shown = _draw(axes, small, _limits(small), extent)
    axes.set(xlabel="fast (pixels)", ylabel="slow (pixels)")
    axes.set_title(title, fontsize=10)
    if marks is not None:
        _draw_marks(axes, marks, extent)
    figure.colorbar(shown, ax=axes, label=units, shrink=0.7)
    _save(figure, output)


def contact_sheet(images: list[NDArray[Any]], titles: list[str], title: str, units: str, output: Path) -> None:
    """Write a PNG of several images side by side on one logarithmic scale."""
    small = [shrink(image, LARGEST_SIDE_PIXELS // 2)[0] for image in images]
    columns = min(4, len(small))
    rows = -(-len(small) // columns)
    figure = _figure((3.1 * columns, 2.9 * rows + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False)
    low, top = _limits(np.stack(small))
    for axes, image, name in zip(grid.flat, small, titles, strict=False):
        slow, fast = images[0].shape
        shown = _draw(axes, image, (low, top), (0, fast, slow, 0))
        axes.set_title(name, fontsize=8)
        axes.set(xticks=[], yticks=[])
    for axes in list(grid.flat)[len(small) :]:
        axes.axis("off")
    figure.suptitle(title, fontsize=11)
    figure.colorbar(shown, ax=grid, label=units, shrink=0.6)
    _save(figure, output)


def comparison_picture(
    images: tuple[NDArray[Any], NDArray[Any]], names: tuple[str, str], title: str, output: Path
) -> None:
    """Write a PNG of two images (slow, fast) on one logarithmic scale, and of the second less the first, on a linear one."""
    small = [shrink(image, LARGEST_SIDE_PIXELS // 2)[0] for image in images]
    change = images[1].astype(np.float64) - images[0]
    less, more = (shrink(np.maximum(part, 0), LARGEST_SIDE_PIXELS // 2)[0] for part in (-change, change))
    change = np.where(more >= less, more, -less)
    slow, fast = images[0].shape
    extent = (0.0, float(fast), float(slow), 0.0)
    figure = _figure((13.5, 1.2 + 4.2 * min(2.0, max(0.4, slow / fast))))
    axes = figure.subplots(1, 3)
    limits = _limits(np.stack(small))
    for place, image, name in zip(axes, small, names, strict=False):
        shown = _draw(place, image, limits, extent)
        place.set_title(name, fontsize=9)
    figure.colorbar(shown, ax=list(axes[:2]), label="photons per pixel", shrink=0.7)
    most = float(np.abs(change).max()) or 1.0
    shown = axes[2].imshow(change, cmap="RdBu_r", vmin=-most, vmax=most, extent=extent, interpolation="nearest")
    axes[2].set_title(f"{names[1]} less {names[0]}", fontsize=9)
    figure.colorbar(shown, ax=axes[2], label="photons per pixel", shrink=0.7)
    figure.suptitle(title, fontsize=10)
    _save(figure, output)


def _save(figure: Figure, output: Path) -> None:
    """Write a figure.

    Raises
    ------
    NbdistError
        If the file cannot be written.
    """
    picture = io.BytesIO()
    try:
        figure.savefig(picture, dpi=130, format=output.suffix[1:] or "png")
        user_path(output).write_bytes(picture.getvalue())  # says what closing a file of matplotlib's keeps to itself
    except (OSError, ValueError) as error:
        raise NbdistError(f"{output} cannot be written: {one_line(error)}") from None
