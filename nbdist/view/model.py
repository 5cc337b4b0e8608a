"""What a page asks of a store: a window of an image at the resolution of the screen, what is under the pointer, spots, rocking curves.

What holds: coordinates are those of a canvas on which the panels lie that are shown, slow and fast in pixels; of a single panel they
are its own. A dot of a picture is the brightest of a square of pixels, so no spot gets lost, and a pixel where there is room for all.
Frames that are not rendered yet are left out of a maximum, and shown as such where there is no other.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.formats.views import WITHOUT_VALUE, State, View, in_squares
from nbdist.frames.products import BRAGG, COUNTS, INTENSITY, SPOT
from nbdist.frames.tables import Columns
from nbdist.run.preview import FAINTEST, Arrangement, Preview, phi_title, quiet
from nbdist.run.shown import NAMED, shown_images
from nbdist.store import summarize
from nbdist.store.completeness import read_completeness
from nbdist.store.schema import FrameArray
from nbdist.view.blocks import KEPT_BYTES, Blocks, Report, shared_range

KEPT_TABLES = 64
"""Frames whose spots are kept."""
MOST_SPOTS = 3_000
"""Spots that are marked in a window: the brightest."""
CURVE_FRAMES = 12
"""Frames on either side of the one shown that a rocking curve has."""
NEAR_PIXELS = 8.0
"""From a click to the spot that is meant, at most."""
HALF_BOX = 3
"""Pixels on either side of that in which a spot is, which are summed."""
RING = 3
"""Pixels beside these of which the background is the median."""
ROCKING = (COUNTS.name, INTENSITY.name, BRAGG.name)
"""Products of which a rocking curve says something; others have that of the product that is looked at first."""


@dataclass(frozen=True)
class Look:
    """What is looked at: a product of frames, on one panel or on all.

    Attributes
    ----------
    product
        Counts, intensity, or a label of pixels.
    panel
        Which panel; all of them where None.
    frames
        Which frame, or over which frames of a sample the maximum is taken.
    """

    product: str
    panel: int | None
    frames: range


@dataclass(frozen=True)
class Window:
    """A part of the canvas, and how many dots of the screen it has.

    Attributes
    ----------
    slow, fast
        From where to where, in pixels; it may reach past the canvas.
    dots
        Along slow and fast.
    """

    slow: tuple[float, float]
    fast: tuple[float, float]
    dots: tuple[int, int]


@dataclass(frozen=True)
class Picture:
    """A window of an image.

    Attributes
    ----------
    view
        The values and states of its dots.
    first
        Slow and fast of its first pixel on the canvas.
    factor
        Pixels along a side of a dot.
    corners
        Slow and fast of the first pixel of each panel, where there are several on the canvas.
    title
        Which frames, and where the spindle is.
    missing
        What is not rendered yet of what was asked for, in words; empty where all is there.
    """

    view: View
    first: tuple[int, int]
    factor: int
    corners: list[tuple[int, int]]
    title: str
    missing: str


@dataclass(frozen=True)
class Pixel:
    """A pixel of a panel.

    Attributes
    ----------
    panel, slow, fast
        Which one.
    value
        What it holds; None where that is no reading, or not rendered yet.
    state
        What it is.
    d_A
        Spacing that scatters to it.
    """

    panel: int
    slow: int
    fast: int
    value: float | None
    state: State
    d_A: float


@dataclass(frozen=True)
class Spots:
    """Spots of a window, the brightest first; arrays (n,).

    Attributes
    ----------
    slow, fast
        Where they are on the canvas.
    panel
        The panel that each is on.
    indices
        h, k, l as a text.
    lattice
        The lattice that each is of.
    """

    slow: NDArray[np.float64]
    fast: NDArray[np.float64]
    panel: NDArray[np.int64]
    indices: list[str]
    lattice: NDArray[np.int64]


@dataclass(frozen=True)
class RockingCurve:
    """What a box of pixels holds in the frames about one.

    Attributes
    ----------
    product
        Which it is of.
    name
        Of the spot: its indices; empty where none is near.
    panel, rows, columns
        The box.
    frames
        Which frames: those that are rendered.
    edges
        Where each begins and ends (frame, 2): phi in degrees; where phi does not change, frames from the sample's first one.
    along
        What the edges are, in words.
    sums
        Sum over the pixels of the box that are read, less the median of those beside it for each (frame,).
    pixels
        How many these are.
    """

    product: str
    name: str
    panel: int
    rows: range
    columns: range
    frames: list[int]
    edges: NDArray[np.float64]
    along: str
    sums: NDArray[np.float64]
    pixels: int


class Model:
    """A store that is looked at; any thread may ask.

    Parameters
    ----------
    location
        Path or URL of the store, which may be unfinished.
    most_bytes
        Of pixels that are kept.

    Attributes
    ----------
    images
        Of the store, which know what its frames are.
    blocks
        Its pixels.
    products
        What there is of pixels; what is looked at first comes first.

    Raises
    ------
    NbdistError
        If there is no store of nbdist.
    """

    def __init__(self, location: str, most_bytes: int = KEPT_BYTES) -> None:
        summary = summarize(location)
        self.images = shown_images(summary)
        self.finished = summary.found.finished
        self._group = self.images.group
        self.blocks = Blocks(self._group, most_bytes)
        names = dict.fromkeys(array.product.name for array in self.images.schema.arrays)
        self.products = sorted(names, key=lambda name: (name != COUNTS.name, name != INTENSITY.name))
        self._previews: dict[tuple[str, int | None], Preview] = {}
        self._spots: OrderedDict[int, Columns] = OrderedDict()
        self._lock, self._predicting = threading.RLock(), threading.Lock()

    @property
    def panels(self) -> int:
        """How many panels there are."""
        return len(self.images.schema.panels)

    @property
    def frames_of_sample(self) -> int:
        """Frames of the series, or of each sample."""
        return self.images.together

    @property
    def samples(self) -> int:
        """Samples of a data set; 1 of a series."""
        return self.images.schema.samples or 1

    def look_again(self) -> None:
        """Find out which frames are there by now: `images.complete`, and whether they are all."""
        if not self.finished:
            found = read_completeness(self._group)
            self.images.complete, self.finished = found.frames, found.finished

    def progress(self) -> str:
        """How many frames are there, in words."""
        done, every = len(self.images.complete), self.images.schema.frames
        return f"all {every:,} frames are rendered" if done == every else f"{done:,} of {every:,} frames are rendered"

    def preview(self, look: Look) -> Preview:
        """What is known of a product on a panel, or on all."""
        with self._lock:
            whose = look.product, look.panel
            if whose not in self._previews:
                self._previews[whose] = Preview(self.images, *whose)
            return self._previews[whose]

    def arrangement(self, look: Look) -> Arrangement:
        """Where the panels lie on the canvas."""
        with self._lock:
            return self.preview(look).arrangement(look.frames.start)

    def picture(self, look: Look, window: Window, report: Report = quiet) -> Picture:
        """The window of an image.

        Raises
        ------
        NbdistError
            If a shard does not decode, or a maximum is asked for of what has none.
        """
        if look.product == SPOT.name and len(look.frames) > 1:
            raise NbdistError(f"{SPOT.name} numbers the spots of each frame by itself: a maximum says nothing")
        preview, arrangement = self.preview(look), self.arrangement(look)
        done = self._done(look.frames)
        factor = 1
        for (start, stop), dots in zip((window.slow, window.fast), window.dots, strict=True):
            factor = max(factor, math.ceil((stop - start) / dots - 1e-6))
        rows, columns = (
            _whole_squares(*span, factor, size)
            for span, size in zip((window.slow, window.fast), arrangement.shape, strict=True)
        )
        view = self._window(preview, arrangement, done, look.frames.start, rows, columns, report)
        return Picture(
            in_squares(view, factor),
            (rows.start, columns.start),
            factor,
            arrangement.corners if len(preview.panels) > 1 else [],
            self._title(done),
            self._missing(look.frames, done),
        )

    def pixel(self, look: Look, slow: float, fast: float) -> Pixel | None:
        """The pixel at a place on the canvas; None where no panel is."""
        preview, arrangement = self.preview(look), self.arrangement(look)
        place = self._on_panel(preview, arrangement, look.frames.start, slow, fast)
        if place is None:
            return None
        number, row, column = place
        rows, columns = (
            range(corner + at, corner + at + 1)
            for corner, at in zip(arrangement.corners[number], place[1:], strict=True)
        )
        view = self._window(preview, arrangement, self._done(look.frames), look.frames.start, rows, columns, quiet)
        state, panel = State(int(view.states[0, 0])), preview.panels[number]
        value = None if state in WITHOUT_VALUE else view.values[0, 0].item()
        with self._lock:
            scene = self.images.scene(self.images.sample(look.frames.start))
        wavelength_A = scene.experiment.beam.mean_wavelength_A
        d_A = scene.instrument.panels[panel].resolution_A(row + 0.5, column + 0.5, wavelength_A)
        return Pixel(panel, row, column, value, state, float(d_A))

    def spots(self, look: Look, window: Window, report: Report = quiet) -> Spots:
        """The brightest spots in a window of the frames that are rendered: those that a data set has in a table, else predicted ones."""
        preview, arrangement = self.preview(look), self.arrangement(look)
        done, tables = self._done(look.frames), []
        for number, frame in enumerate(done):
            report(number, len(done))
            tables.append(self._spots_of(frame))
        rows = {name: np.concatenate([table[name] for table in tables]) if tables else np.empty(0) for name in NAMED}
        corners = np.zeros((self.panels, 2))
        corners[list(preview.panels)] = arrangement.corners
        on, lattice = (rows[name].astype(np.int64) for name in ("panel", "lattice"))
        slow, fast = (rows[name] + corners[on, axis] for axis, name in enumerate(("slow", "fast")))
        seen = np.isin(on, list(preview.panels)) & (rows["photons"] > FAINTEST * rows["photons"].max(initial=0))
        for places, (start, stop) in ((slow, window.slow), (fast, window.fast)):
            seen &= (places >= start) & (places < stop)
        chosen = np.flatnonzero(seen)
        chosen = chosen[np.argsort(-rows["photons"][chosen], kind="stable")][:MOST_SPOTS]
        indices = [f"{h} {k} {l}" for h, k, l in zip(*(rows[name][chosen] for name in "hkl"), strict=True)]
        return Spots(slow[chosen], fast[chosen], on[chosen], indices, lattice[chosen])

    def rocking_curve(self, look: Look, slow: float, fast: float) -> RockingCurve | None:
        """What the frames about the one shown hold where the spot is that is nearest to a place on the canvas; None where no panel is.

        Where none is near, it is the box about the place itself.
        """
        if look.product not in ROCKING:
            look = replace(look, product=self.products[0])
        preview, arrangement = self.preview(look), self.arrangement(look)
        place = self._on_panel(preview, arrangement, look.frames.start, slow, fast)
        if place is None:
            return None
        number, row, column = place
        near = NEAR_PIXELS + 1
        found = self.spots(look, Window((slow - near, slow + near), (fast - near, fast + near), (1, 1)))
        distance = np.hypot(found.slow - slow, found.fast - fast)
        distance[found.panel != preview.panels[number]] = np.inf
        name = ""
        if distance.min(initial=np.inf) <= NEAR_PIXELS:
            spot = int(distance.argmin())
            name = found.indices[spot]
            corner = arrangement.corners[number]
            row, column = (
                math.floor(places[spot] - at) for places, at in zip((found.slow, found.fast), corner, strict=True)
            )
        shape = self._shapes(preview, look.frames.start)[number]
        rows, columns = (
            shared_range(range(at - HALF_BOX, at + HALF_BOX + 1), range(size))
            for at, size in zip((row, column), shape, strict=True)
        )
        return self._curve(preview, number, look, rows, columns, name)

    def _curve(self, preview: Preview, number: int, look: Look, rows: range, columns: range, name: str) -> RockingCurve:
        """The curve of a box of the panel that is the preview's of this number."""
        panel, first = preview.panels[number], look.frames.start
        start = self.images.sample(first) * self.frames_of_sample
        about = range(first - CURVE_FRAMES, look.frames.stop + CURVE_FRAMES)
        frames = self._done(shared_range(about, range(start, start + self.frames_of_sample)))
        edges, along = np.array([[frame - start, frame - start + 1] for frame in frames], dtype=float), "frame"
        sums, pixels = np.zeros(len(frames)), 0
        if frames:
            fixed = preview.fixed_states(frames[0])[number]
            wide, across = (
                shared_range(range(its.start - RING, its.stop + RING), range(size))
                for its, size in zip((rows, columns), fixed.shape, strict=True)
            )
            read = ~np.isin(fixed[wide.start : wide.stop, across.start : across.stop], WITHOUT_VALUE)
            within = np.isin(wide, rows)[:, None] & np.isin(across, columns)
            values = self.blocks.values(preview.arrays[panel], panel, frames, wide, across).astype(np.float64)
            beside = values[:, read & ~within]
            below = np.median(beside, axis=1) if beside.size else np.zeros(len(frames))
            pixels = int((read & within).sum())
            sums = values[:, read & within].sum(axis=1) - pixels * below
            phi = np.array([self.images.phi_deg(range(frame, frame + 1)) for frame in frames])
            if phi.max() > phi.min():
                edges, along = phi, "phi (degrees)"
        return RockingCurve(look.product, name, panel, rows, columns, frames, edges, along, sums, pixels)

    def _done(self, frames: range) -> list[int]:
        """Those frames that are rendered."""
        complete = self.images.complete
        return [frame for frame in frames if frame in complete]

    def _title(self, done: list[int]) -> str:
        if not done:
            return ""
        whole = range(done[0], done[-1] + 1)
        name = self.images.frame_name(whole)
        return f"{name if len(done) == 1 else f'maximum over {name}'}, {phi_title(self.images, whole)}"

    def _missing(self, frames: range, done: list[int]) -> str:
        if len(done) == len(frames):
            return ""
        if not done:
            return self.images.missing(frames.start)
        return f"{len(frames) - len(done)} of these {len(frames)} frames are not rendered yet"

    def _spots_of(self, frame: int) -> Columns:
        """The spots of a frame; those of the last frames are kept."""
        with self._predicting:
            if frame not in self._spots:
                with self._lock:  # the scene is asked for by others, who need not wait for what is predicted with it
                    self.images.scene(self.images.sample(frame))
                self._spots[frame] = self.images.spots([frame])
            self._spots.move_to_end(frame)
            while len(self._spots) > KEPT_TABLES:
                self._spots.popitem(last=False)
            return self._spots[frame]

    def _on_panel(
        self, preview: Preview, arrangement: Arrangement, frame: int, slow: float, fast: float
    ) -> tuple[int, int, int] | None:
        """Number of the panel among those shown, row and column of a place on the canvas."""
        shapes = self._shapes(preview, frame)
        for number, (corner, shape) in enumerate(zip(arrangement.corners, shapes, strict=True)):
            row, column = math.floor(slow) - corner[0], math.floor(fast) - corner[1]
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                return number, row, column
        return None

    def _shapes(self, preview: Preview, frame: int) -> list[tuple[int, int]]:
        """Rows and columns that each panel has on the canvas."""
        if len(preview.panels) == 1:
            return [self.images.schema.panels[preview.panels[0]]]
        with self._lock:
            return [panel.shape for panel in preview.geometry(frame)]

    def _window(
        self,
        preview: Preview,
        arrangement: Arrangement,
        done: list[int],
        frame: int,
        rows: range,
        columns: range,
        report: Report,
    ) -> View:
        """Pixels of the canvas; `frame` is one of the sample, whether it is rendered or not."""
        arrays: list[FrameArray] = list(preview.arrays.values())
        values = np.zeros((len(rows), len(columns)), dtype=arrays[0].product.dtype)
        states = np.full(values.shape, State.NOWHERE, dtype=np.uint8)
        with self._lock:
            fixed = preview.fixed_states(done[0]) if done else []
        limit = self.images.limit(arrays[0], self.images.sample(frame)) if done else None
        for number, (corner, shape) in enumerate(zip(arrangement.corners, self._shapes(preview, frame), strict=True)):
            shared = [
                shared_range(span, range(first, first + size))
                for span, first, size in zip((rows, columns), corner, shape, strict=True)
            ]
            if not all(shared):
                continue
            here = tuple(
                slice(its.start - span.start, its.stop - span.start)
                for its, span in zip(shared, (rows, columns), strict=True)
            )
            on_panel = tuple(
                range(its.start - first, its.stop - first) for its, first in zip(shared, corner, strict=True)
            )
            if not done:
                states[here] = State.UNFINISHED
                continue
            values[here] = found = self.blocks.brightest(arrays[number], preview.panels[number], done, on_panel, report)
            states[here] = its = fixed[number][tuple(slice(span.start, span.stop) for span in on_panel)]
            if limit is not None:
                saturated = (found >= limit) & ~np.isin(its, WITHOUT_VALUE)
                states[here][saturated] = State.SATURATED
        return View(values, states)


def _whole_squares(start: float, stop: float, factor: int, size: int) -> range:
    """Pixels from a first to a last place, as far as there are any, in whole squares of so many a side; one at the least."""
    first = min(max(0, math.floor(start)), size - 1) // factor * factor
    last = max(first + 1, min(size, -(-math.ceil(stop) // factor) * factor))
    return range(first, last)
