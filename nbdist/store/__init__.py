"""WHERE frames live: the Zarr layout, shard-owned writes, opening for reading, and how far a store is.

It stands on `frames.products`, the table of what a store holds; runs write through `UnitWriter`, and readers open what they find.
"""

from nbdist.store.completeness import consolidate, mark_finished, read_completeness
from nbdist.store.contents import DatasetContent, SeriesContent
from nbdist.store.creation import create_store
from nbdist.store.growth import grow_store
from nbdist.store.labels import open_reflections, open_spots
from nbdist.store.locations import exists, open_group, remove
from nbdist.store.places import is_url
from nbdist.store.reading import (
    DatasetSummary,
    SeriesSummary,
    StoreSummary,
    open_series,
    read_frame,
    read_frames,
    summarize,
    summarize_series,
)
from nbdist.store.reflections import read_reflections
from nbdist.store.samples import open_samples
from nbdist.store.table_reading import read_table
from nbdist.store.units import StoredUnits, UnitWriter

__all__ = [
    "DatasetContent",
    "DatasetSummary",
    "SeriesContent",
    "SeriesSummary",
    "StoreSummary",
    "StoredUnits",
    "UnitWriter",
    "consolidate",
    "create_store",
    "exists",
    "grow_store",
    "is_url",
    "mark_finished",
    "open_group",
    "open_reflections",
    "open_samples",
    "open_series",
    "open_spots",
    "read_completeness",
    "read_frame",
    "read_frames",
    "read_reflections",
    "read_table",
    "remove",
    "summarize",
    "summarize_series",
]
