"""The samples of a data set as a table: what was drawn for each, and what its frames have in all.

What holds: a sample's rows are read with those of its unit, so that going through a million samples takes the memory of a unit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import zarr

from nbdist.errors import StoreError
from nbdist.frames.sample_products import FRAMES, SAMPLES, samples_table
from nbdist.frames.tables import FRAME_COLUMNS, SAMPLE_COLUMNS
from nbdist.store.locations import open_group
from nbdist.store.places import objects_of
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import frames_of, selected, table_reader
from nbdist.store.tables import SAMPLE, arrow_schema, joined

if TYPE_CHECKING:
    import pandas
    import pyarrow

D_MIN, PHOTONS = "d_min_A", "photons"
IN_ALL = tuple(
    replace(column, long_name=f"{column.long_name}, of all frames")
    for name in (D_MIN, PHOTONS)
    for column in FRAME_COLUMNS
    if column.name == name
)
"""Columns that come from the table of frames: the finest spacing of all, and the photons of all."""


def open_samples(
    location: str | os.PathLike[str], columns: Sequence[str] | None = None, samples: slice | range | None = None
) -> pandas.DataFrame:
    """Read the samples of a data set, one row each.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    columns
        The columns that are read; all when left out.
    samples
        Samples that are read, and no object besides theirs: `slice(100, 200)`; all when left out.

    Returns
    -------
    DataFrame of the complete ones of those samples, in their order: `sample`, its number; `split`, `crystal` and `lattices`, how many
    there are; `d_min_A`, the finest spacing of a spot in any of its frames whose signal over noise is at least 3, NaN for none or where
    the recipe asks for no spots; `photons`, the expected photons of all its frames; where counts are read out also `saturation_adu`,
    `adu_per_photon` and `offset_adu`; then a column for each value that is drawn.

    Raises
    ------
    StoreError
        If there is no data set of nbdist, or samples or columns that it has not are asked for.
    MissingExtraError
        If pyarrow is not installed.
    """
    schema, parts = sample_rows(open_group(location), samples, columns)
    import pyarrow

    return pyarrow.concat_tables(joined(schema, parts)).to_pandas()


def sample_rows(
    group: zarr.Group, samples: slice | range | None = None, columns: Sequence[str] | None = None
) -> tuple[pyarrow.Schema, Iterator[pyarrow.Table]]:
    """The columns that `open_samples` gives, and their rows of an open store, a unit at a time.

    Raises
    ------
    StoreError
        As `open_samples`.
    """
    location, schema = objects_of(group).location, schema_of(group)
    if schema.frames_per_sample is None:
        raise StoreError(f"{location} is a series, which has no samples")
    (stored,) = (table for table in schema.tables if table.name == SAMPLES)
    first = len(SAMPLE_COLUMNS)
    whole = samples_table((*stored.columns[:first], *IN_ALL, *stored.columns[first:]))
    chosen, wanted = frames_of(group, None, samples), selected(location, SAMPLES, arrow_schema(whole), columns)
    of_frames = [column.name for column in IN_ALL if column.name in wanted.names]
    own = [name for name in wanted.names if name not in of_frames]
    return wanted, _rows(group, chosen, wanted, own or [SAMPLE], of_frames, schema.frames_per_sample)


def _rows(
    group: zarr.Group, chosen: range, wanted: pyarrow.Schema, own: list[str], of_frames: list[str], together: int
) -> Iterator[pyarrow.Table]:
    import pyarrow

    reader, frames = table_reader(group, SAMPLES, own), table_reader(group, FRAMES.name, of_frames)
    for unit, rows in reader.units(chosen):
        columns = {name: rows[name] for name in own}
        values = frames.of_unit(unit, chosen) if of_frames else None
        for name in of_frames:
            assert values is not None
            of_sample = values[name].to_numpy().reshape(-1, together)
            columns[name] = np.fmin.reduce(of_sample, axis=1) if name == D_MIN else of_sample.sum(axis=1)
        yield pyarrow.table([columns[name] for name in wanted.names], wanted)
