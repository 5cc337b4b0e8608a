"""A batch queue, or a Dask cluster that runs: whether it is reached, and whether its workers run what runs here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from nbdist.doctor.findings import Finding
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from distributed import Client

SUBMITTING = "jobs are submitted from here: load the queue's module, or log in where its commands are"


def queue(path: Path) -> list[Finding]:
    """Whether a `--cluster` file is right, its queue's commands are here, and the queue answers; nothing is submitted."""
    from nbdist.clusters.cluster_file import load_cluster_file
    from nbdist.clusters.job_queue import check_queue
    from nbdist.clusters.queue_states import COMMANDS, queue_states

    try:
        file = load_cluster_file(path)
    except NbdistError as error:
        return [Finding("cluster file", str(error), "fault")]
    found = [Finding("cluster file", f"{path}: {file.kind}, {file.most_workers} worker(s) at most")]
    try:
        check_queue(file)
    except NbdistError as error:
        return [*found, Finding("queue", str(error), "fault", SUBMITTING)]
    if queue_states(file.kind, ()) is None:
        said = f"{COMMANDS[file.kind][0]} does not answer"
        return [*found, Finding("queue", said, "fault", "its controller may be away: try the command yourself")]
    return [*found, Finding("queue", f"{file.kind} answers")]


def scheduler(connected: Callable[[Callable[[str], None]], AbstractContextManager[Client]]) -> list[Finding]:
    """Whether a scheduler answers, has workers, and these have the versions that are here.

    Parameters
    ----------
    connected
        Gives a client; it is handed a function that takes lines, such as those on versions that differ.
    """
    from nbdist.clusters.running_cluster import NoSchedulerError

    lines: list[str] = []
    try:
        with connected(lines.append) as client:
            threads = client.nthreads()
            version = {"workers": len(threads), "threads": sum(threads.values())}
    except NbdistError as error:
        away = isinstance(error, NoSchedulerError)
        advice = "start it with `dask scheduler` of this very environment; a firewall may be between" if away else ""
        return [Finding("scheduler", str(error), "fault", advice)]
    found = [
        Finding("scheduler", "answers; {workers} worker(s), {threads} thread(s)".format(**version), numbers=version)
    ]
    differences = [line.removeprefix("note: ") for line in lines if line.startswith("note: ")]
    advice = "start the workers from the environment that runs here"
    return found + [Finding("versions", line, "note", advice) for line in differences]
