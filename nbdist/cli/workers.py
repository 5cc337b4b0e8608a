"""Where the workers of a run come from: the options that say it, and the client they lead to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.display import error_console
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from distributed import Client, Security

    from nbdist.run.executors.choice import OpensClient
    from nbdist.run.settings import RunSettings

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Local processes; one a core, or one a GPU. Beside --gpus: more, on the CPU."
    ),
]
CpuWorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Local processes; one a core.")]
GpusOption = Annotated[
    str | None, typer.Option("--gpus", metavar="all|0,1", help="One local process for each of these GPUs.")
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Use a running Dask cluster (tcp:// or tls://).")
]
SchedulerFileOption = Annotated[
    Path | None,
    typer.Option("--scheduler-file", metavar="FILE", help="Use the cluster whose scheduler writes this file."),
]
ClusterOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="Jobs of a batch queue, as this YAML file says: kind, cores, memory, walltime, interface ...",
    ),
]
SecurityOption = Annotated[
    str | None,
    typer.Option(
        "--security",
        metavar="CA,CERT,KEY",
        help="PEM files with which client, scheduler and workers talk TLS; made for the run where nbdist starts these.",
    ),
]
DashboardOption = Annotated[
    bool,
    typer.Option(
        "--dashboard", help="Show Dask's web pages of local workers or --cluster, to all users of this machine."
    ),
]
LifetimeOption = Annotated[
    str | None,
    typer.Option(
        "--lifetime",
        help="End workers of --cluster in order after this time, as 50min; chosen from the walltime by default.",
    ),
]


def words_of(options: Mapping[str, object]) -> list[str]:
    """Those options that were given, by name, as words of a command."""
    return [word for name, value in options.items() if value is not None for word in (name, str(value))]


@dataclass(frozen=True)
class Workers:
    """Where the workers of a command come from, as its options say."""

    workers: int | None = None
    gpus: str | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None
    cluster: Path | None = None
    security: str | None = None
    lifetime: str | None = None
    serial: bool = False
    dashboard: bool = False

    @property
    def elsewhere(self) -> bool:
        """Whether workers of a cluster are asked for, rather than this machine."""
        return not (self.scheduler is None and self.scheduler_file is None and self.cluster is None)

    @property
    def words(self) -> list[str]:
        """These options as words of a command."""
        names = ("workers", "gpus", "scheduler", "scheduler_file", "cluster", "security", "lifetime")
        given = words_of({f"--{name.replace('_', '-')}": getattr(self, name) for name in names})
        return given + [f"--{name}" for name in ("serial", "dashboard") if getattr(self, name)]

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises
        ------
        NbdistError
            Naming them.
        """
        places = {
            "--serial": self.serial,
            "--scheduler": self.scheduler is not None,
            "--scheduler-file": self.scheduler_file is not None,
            "--cluster": self.cluster is not None,
        }
        given = [name for name, there in places.items() if there]
        local = [name for name in ("workers", "gpus") if getattr(self, name) is not None]
        if (given and local) or len(given) > 1:
            raise NbdistError(f"{', '.join([*given, *(f'--{name}' for name in local)])} exclude each other")
        if self.serial and self.security is not None:
            raise NbdistError("--serial and --security exclude each other: a run in one process talks to nobody")
        if self.dashboard and (self.serial or self.scheduler is not None or self.scheduler_file is not None):
            raise NbdistError("--dashboard goes with local workers and --cluster: others have the dashboard they have")
        if self.lifetime is not None and self.cluster is None:
            raise NbdistError("--lifetime goes with --cluster: other workers have no walltime")

    @contextlib.contextmanager
    def opened(self, settings: RunSettings) -> Iterator[tuple[Client | OpensClient | None, RunSettings]]:
        """The client of a run, None for local and serial runs, which start their own; and its settings, with those of its workers.

        Jobs are submitted by the run, after everything else was found to be in order.

        Raises
        ------
        NbdistError
            If the cluster cannot be had.
        """
        from nbdist.run.settings import LocalProcesses

        self.check()
        if self.serial:
            yield None, settings
            return
        security = self._security()
        if self.cluster is not None:
            from nbdist.clusters.cluster_file import load_cluster_file

            file = load_cluster_file(self.cluster)
            lifetime_s = self._lifetime_s()
            from nbdist.clusters.job_queue import check_queue, queue_cluster

            check_queue(file)
            opens = partial(queue_cluster, file, security, lifetime_s, self.dashboard, error_console.print)
            yield opens, replace(settings, local=LocalProcesses(file.most_workers))
        elif self.scheduler is not None or self.scheduler_file is not None:
            from nbdist.clusters.running_cluster import connect

            with connect(self.scheduler, self.scheduler_file, security, report=error_console.print) as client:
                yield client, settings
        else:
            yield None, replace(settings, local=LocalProcesses(self.workers, self.gpus, security, self.dashboard))

    def _security(self) -> Security | None:
        if self.security is None:
            return None
        from nbdist.clusters.tls import read_security

        return read_security(self.security)

    def _lifetime_s(self) -> int | None:
        if self.lifetime is None:
            return None
        from nbdist.clusters.cluster_file import read_duration

        try:
            return read_duration(self.lifetime)
        except ValueError as error:
            raise NbdistError(f"--lifetime: {error}") from None
