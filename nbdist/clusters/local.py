"""Workers on this machine: one process a core, or one a GPU, that only this run can talk to.

They and their scheduler listen on the loopback interface, which every user of the machine reaches, and ask for the run's certificate.
Dask's web servers cannot ask for one and are left out, and folders that workers load code from are the user's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny, Scheduler, Security, SpecCluster, Status, Worker, WorkerPlugin

from nbdist.clusters.gpus import cpu_affinity, worker_environment
from nbdist.clusters.message_streams import PromptScheduler
from nbdist.clusters.tls import temporary_security
from nbdist.errors import RunError, one_line, require_extra
from nbdist.private_folder import lock_folder, private_folder

LOOPBACK = "127.0.0.1"
GPU_THREADS = 2
"""Of a worker with a GPU: one compresses and writes while the other renders."""
GRACE_S = 1.0
"""What a worker has to end in after an interrupt, before it is killed."""
LOOK_EVERY_S = 0.05
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "PYTHONSAFEPATH": "1",
}
"""What every worker process starts with, here and in a batch job. One process a core: no threads besides. Dask's workers give freed
memory back at once, by default; ours ask for the same few blocks all the time and keep them. Dask's profiles of a thousand seconds, which
nobody looks at here, take some 70 MB of every process. And Python looks for no modules in the working folder, where others may write."""


class CoresOfGpu(WorkerPlugin):
    """Keeps a worker on the cores next to its GPU."""

    def __init__(self, cores: Sequence[int]) -> None:
        self.cores = cores
        self.name = "nbdist-cores"

    def setup(self, worker: Any) -> None:
        """Set the affinity of the worker's process."""
        os.sched_setaffinity(0, self.cores)


class _NoWebServer:
    """A scheduler or worker without its web pages, which ask nobody who they are."""

    def start_http_server(self, *arguments: object, **options: object) -> None:
        """Start none."""


class PrivateScheduler(_NoWebServer, Scheduler):
    """A scheduler that holders of its certificate reach, and nobody else."""


class PrivateWorker(_NoWebServer, Worker):
    """A worker that holders of its certificate reach, and nobody else."""


def scheduler_of(security: Security, dashboard: str | None = None, **listen: Any) -> dict[str, Any]:
    """The scheduler of a cluster, as Dask's `SpecCluster` takes it.

    Parameters
    ----------
    security
        Certificates that it asks for.
    dashboard
        HOST:PORT of Dask's web pages, which whoever reaches them can read; None for none.
    listen
        Where it listens: `host` or `interface`, and `port`.

    Raises
    ------
    MissingExtraError
        If there are to be web pages, and bokeh is not installed.
    UnsafeFolderError
        If there is no private folder for what it writes.
    """
    options = {
        "port": 0,
        **listen,
        "protocol": "tls://",
        "security": security,
        "plugins": (PromptScheduler(),),
        "local_directory": _code_folder(),
    }
    if dashboard is None:
        return {"cls": PrivateScheduler, "options": {**options, "dashboard": False}}
    require_extra("dashboard", "--dashboard")
    return {"cls": Scheduler, "options": {**options, "dashboard": True, "dashboard_address": dashboard}}


def _code_folder() -> str:
    """Where scheduler and workers write: each of their processes, this one too, looks there for modules first."""
    return str(private_folder(lock_folder() / "workers"))


@contextlib.contextmanager
def local_cluster(
    workers: int, gpus: Sequence[str] = (), security: Security | None = None, dashboard: bool = False
) -> Iterator[SpecCluster]:
    """Workers on this machine, one process and one thread each, that holders of a certificate reach from this machine only.

    Parameters
    ----------
    workers
        Processes; where GPUs are given, those that render on the CPU beside them.
    gpus
        GPUs by the names that `CUDA_VISIBLE_DEVICES` has for them, one more process each.
    security
        Certificates; made for this cluster alone where left out.
    dashboard
        Whether Dask's web pages are shown on the loopback interface, to every user of this machine.

    Raises
    ------
    UnsafeFolderError
        If there is no private folder for what the workers write.
    """
    security = security or temporary_security()
    options = {
        "host": LOOPBACK,
        "protocol": "tls://",
        "security": security,
        "worker_class": PrivateWorker,
        "local_directory": _code_folder(),
        "nthreads": 1,
        "memory_limit": 0,
        "silence_logs": logging.ERROR,
    }

    def spec(gpu: str | None) -> dict[str, Any]:
        return {"cls": Nanny, "options": {**options, **(_gpu_options(gpu) if gpus else {})}}

    settings = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in WORKER_ENVIRONMENT.items()}
    with dask.config.set({**settings, "distributed.worker.profile.enabled": False}), _environment_kept():
        for name in ("PYTHONSAFEPATH", "TORCHINDUCTOR_COMPILE_THREADS"):  # of Python's own helper, and of this process
            os.environ.setdefault(name, WORKER_ENVIRONMENT[name])
        with deaf_threads():
            cluster = SpecCluster(
                worker=spec(None),
                scheduler=scheduler_of(security, f"{LOOPBACK}:0" if dashboard else None, host=LOOPBACK),
                security=security,
                silence_logs=logging.ERROR,
                name="nbdist",
            )
        with cluster:
            cluster.worker_spec.update(enumerate(map(spec, [*gpus, *[None] * workers])))
            try:
                cluster.sync(_started, cluster)
                yield cluster
            except KeyboardInterrupt:
                cluster.sync(_end_at_once, cluster)
                raise


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back at the end what a worker starts with: Dask sets it in the process that starts one."""
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


async def _started(cluster: SpecCluster) -> None:
    """Start the workers that a cluster is to have.

    Raises
    ------
    RunError
        If one does not start.
    """
    try:
        await asyncio.shield(cluster)  # broken off, Dask would forget the workers that come up later
    except (RuntimeError, OSError) as error:
        raise RunError(f"a local worker did not start: {one_line(error.__cause__ or error)}") from None


async def _end_at_once(cluster: SpecCluster) -> None:
    """End the workers of a cluster that is closed next, without the wait of Dask's for those that start until they are there."""
    nannies = list(cluster._created)
    while starting := [nanny for nanny in nannies if nanny.status == Status.init]:
        await _kill(starting)
        await asyncio.sleep(LOOK_EVERY_S)
    if compilers := [child for nanny in nannies for child in _children(nanny.pid)]:
        await _kill(nannies)  # none of them starts another
        for compiler in compilers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(compiler, signal.SIGKILL)
    closing = asyncio.gather(*(nanny.close(timeout=GRACE_S) for nanny in nannies))
    while not closing.done():  # one that died meanwhile is started again, and would be waited for
        await _kill(
            [nanny for nanny in nannies if nanny.process is not None and nanny.process.status == Status.starting]
        )
        await asyncio.sleep(LOOK_EVERY_S)
    await closing


async def _kill(nannies: Sequence[Nanny]) -> None:
    """Kill the processes of workers, those that are there."""
    processes = (nanny.process.process for nanny in nannies if nanny.process is not None)
    await asyncio.gather(*(process.kill() for process in processes if process is not None), return_exceptions=True)


def _children(pid: int | None) -> list[int]:
    """Processes that the threads of a process have started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    with contextlib.suppress(OSError):
        return [int(child) for children in lists for child in children.read_text(encoding="ascii").split()]
    return []


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
