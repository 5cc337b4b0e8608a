"""Workers on this machine: one process a core, or one a GPU, that listen on the loopback interface only."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import dask
from distributed import Nanny, Scheduler, Security, SpecCluster, WorkerPlugin

from nbdist.execution.gpus import cpu_affinity, worker_environment

LOOPBACK = "127.0.0.1"
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
"""What every worker process starts with, here and in a batch job. One process a core: no threads besides. Dask's workers give freed
memory back at once, by default; ours ask for the same few blocks all the time and keep them."""


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
    with dask.config.set(settings):
        with interrupts_ignored():
            cluster = SpecCluster(
                workers=dict(enumerate(map(spec, [*gpus, *[None] * workers]))),
                worker=spec(None),
                scheduler={"cls": Scheduler, "options": scheduler},
                security=security,
                silence_logs=logging.ERROR,
                name="nbdist",
            )
        with cluster:
            yield cluster


def _gpu_options(gpu: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {"env": worker_environment(gpu)}
    if gpu is not None:
        options["nthreads"] = 2  # one compresses and writes while the other renders
    if gpu is not None and (cores := cpu_affinity(gpu)) is not None:
        options["plugins"] = (CoresOfGpu(cores),)
    return options


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes started in here are deaf to Ctrl-C: the terminal sends it to all, and the client alone ends a run in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
