"""What a run is asked to do: one frozen object, made by whoever asks (`nbdist.generate`, the command line) and handed down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbdist.errors import RunError
from nbdist.kernels.devices import Device
from nbdist.planning import Cut
from nbdist.store.parts import Part

if TYPE_CHECKING:
    from distributed import Security


@dataclass(frozen=True)
class LocalProcesses:
    """Worker processes of this machine.

    Attributes
    ----------
    workers
        How many (None: one a core, or one a GPU). Beside GPUs that are named, those that render on the CPU; beside a Dask client, the
        threads to plan for.
    gpus
        "all" or "0,1": one process for each of these GPUs.
    security
        Certificates with which they talk TLS; made for the run alone where None.
    dashboard
        Whether Dask's web pages are shown on the loopback interface, to every user of this machine.
    """

    workers: int | None = None
    gpus: str | None = None
    security: Security | None = None
    dashboard: bool = False


@dataclass(frozen=True)
class Pacing:
    """How large Dask tasks are made, and how long what does not come is waited for.

    Attributes
    ----------
    task_s
        Seconds that a task should take: quick units share one.
    most_units
        Units of a task, at most.
    task_limit_s
        After so many seconds a task gives back the units that it has not begun.
    stuck_after_s
        A task hangs that is at a worker for so many seconds, and for far longer than any other.
    paused_s
        For so many seconds a worker that Dask has paused keeps its units.
    """

    task_s: float = 1.0
    most_units: int = 1000
    task_limit_s: float = 10.0
    stuck_after_s: float = 1800.0
    paused_s: float = 60.0


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked to do.

    Attributes
    ----------
    cut
        How the series is cut.
    kernel
        "compiled" or "eager"; where None, the store's own, and "compiled" in a new one.
    device
        Where to render.
    frames
        Part of the series (rounded out to whole shards); all where None.
    part
        The share of the series that this process renders, beside others that render the other shares.
    resume, overwrite
        Go on with the store that exists, or remove it first.
    sweep
        Remove what writers that were killed left half written; not where others may write meanwhile.
    serial
        Render in this process.
    local
        The processes that render where it is not this one, nor those of a Dask client.
    pacing
        Sizes of tasks and waiting times.
    made_by
        What else to keep in the store's provenance: `experiment_file` and `options`, for the command that goes on.

    Raises
    ------
    RunError
        If two of these exclude each other.
    """

    cut: Cut = field(default_factory=Cut)
    kernel: str | None = None
    device: Device = "auto"
    frames: range | None = None
    part: Part | None = None
    resume: bool = False
    overwrite: bool = False
    sweep: bool = True
    serial: bool = False
    local: LocalProcesses = field(default_factory=LocalProcesses)
    pacing: Pacing = field(default_factory=Pacing)
    made_by: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if self.overwrite and (self.resume or self.part):
            raise RunError(f"{'resume' if self.resume else 'a part'} and overwrite exclude each other")
        if self.part and self.frames is not None:
            raise RunError("a part and frames exclude each other: a part is one of the whole series")

    @property
    def joins(self) -> bool:
        """Whether the run goes on with a store that exists, whoever made it."""
        return self.resume or self.part is not None
