"""`nbdist doctor`: whether nbdist can work here, and what a bug report needs to say of the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import typer

from nbdist.cli.display import console
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.cli.stopping import EXIT_UNFINISHED
from nbdist.cli.workers import ClusterOption, SchedulerFileOption, SchedulerOption, SecurityOption, Workers
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from distributed import Client

    from nbdist.doctor import Finding

WAIT_S = 10.0
"""For a scheduler and its first worker: whoever asks whether they are there has started them."""
STYLES = {"ok": "green", "note": "yellow", "fault": "bold red"}


def doctor(
    cluster: ClusterOption = None,
    scheduler: SchedulerOption = None,
    scheduler_file: SchedulerFileOption = None,
    security: SecurityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look whether nbdist can work here: compiler, memory, GPU, packages, cluster. Exit status 1 on a fault.

    Bug reports want what it prints: versions, names of variables of the environment, folders of compiler, caches and packages, no password.
    """
    where = Workers(scheduler=scheduler, scheduler_file=scheduler_file, cluster=cluster, security=security)
    where.check()
    if security is not None and scheduler is None and scheduler_file is None:
        raise NbdistError("--security goes with --scheduler or --scheduler-file: nothing else is connected to")
    from nbdist.doctor import examine
    from nbdist.doctor.cluster import queue
    from nbdist.doctor.cluster import scheduler as its_scheduler

    def connected(report: Callable[[str], None]) -> Client:
        from nbdist.clusters.running_cluster import connect
        from nbdist.clusters.tls import read_security

        return connect(scheduler, scheduler_file, read_security(security) if security else None, WAIT_S, report)

    more = [partial(queue, cluster)] if cluster is not None else []
    if scheduler is not None or scheduler_file is not None:
        more.append(partial(its_scheduler, connected))
    found: list[Finding] = []
    for finding in examine(*more):
        found.append(finding)
        _print(finding)
    levels = Counter(finding.level for finding in found)
    print_json("doctor", good=not levels["fault"], findings=[asdict(finding) for finding in found])
    console.print(f"{levels['fault']} fault(s), {levels['note']} note(s)")
    if levels["fault"]:
        raise typer.Exit(EXIT_UNFINISHED)


def _print(finding: Finding) -> None:
    from rich.text import Text

    console.print(Text.assemble((f"{finding.level:5}", STYLES[finding.level]), f"  {finding.name}: {finding.found}"))
    if finding.advice:
        console.print(f"       {finding.advice}")
