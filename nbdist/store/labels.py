"""The labels of a series as tables: the reflections of the series, and the spots that they make on its frames.

What holds: of a table of frames no object is read besides those of the frames asked for, and of an object no column besides those asked
for. What is read is of complete frames, so an unfinished store can be read at any time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import StoreError
from nbdist.frames.products import SERIES_REFLECTIONS, SPOTS
from nbdist.frames.sample_products import CROSSINGS
from nbdist.frames.tables import REFLECTION_COLUMNS
from nbdist.store.locations import open_group
from nbdist.store.schema import schema_of
from nbdist.store.table_reading import frames_of, read_series_table, read_table, table_reader

if TYPE_CHECKING:
    import pandas
    import pyarrow

OVERLAP, FIRST, LAST = "overlap", "first_frame", "last_frame"
REFLECTION_NAMES = [column.name for column in REFLECTION_COLUMNS]


def open_spots(
    location: str | os.PathLike[str],
    frames: slice | range | None = None,
    columns: Sequence[str] | None = None,
    *,
    samples: slice | range | None = None,
) -> pandas.DataFrame:
    """Read the spots of a series, or of a data set, one row a reflection and frame.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    frames
        Frames whose spots are read, and no object besides theirs: `slice(100, 200)`; all when left out.
    columns
        The columns that are read; all when left out.
    samples
        Of a data set: samples whose spots are read, in place of `frames`, which count the frames of all samples.

    Returns
    -------
    DataFrame of the complete ones of those frames, in their order: `frame`, and the columns of `frames.tables.SPOT_COLUMNS`. Row n of a
    frame is the spot whose pixels hold n + 1 in `spot`; `reflection` is the identity of its row in
    `open_reflections`, which has none where a lobe reaches pixels and its reflection does not cross the Ewald sphere in the scan.
    In a data set `sample` is the first column, `frame` counts from the sample's first one, and lattice, h, k, l and d_A come after
    `reflection`.

    Raises
    ------
    StoreError
        If there is no store of nbdist, it has no spots, or frames, samples or columns that it has not are asked for.
    MissingExtraError
        If pyarrow is not installed.
    """
    return read_table(location, SPOTS.name, frames, columns, samples=samples).to_pandas()


def open_reflections(
    location: str | os.PathLike[str],
    frames: slice | range | None = None,
    columns: Sequence[str] | None = None,
    *,
    samples: slice | range | None = None,
) -> pandas.DataFrame:
    """Read the reflections of a series, or of the samples of a data set, one row each time that one crosses the Ewald sphere.

    Parameters
    ----------
    location
        Path or URL of the store; it may be unfinished.
    frames
        Read those of which any of these frames has a part: `slice(100, 200)`; all when left out, and always of a data set.
    columns
        The columns that are read; all when left out.
    samples
        Of a data set: samples whose reflections are read; all when left out.

    Returns
    -------
    DataFrame of the columns of `frames.tables.REFLECTION_COLUMNS`. Where the store has spots, too, a column `overlap`, float32: the
    largest of the spots of the reflection in the frames that are complete, NaN where there is none. In a data set, those of the
    samples that are complete, with `sample` as the first column in place of `overlap`.

    Raises
    ------
    StoreError
        If there is no store of nbdist, it has no reflections, or frames, samples or columns that it has not are asked for.
    MissingExtraError
        If pyarrow is not installed.
    """
    group = open_group(location)
    if schema_of(group).frames_per_sample is None and samples is None:
        return read_reflection_rows(group, frames, columns).to_pandas()
    if frames is not None:
        raise StoreError(f"{location}: reflections of a data set are those of samples; ask for samples")
    return read_table(location, CROSSINGS.name, None, columns, samples=samples).to_pandas()


def read_reflection_rows(
    group: zarr.Group, frames: slice | range | None = None, columns: Sequence[str] | None = None
) -> pyarrow.Table:
    """Reflections of an open store; see `open_reflections`."""
    with_overlap = has_spots(group) and (columns is None or OVERLAP in columns)
    names = (
        REFLECTION_NAMES if columns is None else [name for name in columns if not (with_overlap and name == OVERLAP)]
    )
    rows = read_series_table(group, SERIES_REFLECTIONS.name, list(dict.fromkeys([*names, "reflection", FIRST, LAST])))
    chosen, series = frames_of(group, frames), schema_of(group).frames
    if len(chosen) < series:
        rows = rows.filter(_touched(rows[FIRST].to_numpy(), rows[LAST].to_numpy(), chosen, series))
    if with_overlap:
        import pyarrow

        largest = _largest_overlaps(group, rows)
        field = pyarrow.field(OVERLAP, pyarrow.float32(), metadata={"units": "", "long_name": "largest of its spots"})
        rows = rows.append_column(field, pyarrow.array(largest))
    return rows.select([*REFLECTION_NAMES, *[OVERLAP] * with_overlap] if columns is None else list(columns))


def _touched(
    first: NDArray[np.integer[Any]], last: NDArray[np.integer[Any]], frames: range, series: int
) -> NDArray[np.bool_]:
    """Which ranges of frames, both ends included, hold any of some frames of a series of so many."""
    before = np.zeros(series + 1, dtype=np.int64)
    before[np.array(frames, dtype=np.int64) + 1] = 1
    before = before.cumsum()
    return np.asarray(before[np.clip(last.astype(np.int64) + 1, 0, series)] > before[np.clip(first, 0, series)])


def _largest_overlaps(group: zarr.Group, rows: pyarrow.Table) -> NDArray[np.float32]:
    """The largest overlap of the spots of each reflection (n,), NaN where no complete frame has one."""
    identities, largest = rows["reflection"].to_numpy(), np.full(len(rows), -1, dtype=np.float32)
    if len(rows):
        series = schema_of(group).frames
        first, last = int(rows[FIRST].to_numpy().min()), int(rows[LAST].to_numpy().max())
        reader = table_reader(group, SPOTS.name, ["reflection", OVERLAP])
        for _, spots in reader.units(range(max(0, first), min(last + 1, series))):
            place, known = found_in(identities, spots["reflection"].to_numpy())
            np.maximum.at(largest, place[known], spots[OVERLAP].to_numpy()[known])
    return np.where(largest < 0, np.float32(np.nan), largest)


def found_in(identities: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where reflections are among others, whose identities ascend; and whether they are there at all."""
    place = np.searchsorted(identities, wanted)
    place[place == len(identities)] = 0
    return place, identities[place] == wanted if len(identities) else np.zeros(len(wanted), dtype=bool)


def indices_appender(group: zarr.Group) -> Callable[[pyarrow.Table], pyarrow.Table]:
    """What puts h, k, l after the column `reflection` of spots: null where a reflection is none of the series.

    It leaves them as they are where an open store has no reflections.
    """
    if not any(table.name == SERIES_REFLECTIONS.name for table in schema_of(group).series_tables):
        return lambda spots: spots
    import pyarrow

    reflections = read_series_table(group, SERIES_REFLECTIONS.name, ["reflection", *"hkl"])
    identities = reflections["reflection"].to_numpy()

    def appended(spots: pyarrow.Table) -> pyarrow.Table:
        place, known = found_in(identities, spots["reflection"].to_numpy())
        rows = pyarrow.array(place, mask=~known)
        after = spots.column_names.index("reflection") + 1
        for offset, name in enumerate("hkl"):
            index = reflections.schema.field(name).with_nullable(True)
            spots = spots.add_column(after + offset, index, reflections[name].take(rows))
        return spots

    return appended


def has_spots(group: zarr.Group) -> bool:
    """Whether a store has the spots of its frames."""
    return any(table.name == SPOTS.name for table in schema_of(group).tables)
