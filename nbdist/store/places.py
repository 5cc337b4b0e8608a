"""Where a store lies: a path or an s3:// URL, said one way, and the objects that are there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from nbdist.errors import StoreError
from nbdist.formats.text import user_path
from nbdist.store.objects import Folder, Objects

if TYPE_CHECKING:
    import zarr


def normalised(location: str | os.PathLike[str]) -> str:
    """A location that means the same in every process and working folder: an absolute path with `~` expanded, or s3://BUCKET/PATH.

    A file:// URL is the path that it names.

    Raises
    ------
    StoreError
        If it is another URL, one that holds credentials, or no path.
    """
    text = os.fspath(location)
    if "\0" in text:
        raise StoreError(f"{text!r} is no path: it holds a NUL character")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return str(user_path(text).absolute())
    if scheme == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise StoreError(f"{text}: a file:// URL names a path of this machine, as file:///PATH")
        return f"/{unquote(path)}".rstrip("/") or "/"
    from nbdist.store.bucket import checked_url

    return checked_url(text)


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether a location is a URL rather than a path."""
    return "://" in os.fspath(location)


def objects_at(location: str | os.PathLike[str], patient: bool = False) -> Objects:
    """The objects at a path or an s3:// URL; `patient` waits for a server that is away from the first request on.

    Raises
    ------
    StoreError
        If it is another kind of URL, the package for object stores is missing, or the bucket cannot be reached.
    """
    place = normalised(location)
    if not is_url(place):
        return Folder(place)
    from nbdist.store.bucket import bucket_at

    return bucket_at(place, patient)


def objects_of(group: zarr.Group) -> Objects:
    """The objects of an open zarr group."""
    store = group.store
    objects = getattr(store, "objects", None)
    return objects if isinstance(objects, Objects) else Folder(store.root)


def zarr_store(objects: Objects, read_only: bool) -> Any:
    """What zarr opens of some objects."""
    if isinstance(objects, Folder):
        from zarr.storage import LocalStore

        return LocalStore(objects.root, read_only=read_only)
    from nbdist.store.bucket import Bucket
    from nbdist.store.bucket_store import BucketStore

    assert isinstance(objects, Bucket)
    return BucketStore(objects, read_only=read_only)
