"""Runs into which a test puts its own renderer, workers and pacing."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler, SpecCluster, Worker
from waiting import LIMIT_S

from nbdist.experiment import Experiment
from nbdist.planning import Cut
from nbdist.run.context import RunContext
from nbdist.run.executors.choice import Workers, chosen_workers
from nbdist.run.generate import run_series
from nbdist.run.jobs import FrameRenderer
from nbdist.run.origins import Rendering
from nbdist.run.progress import Progress
from nbdist.run.rendering import Photons, render_frame
from nbdist.run.settings import Pacing, RunSettings
from nbdist.store.parts import Part


def run(
    experiment: Experiment,
    location: Path,
    client: Any = None,
    *,
    workers: Workers | None = None,
    frames_per_shard: int | None = 1,
    pacing: Pacing = Pacing(),  # noqa: B008
    frames: range | None = None,
    part: Part | None = None,
    resume: bool = False,
    render_frame: FrameRenderer | None = None,
    **options: Any,
) -> Progress:
    """`run_series` in this process, or at the workers of a client, with a frame a shard, rendered by `render_frame` where it is given."""
    settings = RunSettings(
        cut=Cut(frames_per_shard=frames_per_shard),
        serial=client is None,
        pacing=pacing,
        frames=frames,
        part=part,
        resume=resume,
    )
    workers = workers or chosen_workers(settings, client)
    return run_series(experiment, location, settings, workers, origin=Rendering(render_frame), **options)


class Rendered(list[int]):
    """A renderer that keeps the numbers of the frames it renders."""

    def __call__(self, context: RunContext, frame: int) -> Photons:
        """Render a frame."""
        self.append(frame)
        return render_frame(context, frame)


class Here:
    """A function that stays what it is when it is sent to a worker in this process: what it changes is changed here."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._number = function, next(_numbers)
        _here[self._number] = self

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self._function(*arguments)

    def __reduce__(self) -> tuple[Callable[[int], Here], tuple[int]]:
        return _found_here, (self._number,)


_numbers = itertools.count()
_here: dict[int, Here] = {}


def _found_here(number: int) -> Here:
    return _here[number]


@contextlib.contextmanager
def in_process_client(*options: dict[str, Any]) -> Iterator[Client]:
    """A client of workers in this process, one for each dictionary of Dask's options; `client.cluster.workers` has them by number."""
    workers = {
        number: {"cls": Worker, "options": {"nthreads": 1, "dashboard": False, **own}}
        for number, own in enumerate(options)
    }
    here = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "protocol": "inproc"}
    scheduler = {"cls": Scheduler, "options": here}
    with (
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(len(workers), timeout=LIMIT_S)
        yield client
