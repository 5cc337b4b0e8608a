"""Stands for the commands of PBS, LSF and Grid Engine, which cannot be had here: jobs are shell scripts that run at once, on this machine.

Only what these commands are asked, and how they answer, is theirs: qsub and bsub take a script and print the job's number, qstat and
bjobs list jobs in columns, qdel and bkill end them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SUBMITTED = {
    "pbs": "{}.server",
    "sge": 'Your job {} ("nbdist") has been submitted',
    "lsf": "Job <{}> is submitted to queue <normal>.",
}
LISTED = {
    "pbs": "{}.server  nbdist  me  00:00:00 R workq",
    "sge": "{} 0.55500 nbdist me r 11/22/2026 10:00:00 all.q@node 1",
    "lsf": "{} me RUN normal login node nbdist Nov 22 10:00",
}


def main(kind: str, command: str, words: list[str], folder: Path) -> int:
    """Do what `command` does; `folder` keeps a file a job, with its process number."""
    if command in ("qsub", "bsub"):
        script = Path(words[-1]).read_text() if words else sys.stdin.read()
        number = str(1001 + len(list(folder.iterdir())))
        copy = folder / f"{number}.sh"
        copy.write_text(script)
        with (folder / f"{number}.log").open("w") as log:
            job = subprocess.Popen(
                ["bash", copy], start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        (folder / f"{number}.pid").write_text(str(job.pid))
        sys.stdout.write(SUBMITTED[kind].format(number) + "\n")
    elif command in ("qdel", "bkill"):
        for number in words:
            pid = folder / f"{number}.pid"
            if _alive(pid):
                os.killpg(int(pid.read_text()), signal.SIGTERM)
    else:
        listed = [LISTED[kind].format(pid.stem) for pid in sorted(folder.glob("*.pid")) if _alive(pid)]
        sys.stdout.write("\n".join(["Job id columns", *listed, ""]))
    return 0


def _alive(pid: Path) -> bool:
    try:
        status = Path(f"/proc/{pid.read_text()}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


if __name__ == "__main__":
    sys.exit(
        main(os.environ["STAND_IN_KIND"], Path(sys.argv[0]).name, sys.argv[1:], Path(os.environ["STAND_IN_FOLDER"]))
    )
