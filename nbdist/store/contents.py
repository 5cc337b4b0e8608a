"""What a new store holds besides frames: of a series all that is known beforehand, of a data set its recipe.

series.zarr/
  phi_start_deg, phi_end_deg (frame), orientation (frame, axis, xyz), frame
  fluence_factor, dose_MGy (frame)   and what else is known of each frame beforehand, where it changes
  NAME/series.parquet                the rows of a table of the series
  reflections/                       the amplitudes that the frames are rendered with (see `reflections`)

A data set has none of these: its samples have rows of tables instead, which are written with their frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from nbdist.frames.products import SeriesMap
from nbdist.frames.sample_products import MASK
from nbdist.planning import Plan
from nbdist.readout.chain import masks_of
from nbdist.scene import Scene, resolve
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.completeness import Completeness
from nbdist.store.creation import Map
from nbdist.store.reflections import create_reflections
from nbdist.store.schema import DATASET, Schema, schema_for, schema_of_samples
from nbdist.store.tables import packed, series_key, series_rows

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe

FRAMES_PER_CHUNK = 4096
"""Frames whose coordinates lie in one object: a reader of some frames of a million reads little more than theirs."""


@dataclass(frozen=True)
class SeriesContent:
    """What a new store of a series holds besides frames.

    Attributes
    ----------
    scene
        Its numbers.
    plan
        How it is cut.
    reflections
        The amplitudes of each lattice, which workers and readers find in the store.
    held
        How complete files of amplitudes are, by the fields of their crystals (see `scene.notes.file_completeness`).
    """

    scene: Scene
    plan: Plan
    reflections: Sequence[Reflections]
    held: Mapping[str, Completeness] = field(default_factory=dict)

    @cached_property
    def schema(self) -> Schema:
        """Its arrays and tables."""
        return schema_for(self.scene, self.plan.settings)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its experiment and its plan."""
        experiment = self.scene.experiment
        return {
            "title": experiment.title,
            "fingerprint": experiment.fingerprint,
            "photons_fingerprint": experiment.photons_fingerprint,
            "experiment": experiment.model_dump(mode="json"),
            "steps": self.scene.steps,
            "plan": self.plan.settings.as_attributes(),
        }

    @property
    def maps(self) -> Iterator[Map]:
        """The mask, and what else is known of each pixel."""
        return _maps(self.scene, self.schema.maps, mask=True)

    def write(self, group: zarr.Group) -> Iterator[None]:
        """Write the coordinates of frames, a chunk at a time, and the amplitudes."""
        scene, frames = self.scene, self.schema.frames
        scan, degree, lattices = scene.experiment.scan, {"units": "degree"}, len(scene.specimen.lattices)
        several: tuple[str, ...] = ("lattice",) if lattices > 1 else ()
        of_frames: list[tuple[str, Callable[[range], Any], tuple[str, ...], dict[str, str]]] = [
            ("frame", lambda some: some, (), {"long_name": "frame of the series, from 0"}),
            ("phi_start_deg", lambda some: [*map(scan.frame_start_deg, some)], (), degree),
            ("phi_end_deg", lambda some: [scan.frame_start_deg(frame + 1) for frame in some], (), degree),
            (
                "orientation",
                lambda some: [scene.frame_orientations_A(frame)[slice(None) if several else 0] for frame in some],
                (*several, "axis", "xyz"),
                {"units": "angstrom", "long_name": "rows a, b, c in the lab frame at the middle of the frame"},
            ),
        ]
        for known in self.schema.series:
            axes = several if known.of_crystals else ()
            attributes = {"units": known.units, "long_name": known.long_name}
            of_frames.append((known.name, functools.partial(known.make, scene), axes, attributes))
        for name, of_range, axes, attributes in of_frames:
            shape = (frames, *(lattices if axis == "lattice" else 3 for axis in axes))
            array = group.create_array(
                name,
                shape=shape,
                dtype=self.schema.dtypes[name],
                chunks=(min(frames, FRAMES_PER_CHUNK), *shape[1:]),
                dimension_names=("frame", *axes),
                attributes=attributes,
            )
            for first in range(0, frames, FRAMES_PER_CHUNK):
                last = min(first + FRAMES_PER_CHUNK, frames)
                array[first:last] = np.array(of_range(range(first, last)))
                yield
        create_reflections(group, self.reflections, scene.specimen.of_crystals, self.held)
        yield

    def tables(self) -> Iterator[tuple[str, bytes]]:
        """The tables of the series."""
        for table in self.schema.series_tables:
            rows = table.make(self.scene, self.reflections)
            yield series_key(table.name), packed(series_rows(table, rows)).tobytes()


@dataclass(frozen=True)
class DatasetContent:
    """What a new store of a data set holds besides frames.

    Attributes
    ----------
    recipe
        What its samples are drawn from.
    samples
        How many there are.
    plan
        How they are cut.
    """

    recipe: Recipe
    samples: int
    plan: Plan

    @cached_property
    def schema(self) -> Schema:
        """Its arrays and tables."""
        return schema_of_samples(self.recipe, self.samples, self.plan.settings)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its recipe and its plan."""
        return {
            "kind": DATASET,
            "title": self.recipe.title,
            "fingerprint": self.recipe.fingerprint,
            "seed": self.recipe.seed,
            "recipe": self.recipe.content,
            "plan": self.plan.settings.as_attributes(),
        }

    @property
    def maps(self) -> Iterable[Map]:
        """What is the same of each pixel in all samples."""
        mask = MASK not in self.schema.products
        return _maps(resolve(self.recipe.example), self.schema.maps, mask) if mask or self.schema.maps else ()

    def write(self, group: zarr.Group) -> Iterator[None]:
        """Write nothing: a data set holds nothing else."""
        yield from ()

    def tables(self) -> Iterator[tuple[str, bytes]]:
        """No tables: they are written with the frames."""
        yield from ()


def _maps(scene: Scene, maps: Iterable[SeriesMap], mask: bool) -> Iterator[Map]:
    if mask:
        yield MASK.name, masks_of(scene), {"long_name": MASK.long_name}
    for product in maps:
        yield product.name, product.make(scene), {"units": product.units, "long_name": product.long_name}
