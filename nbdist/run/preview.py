"""Looking at images with what each pixel is, and figures of them; whose they are, and where their scenes come from, `shown` knows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.formats.pictures import (
    Marks,
    RadialProfile,
    frame_figure,
    radial_figure,
    samples_figure,
    sheet_figure,
    sheet_side,
)
from nbdist.formats.scales import ScaleName
from nbdist.formats.views import State, View, shrunk
from nbdist.frames.products import COUNTS, INTENSITY, SHADOW, SPOT
from nbdist.frames.sample_products import MASK
from nbdist.run.radial import radial_profile
from nbdist.run.shown import ShownImages, shown_images
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.rocking import panel_resolutions_A
from nbdist.store import summarize
from nbdist.store.schema import FrameArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RINGS = (0.25, 0.5, 0.75, 0.95)
"""Where resolution rings are drawn, between the ends of a panel in 1/d."""
FAINTEST = 1e-3
"""Of the brightest spot shown: fainter ones have no circle."""
MOST_INDICES = 400
"""Spots that have h, k, l written beside them, at most: more could not be read."""
PARALLEL = 1e-4
"""Panels whose axes differ by less are drawn where they are, on one grid of pixels."""
APART = 0.03
"""Between panels that are drawn side by side, of a panel's longer side."""
MOST_CANVAS = 4
"""Panels are drawn where they are unless that takes so many times their pixels."""

Report = Callable[[int, int], None]


def quiet(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Arrangement:
    """Where panels lie in one image.

    Attributes
    ----------
    corners
        First row and column of each panel.
    shape
        Of the image (slow, fast).
    """

    corners: list[tuple[int, int]]
    shape: tuple[int, int]

    @classmethod
    def of(cls, panels: Sequence[PanelGeometry]) -> Arrangement:
        """Panels where they are, seen along the beam, where their pixels fit one grid; else side by side."""
        return cls._in_place(panels) or cls._side_by_side([panel.shape for panel in panels])

    @classmethod
    def _in_place(cls, panels: Sequence[PanelGeometry]) -> Arrangement | None:
        first = panels[0]
        for panel in panels:
            turned = max(np.abs(panel.fast - first.fast).max(), np.abs(panel.slow - first.slow).max())
            if turned > PARALLEL or not math.isclose(panel.pixel_m, first.pixel_m):
                return None
        places = np.array([panel.origin_m - first.origin_m for panel in panels]) / first.pixel_m
        corners = np.rint(places @ np.stack([first.slow, first.fast]).T).astype(int)
        corners -= corners.min(axis=0)
        ends = corners + [panel.shape for panel in panels]
        slow, fast = (int(end) for end in ends.max(axis=0))
        if slow * fast > MOST_CANVAS * sum(math.prod(panel.shape) for panel in panels):
            return None
        taken = np.zeros((slow, fast), dtype=bool)
        for (row, column), (row_end, column_end) in zip(corners, ends, strict=True):
            if taken[row:row_end, column:column_end].any():
                return None
            taken[row:row_end, column:column_end] = True
        return cls([(int(row), int(column)) for row, column in corners], (slow, fast))

    @classmethod
    def _side_by_side(cls, shapes: Sequence[tuple[int, int]]) -> Arrangement:
        slow, fast = (max(sizes) for sizes in zip(*shapes, strict=True))
        apart = math.ceil(APART * max(slow, fast))
        columns = math.ceil(math.sqrt(len(shapes) * slow / fast))
        corners = [
            (number // columns * (slow + apart), number % columns * (fast + apart)) for number in range(len(shapes))
        ]
        rows = -(-len(shapes) // columns)
        return cls(corners, (rows * (slow + apart) - apart, columns * (fast + apart) - apart))


class Preview:
    """The images of a product that a picture shows, with the state of each pixel.

    Parameters
    ----------
    images
        What is shown: a path or URL of a store, or its images, or those of samples.
    what
        The product; counts where there are some, else intensity.
    panel
        Which panel; all of them where left out.
    zoom
        Rows and columns of the panel; all where left out.

    Raises
    ------
    NbdistError
        If there is no store of nbdist, no such product in it, or no such panel.
    """

    def __init__(
        self,
        images: str | os.PathLike[str] | ShownImages,
        what: str | None = None,
        panel: int | None = None,
        zoom: tuple[range, range] | None = None,
    ) -> None:
        self.images = images if isinstance(images, ShownImages) else shown_images(summarize(images))
        schema, self.zoom = self.images.schema, zoom
        names = list(dict.fromkeys(array.product.name for array in schema.arrays))
        if what is not None and what not in names:
            raise NbdistError(f"--what {what}: {self.images.holder} holds {' and '.join(names)}")
        what = what or (COUNTS.name if COUNTS.name in names else INTENSITY.name)
        if panel is not None and panel >= len(schema.panels):
            raise NbdistError(f"--panel {panel}: lies outside 0:{len(schema.panels)}")
        self.panels = range(len(schema.panels)) if panel is None else range(panel, panel + 1)
        arrays = [array for array in schema.arrays if array.product.name == what]
        self.arrays = {number: its for its in arrays for number in its.panels.numbers if number in self.panels}
        self._array = self.arrays[self.panels[0]]
        self.product, self.units = self._array.product, self.images.units(self._array)
        self._kept: tuple[int, list[NDArray[np.uint8]]] | None = None

    def geometry(self, frame: int) -> list[PanelGeometry]:
        """The panels that are shown, where they are in a frame."""
        panels = self.images.scene(self.images.sample(frame)).instrument.panels
        return [panels[number] for number in self.panels]

    def arrangement(self, frame: int) -> Arrangement:
        """Where they lie in one image: one panel with what its array has beside it, several with their own pixels alone."""
        if len(self.panels) == 1:
            shape = self.images.schema.panels[self.panels[0]]
            return Arrangement([(0, 0)], shape if self.zoom is None else (len(self.zoom[0]), len(self.zoom[1])))
        return Arrangement.of(self.geometry(frame))

    def views(self, frame: int) -> list[View]:
        """A frame, panel by panel."""
        return self._with_states(self._values(frame), frame)

    def maximum(self, frames: Sequence[int], report: Report = quiet) -> list[View]:
        """The brightest value of each pixel over some frames, panel by panel."""
        return self._with_states(self._over(frames, np.maximum, report), frames[0])

    def mean(self, frames: Sequence[int], report: Report = quiet) -> list[View]:
        """The mean of each pixel over some frames, panel by panel, float64."""
        saturated = [np.zeros(states.shape, dtype=bool) for states in self.fixed_states(frames[0])]

        def added(sums: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
            return np.add(sums, more, out=sums)

        sums = self._over(frames, added, report, np.float64, saturated)
        return self._with_states([np.divide(values, len(frames), out=values) for values in sums], frames[0], saturated)

    def together(self, views: Sequence[View], frame: int, least: tuple[int, int] = (0, 0)) -> View:
        """Panels of a frame as one image, which has at least so many rows and columns."""
        arrangement = self.arrangement(frame)
        shape = tuple(map(max, arrangement.shape, least))
        if len(views) == 1 and shape == views[0].values.shape:
            return views[0]
        values = np.zeros(shape, dtype=views[0].values.dtype)
        states = np.full(shape, State.NOWHERE, dtype=np.uint8)
        sizes = (
            [view.values.shape for view in views] if len(views) == 1 else [its.shape for its in self.geometry(frame)]
        )
        for (slow, fast), view, (rows, columns) in zip(arrangement.corners, views, sizes, strict=True):
            place = slice(slow, slow + rows), slice(fast, fast + columns)
            values[place], states[place] = view.values[:rows, :columns], view.states[:rows, :columns]
        return View(values, states)

    def _over(
        self,
        frames: Sequence[int],
        join: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]],
        report: Report,
        dtype: type | None = None,
        saturated: Sequence[NDArray[np.bool_]] = (),
    ) -> list[NDArray[Any]]:
        """Images of frames joined one after the other, so that two are in memory; `saturated` gets where any of them was."""
        if self.product.name == SPOT.name and len(frames) > 1:
            raise NbdistError(
                f"--what {SPOT.name}: numbers the spots of each frame by itself; --frame shows one, --sheet several side by side"
            )
        if self.images.sample(frames[0]) != self.images.sample(frames[-1]):
            raise NbdistError(
                f"frames {frames[0]} to {frames[-1]} are of several samples; a maximum or a mean is of one"
            )
        joined: list[NDArray[Any]] = []
        limit = self.images.limit(self._array, self.images.sample(frames[0]))
        for done, frame in enumerate(frames, start=1):
            images = self._values(frame)
            for where, image in zip(saturated, images, strict=False):
                if limit is not None:
                    where |= image >= limit
            if joined:
                joined = [join(before, image) for before, image in zip(joined, images, strict=True)]
            else:
                joined = [image if dtype is None else image.astype(dtype) for image in images]
            report(done, len(frames))
        return joined

    def _values(self, frame: int) -> list[NDArray[Any]]:
        return [self.images.image(array, panel, frame, self._pixels) for panel, array in self.arrays.items()]

    @property
    def _pixels(self) -> tuple[slice, slice]:
        if self.zoom is None:
            return slice(None), slice(None)
        rows, columns = self.zoom
        return slice(rows.start, rows.stop), slice(columns.start, columns.stop)

    def fixed_states(self, frame: int) -> list[NDArray[np.uint8]]:
        """The states of pixels that no value decides, panel by panel; the same in all frames of a sample, and often in all samples."""
        whose = self.images.sample(frame) if self.images.pixels_change else -1
        if self._kept is None or self._kept[0] != whose:
            self._kept = whose, [self._of_pixels(panel, array, frame) for panel, array in self.arrays.items()]
        return self._kept[1]

    def _of_pixels(self, panel: int, array: FrameArray, frame: int) -> NDArray[np.uint8]:
        mask, shadow = (
            self.images.of_pixels(name, array, panel, frame, self._pixels) for name in (MASK.name, SHADOW.name)
        )
        assert mask is not None, "there is one of every panel"
        states = np.zeros(mask.shape, dtype=np.uint8)
        if shadow is not None:
            states[shadow == 1] = State.SHADOW
        states[mask == 1] = State.MASKED
        states[mask == 2] = State.BAD
        return states

    def _with_states(
        self, values: Sequence[NDArray[Any]], frame: int, saturated: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[View]:
        views, limit = [], self.images.limit(self._array, self.images.sample(frame))
        for place, (image, fixed) in enumerate(zip(values, self.fixed_states(frame), strict=True)):
            states = fixed.copy()
            view = View(image, states)
            if saturated is not None:
                states[saturated[place] & view.drawn] = State.SATURATED
            elif limit is not None:
                states[(image >= limit) & view.drawn] = State.SATURATED
            views.append(view)
        return views


def phi_title(images: ShownImages, frames: range) -> str:
    """Where the spindle is in some frames."""
    start, end = images.phi_deg(frames)
    return f"phi {start:g} to {end:g} deg" if start != end else f"phi {start:g} deg"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def picture_of(
    preview: Preview,
    frames: range,
    *,
    mean: bool = False,
    scale: ScaleName = "auto",
    marks: Marks | None = None,
    report: Report = quiet,
) -> Figure:
    """A figure of one frame, or of the maximum or the mean over several.

    Parameters
    ----------
    marks
        What is drawn over it.
    report
        Called with (frames read, all frames).
    """
    images = preview.images
    images.require_complete(frames)
    views = preview.mean(frames, report) if mean else preview.maximum(frames, report)
    view = preview.together(views, frames.start)
    values = view.values[view.drawn]
    title = f"{_which(preview, frames, 'mean' if mean else 'maximum')}, {phi_title(images, frames)}\n{preview.product.name}: "
    labels = preview.product.name == SPOT.name
    if labels:
        title += f"{len(np.unique(values[values > 0])):,} spots, each in a colour"
    else:
        title += f"brightest {_amount(values.max(initial=0))}, sum {_amount(values.sum(dtype=float))}"
    corners = preview.arrangement(frames.start).corners if len(preview.panels) > 1 else []
    names = [
        (f"{number}", (float(slow), float(fast))) for number, (slow, fast) in zip(preview.panels, corners, strict=False)
    ]
    origin = (preview.zoom[0].start, preview.zoom[1].start) if preview.zoom else (0, 0)
    return frame_figure(view, title, preview.units, origin=origin, scale=scale, labels=labels, names=names, marks=marks)


def _which(preview: Preview, frames: range, joined: str) -> str:
    """Which frames of what, and which panel where there are others."""
    name = preview.images.frame_name(frames)
    name = name if len(frames) == 1 else f"{joined} over {name}"
    alone = len(preview.panels) == 1 and len(preview.images.schema.panels) > 1
    return f"{name}, panel {preview.panels[0]}" if alone else name


def sheet_of(preview: Preview, frames: Sequence[int], *, scale: ScaleName = "auto", report: Report = quiet) -> Figure:
    """A figure of several frames side by side; each is shrunk as soon as it is read.

    Frames of one sample have one scale, and so have others where a scale is asked for; else each has greys of its own.
    """
    images = preview.images
    images.require_complete(frames)
    shapes = [preview.arrangement(frame).shape for frame in frames]
    largest = max(slow for slow, _ in shapes), max(fast for _, fast in shapes)
    views, factor, counted, brightest = [], 1, dict.fromkeys(State, 0), 0.0
    side = sheet_side(len(frames), largest)[1]
    several = len({images.sample(frame) for frame in frames}) > 1
    for done, frame in enumerate(frames, start=1):
        view = preview.together(preview.views(frame), frame, largest)
        for state, number in view.counted().items():
            counted[state] = counted[state] + number if several or state == State.SATURATED else number
        brightest = max(brightest, float(view.values[view.drawn].max(initial=0)))
        small, factor = shrunk(view, side)
        views.append(small)
        report(done, len(frames))
    titles = [images.caption(frame) for frame in frames]
    title = f"{images.title + ': ' if images.title else ''}{len(frames)} {'samples' if several else 'frames'}"
    labels = preview.product.name == SPOT.name
    if several and scale == "auto" and not labels:
        return samples_figure(views, titles, (), f"{title}, {preview.product.name}", preview.units, factor=factor)
    title += f", {preview.product.name}" + ("" if labels else f", brightest pixel {_amount(brightest)}")
    return sheet_figure(views, titles, title, preview.units, scale=scale, labels=labels, factor=factor, counted=counted)


def spread_frames(
    images: ShownImages, number: int, among: range | None = None, every: int = 1, frame: int = 0
) -> list[int]:
    """So many of the frames that are complete, at most, evenly spread from the first to the last.

    Parameters
    ----------
    among
        Those of a sample; all where left out.
    every, frame
        Which one of each `every` frames, those of a sample.

    Raises
    ------
    NbdistError
        If none is.
    """
    complete = images.complete if among is None else [its for its in among if its in images.complete]
    there = len(complete) // every
    if not there:
        images.require_complete(among or range(1))
    places = np.rint(np.linspace(0, there - 1, min(number, there))).astype(int)
    return [complete[int(place) * every + frame] for place in places]


def profile_of(
    preview: Preview, frames: range, scale: ScaleName = "auto", report: Report = quiet
) -> tuple[RadialProfile, Figure]:
    """The radial profile of a frame, or of the mean over several, and a figure of it."""
    images = preview.images
    images.require_complete(frames)
    views = preview.views(frames.start) if len(frames) == 1 else preview.mean(frames, report)
    wavelength_A = images.scene(images.sample(frames.start)).experiment.beam.mean_wavelength_A
    profile = radial_profile(preview.geometry(frames.start), views, wavelength_A)
    title = f"{preview.product.name}, {_which(preview, frames, 'mean')}, {phi_title(images, frames)}"
    return profile, radial_figure(profile, title, preview.units, scale)


def marks_of(preview: Preview, frames: Sequence[int], most_named: int = 0) -> Marks:
    """The spots of some frames within what is shown of a panel, its resolution rings, and where the beam meets it.

    They are those that a data set has in a table, and else those that are predicted. Brighter ones come first; so many of them, at most,
    have their indices as names.
    """
    panel, images = preview.panels[0], preview.images
    shown = preview.zoom or tuple(range(size) for size in images.schema.panels[panel])
    rows, (geometry,) = images.spots(frames), preview.geometry(frames[0])
    places = np.stack([rows["slow"], rows["fast"]], axis=1)
    here = rows["panel"] == panel
    for axis, span in enumerate(shown):
        here &= (places[:, axis] >= span.start) & (places[:, axis] < span.stop)
    here &= rows["photons"] > FAINTEST * rows["photons"][here].max(initial=0)
    drawn = np.flatnonzero(here)
    drawn = drawn[np.argsort(-rows["photons"][drawn], kind="stable")]
    named = drawn[:most_named]
    names = [f"{h} {k} {l}" for h, k, l in zip(*(rows[name][named] for name in "hkl"), strict=True)]
    beam, wavelength_A = images.scene(images.sample(frames[0])).instrument.sources.mean
    coarsest, finest = (1 / d_A for d_A in panel_resolutions_A(geometry, wavelength_A))
    rings = []
    for fraction in RINGS:
        d_A = float(f"{1 / (coarsest + fraction * (finest - coarsest)):.2g}")
        rings.append((geometry.coordinates(_cone(beam, d_A, wavelength_A)), f"{d_A:g} Å"))
    return Marks(
        places[drawn],
        rows["lattice"][drawn],
        names,
        rings,
        geometry.coordinates(beam),
    )


def _cone(beam: NDArray[np.float64], d_A: float, wavelength_A: float) -> NDArray[np.float64]:
    """Rays (n, 3) that a spacing scatters to."""
    two_theta = 2 * np.arcsin(min(wavelength_A / (2 * d_A), 1.0))
    across = np.cross(beam, np.eye(3)[np.abs(beam).argmin()])
    across /= np.linalg.norm(across)
    turns = np.linspace(0, 2 * np.pi, 721)[:, None]
    sideways = np.cos(turns) * across + np.sin(turns) * np.cross(beam, across)
    return np.asarray(np.cos(two_theta) * beam + np.sin(two_theta) * sideways)
