"""What a batch queue says about jobs: which of them still wait or run."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Sequence

COMMANDS = {
    "slurm": ("squeue", "-h", "-u", "{user}", "-o", "%i %t"),
    "pbs": ("qstat", "{jobs}"),
    "lsf": ("bjobs", "-w", "{jobs}"),
    "sge": ("qstat", "-u", "{user}"),
}
STATE_COLUMN = {"slurm": 1, "pbs": 4, "lsf": 2, "sge": 4}
"""The column of a job's state in what these commands print, from 0; the first column is the job's number."""
ENDED = {"slurm": (), "pbs": ("C", "F", "X"), "lsf": ("DONE", "EXIT"), "sge": ()}
RUNNING = {"slurm": ("R",), "pbs": ("R", "E"), "lsf": ("RUN",), "sge": ("r", "t", "Rr", "Rt", "hr")}
NOT_THERE = ("unknown job", "has finished", "no unfinished job", "is not found", "unfinished job")
"""How PBS and LSF say, as an error, that none of the jobs asked about is left."""
PATIENCE_S = 30.0


def queue_states(kind: str, jobs: Sequence[str]) -> dict[str, bool] | None:
    """Those of `jobs` that the queue still has, and whether each runs; None where the queue does not answer.

    A queue that does not answer says nothing about jobs: its controller may be restarting.
    """
    user = _user()
    fill = {"{jobs}": list(jobs), "{user}": [user]}
    command = [part for word in COMMANDS[kind] for part in fill.get(word, [word])]
    try:
        answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = answer.stderr.lower()
    if answer.returncode and not answer.stdout.strip() and not any(words in said for words in NOT_THERE):
        return None
    return read_states(kind, answer.stdout, jobs)


def _user() -> str:
    """The user's name, or number where there is no name for it, as in a container."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def read_states(kind: str, text: str, jobs: Sequence[str]) -> dict[str, bool]:
    """The jobs that a queue's table lists as waiting or running, and whether each runs."""
    states = {}
    for line in text.splitlines():
        columns = line.split()
        if len(columns) <= STATE_COLUMN[kind] or (number := re.match(r"\d+", columns[0])) is None:
            continue
        state = columns[STATE_COLUMN[kind]]
        if number[0] in jobs and state not in ENDED[kind]:
            states[number[0]] = state in RUNNING[kind]
    return states
