"""Photons that a store holds as the origin of another series: what its detector reads of them is made anew, and nothing is rendered.

What holds: the two experiments differ in nothing that decides the photons, but in the exposure, whose ratio multiplies them. Every unit
is read between two looks at the records of the store, so that frames which are not complete, or of a store that was replaced meanwhile,
are an error and never an image.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nbdist.errors import ExperimentError, RunError, StoreError, UnfinishedError
from nbdist.experiment import Experiment
from nbdist.experiment.background import Background
from nbdist.experiment.model import EXPOSURE, NOT_OF_PHOTONS
from nbdist.experiment.validation import shown
from nbdist.frames.labels import FrameLabels, Images
from nbdist.frames.products import (
    BACKGROUND,
    BRAGG,
    COUNTS,
    INTENSITY,
    SPOT,
    SPOTS,
    FrameProduct,
    PixelProduct,
    RenderedFrame,
    TableProduct,
    made_of,
    products_of,
    rendered_frame,
)
from nbdist.frames.tables import Columns
from nbdist.planning import Cut, Settings, Unit, Units, make_plan
from nbdist.readout.chain import Readout
from nbdist.run.context import RunContext
from nbdist.run.failures import ErrorLine
from nbdist.run.jobs import StoreJob
from nbdist.run.progress import Record
from nbdist.run.rendering import common, held_in, write_unit
from nbdist.run.stored_frames import FrameReader, SourceStore
from nbdist.scene import resolve
from nbdist.store import (
    SeriesSummary,
    exists,
    open_group,
    read_reflections,
    summarize_series,
)
from nbdist.store.creation import PHOTONS_OF
from nbdist.store.number_set import NumberSet
from nbdist.store.reflections import read_held
from nbdist.store.units import store_id_of

SAME_EXPOSURE = 1e-12
"""Two ways to say a fluence differ by roundings, relative to it."""
RENDERED_BY = ("kernel", "compiler", "processor")
"""Fields of a unit's record that decide the last bits of its photons."""
SECONDS_PER_PIXEL = 2.5e-7
"""What reading a pixel and drawing its counts takes, about, and packing both."""
SHOWN = 10
"""Ranges of frames that a message names, at most."""


@dataclass(frozen=True)
class StoredPhotons:
    """The photons of a store, as the origin of a series that another detector reads.

    Attributes
    ----------
    source
        The store.
    fingerprint
        Of its experiment.
    settings
        How it is cut, and the kernel that rendered it.
    complete
        Frames that were complete when it was opened.
    """

    source: SourceStore
    fingerprint: str
    settings: Settings
    complete: NumberSet

    @property
    def provenance(self) -> Mapping[str, object]:
        """Whose photons they are."""
        return {PHOTONS_OF: {**self.source._asdict(), "fingerprint": self.fingerprint}}

    def context(
        self,
        experiment: Experiment,
        *,
        workers: int,
        device: str,
        location: str,
        kernel: str = "compiled",
        cut: Cut = Cut(),  # noqa: B008  (it is frozen)
        settings: Settings | None = None,
    ) -> RunContext:
        """The numbers and the plan of the series: cut as the photons were, as far as that decides their bits; amplitudes as stored.

        Raises
        ------
        StoreError
            If the photons lie at the place of the series.
        """
        if exists(location) and store_id_of(open_group(location, begun=True)) == self.source.store_id:
            raise StoreError(f"{location}: holds the photons that are read out; give the counts another place")
        scene, own = resolve(experiment), self.settings
        kept = Cut(own.tile, own.phi_chunk, cut.frames_per_shard or own.frames_per_shard)
        readout = Readout(scene)
        plan = make_plan(
            scene,
            products=products_of(experiment),
            kernel=own.kernel,
            cut=kept,
            settings=settings,
            readout_bytes=(readout.kept_bytes, readout.thread_bytes),
        )
        cost = replace(plan.cost, seconds=SECONDS_PER_PIXEL * scene.instrument.pixels)
        amplitudes = read_reflections(self.source.location)
        plan, held = replace(plan, cost=cost), read_held(open_group(self.source.location))
        return RunContext(scene, plan, "cpu", location, reflections=amplitudes, held=held, _readout=readout)

    def require_same(self, location: str, provenance: object) -> None:
        """Check that a store was begun with these photons."""
        said = provenance.get(PHOTONS_OF) if isinstance(provenance, dict) else None
        if not isinstance(said, dict):
            raise StoreError(f"{location} was begun by rendering; nbdist run --resume goes on with it")
        if said.get("store_id") != self.source.store_id:
            raise StoreError(
                f"{location} was begun with the photons of {said.get('location')} as it was then, "
                f"not with those of {self.source.location}"
            )

    def ready(self, units: Units) -> Units:
        """Those units whose frames were all complete in the store when it was opened."""
        there = self.complete.flags(units.frames)
        whole = NumberSet(unit.number for unit in units if there[unit.first_frame : unit.last_frame].all())
        return Units(units.frames, units.size, whole)

    def require_ready(self, units: Units) -> None:
        """Check that all frames of units were complete in the store when it was opened."""
        there = self.complete.flags(units.frames)
        missing = [frame for unit in units for frame in unit.frames if not there[frame]]
        if missing:
            raise UnfinishedError(
                f"{self.source.location}: {_spans(np.array(missing))} not complete; "
                "they are read out by --resume when they are"
            )

    def job(self, context: RunContext) -> ReadoutJob:
        """A job that reads."""
        return ReadoutJob(context, source=self.source)


def stored_photons(
    location: str | os.PathLike[str], experiment: Experiment | None = None, seed: int | None = None
) -> tuple[Experiment, StoredPhotons]:
    """The photons of a store for the detector of an experiment.

    Parameters
    ----------
    location
        Path or URL of the store.
    experiment
        The experiment whose detector reads them; that of the store where left out.
    seed
        Of the counts, which have photon noise where the experiment asks for none; the experiment's where left out.

    Returns
    -------
    The experiment of the new series, and the origin of its photons.

    Raises
    ------
    StoreError
        If there is no series of nbdist.
    RunError
        If the experiment asks for no counts, or differs from that of the store in what decides photons, or asks for labels that the
        store does not hold.
    """
    summary = summarize_series(location)
    wanted = summary.experiment if experiment is None else experiment
    if seed is not None:
        drawn = {} if COUNTS.made_for(wanted) else {"photon_noise": True}
        wanted = wanted.with_changes(noise={**drawn, "seed": seed})
    if not COUNTS.made_for(wanted):
        raise RunError(
            f"{location}: its experiment asks for no counts, so there is nothing to read out; "
            "--experiment names one that does, --seed draws them"
            if experiment is None
            else "noise.photon_noise: is false, so there is nothing to read out; --seed draws counts, too"
        )
    _require_same_photons(summary, wanted)
    ratio = wanted.beam.fluence / summary.experiment.beam.fluence
    ratio = 1.0 if math.isclose(ratio, 1.0, rel_tol=SAME_EXPOSURE) else ratio
    if ratio != 1:
        _require_photons_that_grow(summary, wanted.background, ratio)
    store_id = store_id_of(open_group(location))
    source = SourceStore(summary.location, store_id, ratio)
    return wanted, StoredPhotons(source, summary.fingerprint, summary.settings, summary.found.frames)


def _require_same_photons(summary: SeriesSummary, wanted: Experiment) -> None:
    """Check that an experiment differs from that of a store in nothing that decides photons, but the exposure."""
    stored = summary.experiment
    of_stored = stored.model_dump()
    beam = {name: of_stored["beam"][name] for name in EXPOSURE}
    alike = wanted.with_changes(**{name: of_stored[name] for name in NOT_OF_PHOTONS}, beam=beam)
    try:
        if summary.photons_fingerprint is None:
            same = alike.fingerprint == summary.fingerprint
        else:
            same = wanted.photons_fingerprint == summary.photons_fingerprint
    except ExperimentError as error:
        raise RunError(
            f"{error}; --experiment names the experiment of {summary.location} where its files lie now"
        ) from None
    if not same:
        found = _first_difference(of_stored, alike.model_dump())
        if found is None:
            changed = "a file that its experiment names has changed since, or " * bool(alike.named_files())
            raise RunError(f"{summary.location}: {changed}it was rendered by an nbdist whose numbers are others")
        field, theirs, ours = found
        raise RunError(
            f"{field}: is {shown(ours)}, and {shown(theirs)} in {summary.location}; its photons can be read out with other "
            f"{', '.join(NOT_OF_PHOTONS[1:])} or another exposure alone"
        )
    materials = (*wanted.background.amorphous, wanted.background.air)
    widths = [its.width_um for its in materials if its is not None]
    if None in widths and wanted.beam.size_m != stored.beam.size_m:
        raise RunError(
            f"beam.beam_size_mm: is {1e3 * wanted.beam.size_m:g}, and {1e3 * stored.beam.size_m:g} in {summary.location}; "
            "it is the width of what scatters in the background, too"
        )
    held, labels = {product.name for product in summary.schema.products}, wanted.labels
    for product in products_of(wanted):
        if isinstance(product, FrameProduct) and product.label and product.name not in held:
            raise RunError(f"labels.{product.name}: needs rendering; {summary.location} does not hold it")
    if labels.spot and labels.spot_share != stored.labels.spot_share:
        raise RunError(
            f"labels.spot_share: is {labels.spot_share:g}, and {stored.labels.spot_share:g} in {summary.location}, "
            "whose labels are kept; another one needs rendering"
        )


def _require_photons_that_grow(summary: SeriesSummary, background: Background, ratio: float) -> None:
    """Check that all photons are in proportion to the exposure."""
    fixed = {
        "level_photons": background.level_photons,
        "image_file": background.image_file,
        "powder": background.powder,
    }
    for name, given in fixed.items():
        if given:
            raise RunError(
                f"background.{name}: does not grow with the exposure, which is {ratio:.6g} times that of {summary.location}; "
                "another exposure needs rendering"
            )


def _first_difference(one: Any, other: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """The first field in which two dumped sections differ, with both values; files by their contents."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs = [(f"{place}.{name}" if place else name, one.get(name), other.get(name)) for name in {**one, **other}]
    elif (
        isinstance(one, Sequence)
        and isinstance(other, Sequence)
        and not isinstance(one, str)
        and len(one) == len(other)
    ):
        pairs = [(f"{place}.{number}", *both) for number, both in enumerate(zip(one, other, strict=True))]
    else:
        return (place, one, other) if one != other and not _same_file(one, other) else None
    return next((found for name, a, b in pairs if (found := _first_difference(a, b, name)) is not None), None)


def _same_file(one: Any, other: Any) -> bool:
    if not (isinstance(one, Path) and isinstance(other, Path)):
        return False
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False  # it has moved, or is another


def _spans(numbers: np.ndarray[Any, Any]) -> str:
    """Frames in rising order as a person names them: `frames 3, 7 to 9 are`."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    said = [f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs[:SHOWN]]
    more = ["..."] if len(runs) > SHOWN else []
    return f"frame{'s' * (len(numbers) > 1)} {', '.join(said + more)} {'are' if len(numbers) > 1 else 'is'}"


@dataclass
class ReadoutJob(StoreJob[RunContext]):
    """Reads the photons of units from a store and writes what another detector reads of them.

    Attributes
    ----------
    source
        The store.
    """

    source: SourceStore = field(kw_only=True)
    _photons: PhotonReader | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def photons(self) -> PhotonReader:
        """The reader of the store, opened where it is first asked for."""
        if self._photons is None:
            self._photons = PhotonReader(self.source)
        return self._photons

    def prepare(self) -> None:
        """Open both stores."""
        super().prepare()
        _ = self.photons

    @property
    def kernel(self) -> dict[str, str]:
        """None: nothing is rendered."""
        return {"kernel": "none", "why_eager": ""}

    def require_usable(self, workers: int, error: ErrorLine) -> None:
        """See whether the photons can be read from here, and what is made of them can be written."""
        PhotonReader(self.source)
        super().require_usable(workers, error)

    def render(self, unit: Unit) -> Record:
        """Read the photons of a unit, write what is made of them, and return its record."""
        started, began = time.time(), time.perf_counter()
        frames, made_by = self.photons.frames(self.context, unit)
        made = [made_of(frame) for frame in frames]
        took = {"started": started, "seconds": time.perf_counter() - began}
        return write_unit(self.context, self.writer, unit, made, [held_in(self.context, made)], made_by | took)


class PhotonReader(FrameReader):
    """Reads photons, and labels that go with them."""

    def frames(self, context: RunContext, unit: Unit) -> tuple[list[RenderedFrame], dict[str, Any]]:
        """The frames of a unit with their photons, and what made these, for its record.

        Raises
        ------
        StoreError, RunError
            As `read`.
        """
        ratio = self.source.exposure_ratio
        labels = [
            product
            for product in products_of(context.scene.experiment)
            if isinstance(product, PixelProduct | TableProduct) and product.label
        ]
        stored, records = self.read(unit.frames, {INTENSITY.name, *(product.name for product in labels)})
        frames = []
        for number, its in zip(unit.frames, stored, strict=True):
            photons = [_scaled(image, ratio) for image in INTENSITY.images(its)]
            frame = rendered_frame(context.scene, number, photons, context.readout)
            frames.append(replace(frame, labels=_labels(its, ratio)) if labels else frame)
        made: dict[str, Any] = {name: common(str(its.get(name)) for its in records) for name in RENDERED_BY}
        scaled = [its["exposure_ratio"] * ratio for its in records if "exposure_ratio" in its]
        if scaled or ratio != 1:
            made["exposure_ratio"] = scaled[0] if scaled else ratio
        return frames, {**made, "device": "cpu"}


def _scaled(values: Any, factor: float) -> Any:
    """Values times a factor, rounded once to their own type."""
    return values if factor == 1 else np.multiply(values, factor, dtype=np.float64).astype(values.dtype)


def _labels(stored: Mapping[str, Images | Columns], ratio: float) -> FrameLabels:
    """The labels of a frame, of what a store holds, as they are for another exposure."""
    images = {
        product: product.images(stored) if product.name in stored else [] for product in (BRAGG, BACKGROUND, SPOT)
    }
    rows = dict(SPOTS.rows(stored)) if SPOTS.name in stored else {}
    factors = {"photons": ratio, "background": ratio, "signal_over_noise": math.sqrt(ratio)}
    return FrameLabels(
        bragg=[_scaled(image, ratio) for image in images[BRAGG]],
        background=[_scaled(image, ratio) for image in images[BACKGROUND]],
        spot=images[SPOT],
        spots={name: _scaled(values, factors.get(name, 1.0)) for name, values in rows.items()},
    )
