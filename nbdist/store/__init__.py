"""WHERE frames live: the Zarr layout, shard-owned writes, opening for reading."""

from nbdist.store.completeness import consolidate, mark_finished, read_completeness, survey
from nbdist.store.creation import create_store
from nbdist.store.locations import exists, open_group, remove
from nbdist.store.objects import is_url
from nbdist.store.reading import StoreSummary, open_series, summarize
from nbdist.store.reflections import read_reflections
from nbdist.store.units import UnitWriter, complete_records, complete_units, damage, damages, sound_units

__all__ = [
    "StoreSummary",
    "UnitWriter",
    "complete_records",
    "complete_units",
    "consolidate",
    "create_store",
    "damage",
    "damages",
    "exists",
    "is_url",
    "mark_finished",
    "open_group",
    "open_series",
    "read_completeness",
    "read_reflections",
    "remove",
    "sound_units",
    "summarize",
    "survey",
]
