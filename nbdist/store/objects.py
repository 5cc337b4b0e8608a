"""The objects of a store by key, in a folder or in a bucket: what is written, read, counted and removed without zarr.

A key is a relative path with slashes, as zarr spells them (`intensity/c/7/0/0`). What holds in both places: an object is replaced
whole, so that a reader sees the old one or the new one; `create` writes one where there is none and tells who came first.
"""

from __future__ import annotations

import abc
import errno
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nbdist.errors import StoreError

ROOT = "zarr.json"
"""Key of the object that makes a location a store."""
PARTIAL = ".partial"
"""How the name of a file ends that is still being written, here as in zarr."""
LOCK, BEAT = ".lock", ".beat"
"""How the names of objects end that say who writes here now; where there is nothing else, there is nothing."""
PASSING = (PARTIAL, LOCK, BEAT)
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Errors of a file system where there is no object."""
NOT_REMOVED = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY})
"""What `rmdir` answers for a folder that is not to be removed."""

Span = tuple[int, int]
"""First byte, and the one after the last."""


class Objects(abc.ABC):
    """The objects below one location; `location` is a path or a URL as it is shown to people."""

    location: str

    @abc.abstractmethod
    def read(self, key: str) -> bytes | None:
        """An object's content, or None where there is none."""

    @abc.abstractmethod
    def read_end(self, key: str, size: int) -> bytes | None:
        """The last bytes of an object, all of a shorter one, or None where there is none."""

    @abc.abstractmethod
    def read_spans(self, key: str, spans: Sequence[Span]) -> list[bytes | memoryview] | None:
        """Bytes [start, stop) of an object for each span, fewer where it ends before; None where there is none."""

    @abc.abstractmethod
    def write(self, key: str, content: bytes | memoryview) -> str | None:
        """Write an object, or replace it, in one step; return its stamp, as `stamps` gives it, where there is one."""

    @abc.abstractmethod
    def create(self, key: str, content: bytes) -> bool:
        """Write an object where there is none; False, and nothing written, where there is one."""

    @abc.abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""

    @abc.abstractmethod
    def delete_if(self, key: str, content: bytes) -> bool:
        """Remove an object that has this content; False, and nothing removed, where there is another or none."""

    @abc.abstractmethod
    def each_name(self, folder: str) -> Iterator[str]:
        """Names of the objects directly below a folder, one after the other; none where there is no such folder."""

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly below a folder; none where there is no such folder."""
        return list(self.each_name(folder))

    @abc.abstractmethod
    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Bytes of those objects that exist."""

    @abc.abstractmethod
    def stamps(self, keys: Iterable[str]) -> dict[str, str]:
        """What is another when an object was written again, of those that exist: to be compared, it tells nothing else."""

    @abc.abstractmethod
    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each key with its content, in order."""

    @abc.abstractmethod
    def exists(self) -> bool:
        """Whether anything lies at the location but what is `PASSING`."""

    @abc.abstractmethod
    def check_writable(self) -> None:
        """Raise StoreError where a new store could not be made, as far as can be seen without writing."""

    @abc.abstractmethod
    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove every object but those of these keys, `ROOT` last: what is left by a kill is still known for a store."""

    @abc.abstractmethod
    def sweep(self) -> None:
        """Remove what writers that were killed left half written; only while nobody writes."""


class Folder(Objects):
    """Objects as files below a folder, `root`; each is written beside its place and renamed."""

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = str(location)
        self.root = Path(location)

    def read(self, key: str) -> bytes | None:
        """An object's content, or None where there is none."""
        try:
            return (self.root / key).read_bytes()
        except NO_FILE:
            return None

    def read_end(self, key: str, size: int) -> bytes | None:
        """The last bytes of an object, all of a shorter one, or None where there is none."""
        try:
            with open(self.root / key, "rb", buffering=0) as file:  # noqa: PTH123
                whole = os.fstat(file.fileno()).st_size
                return os.pread(file.fileno(), size, max(0, whole - size))
        except NO_FILE:
            return None

    def read_spans(self, key: str, spans: Sequence[Span]) -> list[bytes | memoryview] | None:
        """Bytes [start, stop) of an object for each span, fewer where it ends before; None where there is none."""
        try:
            with open(self.root / key, "rb", buffering=0) as file:  # noqa: PTH123
                return [os.pread(file.fileno(), stop - start, start) for start, stop in spans]
        except NO_FILE:
            return None

    def write(self, key: str, content: bytes | memoryview) -> str | None:
        """Write an object, or replace it, in one step; return its stamp."""
        written = self._written_beside(key, content)
        try:
            stamp = _stamp(written)
            written.replace(self.root / key)
            return stamp
        except BaseException:
            written.unlink(missing_ok=True)
            raise

    def create(self, key: str, content: bytes) -> bool:
        """Write an object where there is none; False, and nothing written, where there is one."""
        written = self._written_beside(key, content)
        try:
            return _linked(written, self.root / key)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            return self._create_unlinked(key, content)
        finally:
            written.unlink(missing_ok=True)

    def _create_unlinked(self, key: str, content: bytes) -> bool:
        """Create on a file system without hard links: exclusive, though a reader may see the file while it fills."""
        path = self.root / key
        try:
            file = path.open("xb")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(content)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return True

    def _written_beside(self, key: str, content: bytes | memoryview) -> Path:
        path = self.root / key
        beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            for attempt in range(4):
                try:
                    beside.write_bytes(content)
                    break
                except FileNotFoundError:
                    if attempt == 3:
                        raise
                    path.parent.mkdir(parents=True, exist_ok=True)  # and `delete` may take it away, while it is empty
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return beside

    def delete(self, key: str) -> None:
        """Remove an object, if there is one, and folders that are empty then."""
        path = self.root / key
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        self._remove_empty(path.parent)

    def _remove_empty(self, folder: Path) -> None:
        """Remove a folder and those above it, up to the location, as far as they are empty."""
        while folder.is_relative_to(self.root):
            try:
                folder.rmdir()
            except OSError as error:  # there is something in it, it is gone, or it is a link
                if error.errno in NOT_REMOVED:
                    return
                raise
            folder = folder.parent

    def delete_if(self, key: str, content: bytes) -> bool:
        """Remove an object that has this content; False, and nothing removed, where there is another or none.

        It is taken out of the way first, which one of several succeeds in, and put back where it has become another meanwhile.
        """
        if self.read(key) != content:
            return False
        path = self.root / key
        taken = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            path.rename(taken)
        except FileNotFoundError:
            return False
        ours = taken.read_bytes() == content
        if not ours:
            try:
                _linked(taken, path)
            except OSError:  # no hard links here
                taken.rename(path)
        taken.unlink(missing_ok=True)
        self._remove_empty(path.parent)
        return ours

    def each_name(self, folder: str) -> Iterator[str]:
        """Names of the objects directly below a folder, one after the other; none where there is no such folder."""
        try:
            with os.scandir(self.root / folder) as entries:
                yield from (entry.name for entry in entries if not entry.name.endswith(PARTIAL))
        except (FileNotFoundError, NotADirectoryError):
            return

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Bytes of those objects that exist."""
        found = {}
        for key in keys:
            try:
                found[key] = os.stat(self.root / key).st_size  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found

    def stamps(self, keys: Iterable[str]) -> dict[str, str]:
        """Size and time of the last change of those files that exist."""
        found = {key: _stamp(self.root / key) for key in keys}
        return {key: stamp for key, stamp in found.items() if stamp is not None}

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each key with its content, in order."""
        return ((key, self.read(key)) for key in keys)

    def exists(self) -> bool:
        """Whether anything lies at the location; folders are nothing, nor are locks and what a killed writer left half written."""
        if not self.root.is_dir():
            return self.root.exists()

        def fail(error: OSError) -> None:
            raise error

        files = (name for _, _, names in os.walk(self.root, onerror=fail) for name in names)
        return any(not name.endswith(PASSING) for name in files)

    def check_writable(self) -> None:
        """Check that the folder a new store is made in is there and can be written.

        Raises
        ------
        StoreError
            If it is not, or a file is in the way.
        """
        path = self.root.absolute()
        parent = path.parent
        if not parent.exists():
            raise StoreError(f"{self.location}: the folder {parent} does not exist")
        if not parent.is_dir():
            raise StoreError(f"{self.location}: {parent} is not a folder")
        if not os.access(parent, os.W_OK):
            raise StoreError(f"{self.location}: the folder {parent} cannot be written")
        if path.exists() and not path.is_dir():
            raise StoreError(f"{self.location} is a file")

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove every object but those of these keys; the folder itself stays: it may be a link to another disk."""
        _clear(self.root.resolve(), {tuple(key.split("/")) for key in keep})

    def sweep(self) -> None:
        """Remove what writers that were killed left half written; only while nobody writes."""
        for folder, _, files in os.walk(self.root):
            for name in files:
                if name.endswith(PARTIAL):
                    (Path(folder) / name).unlink(missing_ok=True)


def _clear(folder: Path, keep: Collection[tuple[str, ...]]) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == ROOT):
        below = {key[1:] for key in keep if key[0] == entry.name}
        if () in below:
            continue
        if not entry.is_dir() or entry.is_symlink():
            entry.unlink()
        elif below:
            _clear(entry, below)
        else:
            shutil.rmtree(entry)


def _linked(path: Path, name: Path) -> bool:
    """Give a file one more name, unless another has it; NFS may say that one has it where a request that it lost was this very one."""
    try:
        os.link(path, name)
    except FileExistsError:
        return name.exists() and name.samefile(path)
    return True


def _stamp(path: Path) -> str | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"


def as_json(record: dict[str, Any]) -> bytes:
    """Canonical JSON bytes of a record."""
    return json.dumps(record, sort_keys=True).encode()
