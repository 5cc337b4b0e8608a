"""What labels cost: frames of the integrated cases, over water, as products in memory, with labels and without in turn.

The experiments of a case render the same frames one after the other, so a machine that slows down slows all of them; and as other work
only adds to a time, that of each frame is the least of its repeats.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from nbdist.experiment import Experiment
from nbdist.frames.products import SPOTS
from nbdist.run.context import RunContext, make_context
from nbdist.run.rendering import finished_frame, render_frame

FRAMES = 4
"""Frames of a case."""
CHOICES = {"none": {}, "spots": {"spots": True}, "all": "all"}
"""Labels that are asked for."""
WATER_UM = 20.0


@dataclass(frozen=True)
class LabelsRecord:
    """What the labels of a case took: a line of the benchmark's table.

    Attributes
    ----------
    threads
        Of a frame: 1.
    frame_s
        Seconds of a frame without labels: of the processor, on a GPU of the clock.
    spots
        Rows of a frame's table of spots.
    spots_share, labels_share
        What the table of spots takes besides, and what all labels do, over `frame_s`.
    spread
        (largest - smallest) / median of a frame's seconds without labels, the mean over frames.
    """

    case: str
    device: str
    dtype: str
    threads: int
    frame_s: float
    spots: float
    spots_share: float
    labels_share: float
    spread: float


def measure_labels(name: str, experiment: Experiment, device: str, repeats: int) -> LabelsRecord:
    """Make the products of each frame `repeats` times with each choice of labels, after a first time that counts for nothing."""
    contexts: dict[str, RunContext] = {}
    for choice, labels in CHOICES.items():
        contexts[choice] = make_context(
            experiment.with_changes(background={"water_um": WATER_UM}, labels=labels), device=device
        )
        contexts[choice].threads = 1
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[list[float]]] = {choice: [[] for _ in range(FRAMES)] for choice in CHOICES}
    rows = 0
    for _ in range(1 + repeats):
        for frame in range(FRAMES):
            for choice, context in contexts.items():
                began = clock()
                products = finished_frame(context, frame, render_frame(context, frame))
                seconds[choice][frame].append(clock() - began)
                if choice == "spots":
                    rows += len(SPOTS.rows(products)["reflection"])
                del products
    least = {choice: sum(min(its[1:]) for its in frames) for choice, frames in seconds.items()}
    spreads = [(max(its[1:]) - min(its[1:])) / statistics.median(its[1:]) for its in seconds["none"]]
    return LabelsRecord(
        case=name,
        device=device,
        dtype=experiment.sampling.precision,
        threads=1,
        frame_s=least["none"] / FRAMES,
        spots=rows / FRAMES / (1 + repeats),
        spots_share=least["spots"] / least["none"] - 1,
        labels_share=least["all"] / least["none"] - 1,
        spread=sum(spreads) / FRAMES,
    )
