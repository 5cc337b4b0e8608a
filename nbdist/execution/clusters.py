"""Workers on this machine: one process a core, or one a GPU, that listen on the loopback interface only."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import dask
from distributed import Nanny, Scheduler, Security, SpecCluster, WorkerPlugin

from nbdist.errors import RunError, one_line
from nbdist.execution.gpus import cpu_affinity, worker_environment

LOOPBACK = "127.0.0.1"
GPU_THREADS = 2
"""Of a worker with a GPU: one compresses and writes while the other renders."""
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
"""What every worker process starts with, here and in a batch job. One process a core: no threads besides. Dask's workers give freed
memory back at once, by default; ours ask for the same few blocks all the time and keep them. Dask's profiles of a thousand seconds, which
nobody looks at here, take some 70 MB of every process."""


class CoresOfGpu(WorkerPlugin):
    """Keeps a worker on the cores next to its GPU."""

    def __init__(self, cores: Sequence[int]) -> None:
        self.cores = cores
        self.name = "nbdist-cores"

    def setup(self, worker: Any) -> None:
        """Set the affinity of the worker's process."""
        os.sched_setaffinity(0, self.cores)


@contextlib.contextmanager
def local_cluster(workers: int, gpus: Sequence[str] = (), security: Security | None = None) -> Iterator[SpecCluster]:
    """Workers on this machine, one process and one thread each, reachable from this machine only.

    Parameters
    ----------
    workers
        Processes; where GPUs are given, those that render on the CPU beside them.
    gpus
        GPUs by the names that `CUDA_VISIBLE_DEVICES` has for them, one more process each.
    security
        Certificates; the cluster then talks TLS.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    protocol = "tls://" if security is not None else "tcp://"
    common: dict[str, Any] = dict(host=LOOPBACK, protocol=protocol, security=security)
    options = {**common, "nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": logging.ERROR}
    scheduler = {**common, "port": 0, "dashboard": True, "dashboard_address": f"{LOOPBACK}:0"}

    def spec(gpu: str | None) -> dict[str, Any]:
        return {"cls": Nanny, "options": {**options, **(_gpu_options(gpu) if gpus else {})}}

    settings = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in WORKER_ENVIRONMENT.items()}
    with dask.config.set({**settings, "distributed.worker.profile.enabled": False}):
        with deaf_threads():
            cluster = SpecCluster(
                worker=spec(None),
                scheduler={"cls": Scheduler, "options": scheduler},
                security=security,
                silence_logs=logging.ERROR,
                name="nbdist",
            )
        with cluster:
            cluster.worker_spec.update(enumerate(map(spec, [*gpus, *[None] * workers])))
            cluster.sync(_started, cluster)
            yield cluster


async def _started(cluster: SpecCluster) -> None:
    """Start the workers that a cluster is to have.

    Raises
    ------
    RunError
        If one does not start.
    """
    try:
        await cluster
    except (RuntimeError, OSError) as error:
        raise RunError(f"a local worker did not start: {one_line(error.__cause__ or error)}") from None


def _gpu_options(gpu: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {"env": worker_environment(gpu)}
    if gpu is not None:
        options["nthreads"] = GPU_THREADS
    if gpu is not None and (cores := cpu_affinity(gpu)) is not None:
        options["plugins"] = (CoresOfGpu(cores),)
    return options


@contextlib.contextmanager
def deaf_threads() -> Iterator[None]:
    """Threads started in here, and processes that these start, are deaf to Ctrl-C and to the end of a terminal.

    The terminal tells all its processes, and the client alone ends a run in order. It hears in its main thread, also what comes meanwhile.
    """
    resource_tracker.ensure_running()  # else it is started beside the first worker, and makes that thread hear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
