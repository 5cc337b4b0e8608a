"""Who writes into a store now: a second run is refused while the first one lives, and takes over when it has died.

A run holds an object beside the records, its lock, which names its host and process, and beside that one of its own, its beat, with a
count that grows every few seconds. A run that holds the whole store excludes every other; runs of different parts of one division hold the
store together. Whether a holder lives is seen without any clock: on the same machine its process is looked for; elsewhere its beat is
watched, and one that stands still for `WATCH_S` has died. So a job that was killed holds a store for a minute, and not at all where it is
started again on its host.

A lock is written once and never again: a run that was stopped for long, at whatever place, and wakes up writes into nothing but its own
beat, and finds that the lock is another's. The lock saves work, it does not carry the truth: what such a run still had in its hands are
the same bits for the same shards, each whole, or refused, where the store is another by then.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from nbdist.errors import NbdistError, StoreError
from nbdist.formats.text import parsed_json
from nbdist.store.objects import BEAT, LOCK, Objects
from nbdist.store.parts import RUNS, Part

logger = logging.getLogger(__name__)
HEARTBEAT_S = 15.0
WATCH_S = 60.0
"""A count that stands still for so long is a dead run's; longer than a network file system hides a change."""
POLL_S = 0.5
WHOLE = "run"
_held_here: set[Any] = set()
"""What this process holds by the names of the holds: another lock with its number was left when a hold was broken off."""


class Occupation:
    """A store held by this process, from `occupy` to `release`."""

    def __init__(self, objects: Objects, part: Part | None) -> None:
        self._objects = objects
        self._name = part.name if part else WHOLE
        self._owner = {
            "id": uuid.uuid4().hex,
            "host": platform.node(),
            "pid": os.getpid(),
            "process": _process_name(os.getpid()),
        }
        self._lock = json.dumps(self._owner, sort_keys=True).encode()
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="nbdist-occupation", daemon=True)

    @property
    def key(self) -> str:
        """Key of the object that is held."""
        return _key(self._name)

    @property
    def keys(self) -> frozenset[str]:
        """Keys of all that says that this run holds the store."""
        return frozenset({self.key, _beat_key(self._owner)})

    def require(self) -> None:
        """Raise where the store is not held any more.

        Raises
        ------
        StoreError
            If the store was removed, or another run took over after this process stood still for long.
        """
        if self._lost:
            raise StoreError(
                f"{self._objects.location} is not held by this run any more: it was removed, or another run took over; "
                "what is complete is kept"
            )

    def release(self) -> None:
        """Let the store go."""
        _held_here.discard(self._owner["id"])
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        try:
            self._objects.delete_if(self.key, self._lock)
            self._objects.delete(_beat_key(self._owner))
        except (OSError, NbdistError) as error:
            logger.info("the lock %s is left behind: %s", self.key, type(error).__name__)

    def _take(self) -> bool:
        _held_here.add(self._owner["id"])
        taken = False
        try:
            taken = self._objects.create(self.key, self._lock)
        finally:
            if not taken:
                _held_here.discard(self._owner["id"])
        if taken:
            self._thread.start()
        return taken

    def _keep(self) -> None:
        beat, missed = 0, 0
        while not self._ended.wait(HEARTBEAT_S):
            try:
                found = self._objects.read(self.key)
                # one that is not there may be in the hands of a run that looks at it
                missed = missed + 1 if found is None else 0
                if missed > 1 or (found is not None and found != self._lock):
                    self._lost = True
                    return
                beat += 1
                self._objects.write(_beat_key(self._owner), str(beat).encode())
                if self._ended.is_set():  # the store was let go while this was on its way
                    self._objects.delete(_beat_key(self._owner))
            except (OSError, NbdistError) as error:
                logger.info("the lock %s could not be renewed: %s", self.key, type(error).__name__)


def occupy(objects: Objects, part: Part | None = None) -> Occupation:
    """Hold a store, or one part of it.

    Raises
    ------
    StoreError
        If another run that lives holds it, naming its process and host.
    """
    occupation = Occupation(objects, part)
    require_free(objects, part)
    if not occupation._take():
        raise StoreError(_refusal(objects, occupation._name))
    late = [name for name in _held(objects, part) if name != occupation._name]
    if late:  # it came between the look and the lock
        occupation.release()
        raise StoreError(_refusal(objects, late[0]))
    if part is None:
        _remove_stray_beats(objects, occupation)
    return occupation


def _remove_stray_beats(objects: Objects, occupation: Occupation) -> None:
    """Remove what runs left that were stopped when they lost the store, and woke up for one more beat."""
    for name in objects.names(RUNS):
        if name.endswith(BEAT) and f"{RUNS}/{name}" not in occupation.keys:
            objects.delete(f"{RUNS}/{name}")


def require_free(objects: Objects, part: Part | None = None) -> None:
    """Check that no run that lives holds the store (or the part, or it by another division), and remove the locks of dead ones.

    Raises
    ------
    StoreError
        Naming process and host of the run that does.
    """
    watched: dict[str, bytes] = {}
    for name in _held(objects, part):
        content = objects.read(_key(name))
        lives = _lives_here(_owner(content))
        if lives:
            raise StoreError(_refusal(objects, name))
        if content is not None:
            if lives is False:
                _remove_dead(objects, name, content)
            else:
                watched[name] = content
    if not watched:
        return
    logger.warning("%s: waiting up to %g s for a sign of life of another run", objects.location, WATCH_S)
    beats = {name: objects.read(_beat_key(_owner(content))) for name, content in watched.items()}
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end and watched:
        time.sleep(POLL_S)
        for name, content in list(watched.items()):
            now = objects.read(_key(name))
            if now is None:
                del watched[name]
            elif now != content or objects.read(_beat_key(_owner(content))) != beats[name]:
                raise StoreError(_refusal(objects, name))
    for name, content in watched.items():
        _remove_dead(objects, name, content)


def _remove_dead(objects: Objects, name: str, content: bytes) -> None:
    """Remove the lock of a run that died, unless another run has removed it and taken its place meanwhile."""
    if objects.delete_if(_key(name), content):
        objects.delete(_beat_key(_owner(content)))
    elif objects.read(_key(name)) is not None:
        raise StoreError(_refusal(objects, name))


def _held(objects: Objects, part: Part | None) -> list[str]:
    """Names of the locks that stand against holding a store or a part of it."""
    names = [name.removesuffix(LOCK) for name in objects.names(RUNS) if name.endswith(LOCK)]
    return [name for name in names if part is None or _against(name, part)]


def _against(name: str, part: Part) -> bool:
    other = Part.named(name)
    return other is None or other == part or other.of != part.of


def _refusal(objects: Objects, name: str) -> str:
    owner = _owner(objects.read(_key(name)))
    part = Part.named(name)
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
    what = f"another run renders part {part}" if part else "another run writes into it"
    return f"{objects.location}: {what} ({who}); wait for its end, or end it"


def _key(name: str) -> str:
    return f"{RUNS}/{name}{LOCK}"


def _beat_key(owner: dict[str, Any]) -> str:
    name = str(owner.get("id", ""))
    return f"{RUNS}/{name if name.isalnum() else 'unknown'}{BEAT}"


def _owner(content: bytes | None) -> dict[str, Any]:
    try:
        owner = parsed_json(content) if content is not None else {}
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _lives_here(owner: dict[str, Any]) -> bool | None:
    """Whether the process of a lock lives, or None where it is not a process of this machine that could be looked for."""
    process = owner.get("process")
    mine = _process_name(os.getpid())
    if not isinstance(process, list) or mine is None or process[:2] != mine[:2]:
        return None
    pid = owner.get("pid")
    if pid == os.getpid():
        return owner.get("id") in _held_here
    return isinstance(pid, int) and _process_name(pid) == process


def _process_name(pid: int) -> list[str] | None:
    """What names a process for good: this boot of the machine, the space of its numbers, the number and when it started."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":  # dead, and not yet collected by its parent
        return None
    return [boot, space, str(pid), fields[19]]
