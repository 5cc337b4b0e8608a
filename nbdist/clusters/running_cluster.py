"""A Dask cluster that somebody else started: finding it, waiting for its workers, and whether they run what runs here.

Versions that must agree: nbdist, because its code is sent by name; Python and PyTorch to the minor version, numpy and zarr to the
major one, because pickles, pixels and shards depend on them; distributed, whose protocol has no promise between versions. PyTorch may
be missing, here or there: a run that needs it says so. Other differences are only told.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbdist.errors import RunError, scrubbed
from nbdist.formats.text import parsed_json, user_path

if TYPE_CHECKING:
    from distributed import Client, Security

logger = logging.getLogger(__name__)
REQUIRED = {"nbdist": 3, "python": 2, "torch": 2, "distributed": 3, "numpy": 1, "zarr": 1}
"""How many leading numbers of a version must agree."""
ON_SCHEDULER = ("python", "distributed")
"""What must agree with the scheduler's: it passes on what it is sent, and needs no nbdist."""
TOLD = ("dask", "numpy", "zarr", "torch", "python")
"""Differences past those numbers that are worth a line."""
NOT_INSTALLED = "(not installed)"
WAIT_S, FILE_WAIT_S = 60.0, 300.0
"""How long to wait for a first worker; longer where a job writes the scheduler file, whose programs all start at once."""
ANSWER_S = 20.0
"""How long a scheduler that does not answer is waited for, at the beginning and when it is gone later."""
NAMED = 5
"""Workers that one line names."""
STILL_S, JOINING_S = 3.0, 30.0
"""The run is planned for the workers that are there when none joined or left for so long, or after `JOINING_S` at the latest."""


class NoSchedulerError(RunError):
    """Nobody answers at an address, or something that is no Dask scheduler."""


def connect(
    address: str | None = None,
    scheduler_file: Path | None = None,
    security: Security | None = None,
    wait_s: float | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Client:
    """A client of the scheduler at `address` (tcp://... or tls://...), or of the one that wrote `scheduler_file`.

    Parameters
    ----------
    wait_s
        Seconds to wait for the file and for a first worker; `FILE_WAIT_S` with a file, and `WAIT_S` without, where left out.
    report
        Called with a line that says what is waited for, or which versions differ without harm.

    Raises
    ------
    NoSchedulerError
        If no Dask scheduler answers.
    RunError
        If TLS is asked for on one side only, no worker joins, or versions differ that must not.
    """
    from distributed import Client

    if wait_s is None:
        wait_s = WAIT_S if scheduler_file is None else FILE_WAIT_S
    deadline = time.monotonic() + wait_s
    option = (
        f"--scheduler {scrubbed(address or '')}" if scheduler_file is None else f"--scheduler-file {scheduler_file}"
    )
    if scheduler_file is not None:
        address = _read_scheduler_file(scheduler_file, deadline, report)
    assert address is not None
    if "://" not in address:
        raise RunError(
            f"{option}: expected an address such as tcp://{address.rpartition('@')[2].partition(':')[0]}:8786, or tls://"
        )
    if address.startswith("tls://") and security is None:
        raise RunError(f"{option}: a scheduler at tls:// needs --security CA,CERT,KEY")
    if security is not None and not address.startswith("tls://"):
        raise RunError(f"{option}: --security is for a scheduler at tls://, not {address.partition('://')[0]}://")
    limit_s = min(ANSWER_S, wait_s)
    try:
        asyncio.run(_greet(address, security, limit_s))
        client = Client(address, timeout=limit_s, security=security, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NoSchedulerError(f"{option}: no Dask scheduler answers there ({type(error).__name__})") from None
    except Exception as error:  # whatever reading the words of another protocol leads to
        raise NoSchedulerError(f"{option}: what answers there is no Dask scheduler ({type(error).__name__})") from None
    try:
        if not client.nthreads():
            report(f"waiting for workers of {address}")
            while not client.nthreads():
                if time.monotonic() > deadline:
                    raise RunError(f"{option}: the cluster has no workers; `dask worker` starts them")
                time.sleep(0.2)
        _wait_for_the_others(client)
        for line in check_versions(client):
            report(line)
    except BaseException:
        client.close()
        raise
    return client


async def _greet(address: str, security: Security | None, limit_s: float) -> None:
    """Ask a scheduler who it is, in that time at the most: a client's own limits leave out the first words of the other side."""
    from distributed import rpc

    arguments = None if security is None else security.get_connection_args("client")
    async with asyncio.timeout(limit_s), rpc(address, timeout=limit_s, connection_args=arguments) as other:
        if "workers" not in await other.identity():
            raise TypeError("a worker, or another server of Dask's")


def _wait_for_the_others(client: Client) -> None:
    """Wait until the number of workers stands still: they were started together, and how the run is cut depends on how many they are."""
    began = since = time.monotonic()
    count = len(client.nthreads())
    while (now := time.monotonic()) - since < STILL_S and now - began < JOINING_S:
        time.sleep(0.2)
        if (latest := len(client.nthreads())) != count:
            count, since = latest, time.monotonic()


def _read_scheduler_file(path: Path, deadline: float, report: Callable[[str], None]) -> str:
    told = False
    while True:
        try:
            address = parsed_json(user_path(path).read_text(encoding="utf-8"))["address"]
            return str(address)
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise RunError(
                    f"--scheduler-file {path}: there is no such file; `dask scheduler --scheduler-file` writes it"
                ) from None
            if not told:
                report(f"waiting for {path}")
            told = True
        except (OSError, ValueError, KeyError, TypeError) as error:
            if time.monotonic() > deadline or not isinstance(error, ValueError):
                raise RunError(
                    f"--scheduler-file {path}: is not what `dask scheduler --scheduler-file` writes"
                ) from None
        time.sleep(0.2)


def check_versions(client: Client) -> list[str]:
    """Compare the versions of the scheduler and the workers with those here; returns a line for each difference that may be lived with.

    A worker with versions that must not differ is left out of every run; it is an error where there is no other. One that stands still,
    as in a job that was suspended, is not waited for.

    Raises
    ------
    RunError
        In one line: what differs that must not, here and there, or is not installed there.
    """
    names = _compared_here(*REQUIRED, *TOLD)
    here = {name: _version_here(name) for name in names}
    harmful, harmless, unfit = [], [], set()
    for name in ON_SCHEDULER:
        version = _version_on_scheduler(client, name)
        if _leading(version, REQUIRED[name]) != _leading(here[name], REQUIRED[name]):
            address = client.scheduler.address
            raise RunError(
                f"the scheduler at {address} runs another version: {name} {version}, {here[name]} here. "
                "Start it from the environment that runs here, or one with the same versions"
            )
    asked = set(client.nthreads())
    for name in names:
        try:
            there = _versions_there(client, name)
        except TimeoutError:
            silent = client.run_on_scheduler(_silent_workers(), ANSWER_S / 2)
            named = few_of(silent) or "all workers"
            harmless.append(f"note: no answer of {named} in {ANSWER_S:g} s: versions are compared when they answer")
            break
        for version, workers in sorted(there.items()):
            if version == here[name]:
                continue
            line = f"{name} {version} on {len(workers)} worker(s), {here[name]} here"
            digits = 0 if (name, version) == ("torch", NOT_INSTALLED) else REQUIRED.get(name, 0)
            if digits and _leading(version, digits) != _leading(here[name], digits):
                harmful.append(line)
                unfit.update(workers)
            else:
                harmless.append(f"note: {line}")
    if harmful and asked <= unfit:
        raise RunError(
            f"the workers run other versions: {'; '.join(harmful)}. Start them from the environment that runs here"
        )
    return [*(f"note: {line}: left out" for line in harmful), *harmless]


def required_versions() -> dict[str, tuple[str, int]]:
    """Versions here of what must agree with a worker's, by name, and how many of their leading numbers."""
    return {name: (_version_here(name), REQUIRED[name]) for name in _compared_here(*REQUIRED)}


def _compared_here(*names: str) -> list[str]:
    """Those of the names that can be compared, each once: a version of PyTorch only where there is one here."""
    return sorted({name for name in names if name != "torch" or find_spec("torch") is not None})


def _version_here(name: str) -> str:
    return platform.python_version() if name == "python" else importlib.metadata.version(name)


def _asked(name: str) -> tuple[Any, ...]:
    """The function that tells a version, and its arguments: Python's own, that need no nbdist where they are called."""
    return (platform.python_version,) if name == "python" else (importlib.metadata.version, name)


def _version_on_scheduler(client: Client, name: str) -> str:
    return str(client.run_on_scheduler(*_asked(name)))


def _versions_there(client: Client, name: str) -> dict[str, list[str]]:
    """Addresses of workers by the version they have."""
    found: dict[str, list[str]] = defaultdict(list)
    answers = client.sync(client._run, *_asked(name), on_error="return", callback_timeout=ANSWER_S)
    for worker, answer in answers.items():
        if isinstance(answer, importlib.metadata.PackageNotFoundError):
            found[NOT_INSTALLED].append(worker)
        elif not isinstance(answer, Exception):  # a worker that was lost meanwhile
            found[str(answer)].append(worker)
    return found


def few_of(workers: Sequence[str]) -> str:
    """The first of some workers, and how many others there are, for one line."""
    return ", ".join(workers[:NAMED]) + (f" and {len(workers) - NAMED} more" if len(workers) > NAMED else "")


def _silent_workers() -> Callable[..., list[str]]:
    """What finds workers of which the scheduler has heard nothing for so many seconds; made here, it is sent as its code."""

    def silent(seconds: float, dask_scheduler: Any) -> list[str]:
        import time

        return [address for address, its in dask_scheduler.workers.items() if time.time() - its.last_seen > seconds]

    return silent


def _leading(version: str, digits: int) -> list[str]:
    return version.partition("+")[0].split(".")[:digits]
