"""What a job of a batch queue runs: the options that each queue understands, and Dask workers set up as local ones are.

The scripts, the commands that submit and cancel them and the numbers these print are dask-jobqueue's business.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nbdist.clusters.cluster_file import ClusterFile, lifetime_and_stagger, read_duration
from nbdist.clusters.local import GPU_THREADS, WORKER_ENVIRONMENT, PrivateWorker
from nbdist.errors import RunError, require_extra
from nbdist.formats.text import user_path
from nbdist.private_folder import lock_folder, private_folder

if TYPE_CHECKING:
    from distributed import Security

GPU_DIRECTIVES = {"slurm": "--gres=gpu:{}", "lsf": '-gpu "num={}"', "sge": "-l gpu={}"}
KEEPS_MEMORY = {
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
}
"""A worker holds no results that it could put aside; one that needs more than its share is started again, the others go on."""

MAKE_SCRATCH = (
    "import sys, uuid; from nbdist.private_folder import private_folder; "
    'print(private_folder(f"{sys.argv[1]}/nbdist-{uuid.uuid4().hex}"))'
)
"""Python that prints the path of a new folder in the one that it is given."""


class _PrivateScript:
    """Writes a job's script where its user alone reads it: a prologue may hold secrets. Nor can others change what a job runs."""

    @contextlib.contextmanager
    def job_file(self: Any) -> Iterator[str]:
        """The name of a file that holds the script, until the job is submitted."""
        folder = private_folder(lock_folder() / "jobs")
        with tempfile.NamedTemporaryFile("w", suffix=".sh", dir=folder, encoding="utf-8") as file:
            file.write(self.job_script())
            file.flush()
            yield file.name


def job_class(kind: str) -> Any:
    """The class of dask-jobqueue whose objects are single jobs.

    Raises
    ------
    MissingExtraError
        If dask-jobqueue is not installed.
    """
    require_extra("cluster", "--cluster")
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if signal.getsignal(signal.SIGINT) is not before:  # once loaded, it has Ctrl-C end Python in silence, with status 0
        signal.signal(signal.SIGINT, before)
    base = getattr(dask_jobqueue, f"{kind.upper()}Cluster").job_cls
    return type(base.__name__, (_PrivateScript, base), {})


def make_job(file: ClusterFile, scheduler: str, name: str, security: Security, lifetime_s: int | None) -> Any:
    """A job, not yet submitted, whose workers join the scheduler at this address; they are called `name`, or `name-0`, `name-1` ...

    Its script names the files of `security`, and holds nothing of what is in them.
    """
    workers = file.workers_per_job
    return job_class(file.kind)(
        scheduler,
        name=name,
        job_name="nbdist",
        cores=workers * (GPU_THREADS if file.gpus else 1),
        processes=workers,
        memory=file.memory,
        queue=file.queue,
        walltime=_walltime(file),
        python=file.python,
        local_directory='"$nbdist_scratch"',
        log_directory=str(user_path(file.log_folder).absolute()),
        job_script_prologue=[*environment_lines(), *file.prologue, *_scratch_lines(file)],
        job_extra_directives=_directives(file),
        job_directives_skip=list(file.skip_directives),
        worker_extra_args=[*_worker_arguments(file, lifetime_s), *_security_arguments(security)],
        **_resources(file),
    )


def environment_lines() -> list[str]:
    """Shell lines that give a job's workers the environment of local ones."""
    return [f"export {name}={shlex.quote(value)}" for name, value in {**WORKER_ENVIRONMENT, **KEEPS_MEMORY}.items()]


def _scratch_lines(file: ClusterFile) -> list[str]:
    """Shell lines that make a folder of the job's own: workers load code from it, and the one Dask takes is anybody's to make."""
    parent = file.scratch_folder or "${TMPDIR:-/tmp}"
    return [
        f'nbdist_scratch=$({file.python or sys.executable} -c {shlex.quote(MAKE_SCRATCH)} "{parent}") || exit 1',
        "trap 'rm -rf \"$nbdist_scratch\"' EXIT",
    ]


def _worker_arguments(file: ClusterFile, lifetime_s: int | None) -> list[str]:
    if lifetime_s is None and file.lifetime is not None:
        lifetime_s = read_duration(file.lifetime)
    if lifetime_s is not None and lifetime_s >= file.walltime_s:
        raise RunError(f"--lifetime: should be shorter than the walltime {file.walltime}")
    lifetime, stagger = lifetime_and_stagger(file.walltime_s, lifetime_s)
    interface = file.worker_interface or file.interface
    where = ["--host", interface] if interface[0].isdigit() else ["--interface", interface]
    return [
        *("--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"),
        *("--no-dashboard", "--worker-class", f"{PrivateWorker.__module__}.{PrivateWorker.__name__}"),
        *where,
        *(("--preload", "nbdist.clusters.gpus") if file.gpus else ()),
    ]


def _security_arguments(security: Security) -> list[str]:
    files = security.get_tls_config_for_role("worker")
    options = {"--tls-ca-file": files["ca_file"], "--tls-cert": files["cert"], "--tls-key": files["key"]}
    return ["--protocol", "tls", *(shlex.quote(word) for option in options.items() for word in option)]


def _walltime(file: ClusterFile) -> str:
    minutes, seconds = divmod(file.walltime_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}" if file.kind == "lsf" else f"{hours:02}:{minutes:02}:{seconds:02}"


def _directives(file: ClusterFile) -> list[str]:
    directives = list(file.directives)
    if file.parallel_environment is not None:
        directives.insert(0, f"-pe {file.parallel_environment} {file.cores}")
    if file.gpus and (file.gpu_directive or file.kind != "pbs"):
        directives.insert(0, file.gpu_directive or GPU_DIRECTIVES[file.kind].format(file.gpus))
    return directives


def _resources(file: ClusterFile) -> dict[str, Any]:
    """Cores and memory as each queue is asked for them, and what it calls an account."""
    if file.kind == "slurm":
        return {"account": file.account, "job_cpu": file.cores, "job_mem": f"{-(-file.memory // 2**20)}M"}
    if file.kind == "pbs":
        gpus = f":ngpus={file.gpus}" if file.gpus and not file.gpu_directive else ""
        chunk = f"select=1:ncpus={file.cores}:mem={-(-file.memory // 2**20)}mb{gpus}"
        return {"account": file.account, "resource_spec": chunk}
    if file.kind == "lsf":
        return {"project": file.account, "ncpus": file.cores, "mem": file.memory}
    return {"project": file.account}
