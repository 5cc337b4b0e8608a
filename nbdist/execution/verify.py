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
from nbdist.store import damages, open_group, summarize
from nbdist.store.units import recorded_units

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
        Units that were never finished.
    compared
        Frames rendered again, with the largest difference over the frame's maximum (0.0: the same bits).
    """

    frames_decoded: int = 0
    damaged: dict[int, str] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
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
    good: list[int] = []
    begun = summary.complete | recorded_units(group)
    result.missing = [unit.number for unit in summary.units if unit.number not in begun]
    recorded = [unit for unit in summary.units if unit.number in begun]
    for done, (unit, wrong) in enumerate(damages(group, recorded), start=1):
        if wrong is not None:
            result.damaged[unit.number] = wrong
        elif unit.number not in summary.complete:
            result.damaged[unit.number] = "a shard has another size than its record says"
        else:
            result.frames_decoded += len(unit.frames)
            good.extend(unit.frames)
        report("decoded", done, len(recorded))
    kernels = {frame: record["kernel"] for record in summary.records for frame in range(*record["frames"])}
    good = [frame for frame in good if kernels[frame] != MIXED]
    chosen = sorted({good[round(i)] for i in np.linspace(0, len(good) - 1, min(sample, len(good)))}) if good else []
    if not chosen:
        return result
    experiment = experiment or summary.experiment
    if experiment.fingerprint != summary.fingerprint:
        raise StoreError(
            f"{location} was made from other files or another experiment than the one given; --experiment names it"
        )
    contexts = {
        kernel: make_context(experiment, device=pick_device(device), settings=replace(summary.settings, kernel=kernel))
        for kernel in {kernels[frame] for frame in chosen}
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
