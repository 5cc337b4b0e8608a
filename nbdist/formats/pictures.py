"""Pictures of images as PNG: one image, a contact sheet of several, two and their difference, and a radial profile.

What holds: a dot of a picture is the brightest of a square of pixels, which the scale says, so no spot gets lost; squares are whole dots
of the PNG, so none is drawn thinner than another. Pixels that hold no reading have a colour of their own, which the legend names.
Matplotlib is imported when used, and neither the screen nor the backend that a notebook names has a part in it.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError, one_line
from nbdist.formats.distributions import Distribution, Words
from nbdist.formats.files import whole_path
from nbdist.formats.scales import DECADES, LOGARITHMIC_FROM, Scale, ScaleName, log_ticks, tick_label, unit_label
from nbdist.formats.text import user_path
from nbdist.formats.views import COLOURS, NAMES, State, View, shrunk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

DPI = 150
LARGEST_SIDE_DOTS = 1000
"""Of an image, along its longer side."""
SHEET_DOTS = 1600
"""Across all images of a contact sheet."""
NAME_APART_DOTS = 4
"""Between the name of a ring and the edge of an image or another name."""
GREYS = 0.01, 0.998
"""Shares of the pixels of an image below the white and below the black end of its own greys."""
NAME_BESIDE_POINTS = 3
"""From the middle of a spot's circle to its name, along both axes."""
MOST_BARS = 8
"""Words of a column that have a bar each."""
MOST_LOG_TICKS = 5
"""Numbers below a histogram that is even in the logarithm."""
SHEET_ASPECT = 1.3
"""How wide it is, about, over how high."""


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
        What is written beside each where there is room, the first ones first; of the first alone where there are fewer.
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

    placed: list[Bbox] = []
    for curve, name in marks.rings:
        axes.plot(curve[:, 1], curve[:, 0], color="tab:green", linewidth=0.7, linestyle="--")
        seen = curve[shown(curve)]
        if len(seen):
            placed.append(_name_ring(axes, name, seen, placed))
    if shown(marks.beam[None])[0]:
        axes.plot(marks.beam[1], marks.beam[0], marker="+", color="tab:green", markersize=10)
    for kind in np.unique(marks.kinds):
        slow, fast = marks.spots[marks.kinds == kind].T
        axes.scatter(fast, slow, s=22, facecolors="none", edgecolors=f"C{kind % 10}", linewidths=0.6)
    for (slow, fast), kind, name in zip(marks.spots, marks.kinds, marks.names, strict=False):
        _name_spot(axes, name, (fast, slow), f"C{kind % 10}", placed)


def _name_spot(axes: Axes, name: str, place: tuple[float, float], colour: str, others: list[Bbox]) -> None:
    """Write the name of a spot beside its circle, inside the image and among the others, where these leave room for it."""
    from matplotlib.patheffects import withStroke

    text = axes.annotate(
        name.replace("-", "−"),
        place,
        (NAME_BESIDE_POINTS, NAME_BESIDE_POINTS),
        textcoords="offset points",
        fontsize=6.5,
        color=colour,
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
    )
    box, panel = text.get_window_extent(), axes.get_window_extent()
    right, over = box.x1 > panel.x1, box.y1 > panel.y1
    text.set(ha="right" if right else "left", va="top" if over else "baseline")
    text.xyann = (
        -NAME_BESIDE_POINTS if right else NAME_BESIDE_POINTS,
        -NAME_BESIDE_POINTS if over else NAME_BESIDE_POINTS,
    )
    box = text.get_window_extent()
    if any(box.overlaps(other) for other in others):
        text.remove()
    else:
        others.append(box)


def _name_ring(axes: Axes, name: str, seen: NDArray[np.float64], others: Sequence[Bbox]) -> Bbox:
    """Write the name of a ring on the part (n, 2) of it that is seen, whole and inside; return its place, in dots.

    It is as far from the edges as the ring has a place that other names leave free; a ring that only cuts a corner has it beside.
    """
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    text = axes.text(
        0, 0, name, color="tab:green", fontsize=8, ha="center", va="center_baseline", bbox=behind, zorder=5
    )
    size, panel = text.get_window_extent(), axes.get_window_extent()
    half = np.array([size.width, size.height]) / 2 + NAME_APART_DOTS
    low, high = np.array(panel.min) + half, np.array(panel.max) - half
    dots = axes.transData.transform(seen[:, ::-1])
    inside = np.clip(dots, low, np.maximum(low, high))
    off_ring = np.abs(inside - dots).max(axis=1)
    for box in others:
        middle, reach = np.add(box.min, box.max) / 2, half + np.subtract(box.max, box.min) / 2
        off_ring[(np.abs(inside - middle) < reach).all(axis=1)] += max(panel.width, panel.height)
    from_edge = np.rint(np.minimum(inside - panel.min, panel.max - inside).min(axis=1))
    fast, slow = axes.transData.inverted().transform(inside[np.lexsort((-from_edge, off_ring))[0]])
    text.set_position((fast, slow))
    return text.get_window_extent()


@dataclass(frozen=True)
class Layout:
    """Equal images in rows and columns, placed dot by dot, with a scale to their right.

    Attributes
    ----------
    rows, columns
        Of images.
    dots
        Of an image, (high, wide).
    between
        Dots between images, (above each, left of each).
    head, foot, left, right
        Dots above, below, left and right of all of them.
    """

    rows: int
    columns: int
    dots: tuple[int, int]
    between: tuple[int, int] = (0, 0)
    head: int = 100
    foot: int = 145
    left: int = 105
    right: int = 210

    BAR_WIDE, BAR_APART = 34, 38
    LEAST = (360, 480)

    @property
    def images(self) -> tuple[int, int]:
        """Dots of all images, and of what is between them."""
        (high, wide), (above, beside) = self.dots, self.between
        return self.rows * (high + above), self.columns * (wide + beside) - beside

    @property
    def size(self) -> tuple[int, int]:
        """Dots of the picture, (high, wide)."""
        high, wide = (max(least, size) for least, size in zip(self.LEAST, self.images, strict=True))
        return self.head + high + self.foot, self.left + wide + self.right

    def figure(self) -> Figure:
        """A figure of this size with nothing in it."""
        high, wide = self.size
        return new_figure((wide / DPI, high / DPI))

    def _axes(self, figure: Figure, top: int, left: int, high: int, wide: int) -> Axes:
        size_high, size_wide = self.size
        place = left / size_wide, 1 - (top + high) / size_high, wide / size_wide, high / size_high
        return figure.add_axes(place)

    def image(self, figure: Figure, number: int) -> Axes:
        """Axes of an image."""
        row, column = divmod(number, self.columns)
        (high, wide), (above, beside) = self.dots, self.between
        return self._axes(
            figure, self.head + row * (high + above) + above, self.left + column * (wide + beside), high, wide
        )

    def scale(self, figure: Figure) -> Axes:
        """Axes of the scale."""
        high = min(self.images[0] - self.between[0], 900)
        beside = self.left + self.images[1] + self.BAR_APART
        return self._axes(figure, self.head + self.between[0], beside, high, self.BAR_WIDE)


def new_figure(size_inches: tuple[float, float], layout: Literal["constrained"] | None = None) -> Figure:
    """An empty figure with a canvas of its own."""
    named = os.environ.pop("MPLBACKEND", None)  # read, and refused where it is unknown, when matplotlib is imported
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    figure = Figure(figsize=size_inches, layout=layout, dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _draw(
    axes: Axes, view: View, norm: Normalize, extent: tuple[float, float, float, float], labels: bool = False
) -> None:
    """Draw values in greys, or numbers of spots in colours, and states over them."""
    hidden = np.ma.masked_array(view.values, ~view.drawn)
    options: dict[str, Any] = {"extent": extent, "interpolation": "nearest", "aspect": "equal"}
    if labels:
        numbers = np.ma.masked_where((view.values <= 0) | ~view.drawn, view.values % 20)
        axes.imshow(numbers, cmap="tab20", vmin=0, vmax=19, **options)
    else:
        axes.imshow(hidden, cmap="gray_r", norm=norm, **options)
    colours = np.zeros((len(State), 4))
    for state, colour in COLOURS.items():
        colours[state] = colour
    axes.imshow(colours[view.states], **options)


def _draw_scale(axes: Axes, scale: Scale, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    bar = axes.figure.colorbar(ScalarMappable(scale.norm, "gray_r"), cax=axes, extend=scale.beyond, extendfrac=0.03)
    bar.set_ticks(scale.ticks, labels=scale.labels)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=10)
    bar.set_label(label, fontsize=10)


def _legend(figure: Figure, layout: Layout, counted: dict[State, int]) -> None:
    """Name the colours of the states that there are, below the images."""
    from matplotlib.patches import Patch

    if not counted:
        return
    handles = [
        Patch(facecolor=COLOURS[state], edgecolor="0.4", linewidth=0.5, label=f"{NAMES[state]} ({number:,} px)")
        for state, number in counted.items()
    ]
    high, wide = layout.size
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(layout.left / wide, 12 / high),
        ncols=min(len(handles), max(2, layout.images[1] // 260)),
        frameon=False,
        fontsize=9,
        borderpad=0,
        handlelength=1.2,
        columnspacing=1.4,
    )


def frame_figure(
    view: View,
    title: str,
    units: str,
    *,
    origin: tuple[int, int] = (0, 0),
    scale: ScaleName = "auto",
    labels: bool = False,
    names: Sequence[tuple[str, tuple[float, float]]] = (),
    marks: Marks | None = None,
) -> Figure:
    """A figure of one image, dark spots on white.

    Parameters
    ----------
    view
        The image.
    title, units
        What it shows, and what it counts.
    origin
        Slow and fast coordinate of its first pixel.
    scale
        Of the greys.
    labels
        Whether its values are numbers of things, each drawn in a colour, rather than amounts.
    names
        What is written at places (slow, fast): the numbers of panels.
    marks
        What is drawn over it.
    """
    small, factor = shrunk(view, LARGEST_SIDE_DOTS)
    size = max(1, LARGEST_SIDE_DOTS // max(small.values.shape))
    dots = small.values.shape[0] * size, small.values.shape[1] * size
    counted = view.counted()
    layout = Layout(1, 1, dots, foot=145 if counted else 85)
    figure, chosen = layout.figure(), Scale.of([small], scale)
    axes = layout.image(figure, 0)
    # the last square may reach past the edge of the image
    extent = (
        float(origin[1]),
        origin[1] + small.values.shape[1] * factor,
        origin[0] + small.values.shape[0] * factor,
        float(origin[0]),
    )
    _draw(axes, small, chosen.norm, extent, labels)
    axes.set(xlabel="fast (pixels)", ylabel="slow (pixels)")
    axes.tick_params(labelsize=9)
    axes.set_title(title, fontsize=11, loc="left")
    for name, (slow, fast) in names:
        axes.annotate(name, (fast, slow), (3, -3), textcoords="offset points", color="tab:blue", fontsize=9, va="top")
    if marks is not None:
        _draw_marks(axes, marks, extent)
    if not labels:
        _draw_scale(layout.scale(figure), chosen, unit_label(units, factor))
    _legend(figure, layout, counted)
    return figure


def sheet_figure(
    views: Sequence[View],
    titles: Sequence[str],
    title: str,
    units: str,
    *,
    scale: ScaleName = "auto",
    labels: bool = False,
    factor: int = 1,
    counted: dict[State, int] | None = None,
) -> Figure:
    """A figure of several images of one size side by side, on one scale.

    Parameters
    ----------
    views, titles
        The images, and what is written above each.
    title, units
        What all of them show, and what they count.
    scale, labels
        As in `frame_figure`.
    factor
        How many pixels a side of the squares has that they were shrunk by before; see `sheet_side`.
    counted
        What the legend says of how many pixels of all images are in which state; what is found where left out.
    """
    columns, side = sheet_side(len(views), views[0].values.shape)
    made = [shrunk(view, side) for view in views]
    small, further = [view for view, _ in made], made[0][1]
    high, wide = small[0].values.shape
    size = max(1, side // max(high, wide))
    layout = Layout(-(-len(small) // columns), columns, (high * size, wide * size), (40, 18), head=50, foot=60, left=40)
    figure, chosen = layout.figure(), Scale.of(small, scale)
    for number, (view, name) in enumerate(zip(small, titles, strict=True)):
        axes = layout.image(figure, number)
        _draw(axes, view, chosen.norm, (0.0, float(wide), float(high), 0.0), labels)
        axes.set_title(name, fontsize=9, pad=3)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(linewidth=0.5, color="0.5")
    place = layout.left / layout.size[1], 1 - 18 / layout.size[0]
    figure.text(*place, title, fontsize=12, va="top", parse_math=False)
    if not labels:
        _draw_scale(layout.scale(figure), chosen, unit_label(units, factor * further))
    if counted is None:
        counted = {state: sum(view.counted().get(state, 0) for view in views) for state in NAMES}
    _legend(figure, layout, {state: number for state, number in counted.items() if number})
    return figure


def sheet_side(number: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Columns of a contact sheet of so many images of a shape (slow, fast), and dots along the longer side of each."""
    slow, fast = shape
    fitting = math.sqrt(number * SHEET_ASPECT * slow / fast)
    near = [min(number, max(1, columns)) for columns in (math.ceil(fitting), math.floor(fitting))]
    columns = min(near, key=lambda columns: -number % columns)  # with the fewer places left empty
    wide = SHEET_DOTS // max(columns, 2)
    return columns, int(wide if fast >= slow else min(wide * slow / fast, LARGEST_SIDE_DOTS))


@dataclass(frozen=True)
class RadialProfile:
    """What pixels hold, by how far from the beam they are; all arrays (shell,), from the beam outwards.

    Attributes
    ----------
    d_A, two_theta_deg
        Spacing and scattering angle of the middle of each shell.
    pixels
        How many pixels it has.
    mean
        Their mean.
    percentiles
        Their percentiles, by per cent.
    """

    d_A: NDArray[np.float64]
    two_theta_deg: NDArray[np.float64]
    pixels: NDArray[np.int64]
    mean: NDArray[np.float64]
    percentiles: dict[int, NDArray[np.float64]]


def radial_figure(profile: RadialProfile, title: str, units: str, scale: ScaleName = "auto") -> Figure:
    """A figure of a radial profile: mean, median and the spread of pixels, over 1/d."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    figure = new_figure((9.0, 5.6), "constrained")
    axes = figure.subplots()
    across = 1 / profile.d_A
    inner, outer = sorted(profile.percentiles)[1:-1], sorted(profile.percentiles)
    for (low, high), shade in zip(((outer[0], outer[-1]), (inner[0], inner[-1])), (0.16, 0.3), strict=True):
        axes.fill_between(
            across,
            profile.percentiles[low],
            profile.percentiles[high],
            color="tab:blue",
            alpha=shade,
            linewidth=0,
            label=f"{low} to {high} % of pixels",
        )
    axes.plot(across, profile.percentiles[50], color="tab:blue", linewidth=1.0, label="median")
    axes.plot(across, profile.mean, color="black", linewidth=1.3, label="mean")
    above = profile.mean[profile.mean > 0]
    if above.size and (scale == "log" or (scale == "auto" and above.max() > LOGARITHMIC_FROM * np.median(above))):
        floor = min(above.min(), *(p[p > 0].min(initial=np.inf) for p in profile.percentiles.values()))
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(max(floor, above.max() * 10**-DECADES) * 0.8, None)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value)))
    axes.set_xlim(across[0], across[-1])
    spacings = [
        d for d in (50, 20, 10, 7, 5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1, 0.9, 0.8, 0.7)
    ]
    placed: list[float] = []
    least = 0.055 * (across[-1] - across[0])
    for d in spacings:
        if across[0] <= 1 / d <= across[-1] and (not placed or 1 / d - 1 / placed[-1] >= least):
            placed.append(d)
    axes.set_xticks([1 / d for d in placed], [f"{d:g}" for d in placed])
    axes.set_xlabel("resolution d (Å)")
    axes.set_ylabel(unit_label(units))
    angles = axes.secondary_xaxis("top")
    first, last = profile.two_theta_deg[0], profile.two_theta_deg[-1]
    named = [
        angle for angle in MaxNLocator(nbins=9, steps=[1, 2, 5, 10]).tick_values(first, last) if first <= angle <= last
    ]
    angles.set_xticks(np.interp(named, profile.two_theta_deg, across), [f"{angle:g}" for angle in named])
    angles.set_xlabel("scattering angle 2θ (degrees)")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    axes.set_title(title, fontsize=11, loc="left", pad=12)
    return figure


def samples_figure(
    views: Sequence[View],
    names: Sequence[str],
    spots: Sequence[NDArray[np.floating[Any]]],
    title: str,
    units: str,
    *,
    factor: int = 1,
) -> Figure:
    """A figure of several images of one size side by side, each in greys of its own, whose ends its title says.

    Parameters
    ----------
    views, names
        The images, and what each is called.
    spots
        Where circles are drawn in each (n, 2), slow and fast in its pixels; none where left empty.
    title, units
        What all of them show, and what they count.
    factor
        How many pixels a side of the squares has that they were shrunk by before; see `sheet_side`.
    """
    from matplotlib.colors import Normalize

    columns, side = sheet_side(len(views), views[0].values.shape)
    made = [shrunk(view, side) for view in views]
    further, (high, wide) = made[0][1], made[0][0].values.shape
    size = max(1, side // max(high, wide))
    layout = Layout(
        -(-len(views) // columns), columns, (high * size, wide * size), (40, 18), head=50, foot=20, left=20, right=20
    )
    figure = layout.figure()
    for number, ((view, _), name) in enumerate(zip(made, names, strict=True)):
        axes, values = layout.image(figure, number), view.values[view.drawn]
        low, top = np.quantile(values, GREYS) if values.size else (0.0, 1.0)
        norm = Normalize(float(low), float(top) if top > low else float(low) + 1)
        _draw(axes, view, norm, (0.0, float(wide), float(high), 0.0))
        axes.set_title(f"{name}: {low:.3g} to {top:.3g}", fontsize=8, pad=3)
        if number < len(spots):
            slow, fast = (spots[number] / further).T
            axes.scatter(fast, slow, s=30, facecolors="none", edgecolors="tab:red", linewidths=0.5)
        axes.set(xlim=(0.0, float(wide)), ylim=(float(high), 0.0), xticks=[], yticks=[])
    counted = unit_label(units, factor * further)
    whole = f"{title}; {counted} from white to black" if counted else title
    place = layout.left / layout.size[1], 1 - 18 / layout.size[0]
    figure.text(*place, whole, fontsize=10, va="top", parse_math=False)
    return figure


def distributions_figure(
    columns: Mapping[str, tuple[Distribution, str]], title: str, counted_as: str, across: int = 4
) -> Figure:
    """A figure of histograms side by side.

    Parameters
    ----------
    columns
        What is counted of each column, and its units, by name; words are drawn by the commonest.
    title
        What all of them are of; may be empty.
    counted_as
        What their values are counted of, in the plural, which stands beside each row.
    across
        How many are side by side, at most.
    """
    from matplotlib.ticker import MaxNLocator

    across = min(across, max(1, len(columns)))
    down, head = max(1, -(-len(columns) // across)), 0.5 if title else 0.0
    wide, high = 3.6 * across, 2.6 * down + head
    figure = new_figure((wide, high))
    places = figure.subplots(down, across, squeeze=False)
    figure.subplots_adjust(1.0 / wide, 0.5 / high, 1 - 0.15 / wide, 1 - (0.3 + head) / high, wspace=0.4, hspace=0.55)
    for axes in places.flat[len(columns) :]:
        axes.set_axis_off()
    for axes, (name, (counted, units)) in zip(places.flat, columns.items(), strict=False):
        axes.set_title(shortened(name, 40), fontsize=8, loc="left")
        if isinstance(counted, Words):
            axes.set_xlabel(counted_as, fontsize=7, labelpad=1)
        elif axes.get_subplotspec().is_first_col():
            axes.set_ylabel(counted_as, fontsize=7)
        axes.tick_params(labelsize=7)
        if isinstance(counted, Words):
            commonest = counted.commonest(MOST_BARS)
            rest = counted.count - sum(commonest.values())
            words = [shortened(word, 16) for word in commonest] + ["others"] * (rest > 0)
            axes.barh(range(len(words)), [*commonest.values(), *[rest] * (rest > 0)], color="tab:blue")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            axes.set_yticks(range(len(words)), words, fontsize=7, parse_math=False)
            axes.invert_yaxis()
        elif counted.count:
            axes.stairs(counted.counts, counted.edges, fill=True, color="tab:blue")
            if counted.logarithmic:
                axes.set_xscale("log")
                ticks = log_ticks(counted.edges[0], counted.edges[-1])
                ticks = ticks[:: -(-len(ticks) // MOST_LOG_TICKS)]
                axes.set_xticks(ticks, [tick_label(tick) for tick in ticks])
                axes.minorticks_off()
            axes.set_xlabel(units, fontsize=7, labelpad=1)
            axes.set_ylim(0, None)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        else:
            axes.text(0.5, 0.5, "no number", ha="center", va="center", fontsize=8, transform=axes.transAxes)
    figure.text(0.15 / wide, 1 - 0.15 / high, title, fontsize=11, va="top", parse_math=False)
    return figure


def shortened(word: str, most: int) -> str:
    """A word, or its end after dots where it is long: names of files differ at their ends."""
    return word if len(word) <= most else f"...{word[3 - most :]}"


def comparison_figure(images: tuple[NDArray[Any], NDArray[Any]], names: tuple[str, str], title: str) -> Figure:
    """A figure of two images (slow, fast) on one scale, and of the second less the first, on a linear one."""
    side = LARGEST_SIDE_DOTS // 2
    small = [shrunk(View.of(image), side)[0] for image in images]
    change = images[1].astype(np.float64) - images[0]
    less, more = (shrunk(View.of(np.maximum(part, 0)), side)[0].values for part in (-change, change))
    change = np.where(more >= less, more, -less)
    slow, fast = images[0].shape
    extent = (0.0, float(fast), float(slow), 0.0)
    figure = new_figure((13.5, 1.2 + 4.2 * min(2.0, max(0.4, slow / fast))), "constrained")
    axes = figure.subplots(1, 3)
    scale = Scale.of(small, "log")
    for place, view, name in zip(axes, small, names, strict=False):
        _draw(place, view, scale.norm, extent)
        place.set_title(name, fontsize=9)
    bar = figure.colorbar(axes[0].images[0], ax=list(axes[:2]), label="photons per pixel", shrink=0.7)
    bar.set_ticks(scale.ticks, labels=scale.labels)
    most = float(np.abs(change).max()) or 1.0
    shown = axes[2].imshow(change, cmap="RdBu_r", vmin=-most, vmax=most, extent=extent, interpolation="nearest")
    axes[2].set_title(f"{names[1]} less {names[0]}", fontsize=9)
    figure.colorbar(shown, ax=axes[2], label="photons per pixel", shrink=0.7)
    figure.suptitle(title, fontsize=10)
    return figure


def drawn(figure: Figure, kind: str = "png") -> bytes:
    """A figure as the bytes of a file; what closing a file of matplotlib's would keep to itself is said."""
    picture = io.BytesIO()
    figure.savefig(picture, format=kind)
    return picture.getvalue()


def save(figure: Figure, output: Path) -> None:
    """Write a figure.

    Raises
    ------
    NbdistError
        If the file cannot be written.
    """
    try:
        with whole_path(user_path(output)) as beside:
            beside.write_bytes(drawn(figure, output.suffix[1:] or "png"))
    except (OSError, ValueError) as error:
        raise NbdistError(f"{output} cannot be written: {one_line(error)}") from None
