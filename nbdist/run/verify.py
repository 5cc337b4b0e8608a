"""Checking a store: every shard decodes, and a sample of frames is what rendering them again gives.

The shards of a data set with a card have the checksums that their records and the card say.

Where the compiler and the processor are those that a unit's record names, its frames must come out the same to the bit. Another compiler
adds in another order, and another processor has other instructions; there frames agree as closely as the physics is held to: each is
within `TOLERANCE` of the exact image, and in practice a hundred times closer, and so are its labels of pixels in photons; which spot a
pixel has, and the rows of a table, are not compared there. All other products are made of the intensity that is stored, counts by an
algorithm that is the same everywhere, so they must always be the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import StoreError
from nbdist.experiment import Experiment
from nbdist.frames.labels import Images
from nbdist.frames.products import (
    INTENSITY,
    PRODUCTS,
    FrameProduct,
    PixelProduct,
    Products,
    same,
)
from nbdist.kernels.devices import Device, pick_device
from nbdist.planning import Settings
from nbdist.run.card import card_fault
from nbdist.run.context import Context, RunContext, make_context
from nbdist.run.rendering import MIXED, in_a_store, labelled_frame, render_frame, rendered_by
from nbdist.run.sample_contexts import sample_contexts
from nbdist.store import StoredUnits, open_group, read_frame, summarize
from nbdist.store.number_set import NumberSet
from nbdist.store.places import objects_of
from nbdist.store.reading import DatasetSummary, SeriesSummary
from nbdist.store.schema import kind_of
from nbdist.store.table_reading import read_series_table
from nbdist.store.units import CARD, Record

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe

LAST_BITS_BY = ("compiler", "processor")
"""Fields of a record that decide the last bits."""
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
"""What an image may differ by from the exact one, over its maximum, by precision: what the kernels are tested to."""
STORED = 2.0**-23
"""A float64 image is stored in float32: neighbours of one value may be rounded to values that are this far apart, over the value."""


@dataclass
class Verification:
    """What `verify` found of a store.

    Attributes
    ----------
    frames_decoded
        Frames of units that are whole.
    damaged
        What is wrong, by unit.
    missing
        Numbers of the units that were never finished, and of one that got more frames when its data set grew.
    card
        What is wrong with the card of a data set; None where it is right, or there is none.
    compared
        Frames rendered again, with the largest difference over the frame's maximum (0.0: the same bits).
    foreign
        Those of them that have other last bits, with the reason: another compiler or processor made them, or their photons were scaled
        from another exposure.
    wrong
        What is wrong with those that are not what they must be.
    """

    frames_decoded: int = 0
    damaged: dict[int, str] = field(default_factory=dict)
    missing: NumberSet = field(default_factory=NumberSet)
    card: str | None = None
    compared: dict[int, float] = field(default_factory=dict)
    foreign: dict[int, str] = field(default_factory=dict)
    wrong: dict[int, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether all is there, and what was rendered again is what it must be."""
        return not (self.damaged or self.missing or self.wrong or self.card)

    def compare(self, contexts: Context, number: int, record: Record, stored: Products) -> None:
        """Render a frame of the store again and note how it compares with what is stored of it; `record` is its unit's."""
        with contexts.frame(number) as (context, frame):
            self._compare(context, frame, number, record, stored)

    def _compare(self, context: RunContext, frame: int, number: int, record: Record, stored: Products) -> None:
        here = rendered_by(context)
        made_here = all(record.get(name) == here[name] for name in LAST_BITS_BY)
        exact = made_here and "exposure_ratio" not in record
        again = labelled_frame(context, frame, render_frame(context, frame))
        photons = [
            image[: own.shape[0], : own.shape[1]]
            for image, own in zip(INTENSITY.images(stored), again.photons, strict=True)
        ]
        scale = float(max(*(image.max() for image in again.photons), np.finfo(np.float32).tiny))
        self.compared[number] = max(float(image.max()) for image in _apart(again.photons, photons)) / scale
        allowed = 0.0 if exact else TOLERANCE[context.scene.instrument.precision]
        if not exact:
            maker = ", ".join(str(record.get(name, "unknown")) for name in LAST_BITS_BY)
            self.foreign[number] = "scaled from another exposure" if made_here else f"made elsewhere ({maker})"
        if not _close(again.photons, photons, allowed, scale):
            expected = f"{allowed:g} at most" if allowed else "the same bits"
            self.wrong[number] = (
                f"its intensity differs by {self.compared[number]:.2g} of its maximum; expected {expected}"
            )
            return
        made = in_a_store(context, replace(again, photons=photons))
        known = PRODUCTS | {product.name: product for product in context.products or ()}
        for name in stored:
            product = known[name]
            assert isinstance(product, FrameProduct)
            if exact or not product.label:
                if not same(made[name], stored[name]):
                    source = "rendering it again" if product.label else "its intensity"
                    self.wrong[number] = f"its {name} are not those that {source} gives"
            elif (
                isinstance(product, PixelProduct)
                and np.dtype(product.dtype).kind == "f"
                and not _close(product.images(made), product.images(stored), allowed, scale)
            ):
                self.wrong[number] = f"its {name} differ by more than {allowed:g} of its largest intensity"


def _apart(images: Images, others: Images) -> list[NDArray[np.float64]]:
    """How far images are from others, pixel by pixel."""
    return [np.abs(a.astype(np.float64) - b) for a, b in zip(images, others, strict=True)]


def _close(images: Images, stored: Images, allowed: float, scale: float) -> bool:
    """Whether stored images are within a share of `scale` of others, apart from roundings; the same where nothing is allowed."""
    rounding = STORED if allowed else 0.0
    apart = zip(_apart(images, stored), stored, strict=True)
    return all((a <= allowed * scale + rounding * b).all() for a, b in apart)


def verify(
    location: str | os.PathLike[str],
    *,
    sample: int = 5,
    experiment: Experiment | None = None,
    recipe: Recipe | None = None,
    device: Device = "auto",
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Verification:
    """Decode every shard of a store and render a sample of its frames again.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    sample
        Frames to render again, spread evenly over those that are complete; frames whose parts were made by workers with and without
        a compiler have no bits to compare, and are left out.
    experiment, recipe
        The experiment, or the recipe of a data set, where the files that the store names have moved.
    device
        Where to render.
    report
        Called with ("decoded" or "compared", done, total).

    Returns
    -------
    What was found; it is `good` where nothing is wrong or missing.

    Raises
    ------
    StoreError
        If there is no store of nbdist, a table of the series does not decode, or the experiment or recipe is not the store's.
    """
    summary, result = summarize(location), Verification()
    its, other = ("experiment", "recipe") if isinstance(summary, SeriesSummary) else ("recipe", "experiment")
    if {"recipe": recipe, "experiment": experiment}[other] is not None:
        raise StoreError(
            f"{location} is a {kind_of(open_group(location))}; --{its} names its files, and --{other} does not"
        )
    group = open_group(location)
    found, units = StoredUnits(group), summary.units
    for table in found.schema.series_tables:
        read_series_table(group, table.name)
    complete, good = np.zeros(len(units), dtype=bool), np.zeros(len(units), dtype=bool)
    for unit, record in found.complete():
        complete[unit.number], good[unit.number] = True, record.get("kernel") != MIXED
    begun, has_card = found.recorded(), objects_of(group).read(CARD) is not None
    begun -= [number for number in begun if not complete[number] and found.outgrown(units[number])]
    result.missing = NumberSet.where(~begun.flags(len(units)))
    shards = found.damages((units[number] for number in begun), as_written=has_card)
    for done, (unit, wrong) in enumerate(shards, start=1):
        if wrong is not None:
            result.damaged[unit.number], good[unit.number] = wrong, False
        elif not complete[unit.number]:
            result.damaged[unit.number] = "a shard has another size than its record says"
        else:
            result.frames_decoded += len(unit.frames)
        report("decoded", done, len(begun))
    if not (result.damaged or result.missing):
        result.card = card_fault(group)
    frames = NumberSet.where(good.repeat(units.size)[: units.frames])
    chosen = [frames[round(place)] for place in np.linspace(0, len(frames) - 1, min(sample, len(frames)))]
    if not chosen:
        return result
    subject = recipe or summary.recipe if isinstance(summary, DatasetSummary) else experiment or summary.experiment
    if subject.fingerprint != summary.fingerprint:
        raise StoreError(f"{location} was made from other files or another {its} than the one given; --{its} names it")
    records = {frame: found.record(frame // units.size) or {} for frame in chosen}
    kernels = {frame: str(record.get("kernel")) for frame, record in records.items()}
    method = (subject if isinstance(subject, Experiment) else subject.example).sampling.method
    where = pick_device(device, method)
    contexts = {
        kernel: _context(summary, subject, where, replace(summary.settings, kernel=kernel))
        for kernel in set(kernels.values())
    }
    for done, frame in enumerate(chosen, start=1):
        result.compare(contexts[kernels[frame]], frame, records[frame], read_frame(group, frame))
        report("compared", done, len(chosen))
    return result


def _context(
    summary: SeriesSummary | DatasetSummary, subject: Experiment | Recipe, device: str, settings: Settings
) -> Context:
    """What renders frames of a store again; those of a series with the amplitudes that the store says it was made with."""
    if isinstance(summary, DatasetSummary):
        assert not isinstance(subject, Experiment)
        return sample_contexts(subject, summary.samples, device=device, settings=settings)
    assert isinstance(subject, Experiment)
    context = make_context(subject, device=device, settings=settings)
    context.location, context.reflections = summary.location, None
    return context
