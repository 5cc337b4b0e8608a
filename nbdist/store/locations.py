"""Where a store lies: a path or an s3:// URL, opened as a zarr store, with one-line answers when that cannot be."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import DamagedError, NbdistError, StoreError, one_line
from nbdist.formats.text import near_name
from nbdist.store.objects import ROOT, Objects
from nbdist.store.places import objects_at, objects_of, zarr_store
from nbdist.store.schema import schema_of

FORMAT = "nbdist series"
FORMAT_VERSION = 3
DOCUMENTS = (".yaml", ".yml", ".json")
"""How the names of experiments and recipes end."""
LAST_MADE = "records"
"""What `create_store` makes last: a store without it was never whole."""

CODECS = frozenset({"BytesCodec", "ShardingCodec", "BloscCodec", "Crc32cCodec", "ZstdCodec", "GzipCodec"})
"""What may decode them: compression and checksums, nothing that runs what it reads."""
NOT_THERE = frozenset({None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
"""What an operating system says where something else lies than a store; zarr's own errors carry no number."""


def exists(location: str | os.PathLike[str]) -> bool:
    """Whether anything lies at a location."""
    return objects_at(location).exists()


def open_group(
    location: str | os.PathLike[str], mode: Any = "r", *, begun: bool = False, patient: bool = False
) -> zarr.Group:
    """Open the series at a location, and check that it is one of nbdist's.

    `begun` accepts one whose making was cut short; `patient` waits for a server that is away from the first request on.

    Raises
    ------
    StoreError
        If there is nothing, something else, or a store of a newer nbdist.
    """
    objects = objects_at(location, patient)
    location = objects.location
    try:
        if not (objects.read(ROOT) or objects.exists()):
            raise StoreError(f"{location}: there is no store{near_name(Path(location))}")
        group = zarr.open_group(zarr_store(objects, read_only=mode == "r"), mode=mode, zarr_format=3)
        whole = begun or was_whole(objects)
    except NbdistError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in NOT_THERE:
            raise StoreError(f"{location} cannot be read: {one_line(error)}") from None
        document = Path(location).suffix in DOCUMENTS and Path(location).is_file()
        instead = "; nbdist run or nbdist dataset makes one of an experiment or recipe" if document else ""
        raise StoreError(f"{location} is not a Zarr store of nbdist{instead}") from None
    if group.attrs.get("format") != FORMAT:
        raise StoreError(f"{location} is a Zarr store, but not one of nbdist")
    version = group.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(f"{location}: store format {version}, this nbdist reads format {FORMAT_VERSION}")
    if not begun:
        if not whole:
            raise StoreError(f"{location}: its making was cut short; --resume goes on with it, --overwrite replaces it")
        _check_arrays(group, location)
    return group


def was_whole(objects: Objects) -> bool:
    """Whether a store's making came to its end and its removal has not begun; the metadata gathered in the root do not tell that."""
    return objects.read(f"{LAST_MADE}/{ROOT}") is not None


def read_known(group: zarr.Group, name: str, part: Any = ...) -> NDArray[Any]:
    """A part of what a store holds of its frames or pixels besides images: a coordinate, a mask.

    Raises
    ------
    DamagedError
        If it does not decode.
    """
    stored: Any = group
    try:
        return np.asarray(stored[name][part])
    except (NbdistError, MemoryError):
        raise
    except Exception as error:  # of zarr and its codecs
        raise DamagedError(f"{objects_of(group).location}: {name} does not decode ({type(error).__name__})") from error


def _check_arrays(group: zarr.Group, location: str) -> None:
    """Refuse arrays that nbdist never wrote: of Python objects, or behind a codec that could run what it reads."""
    for name, dtype in schema_of(group).dtypes.items():
        try:
            array = group[name]
            found, codecs = str(array.dtype), {type(codec).__name__ for codec in _codecs(array.metadata.codecs)}
        except NbdistError:
            raise
        except KeyError:
            raise StoreError(f"{location}: {name} is missing") from None
        except Exception as error:
            raise StoreError(f"{location}: {name} is not an array of nbdist ({type(error).__name__})") from None
        if found != dtype:
            raise StoreError(f"{location}: {name} is of {found}, expected {dtype}")
        if codecs - CODECS:
            raise StoreError(
                f"{location}: {name} is packed by {', '.join(sorted(codecs - CODECS))}, which nbdist refuses"
            )


def _codecs(codecs: Any) -> list[Any]:
    """All codecs of an array, those inside a shard and of its index too."""
    found: list[Any] = []
    for codec in codecs:
        found.append(codec)
        found += _codecs(getattr(codec, "codecs", ())) + _codecs(getattr(codec, "index_codecs", ()))
    return found


def check_writable(location: str | os.PathLike[str]) -> None:
    """Check that a new store can be made at a location.

    Raises
    ------
    StoreError
        If its parent folder is missing or cannot be written, or its bucket is not there.
    """
    objects_at(location).check_writable()


def remove(location: str | os.PathLike[str], keep: Collection[str] = ()) -> None:
    """Remove a store, but objects of these keys; what is not a store of nbdist is left alone.

    Cut short anywhere, it leaves a store whose making was cut short, so that `--resume` or `--overwrite` goes on with it.

    Raises
    ------
    StoreError
        If something else lies there.
    """
    objects = objects_at(location)
    if not objects.exists():
        return
    open_group(location, begun=True)
    try:
        objects.delete(f"{LAST_MADE}/{ROOT}")
        objects.clear(keep)
    except OSError as error:
        raise StoreError(f"{location} cannot be removed: {one_line(error)}") from None
