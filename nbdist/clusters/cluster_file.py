"""The file that `--cluster` names: what a job asks of the batch queue, and how many jobs there are.

kind: slurm
queue: short
cores: 16
memory: 32GB
walltime: "04:00:00"
jobs: {maximum: 20}
interface: ib0
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from dask.utils import parse_bytes
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from nbdist.errors import ExperimentError, RunError
from nbdist.experiment.fields import Count, Section
from nbdist.experiment.files import read_document
from nbdist.experiment.validation import complaints
from nbdist.formats.text import user_path

Kind = Literal["slurm", "pbs", "lsf", "sge"]
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
LEAST_MEMORY = 2**20
"""Bytes of a job: fewer are a number whose unit was forgotten."""
LATEST_END_S = 600.0
"""Workers end at most about this long before their walltime, and earlier by as much again: not all at once."""


def read_duration(text: str) -> int:
    """Seconds of "04:00:00", "1-12:00:00" (days-hours), "90min" or "4h".

    Read by hand: dask.utils.parse_timedelta knows neither the clock nor "min", and takes a bare number, minutes to Slurm, for seconds.

    Raises
    ------
    ValueError
        If it is none of these, or nothing.
    """
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text.strip())
    worded = re.fullmatch(r"(\d+)\s*(s|min|h|d)", text.strip())
    if clock is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        total = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    elif worded is not None:
        total = int(worded[1]) * SECONDS[worded[2]]
    else:
        raise ValueError(f'should be like "04:00:00", "1-12:00:00", 90min or 4h, found {text}')
    if total == 0:
        raise ValueError(f"should be more than nothing, found {text}")
    return total


def _duration(text: str) -> str:
    read_duration(text)
    return text


def _is_address(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+){3}", text) is not None


def _bytes(given: object) -> int:
    try:
        memory = parse_bytes(str(given))
    except (ValueError, OverflowError):
        memory = 0
    if memory < LEAST_MEMORY:
        raise ValueError(f"should be like 32GB or 500MiB, found {given}")
    return memory


def _one_line(text: str) -> str:
    if "\n" in text or not text.strip():
        raise ValueError("should be one line of text")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Line = Annotated[str, AfterValidator(_one_line)]


class Jobs(Section):
    """How many jobs: `maximum` are kept in the queue, and the run begins when `minimum` of them have workers."""

    minimum: Count = 1
    maximum: Count = 1

    @model_validator(mode="after")
    def _ordered(self) -> Jobs:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum should be at most maximum, found {self.minimum} and {self.maximum}")
        return self


class ClusterFile(Section):
    """One kind of job of one batch queue.

    Attributes
    ----------
    queue, account
        Partition or queue; what the job is charged to (a project with LSF and SGE). The site's defaults where left out.
    cores, memory, walltime
        Of a job; memory in bytes. A job without GPUs has a worker for each core.
    jobs
        How many.
    gpus
        GPUs of a job: it then has a worker for each GPU. `gpu_directive` says how your site asks for them, where it is not the usual.
    interface
        Network interface or IPv4 address on which scheduler and workers listen; `worker_interface` where the nodes name theirs otherwise.
    port, dashboard
        Port of the scheduler (0: any that is free), and HOST:PORT of Dask's web pages, which all who reach them can read; none where
        left out, unless `--dashboard` asks for them.
    prologue
        Shell lines that run in a job before its workers, as `module load`.
    directives, skip_directives
        Further options of a job, without the `#SBATCH` before them; options that contain one of these words are left out.
    parallel_environment
        SGE's name for several cores on one node.
    python
        Python of the workers; the one that runs here where left out.
    log_folder, scratch_folder
        Where jobs write what they print; node-local folder of the workers.
    lifetime
        After how long a worker ends by itself, in order; derived from the walltime where left out.
    """

    kind: Kind
    queue: Line | None = None
    account: Line | None = None
    cores: Count
    memory: Annotated[int, BeforeValidator(_bytes)]
    walltime: Duration
    jobs: Jobs = Jobs()
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_directive: Line | None = None
    interface: Line
    worker_interface: Line | None = None
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    dashboard: Annotated[str, Field(pattern=r"^[^\s:]*:\d+$")] | None = None
    prologue: tuple[Line, ...] = ()
    directives: tuple[Line, ...] = ()
    skip_directives: tuple[Line, ...] = ()
    parallel_environment: Line | None = None
    python: Line | None = None
    log_folder: Line = "nbdist-jobs"
    scratch_folder: Line | None = None
    lifetime: Duration | None = None

    @field_validator("gpus")
    @classmethod
    def _few(cls, gpus: int) -> int:
        if gpus > 64:
            raise ValueError(f"should be the GPUs of one job, found {gpus}")
        return gpus

    @model_validator(mode="after")
    def _consistent(self) -> ClusterFile:
        if self.kind == "sge" and self.cores > 1 and self.parallel_environment is None:
            raise ValueError(
                "parallel_environment: is required with kind sge and several cores (`qconf -spl` lists them)"
            )
        if self.kind != "sge" and self.parallel_environment is not None:
            raise ValueError(f"parallel_environment: is for kind sge, found kind {self.kind}")
        if self.lifetime is not None and read_duration(self.lifetime) >= self.walltime_s:
            raise ValueError(f"lifetime: should be shorter than the walltime {self.walltime}, found {self.lifetime}")
        return self

    @model_validator(mode="after")
    def _reachable(self) -> ClusterFile:
        if _is_address(self.interface) and not self.interface.startswith("127.") and self.worker_interface is None:
            raise ValueError(
                f"worker_interface: is required where interface is an address (found {self.interface}): the nodes have others"
            )
        return self

    @property
    def walltime_s(self) -> int:
        """Walltime in seconds."""
        return read_duration(self.walltime)

    @property
    def listen(self) -> dict[str, str]:
        """Where the scheduler listens, as Dask's `host` or `interface`."""
        return {"host" if _is_address(self.interface) else "interface": self.interface}

    @property
    def workers_per_job(self) -> int:
        """A worker for each GPU, or for each core where a job has no GPU."""
        return self.gpus or self.cores

    @property
    def most_workers(self) -> int:
        """Workers when all jobs run."""
        return self.jobs.maximum * self.workers_per_job


def lifetime_and_stagger(walltime_s: int, lifetime_s: int | None = None) -> tuple[int, int]:
    """Seconds after which a worker ends in order, and by how much that differs between workers, at random, up or down.

    Without `lifetime_s` workers end a tenth of the walltime before it, at least a minute and at most ten, and at most as much
    again earlier.
    """
    margin = min(LATEST_END_S, max(walltime_s / 10, min(60.0, walltime_s / 2)))
    stagger = min(margin, (walltime_s - margin) / 4)
    if lifetime_s is not None:
        return lifetime_s, int(min(stagger, lifetime_s / 10, walltime_s - lifetime_s))
    return int(walltime_s - margin - stagger), int(stagger)


def load_cluster_file(path: str | os.PathLike[str]) -> ClusterFile:
    """Read and check a cluster file (YAML, or JSON by its suffix).

    Raises
    ------
    RunError
        In one line: the file and line of a syntax error, or the field, what was found and what is allowed.
    """
    path = user_path(path)
    try:
        content = read_document(path, f"--cluster {path}")
    except ExperimentError as error:
        raise RunError(str(error)) from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected the fields of a cluster file (kind, cores, memory, ...)")
    try:
        return ClusterFile.model_validate(content)
    except ValidationError as error:
        raise RunError(f"{path}: " + "; ".join(complaints(ClusterFile, error.errors()))) from None
