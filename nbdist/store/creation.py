"""Making a store: every group, array, coordinate and attribute is written by the client before the first frame is rendered.

A store holds the arrays and tables of its schema; what else it holds is the say of its content (see `contents`).

series.zarr/
  intensity   (frame, slow, fast) float32   expected photons; one array for each product of pixels (see `frames.products`, `schema`)
  mask        (slow, fast) uint8            0 = usable, 1 = gap, masked or not rendered, 2 = bad
  resolution  (slow, fast) float32          and what else is known of each pixel once
  slow, fast, and panel where panels share an array
  NAME/       the rows of a table (see `tables`)
  records/    one small JSON object a finished unit, and who writes into the store now
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from nbdist.errors import StoreError, one_line
from nbdist.frames.labels import Images
from nbdist.store.locations import FORMAT, FORMAT_VERSION, LAST_MADE, open_group, was_whole
from nbdist.store.objects import ROOT, Objects
from nbdist.store.places import objects_at
from nbdist.store.schema import Schema
from nbdist.store.tables import parquet
from nbdist.version import __version__

VERSIONS = ("torch", "numpy", "zarr", "distributed", "pyarrow")
"""Packages whose versions a store names, beside that of nbdist."""
PHOTONS_OF = "photons_of"
"""What the provenance of a store calls the one that its photons were read from."""
Map = tuple[str, Images, dict[str, str]]
"""What is known of each pixel once: its name, an image (slow, fast) a panel, and what its array says of itself."""


class StoreContent(Protocol):
    """What a new store is to hold besides frames."""

    @property
    def schema(self) -> Schema:
        """Its arrays and tables."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What it says of itself, besides its schema."""

    @property
    def maps(self) -> Iterable[Map]:
        """What is known of each pixel once."""

    def write(self, group: zarr.Group) -> Iterator[None]:
        """Make what else it holds in a group, and pause after each array."""

    def tables(self) -> Iterator[tuple[str, bytes]]:
        """The objects of tables that it has once, by their keys."""


def create_store(
    location: str | os.PathLike[str],
    content: StoreContent,
    *,
    made_by: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> str | None:
    """Write an empty store for a series or a data set, unless another process comes first.

    The object that makes it a store is written first and only where there is none; it fixes the store's name and its plan. All others
    follow from its content, so `complete_store` can write them again to the same bits when the making was cut short, or while it still
    goes on.

    Parameters
    ----------
    content
        What it is to hold.
    made_by
        What else is worth knowing of how it was made; kept in its provenance.
    replace
        Write the first object also where there is one, of a store that was emptied and is held.

    Returns
    -------
    The random name that it got (its `store_id`); None where there is a store by now, which is left as it is.

    Raises
    ------
    StoreError
        If it cannot be written; what was begun is left for `--resume` or `--overwrite`.
    """
    objects = objects_at(location)
    objects.check_writable()
    store_id = uuid.uuid4().hex
    stored = _objects(content, store_id, provenance() | dict(made_by or {}))
    with _writing(objects):
        _, root = next(stored)
        first = replace or objects.create(ROOT, root)
        if replace:
            objects.write(ROOT, root)
        if first:
            for key, its in stored:
                objects.write(key, its)
    return store_id if first else None


def complete_store(location: str | os.PathLike[str], content: StoreContent) -> None:
    """Write what is missing of a store whose making was cut short; the same content made it.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    open_group(location, begun=True)
    objects = objects_at(location)
    if was_whole(objects):
        return
    with _writing(objects):
        for key, its in _objects(content, "", {}):
            if key != ROOT:
                objects.write(key, its)


@contextlib.contextmanager
def _writing(objects: Objects) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None


def _objects(content: StoreContent, store_id: str, made_by: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """All objects of an empty store, the one that makes it a store first and the one that says it is whole last.

    Each is let go when it was handed out: the coordinates of a million frames are 100 MB.
    """
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "store_id": store_id,
        **content.attributes,
        **content.schema.as_attributes(),
        "provenance": made_by,
        "normalisation": "photons = r_e^2 fluence / steps * sum of partial intensities (+ background, not divided by steps)",
    }
    memory: dict[str, Any] = {}
    handed_out: set[str] = set()

    def new() -> Iterator[tuple[str, bytes]]:
        for key in sorted(memory.keys() - handed_out):
            handed_out.add(key)
            yield key, memory[key].to_bytes()
            if not key.endswith(ROOT):  # zarr looks for the metadata of a group that it makes an array in
                del memory[key]

    group = zarr.create_group(MemoryStore(memory), zarr_format=3, attributes=attributes)
    yield from new()
    _create_frames(group, content.schema)
    for _ in chain(_create_pixels(group, content), content.write(group)):
        yield from new()
    yield from content.tables()
    group.create_group(LAST_MADE)
    yield from new()


def provenance() -> dict[str, Any]:
    """Versions and platform that made a store."""
    versions = {"nbdist": __version__}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _create_frames(group: zarr.Group, schema: Schema) -> None:
    for array in schema.arrays:
        product, layout = array.product, array.layout(schema.frames_per_shard)
        codec = BloscCodec(cname=product.compressor, clevel=1, shuffle="bitshuffle")
        group.create_array(
            array.name,
            shape=(schema.frames, *array.panels.shape),
            dtype=product.dtype,
            chunks=layout.chunk,
            shards=layout.shard,
            compressors=[codec, Crc32cCodec()],
            fill_value=product.fill,
            dimension_names=array.dimensions,
            attributes={"units": product.units, "long_name": product.long_name, **product.attributes},
            config={"write_empty_chunks": True},
        )
    for table in schema.all_tables:
        parquet(table.name)  # missed before anything is rendered
        columns = {column.name: {"units": column.units, "long_name": column.long_name} for column in table.columns}
        group.create_group(table.name, attributes={"long_name": table.long_name, "columns": columns})


def _create_pixels(group: zarr.Group, content: StoreContent) -> Iterator[None]:
    """Write the coordinates of pixels, and pause after each."""
    schema, maps = content.schema, list(content.maps)
    for panels in schema.panel_groups:
        *shared, slow, fast = panels.shape
        of_pixels: list[tuple[str, NDArray[Any], tuple[str, ...], dict[str, str]]] = [
            (f"slow{panels.suffix}", np.arange(slow), panels.dimensions[-2:-1], {"units": "pixel"}),
            (f"fast{panels.suffix}", np.arange(fast), panels.dimensions[-1:], {"units": "pixel"}),
        ]
        for name, images, attributes in maps:
            image = np.stack([images[panel] for panel in panels.numbers]).reshape(panels.shape)
            of_pixels.append((f"{name}{panels.suffix}", image, panels.dimensions, attributes))
        if shared:
            of_pixels.append(("panel", np.arange(*shared), ("panel",), {"long_name": "panel of the detector, from 0"}))
        for name, values, dimensions, attributes in of_pixels:
            array = group.create_array(
                name,
                shape=values.shape,
                dtype=schema.dtypes[name],
                chunks=values.shape,
                dimension_names=dimensions,
                attributes=attributes,
            )
            array[...] = values
            yield
