"""The spots of some frames, predicted and, where a series has labels, measured; and what reports say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import DamagedError
from nbdist.formats.views import View
from nbdist.frames.exposure import fluence_factor
from nbdist.frames.products import INTENSITY, SPOTS
from nbdist.frames.tables import Columns
from nbdist.kernels.prediction import Prediction, frame_reflections, rocking_curve
from nbdist.kernels.spots import Diffraction
from nbdist.run.preview import Preview
from nbdist.run.shown import SeriesImages
from nbdist.store.completeness import complete_units
from nbdist.store.labels import found_in
from nbdist.store.reading import read_frames
from nbdist.store.reflections import read_reflections
from nbdist.store.table_reading import table_reader

Array = NDArray[np.float64]
WILSON_SHELLS = 20
"""Of equal width in 1/d^2."""
SHOWN = 6
"""Of the strongest reflections."""
FARTHEST = 30
"""Frames of a rocking curve before and after the one in which its reflection is brightest, of those that were looked at."""
REACH = 3.0
"""Deviations from the middle of a spot at which the box ends whose pixels are added up."""
RING = 3
"""Pixels about the box of which the background is the median."""
LEAST_SHOWN = 20
"""Pixels along a side of the picture of a spot, at least."""
LARGEST_REACH = 60
"""Pixels from a spot's middle to the end of its box, at most."""


@dataclass(frozen=True)
class SpotTables:
    """The spots of a frame.

    Attributes
    ----------
    frame
        Its number.
    predicted
        Columns of `kernels.prediction.frame_reflections`, with the photons at the frame's fluence, and `F2`.
    labels
        Columns of its label `spots`, with lattice, h, k, l and d_A; None where the store has none.
    """

    frame: int
    predicted: Columns
    labels: Columns | None

    @property
    def best(self) -> Columns:
        """The labels, or else what is predicted."""
        return self.predicted if self.labels is None else self.labels


@dataclass(frozen=True)
class WilsonCurve:
    """Mean squared amplitudes of a crystal in shells (n,), electron^2, NaN where there is no reflection.

    Attributes
    ----------
    name
        Of the crystal.
    listed, listed_count
        Mean of those that are listed and not absent, to the detector's farthest corner; and how many.
    rendered, rendered_count
        The photons of spots over the photons that one electron^2 would have given them; and of how many spots. None without labels.
    """

    name: str
    listed: Array
    listed_count: NDArray[np.int64]
    rendered: Array | None
    rendered_count: NDArray[np.int64] | None


@dataclass(frozen=True)
class StrongReflection:
    """A reflection that is among the brightest of the frames that were looked at.

    Attributes
    ----------
    frame, reflection
        Where it is brightest, and its identity in the series.
    lattice, miller, d_A, panel
        What it is, and on which panel.
    place
        Slow and fast of its centroid, pixels.
    photons
        That the frame has of it.
    partiality, overlap, background, box
        By its label; None where there is none.
    view, first
        Pixels about it, and the row and the column of the first of them.
    frames, phi_edges_deg
        Frames of its rocking curve (n,), and where each begins and the last ends (n + 1,).
    pixels, predicted, labelled
        Photons of each frame (n,): those of the pixels about it less the background beside them, NaN where there is no such frame;
        predicted; and those of its labels, None without.
    """

    frame: int
    reflection: int
    lattice: int
    miller: tuple[int, int, int]
    d_A: float
    panel: int
    place: tuple[float, float]
    photons: float
    partiality: float | None
    overlap: float | None
    background: float | None
    box: tuple[int, int, int, int] | None
    view: View
    first: tuple[int, int]
    frames: NDArray[np.int64]
    phi_edges_deg: Array
    pixels: Array
    predicted: Array
    labelled: Array | None

    @property
    def name(self) -> str:
        """Its indices."""
        return "{} {} {}".format(*self.miller)


class SeriesSpots:
    """The spots of a series' frames.

    Parameters
    ----------
    images
        Of a stored series.

    Attributes
    ----------
    scene, reflections
        Its numbers, and the amplitudes of each lattice.
    has_labels
        Whether the store has the label `spots`.
    """

    def __init__(self, images: SeriesImages) -> None:
        self.images, self.scene = images, images.scene(0)
        self.reflections = read_reflections(images.name)
        self.prediction = Prediction(Diffraction(self.scene, self.reflections))
        self.has_labels = any(table.name == SPOTS.name for table in images.schema.tables)

    def of_frame(self, frame: int) -> SpotTables:
        """The spots of a frame; those of its label where the store has it."""
        diffraction, predicted = self.prediction.diffraction, frame_reflections(self.prediction, frame)
        lattice, listed = diffraction.listed(predicted["reflection"])
        F2 = np.empty(len(lattice))
        for number, its in enumerate(self.prediction.F2):
            F2[lattice == number] = its[listed[lattice == number]]
        predicted |= {"photons": predicted["photons"] * fluence_factor(self.scene.experiment, frame), "F2": F2}
        return SpotTables(frame, predicted, self._labels(frame))

    def _labels(self, frame: int) -> Columns | None:
        if not self.has_labels:
            return None
        rows = SPOTS.rows(read_frames(self.images.group, range(frame, frame + 1), [SPOTS.name])[0])
        lattice, miller, spacing_A = self.prediction.diffraction.named_by(rows["reflection"])
        return {**rows, "lattice": lattice, **dict(zip("hkl", miller.T, strict=True)), "d_A": spacing_A}

    def wilson(self, frames: Sequence[SpotTables]) -> tuple[Array, list[WilsonCurve]]:
        """1 / (4 d^2) in the middle of shells (n,), 1/Angstrom^2, and the mean squared amplitudes of each crystal in them."""
        edges = np.linspace(0, self.scene.finest_A**-2, WILSON_SHELLS + 1)

        def in_shells(d_A: Array, values: Array) -> Array:
            shell = np.searchsorted(edges, d_A**-2.0, side="right") - 1
            return np.bincount(np.clip(shell, 0, WILSON_SHELLS - 1), values, WILSON_SHELLS).astype(np.float64)

        curves = []
        for number, lattice in enumerate(self.scene.specimen.lattices):
            if lattice.twin is not None:
                continue
            F2, its = self.prediction.F2[number], self.prediction.diffraction.lists[number]
            present = F2 > 0
            d_A = 1 / np.linalg.norm(its.vectors[present], axis=1)
            count, total = in_shells(d_A, np.ones(len(d_A))), in_shells(d_A, F2[present])
            photons, per_electron2, spots = np.zeros((3, WILSON_SHELLS))
            for frame in frames:
                if frame.labels is None:
                    continue
                place, known = found_in(frame.predicted["reflection"], frame.labels["reflection"])
                predicted = frame.predicted["photons"][place] if len(place) else np.empty(0)
                known &= (frame.labels["lattice"] == number) & (predicted > 0)
                spacing, place = frame.labels["d_A"][known], place[known]
                photons += in_shells(spacing, frame.labels["photons"][known])
                per_electron2 += in_shells(spacing, frame.predicted["photons"][place] / frame.predicted["F2"][place])
                spots += in_shells(spacing, np.ones(len(spacing)))
            rendered = _ratio(photons, per_electron2) if self.has_labels else None
            rendered_count = spots.astype(np.int64) if self.has_labels else None
            curves.append(
                WilsonCurve(lattice.field, _ratio(total, count), count.astype(np.int64), rendered, rendered_count)
            )
        return (edges[1:] + edges[:-1]) / 8, curves

    def strongest(
        self, frames: Sequence[SpotTables], report: Callable[[int, int], None], most: int = SHOWN
    ) -> list[StrongReflection]:
        """The brightest reflections of some frames, each once, that no edge and no masked pixel cuts; with their rocking curves."""
        found: list[tuple[float, SpotTables, int]] = []
        for its in frames:
            brightest = np.argsort(-its.best["photons"], kind="stable")[: 20 * most]
            found += [(float(its.best["photons"][row]), its, int(row)) for row in brightest]
        chosen: dict[tuple[int, ...], StrongReflection] = {}
        for photons, its, row in sorted(found, key=lambda one: -one[0]):
            if len(chosen) == most or not photons > 0:
                break
            named = tuple(int(its.best[name][row]) for name in ("lattice", "h", "k", "l"))
            if named not in chosen and (made := self._strong(its, row)) is not None:
                chosen[named] = made
                report(len(chosen), most)
        return list(chosen.values())

    def _strong(self, its: SpotTables, row: int) -> StrongReflection | None:
        rows, scan = its.best, self.scene.experiment.scan
        reflection, panel = int(rows["reflection"][row]), int(rows["panel"][row])
        if not (its.predicted["reflection"] == reflection).any():
            return None  # a lobe of a reflection that does not cross
        curve = rocking_curve(self.prediction, its.frame, reflection, FARTHEST)
        on_panel = curve["panel"] == panel
        if not on_panel.all():
            return None
        spans = [
            range(
                math.floor(curve[axis].min() - min(REACH * curve[f"sigma_{axis}"].max() + 1, LARGEST_REACH)),
                math.ceil(curve[axis].max() + min(REACH * curve[f"sigma_{axis}"].max() + 1, LARGEST_REACH)),
            )
            for axis in ("slow", "fast")
        ]
        wide = [range(span.start - RING, span.stop + RING) for span in spans]
        usable = self.scene.instrument.panels[panel].usable
        inside = all(span.start >= 0 and span.stop <= size for span, size in zip(wide, usable.shape, strict=True))
        if not inside or not usable[wide[0].start : wide[0].stop, wide[1].start : wide[1].stop].all():
            return None
        frames = curve["frame"]
        factors = np.array([fluence_factor(self.scene.experiment, int(frame)) for frame in frames])
        labels = self._labelled(frames, reflection) if its.labels is not None else None
        shown = _about(wide, usable.shape)
        (view,) = Preview(self.images, None, panel, shown).views(its.frame)
        label = its.labels
        box = ("first_slow", "last_slow", "first_fast", "last_fast")
        return StrongReflection(
            frame=its.frame,
            reflection=reflection,
            lattice=int(rows["lattice"][row]),
            miller=(int(rows["h"][row]), int(rows["k"][row]), int(rows["l"][row])),
            d_A=float(rows["d_A"][row]),
            panel=panel,
            place=(float(rows["slow"][row]), float(rows["fast"][row])),
            photons=float(rows["photons"][row]),
            partiality=None if label is None else float(label["partiality"][row]),
            overlap=None if label is None else float(label["overlap"][row]),
            background=None if label is None else float(label["background"][row]),
            box=None if label is None else tuple(int(label[name][row]) for name in box),  # type: ignore[arg-type]
            view=view,
            first=(shown[0].start, shown[1].start),
            frames=frames,
            phi_edges_deg=np.array([scan.frame_start_deg(int(number)) for number in (*frames, frames[-1] + 1)]),
            pixels=np.array([self._in_pixels(int(frame), panel, wide) for frame in frames]),
            predicted=curve["photons"] * factors,
            labelled=labels,
        )

    def _in_pixels(self, frame: int, panel: int, wide: Sequence[range]) -> float:
        """Photons of the pixels of a box less the background beside them; NaN where the frame is not there or does not decode."""
        if frame not in self.images.complete:
            return math.nan
        (array,) = (
            its
            for its in self.images.schema.arrays
            if its.product.name == INTENSITY.name and panel in its.panels.numbers
        )
        rows, columns = (slice(span.start, span.stop) for span in wide)
        try:
            image = self.images.image(array, panel, frame, (rows, columns)).astype(np.float64)
        except DamagedError:
            return math.nan
        within = np.zeros(image.shape, dtype=bool)
        within[RING:-RING, RING:-RING] = True
        return float((image[within] - np.median(image[~within])).sum())

    def _labelled(self, frames: NDArray[np.int64], reflection: int) -> Array:
        """Photons of a reflection by the labels of some frames, 0 where they have none of it.

        NaN where a frame is not there, or its labels do not decode.
        """
        photons = np.array([0.0 if int(frame) in self.images.complete else math.nan for frame in frames])
        reader = table_reader(self.images.group, SPOTS.name, ["frame", "reflection", "photons"])
        span = range(int(frames[0]), int(frames[-1]) + 1)
        for unit in complete_units(self.images.group, reader.touched(span)):
            try:
                rows = reader.of_unit(unit, span)
            except DamagedError:
                photons[max(0, unit.first_frame - span.start) : unit.last_frame - span.start] = math.nan
                continue
            its = rows["reflection"].to_numpy() == reflection
            np.add.at(photons, rows["frame"].to_numpy()[its] - span.start, rows["photons"].to_numpy()[its])
        return photons


def _about(box: Sequence[range], shape: tuple[int, int]) -> tuple[range, range]:
    """Rows and columns of a square about the middle of a box that has all of it, so far as they are on a panel."""
    half = max(LEAST_SHOWN, *(len(span) for span in box)) // 2 + 1
    middles = ((span.start + span.stop) // 2 for span in box)
    rows, columns = (
        range(max(0, middle - half), min(size, middle + half)) for middle, size in zip(middles, shape, strict=True)
    )
    return rows, columns


def _ratio(above: Array, below: Array) -> Array:
    """One over the other, NaN where there is nothing below."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


@dataclass(frozen=True)
class SpotStatistics:
    """What the labels of some frames say of their spots together.

    Attributes
    ----------
    frames, spots
        How many frames there are, and spots in them.
    values
        Values of all spots (spots,) by what they are: photons, signal over noise, partiality, overlap.
    """

    frames: int
    spots: int
    values: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, tables: Sequence[Columns]) -> SpotStatistics:
        """The statistics of the spots of some frames."""
        names = ("photons", "signal_over_noise", "partiality", "overlap")
        values = {name: np.concatenate([np.empty(0), *(rows[name] for rows in tables)]) for name in names}
        return cls(len(tables), len(values["photons"]), values)
