"""Workers from a batch queue: a scheduler here, and jobs that are kept in the queue until the run is over.

Queues kill jobs. A job counts as long as the queue has it, waiting or running; one that is gone, or that runs and has no worker
any more, is replaced. The queue is asked, because a missing worker alone says little: its job may wait for a node, be requeued by
the queue itself (which keeps its number, and its place here), or have ended in order before its walltime.

That is done by hand because dask-jobqueue's own replacing (`adapt`) never asks the queue: it waits without end for a job that ended
before its worker joined, and cancels one that was requeued.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Security, SpecCluster

from nbdist.clusters.cluster_file import ClusterFile
from nbdist.clusters.job_scripts import job_class, make_job
from nbdist.clusters.local import LOOPBACK, deaf_threads, scheduler_of
from nbdist.clusters.queue_states import queue_states
from nbdist.clusters.tls import security_in_folder
from nbdist.errors import RunError, one_line
from nbdist.formats.text import user_path

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
"""How often workers are looked for."""
ASK_EVERY_S, ASK_IDLY_S = 5.0, 30.0
"""The queue itself is asked only when workers are missing: soon where some were lost, seldom where jobs only wait for their turn."""
SUBMITTED_S, LOST_S = 15.0, 4.0
"""A job that was just submitted may not be listed yet, and a worker that was lost may be coming back at once."""
WITHOUT_WORKER_S = 300.0
"""A job that runs this long without a worker has no worker to come: Python starts slowly from a busy file system, but not this slowly."""
FAILED_STARTS = 3
"""Jobs in a row that ended before a worker joined: something is wrong with all of them."""
LONGEST_PAUSE_S = 300.0
INTERRUPTED_S = 5.0
"""How long a job that is being submitted is waited for after an interrupt, so that it is cancelled too."""


@dataclass
class _Job:
    """A job in the queue: when it was submitted, when a worker of it was last seen, and since when it is known to run without one.

    Attributes
    ----------
    troubles
        How many troubles there had been when it was submitted.
    """

    job: Any
    submitted: float
    troubles: int = 0
    seen: float | None = None
    without_worker_since: float | None = None


@dataclass
class QueuedJobs:
    """Keeps a number of jobs in a batch queue; use as a context manager.

    Attributes
    ----------
    failed_starts, refused
        Jobs that ended before a worker joined, and submissions that failed, since a job that was submitted after the last of them
        got a worker.
    """

    file: ClusterFile
    cluster: SpecCluster
    security: Security
    lifetime_s: int | None = None
    lost: int = 0
    failed_starts: int = 0
    refused: int = 0
    last_trouble: str = ""
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _number: int = 0
    _trouble_count: int = 0
    _asked: float = -ASK_IDLY_S
    _stop: threading.Event = field(default_factory=threading.Event)
    _begun: threading.Event = field(default_factory=threading.Event)
    _refusal: Exception | None = None

    def __post_init__(self) -> None:
        # an interrupt, which is the main thread's, breaks no submission off: its job would have no number here
        self._thread = threading.Thread(target=self._begin, name="nbdist-jobs", daemon=True)

    def __enter__(self) -> QueuedJobs:
        self._thread.start()
        try:
            self._begun.wait()
            if self._refusal is not None:
                raise self._refusal
        except BaseException:
            self._stop.set()
            self._thread.join(INTERRUPTED_S)
            self._cancel_all()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._thread.join(INTERRUPTED_S)
            raise
        finally:
            self._cancel_all()

    @property
    def jobs(self) -> list[str]:
        """Numbers of the jobs that wait or run, as the queue gave them."""
        return [held.job.job_id for held in list(self._jobs.values())]

    def wait(self, report: Callable[[str], None], every_s: float = 60.0) -> None:
        """Wait until `jobs.minimum` jobs have workers, however long the queue takes.

        Raises
        ------
        RunError
            If jobs end before a worker joined.
        """
        told = time.monotonic()
        while (started := sum(held.seen is not None for held in list(self._jobs.values()))) < self.file.jobs.minimum:
            if self.failed_starts >= FAILED_STARTS:
                raise RunError(f"{self.failed_starts} jobs ended before a worker joined: {self.last_trouble}")
            if self.refused >= FAILED_STARTS:
                raise RunError(f"{self.refused} jobs could not be submitted: {self.last_trouble}")
            if time.monotonic() - told >= every_s:
                told = time.monotonic()
                report(f"waiting for the queue: {started} of {len(self._jobs)} jobs have workers")
            time.sleep(0.2)

    def _begin(self) -> None:
        try:
            self._submit_missing()
        except Exception as error:
            self._refusal = error
        self._begun.set()
        if self._refusal is None:
            self._keep()

    def _keep(self) -> None:
        while not self._stop.wait(self._pause()):
            try:
                self._look()
                self._submit_missing()
            except Exception as error:
                self.refused += 1
                self._trouble_count += 1
                self.last_trouble = one_line(error)
                logger.warning("jobs cannot be replaced now: %s", error)

    def _pause(self) -> float:
        tries = max(self.refused, self.failed_starts - FAILED_STARTS + 1, 0)
        return min(LONGEST_PAUSE_S, LOOK_EVERY_S * 2 ** min(tries, 16))

    def _look(self) -> None:
        """Forget jobs that are over, so that `_submit_missing` replaces them."""
        now = time.monotonic()
        alive = self._names_of_workers()
        missing = []
        for name, held in self._jobs.items():
            if any(worker == name or worker.startswith(f"{name}-") for worker in alive):
                held.seen, held.without_worker_since = now, None
                if held.troubles == self._trouble_count:
                    self.failed_starts = self.refused = 0
            elif now - (held.submitted if held.seen is None else held.seen) >= (
                SUBMITTED_S if held.seen is None else LOST_S
            ):
                missing.append(name)
        lost = any(self._jobs[name].seen is not None for name in missing)
        if not missing or now - self._asked < (ASK_EVERY_S if lost else ASK_IDLY_S):
            return
        self._asked = now
        states = queue_states(self.file.kind, self.jobs)
        if states is None:
            logger.warning("the batch queue does not answer; jobs are left as they are")
            return
        for name in missing:
            held = self._jobs[name]
            if not states.get(held.job.job_id, False):
                held.without_worker_since = None  # it waits, or is gone
            elif held.without_worker_since is None:
                held.without_worker_since = now
            if held.job.job_id not in states or (
                held.without_worker_since and now - held.without_worker_since >= WITHOUT_WORKER_S
            ):
                self._forget(name)

    def _forget(self, name: str) -> None:
        held = self._jobs.pop(name)
        if held.seen is None:
            self.failed_starts += 1
            self._trouble_count += 1
            self.last_trouble = self._last_output(held.job.job_id)
            if self.failed_starts >= FAILED_STARTS:
                logger.warning("%d jobs ended before a worker joined: %s", self.failed_starts, self.last_trouble)
        else:
            self.lost += 1
        logger.info("job %s is over and will be replaced", held.job.job_id)
        if held.without_worker_since is not None:
            self.cluster.sync(held.job.close)

    def _submit_missing(self) -> None:
        while len(self._jobs) < self.file.jobs.maximum and not self._stop.is_set():
            name = f"{self.cluster.name}-{self._number}"
            self._number += 1
            job = make_job(self.file, self.cluster.scheduler_address, name, self.security, self.lifetime_s)
            try:
                self.cluster.sync(job.start)
            except RuntimeError as error:
                raise RunError(f"{job.submit_command} refused the job: {_stderr_in(str(error))}") from None
            except ValueError as error:  # an answer without a job's number
                raise RunError(f"{job.submit_command} gave no number of the job: {_stderr_in(str(error))}") from None
            self._jobs[name] = _Job(job, time.monotonic(), self._trouble_count)
            logger.info("submitted job %s", job.job_id)

    def _names_of_workers(self) -> list[str]:
        async def names() -> list[str]:
            scheduler: Any = self.cluster.scheduler
            return [str(worker.name) for worker in scheduler.workers.values()]

        found: list[str] = self.cluster.sync(names)
        return found

    def _cancel_all(self) -> None:
        for held in list(self._jobs.values()):
            with contextlib.suppress(RuntimeError, OSError):
                self.cluster.sync(held.job.close)
        self._jobs.clear()

    def _last_output(self, job: str) -> str:
        """The last line that a job printed, and where."""
        folder = user_path(self.file.log_folder).absolute()
        with contextlib.suppress(OSError):
            logs = [path for path in folder.iterdir() if job in path.name and path.stat().st_size]
            for path in sorted(logs, key=lambda path: not path.name.endswith(".err")):
                lines = [
                    line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
                ]
                if lines:
                    return f"{lines[-1].strip()[:200]} ({path})"
        return f"job {job} printed nothing to {folder}"


def check_queue(file: ClusterFile) -> None:
    """Check what can be checked before anything is submitted.

    Raises
    ------
    RunError
        If dask-jobqueue or the queue's command is missing, or the interface is not there.
    """
    command = job_class(file.kind).submit_command
    names = [name for _, name in socket.if_nameindex()]
    if "interface" in file.listen and file.interface not in names:
        raise RunError(
            f"interface: {file.interface} is not a network interface here; there are {', '.join(sorted(names))}"
        )
    if shutil.which(command) is None:
        raise RunError(f"kind {file.kind}: the command {command} is not found here")


@contextlib.contextmanager
def queue_cluster(
    file: ClusterFile,
    security: Security | None = None,
    lifetime_s: int | None = None,
    dashboard: bool = False,
    report: Callable[[str], None] = print,
) -> Iterator[Client]:
    """A client whose workers are jobs of a batch queue; jobs are cancelled at the end.

    Parameters
    ----------
    security
        Certificates, at paths that the nodes see too; made for this run where left out, in a private folder beside the jobs' logs or,
        where others can write there, in the user's cache.
    lifetime_s
        Seconds after which a worker ends in order; from the file, or derived from its walltime, where left out.
    dashboard
        Whether Dask's web pages are shown, at the file's `dashboard` or on the loopback interface.
    report
        Called with a line about how the waiting goes.

    Raises
    ------
    RunError
        If something is missing, the queue refuses the job, or jobs end before a worker joins.
    """
    check_queue(file)
    pages = file.dashboard or (f"{LOOPBACK}:0" if dashboard else None)
    with contextlib.ExitStack() as stack:
        if security is None:
            folders = (user_path(file.log_folder), user_path("~/.cache/nbdist"))
            security = stack.enter_context(security_in_folder(folders))
        with deaf_threads():
            cluster = SpecCluster(
                scheduler=scheduler_of(security, pages, port=file.port, **file.listen),
                security=security,
                silence_logs=logging.ERROR,
                name=f"nbdist-{os.urandom(4).hex()}",
            )
        stack.enter_context(cluster)
        jobs = stack.enter_context(QueuedJobs(file, cluster, security, lifetime_s))
        client = stack.enter_context(Client(cluster, set_as_default=False))
        report(
            f"{len(jobs.jobs)} job(s) in the queue: {', '.join(jobs.jobs[:5])}{' ...' if len(jobs.jobs) > 5 else ''}"
        )
        jobs.wait(report)
        yield client


def _stderr_in(text: str) -> str:
    """What a command printed to stderr, out of dask-jobqueue's account of it."""
    said = text.partition("stderr:\n")[2] or text
    return " ".join(said.split())[:300] or "it did not say why"
