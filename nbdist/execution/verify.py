"""Checking a store: every shard decodes, and a sample of frames rendered again is the same to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from nbdist.errors import StoreError
from nbdist.execution.context import Device, make_context, pick_device
from nbdist.execution.rendering import finished_frame, render_frame
from nbdist.experiment import Experiment
from nbdist.store import complete_records, damages, open_group, summarize
from nbdist.store.number_set import NumberSet
from nbdist.store.units import read_record, recorded_units

MIXED = "mixed"


@dataclass
class Verification:
    """What was found.

    Attributes
    ----------
    frames_decoded
        Frames of units that are whole.
    damaged
        What is wrong, by unit.
    missing
        Numbers of the units that were never finished.
    compared
        Frames rendered again, with the largest difference over the frame's maximum (0.0: the same bits).
    """

    frames_decoded: int = 0
    damaged: dict[int, str] = field(default_factory=dict)
    missing: NumberSet = field(default_factory=NumberSet)
    compared: dict[int, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether all is there and the same to the bit."""
        return not (self.damaged or self.missing or any(self.compared.values()))


def verify(
    location: str | os.PathLike[str],
    *,
    sample: int = 5,
    experiment: Experiment | None = None,
    device: Device = "auto",
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Verification:
    """Decode every shard of a store and render a sample of its frames again.

    Parameters
    ----------
    sample
        Frames to render again, spread evenly over those that are complete; frames whose parts were made by workers with and without
        a compiler have no bits to compare, and are left out.
    experiment
        The experiment, where the files that the store names have moved.
    device
        Where to render; bits agree between runs on the same kind of device.
    report
        Called with ("decoded" or "compared", done, total).

    Raises
    ------
    StoreError
        If there is no store of nbdist, or the experiment is not the store's.
    """
    summary, result = summarize(location), Verification()
    group = open_group(location)
    units = summary.units
    complete, good = np.zeros(len(units), dtype=bool), np.zeros(len(units), dtype=bool)
    for unit, record in complete_records(group, units):
        complete[unit.number], good[unit.number] = True, record.get("kernel") != MIXED
    begun = NumberSet.where(complete) | NumberSet(number for number in recorded_units(group) if number < len(units))
    result.missing = NumberSet.where(~begun.flags(len(units)))
    for done, (unit, wrong) in enumerate(damages(group, (units[number] for number in begun)), start=1):
        if wrong is not None:
            result.damaged[unit.number], good[unit.number] = wrong, False
        elif not complete[unit.number]:
            result.damaged[unit.number] = "a shard has another size than its record says"
        else:
            result.frames_decoded += len(unit.frames)
        report("decoded", done, len(begun))
    frames = NumberSet.where(good.repeat(units.size)[: units.frames])
    chosen = [frames[round(place)] for place in np.linspace(0, len(frames) - 1, min(sample, len(frames)))]
    if not chosen:
        return result
    experiment = experiment or summary.experiment
    if experiment.fingerprint != summary.fingerprint:
        raise StoreError(
            f"{location} was made from other files or another experiment than the one given; --experiment names it"
        )
    kernels = {frame: str((read_record(group, frame // units.size) or {}).get("kernel")) for frame in chosen}
    contexts = {
        kernel: make_context(experiment, device=pick_device(device), settings=replace(summary.settings, kernel=kernel))
        for kernel in set(kernels.values())
    }
    for context in contexts.values():  # with the amplitudes that the store says it was made with
        context.location, context.reflections = summary.location, None
    for done, frame in enumerate(chosen, start=1):
        context = contexts[kernels[frame]]
        again = finished_frame(context, frame, render_frame(context, frame))
        stored = {name: np.asarray(group[name][frame]) for name in again}
        same = all(np.array_equal(again[name], stored[name]) for name in again)
        scale = max(float(stored["intensity"].max()), np.finfo(np.float32).tiny)
        differences = [np.abs(again[name].astype(np.float64) - stored[name]).max() / scale for name in again]
        result.compared[frame] = 0.0 if same else float(max(differences))
        report("compared", done, len(chosen))
    return result
