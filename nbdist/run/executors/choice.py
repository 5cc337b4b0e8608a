"""Which executor a run has: this process, local processes of its own, or a Dask client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from nbdist.clusters.local_workers import LocalWorkers, local_workers
from nbdist.kernels.devices import Device, pick_device, preferred_device
from nbdist.run.executors import Executor
from nbdist.run.executors.serial import SerialExecutor
from nbdist.run.jobs import Job
from nbdist.run.progress import Progress
from nbdist.run.settings import LocalProcesses, Pacing, RunSettings

if TYPE_CHECKING:
    from distributed import Client

    OpensClient = Callable[[], AbstractContextManager[Client]]

OpensExecutor = Callable[[Job[Any], Progress, int], AbstractContextManager[Executor]]
"""Opens an executor for a job of so many units, until the end of the block."""


@dataclass(frozen=True)
class Workers:
    """The workers that render a run, and what starts them.

    Attributes
    ----------
    count
        Threads or processes that the run is planned for.
    device
        Where each renders: "auto" where the kinds are mixed and each finds out by itself.
    executor
        Opens the executor, once there is something to render.
    kinds
        Workers that are there from the beginning, by kind.
    """

    count: int
    device: Device
    executor: OpensExecutor
    kinds: Mapping[str, int] = field(default_factory=dict)


def chosen_workers(settings: RunSettings, client: Client | OpensClient | None = None, method: str = "sum") -> Workers:
    """The workers that a run is asked to have, for the method of its sampling.

    Raises
    ------
    RunError
        If a GPU that is asked for is not there.
    """
    local = settings.local
    device = preferred_device(settings.device, method) if local.gpus is None else settings.device
    if client is not None:
        count = local.workers or (1 if callable(client) else sum(client.nthreads().values()))
        return Workers(max(1, count), device, partial(_on_client, client, settings.pacing))
    if settings.serial or (settings.part is not None and local.workers is None and local.gpus is None):
        return this_process(device)
    return local_processes(local_workers(device, local.workers, local.gpus), local, settings.pacing)


def this_process(device: Device) -> Workers:
    """This process alone.

    Raises
    ------
    RunError
        If there is no such device.
    """
    on_cpu = pick_device(device) == "cpu"
    return Workers(1, "cpu" if on_cpu else "cuda", _here, {"cpu" if on_cpu else "gpu": 1})


def local_processes(
    workers: LocalWorkers,
    local: LocalProcesses = LocalProcesses(),  # noqa: B008  (it is frozen, as the other)
    pacing: Pacing = Pacing(),  # noqa: B008
) -> Workers:
    """Worker processes of this machine, which are started when there is something to render."""
    return Workers(max(1, workers.count), workers.device, partial(_on_local_processes, workers, local, pacing))


def _here(job: Job[Any], progress: Progress, units: int) -> AbstractContextManager[Executor]:
    return contextlib.closing(SerialExecutor(job))


@contextlib.contextmanager
def _on_client(
    client: Client | OpensClient, pacing: Pacing, job: Job[Any], progress: Progress, units: int
) -> Iterator[Executor]:
    from nbdist.run.executors.dask import DaskExecutor

    with (
        client() if callable(client) else contextlib.nullcontext(client) as connected,
        contextlib.closing(DaskExecutor(job, connected, progress, pacing)) as executor,
    ):
        yield executor


@contextlib.contextmanager
def _on_local_processes(
    workers: LocalWorkers, local: LocalProcesses, pacing: Pacing, job: Job[Any], progress: Progress, units: int
) -> Iterator[Executor]:
    from distributed import Client

    from nbdist.clusters.local import local_cluster

    workers = workers.at_most(units * (job.context.plan.tasks_per_frame if job.split else 1))
    with (
        local_cluster(workers.cpu, workers.gpus, local.security, local.dashboard) as cluster,
        Client(cluster, set_as_default=False) as client,
        _on_client(client, pacing, job, progress, units) as executor,
    ):
        yield executor
