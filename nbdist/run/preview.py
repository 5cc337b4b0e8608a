"""Looking at a store: images of its frames with what each pixel is, and figures of them."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.formats.pictures import Marks, RadialProfile, frame_figure, radial_figure, sheet_figure, sheet_side
from nbdist.formats.scales import ScaleName
from nbdist.formats.views import State, View, shrunk
from nbdist.frames.products import COUNTS, INTENSITY, SHADOW, SPOT
from nbdist.kernels.prediction import Prediction, frame_reflections
from nbdist.kernels.spots import Diffraction
from nbdist.run.radial import radial_profile
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.rocking import panel_resolutions_A
from nbdist.store import SeriesSummary, open_group, read_reflections, summarize_series

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


class StoredImages:
    """The images of a product in a store, with the state of each pixel.

    Parameters
    ----------
    store
        Path or URL of the store, or what was read of it.
    what
        The product; counts where the store has them, else intensity.
    panel
        Which panel; all of them where left out.
    zoom
        Rows and columns of the panel; all where left out.

    Raises
    ------
    NbdistError
        If there is no series of nbdist, no such product in it, or no such panel.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | SeriesSummary,
        what: str | None = None,
        panel: int | None = None,
        zoom: tuple[range, range] | None = None,
    ) -> None:
        self.summary = store if isinstance(store, SeriesSummary) else summarize_series(store)
        self._group: Any = open_group(self.summary.location)
        schema, self.zoom = self.summary.schema, zoom
        names = list(dict.fromkeys(array.product.name for array in schema.arrays))
        if what is not None and what not in names:
            raise NbdistError(f"--what {what}: the store holds {' and '.join(names)}")
        what = what or (COUNTS.name if COUNTS.name in names else INTENSITY.name)
        if panel is not None and panel >= len(schema.panels):
            raise NbdistError(f"--panel {panel}: lies outside 0:{len(schema.panels)}")
        self.panels = range(len(schema.panels)) if panel is None else range(panel, panel + 1)
        arrays = [array for array in schema.arrays if array.product.name == what]
        self._arrays = {number: its for its in arrays for number in its.panels.numbers if number in self.panels}
        stored = self._group[next(iter(self._arrays.values())).name]
        self.product, self.units = arrays[0].product, str(stored.attrs.get("units", arrays[0].product.units))
        limit = stored.attrs.get("saturation_value", self.product.held_at)
        self._limit: float | None = float(limit) if isinstance(limit, int | float) else None
        self._states = {number: self._of_pixels(number) for number in self.panels}

    @functools.cached_property
    def geometry(self) -> list[PanelGeometry]:
        """The panels that are shown, where they are."""
        panels = self.summary.scene.instrument.panels
        return [panels[number] for number in self.panels]

    @functools.cached_property
    def arrangement(self) -> Arrangement:
        """Where they lie in one image."""
        if len(self.panels) == 1:
            return Arrangement([(0, 0)], self._states[self.panels[0]].shape)
        return Arrangement.of(self.geometry)

    def require_complete(self, frames: Iterable[int]) -> None:
        """Check that frames are there: those that are not would look like empty ones.

        Raises
        ------
        NbdistError
            Naming the first that is not.
        """
        summary, complete = self.summary, self.summary.found.frames
        for frame in frames:
            if not 0 <= frame < summary.frames:
                raise NbdistError(f"--frame {frame}: lies outside 0:{summary.frames}")
            if frame not in complete:
                raise NbdistError(
                    f"{summary.location}: frame {frame} is not rendered yet ({len(complete)} of {summary.frames} are)"
                )

    def views(self, frame: int) -> list[View]:
        """A frame, panel by panel."""
        return self._with_states(self._values(frame))

    def maximum(self, frames: Sequence[int], report: Report = quiet) -> list[View]:
        """The brightest value of each pixel over some frames, panel by panel."""
        return self._with_states(self._over(frames, np.maximum, report))

    def mean(self, frames: Sequence[int], report: Report = quiet) -> list[View]:
        """The mean of each pixel over some frames, panel by panel, float64."""
        saturated = [np.zeros(states.shape, dtype=bool) for states in self._states.values()]

        def added(sums: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
            return np.add(sums, more, out=sums)

        sums = self._over(frames, added, report, np.float64, saturated)
        return self._with_states([values / len(frames) for values in sums], saturated)

    def together(self, views: Sequence[View]) -> View:
        """Panels as one image."""
        if len(views) == 1:
            return views[0]
        values = np.zeros(self.arrangement.shape, dtype=views[0].values.dtype)
        states = np.full(self.arrangement.shape, State.NOWHERE, dtype=np.uint8)
        for (slow, fast), view in zip(self.arrangement.corners, views, strict=True):
            place = slice(slow, slow + view.values.shape[0]), slice(fast, fast + view.values.shape[1])
            values[place], states[place] = view.values, view.states
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
        joined: list[NDArray[Any]] = []
        for done, frame in enumerate(frames, start=1):
            images = self._values(frame)
            for where, image in zip(saturated, images, strict=False):
                if self._limit is not None:
                    where |= image >= self._limit
            if joined:
                joined = [join(before, image) for before, image in zip(joined, images, strict=True)]
            else:
                joined = [image if dtype is None else image.astype(dtype) for image in images]
            report(done, len(frames))
        return joined

    def _values(self, frame: int) -> list[NDArray[Any]]:
        found = []
        for panel in self.panels:
            array = self._arrays[panel]
            found.append(np.asarray(self._group[array.name][frame, *array.index(panel), *self._pixels]))
        return found

    @property
    def _pixels(self) -> tuple[slice, ...]:
        if self.zoom is None:
            return slice(None), slice(None)
        return tuple(slice(span.start, span.stop) for span in self.zoom)

    def _of_pixels(self, panel: int) -> NDArray[np.uint8]:
        """The states of the pixels of a panel that no frame changes."""
        array = self._arrays[panel]
        place = (*array.index(panel), *self._pixels)
        mask = np.asarray(self._group[f"mask{array.panels.suffix}"][place])
        states = np.zeros(mask.shape, dtype=np.uint8)
        if SHADOW in self.summary.schema.maps:
            states[np.asarray(self._group[f"{SHADOW.name}{array.panels.suffix}"][place]) == 1] = State.SHADOW
        states[mask == 1] = State.MASKED
        states[mask == 2] = State.BAD
        return states

    def _with_states(
        self, images: Sequence[NDArray[Any]], saturated: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[View]:
        views = []
        for place, (image, fixed) in enumerate(zip(images, self._states.values(), strict=True)):
            states = fixed.copy()
            view = View(image, states)
            if saturated is not None:
                states[saturated[place] & view.drawn] = State.SATURATED
            elif self._limit is not None:
                states[(image >= self._limit) & view.drawn] = State.SATURATED
            views.append(view)
        return views


def phi_title(images: StoredImages, frames: range) -> str:
    """Which frames, and where the spindle is in them."""
    scan = images.summary.experiment.scan
    start, end = scan.frame_start_deg(frames.start), scan.frame_start_deg(frames.stop)
    return f"phi {start:g} to {end:g} deg"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def picture_of(
    images: StoredImages,
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
    images.require_complete(frames)
    views = images.mean(frames, report) if mean else images.maximum(frames, report)
    view = images.together(views)
    values = view.values[view.drawn]
    several = f"{'mean' if mean else 'maximum'} over frames {frames.start} to {frames.stop - 1}"
    which = f"frame {frames.start}" if len(frames) == 1 else several
    if len(images.panels) == 1 and len(images.summary.schema.panels) > 1:
        which += f", panel {images.panels[0]}"
    title = f"{which}, {phi_title(images, frames)}\n{images.product.name}: "
    labels = images.product.name == SPOT.name
    if labels:
        title += f"{len(np.unique(values[values > 0])):,} spots, each in a colour"
    else:
        title += f"brightest {_amount(values.max(initial=0))}, sum {_amount(values.sum(dtype=float))}"
    corners = images.arrangement.corners if len(images.panels) > 1 else []
    names = [
        (f"{number}", (float(slow), float(fast))) for number, (slow, fast) in zip(images.panels, corners, strict=False)
    ]
    origin = (images.zoom[0].start, images.zoom[1].start) if images.zoom else (0, 0)
    return frame_figure(view, title, images.units, origin=origin, scale=scale, labels=labels, names=names, marks=marks)


def sheet_of(
    images: StoredImages, frames: Sequence[int], *, scale: ScaleName = "auto", report: Report = quiet
) -> Figure:
    """A figure of several frames side by side; each is shrunk as soon as it is read."""
    images.require_complete(frames)
    views, factor, counted, brightest = [], 1, dict.fromkeys(State, 0), 0.0
    side = sheet_side(len(frames), images.arrangement.shape)[1]
    for done, frame in enumerate(frames, start=1):
        view = images.together(images.views(frame))
        for state, number in view.counted().items():
            counted[state] = counted[state] + number if state == State.SATURATED else number
        brightest = max(brightest, float(view.values[view.drawn].max(initial=0)))
        small, factor = shrunk(view, side)
        views.append(small)
        report(done, len(frames))
    titles = [f"frame {frame}: {phi_title(images, range(frame, frame + 1)).removeprefix('phi ')}" for frame in frames]
    title = images.summary.experiment.title
    title = f"{title + ': ' if title else ''}{len(frames)} frames, {images.product.name}"
    labels = images.product.name == SPOT.name
    title += "" if labels else f", brightest pixel {_amount(brightest)}"
    return sheet_figure(views, titles, title, images.units, scale=scale, labels=labels, factor=factor, counted=counted)


def spread_frames(images: StoredImages, number: int) -> list[int]:
    """So many of the frames that are complete, at most, evenly spread from the first to the last.

    Raises
    ------
    NbdistError
        If none is.
    """
    complete = images.summary.found.frames
    if not len(complete):
        images.require_complete(range(1))
    places = np.rint(np.linspace(0, len(complete) - 1, min(number, len(complete)))).astype(int)
    return [complete[int(place)] for place in places]


def profile_of(
    images: StoredImages, frames: range, scale: ScaleName = "auto", report: Report = quiet
) -> tuple[RadialProfile, Figure]:
    """The radial profile of a frame, or of the mean over several, and a figure of it."""
    images.require_complete(frames)
    views = images.views(frames.start) if len(frames) == 1 else images.mean(frames, report)
    profile = radial_profile(images.geometry, views, images.summary.experiment.beam.mean_wavelength_A)
    which = f"frame {frames.start}" if len(frames) == 1 else f"mean over frames {frames.start} to {frames.stop - 1}"
    if len(images.panels) < len(images.summary.schema.panels):
        which += f", panel {images.panels[0]}"
    title = f"{images.product.name}, {which}, {phi_title(images, frames)}"
    return profile, radial_figure(profile, title, images.units, scale)


def marks_of(images: StoredImages, frames: Iterable[int], most_named: int = 0) -> Marks:
    """The predicted spots of some frames within what is shown of a panel, its resolution rings, and where the beam meets it.

    Brighter spots come first; so many of them, at most, have their indices as names.
    """
    panel = images.panels[0]
    shown = images.zoom or tuple(range(size) for size in images.summary.schema.panels[panel])
    prediction = Prediction(Diffraction(images.summary.scene, read_reflections(images.summary.location)))
    geometry = images.geometry[0]
    tables = [frame_reflections(prediction, frame) for frame in frames]
    rows = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    places = np.stack([rows["slow"], rows["fast"]], axis=1)
    here = rows["panel"] == panel
    for axis, span in enumerate(shown):
        here &= (places[:, axis] >= span.start) & (places[:, axis] < span.stop)
    here &= rows["photons"] > FAINTEST * rows["photons"][here].max(initial=0)
    drawn = np.flatnonzero(here)
    drawn = drawn[np.argsort(-rows["photons"][drawn], kind="stable")]
    named = drawn[:most_named]
    names = [f"{h} {k} {l}" for h, k, l in zip(*(rows[name][named] for name in "hkl"), strict=True)]
    wavelength_A = prediction.beam.wavelength_A
    coarsest, finest = (1 / d_A for d_A in panel_resolutions_A(geometry, wavelength_A))
    rings = []
    for fraction in RINGS:
        d_A = float(f"{1 / (coarsest + fraction * (finest - coarsest)):.2g}")
        rings.append((geometry.coordinates(_cone(prediction.beam.direction, d_A, wavelength_A)), f"{d_A:g} Å"))
    return Marks(
        places[drawn],
        rows["lattice"][drawn],
        names,
        rings,
        geometry.coordinates(prediction.beam.direction),
    )


def _cone(beam: NDArray[np.float64], d_A: float, wavelength_A: float) -> NDArray[np.float64]:
    """Rays (n, 3) that a spacing scatters to."""
    two_theta = 2 * np.arcsin(min(wavelength_A / (2 * d_A), 1.0))
    across = np.cross(beam, np.eye(3)[np.abs(beam).argmin()])
    across /= np.linalg.norm(across)
    turns = np.linspace(0, 2 * np.pi, 721)[:, None]
    sideways = np.cos(turns) * across + np.sin(turns) * np.cross(beam, across)
    return np.asarray(np.cos(two_theta) * beam + np.sin(two_theta) * sideways)
