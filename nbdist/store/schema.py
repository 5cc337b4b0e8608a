"""The arrays and tables of a store, and the objects that a unit owns in it: all follow from the products, the panels and the plan.

A data set is stored as a series of the frames of all its samples, one sample after the other, and a unit holds whole samples.

An array of frames is (frame, slow, fast) for a detector of one panel and (frame, panel, slow, fast) for panels of equal shape. Where
panels differ in shape, each has an array of its own, whose name and pixel dimensions end with its number: `intensity_0`, `slow_0`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import StoreError, one_line
from nbdist.frames.products import (
    PRODUCTS,
    FrameSeries,
    PixelProduct,
    Product,
    Products,
    SeriesMap,
    SeriesTable,
    TableProduct,
    products_of,
)
from nbdist.frames.sample_products import (
    SAMPLE_IMAGES,
    SAMPLE_TABLES,
    SAMPLES,
    products_of_samples,
    samples_table,
)
from nbdist.frames.tables import Column
from nbdist.planning import Settings, Units
from nbdist.planning.layout import Layout, PanelGroup, panel_groups
from nbdist.scene.scene import Scene
from nbdist.store.places import objects_of

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe

DATASET = "dataset"
"""What a data set says that it is; a series says nothing."""
DRAWN_TYPES = ("float64", "int64", "str")
"""Types of the columns of a data set's samples."""
OF_FRAMES = {"frame": "int64", "phi_start_deg": "float64", "phi_end_deg": "float64", "orientation": "float64"}
"""Coordinates of a frame and their types."""
OF_PIXELS = {"slow": "int64", "fast": "int64", "mask": "uint8"}
"""Coordinates of the pixels of an array, and their types; their names end with the array's suffix."""
REFLECTIONS = "reflections"
OF_REFLECTIONS = {f"{REFLECTIONS}/hkl": "int32", f"{REFLECTIONS}/F": "float64"}


@dataclass(frozen=True)
class FrameArray:
    """An array of the store: a product of panels that share it."""

    product: PixelProduct
    panels: PanelGroup

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self.product.name + self.panels.suffix

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of its dimensions."""
        return "frame", *self.panels.dimensions

    def layout(self, frames_per_shard: int) -> Layout:
        """Its chunks and shards."""
        return Layout.of(self.panels.shape, frames_per_shard, self.product.chunk)

    def of_frames(self, frames: Sequence[Products]) -> list[list[NDArray[Any]]]:
        """The images of its panels in some frames."""
        return [[self.product.images(frame)[panel] for panel in self.panels.numbers] for frame in frames]

    def stacked(self, images: Sequence[Sequence[NDArray[Any]]]) -> NDArray[Any]:
        """The images of its panels in some frames, as the array holds them."""
        return np.stack([np.stack(of_frame) if len(self.panels.shape) == 3 else of_frame[0] for of_frame in images])

    def index(self, panel: int) -> tuple[int, ...]:
        """Where a panel lies along the dimension `panel`; empty where the array has none."""
        return (self.panels.numbers.index(panel),) if len(self.panels.shape) == 3 else ()

    def images(self, frame: NDArray[Any]) -> list[NDArray[Any]]:
        """The images of its panels, of what the array holds of a frame."""
        return list(frame) if frame.ndim == 3 else [frame]


@dataclass(frozen=True)
class Schema:
    """What a store holds.

    Attributes
    ----------
    frames
        Frames of the series, or of all samples.
    frames_per_shard
        Frames of a unit.
    panels
        (slow, fast) of each panel; of a data set, of the largest.
    products
        What it holds of each frame, and of the series.
    frames_per_sample
        Frames of each sample of a data set; None of a series.
    """

    frames: int
    frames_per_shard: int
    panels: tuple[tuple[int, int], ...]
    products: tuple[Product, ...]
    frames_per_sample: int | None = None

    @property
    def samples(self) -> int | None:
        """Samples of a data set; None of a series."""
        return None if self.frames_per_sample is None else self.frames // self.frames_per_sample

    @cached_property
    def units(self) -> Units:
        """The units of the whole series."""
        return Units(self.frames, self.frames_per_shard)

    @cached_property
    def panel_groups(self) -> tuple[PanelGroup, ...]:
        """Panels by the arrays that hold them, of each product of pixels."""
        return panel_groups(self.panels)

    @cached_property
    def arrays(self) -> tuple[FrameArray, ...]:
        """The arrays of frames, in the order of the products."""
        pixels = [product for product in self.products if isinstance(product, PixelProduct)]
        return tuple(FrameArray(product, group) for product in pixels for group in self.panel_groups)

    @cached_property
    def tables(self) -> tuple[TableProduct, ...]:
        """The tables."""
        return tuple(product for product in self.products if isinstance(product, TableProduct))

    @cached_property
    def maps(self) -> tuple[SeriesMap, ...]:
        """What it holds of each pixel once."""
        return tuple(product for product in self.products if isinstance(product, SeriesMap))

    @cached_property
    def series(self) -> tuple[FrameSeries, ...]:
        """What it knows of each frame beforehand."""
        return tuple(product for product in self.products if isinstance(product, FrameSeries))

    @cached_property
    def series_tables(self) -> tuple[SeriesTable, ...]:
        """The tables that it holds once."""
        return tuple(product for product in self.products if isinstance(product, SeriesTable))

    @property
    def all_tables(self) -> tuple[TableProduct | SeriesTable, ...]:
        """The tables of frames, and those of the series."""
        return *self.tables, *self.series_tables

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that it has arrays or rows of tables in."""
        reflections = (REFLECTIONS,) if self.frames_per_sample is None else ()
        return *reflections, *(table.name for table in self.all_tables)

    @property
    def _once(self) -> dict[str, str]:
        """What is known of each pixel once, and its type: the mask, unless each frame has its own, and the maps."""
        of_frames = {array.product.name for array in self.arrays}
        mask = {name: dtype for name, dtype in OF_PIXELS.items() if name not in of_frames}
        return mask | {product.name: product.dtype for product in self.maps}

    @cached_property
    def dtypes(self) -> dict[str, str]:
        """All arrays of the store and their types; none is of Python objects."""
        pixels = {f"{name}{group.suffix}": dtype for group in self.panel_groups for name, dtype in self._once.items()}
        shared = {"panel": "int64"} if any(len(group.numbers) > 1 for group in self.panel_groups) else {}
        of_frames = {product.name: product.dtype for product in self.series}
        of_series = OF_FRAMES | OF_REFLECTIONS if self.frames_per_sample is None else {}
        return {array.name: array.product.dtype for array in self.arrays} | pixels | shared | of_frames | of_series

    @cached_property
    def coordinates(self) -> tuple[str, ...]:
        """Coordinates that are no index of a dimension."""
        of_frames = [*OF_FRAMES, *(product.name for product in self.series)] if self.frames_per_sample is None else []
        of_pixels = [name for name in self._once if name not in ("slow", "fast")]
        pixels = (f"{name}{group.suffix}" for group in self.panel_groups for name in of_pixels)
        return *(name for name in of_frames if name != "frame"), *pixels

    @property
    def shards_per_unit(self) -> int:
        """Objects that a unit owns, besides its record."""
        return len(self.arrays) + len(self.tables)

    def as_attributes(self) -> dict[str, Any]:
        """JSON form for the store's attributes, which hold the plan besides."""
        frames: dict[str, Any] = {"frames": self.frames}
        if self.frames_per_sample is not None:
            frames = {"samples": self.samples, "frames_per_sample": self.frames_per_sample}
        drawn = {table.name: table for table in self.tables}.get(SAMPLES)
        return {
            **frames,
            "panels": [list(shape) for shape in self.panels],
            "products": [product.name for product in self.products],
            "dtypes": {array.product.name: array.product.dtype for array in self.arrays},
            **({} if drawn is None else {"columns": [asdict(column) for column in drawn.columns]}),
        }


def schema_for(scene: Scene, settings: Settings) -> Schema:
    """What the store of an experiment is to hold."""
    experiment = scene.experiment
    return Schema(experiment.scan.frames, settings.frames_per_shard, scene.instrument.shapes, products_of(experiment))


def schema_of_samples(recipe: Recipe, samples: int, settings: Settings) -> Schema:
    """What the store of so many samples of a recipe is to hold.

    Raises
    ------
    StoreError
        If there are no samples, or a unit would hold parts of one.
    """
    frames, together = recipe.frames_per_sample, settings.frames_per_shard
    if samples < 1:
        raise StoreError(f"a data set of {samples} samples; at least 1")
    if together % frames:
        raise StoreError(
            f"frames per shard: {together} are not whole samples of {frames} frames; expected a multiple of {frames}"
        )
    return Schema(samples * frames, together, recipe.shapes, products_of_samples(recipe), frames)


def schema_of(group: zarr.Group) -> Schema:
    """What a store holds, by its attributes.

    Raises
    ------
    StoreError
        If its attributes are not those of a series or a data set, or it holds a product that is not known.
    """
    attributes = group.attrs
    try:
        names, dtypes = [*map(str, attributes["products"])], attributes.get("dtypes", {})
        known, frames_per_sample = dict(PRODUCTS), None
        if attributes.get("kind") == DATASET:
            known, frames_per_sample = _known_of_samples(attributes), int(attributes["frames_per_sample"])
            frames = int(attributes["samples"]) * frames_per_sample
        else:
            frames = int(attributes["frames"])
        schema = Schema(
            frames=frames,
            frames_per_shard=int(attributes["plan"]["frames_per_shard"]),
            panels=tuple((int(slow), int(fast)) for slow, fast in attributes["panels"]),
            products=tuple(_in_type(known[name], dtypes) for name in names if name in known),
            frames_per_sample=frames_per_sample,
        )
        if not schema.units or not schema.panels or not schema.arrays:
            raise ValueError("no frames, panels or products")
        if frames_per_sample is not None and schema.frames_per_shard % frames_per_sample:
            raise ValueError("units of parts of samples")
        if frames_per_sample is not None and SAMPLES not in names:
            raise ValueError(f"no table {SAMPLES}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(
            f"{objects_of(group).location}: its attributes are not those of a {kind_of(group)} ({one_line(error)})"
        ) from None
    unknown = set(names) - known.keys()
    if unknown:
        raise StoreError(
            f"{objects_of(group).location}: it holds {', '.join(sorted(unknown))}, which this nbdist does not know"
        )
    return schema


def kind_of(group: zarr.Group) -> str:
    """What a store is, in words."""
    return "data set" if group.attrs.get("kind") == DATASET else "series"


def _known_of_samples(attributes: Any) -> dict[str, Product]:
    """The products that a data set may hold by name; of pixels that it has once, or of each frame, by its attributes."""
    images = {name: product for name, product in SAMPLE_IMAGES.items() if name in attributes["dtypes"]}
    columns = [Column(**{name: str(value) for name, value in dict(column).items()}) for column in attributes["columns"]]
    for column in columns:
        if column.dtype not in DRAWN_TYPES:
            raise ValueError(f"column {column.name} of type {column.dtype}; possible: {', '.join(DRAWN_TYPES)}")
    return PRODUCTS | SAMPLE_TABLES | images | {SAMPLES: samples_table(columns)}


def _in_type(product: Product, dtypes: Mapping[str, str]) -> Product:
    """A product in the type that a store has it in, where that says it; ValueError where it cannot have that."""
    if not isinstance(product, PixelProduct) or product.name not in dtypes:
        return product
    dtype, possible = dtypes[product.name], {product.dtype, *product.dtypes}
    if dtype not in possible:
        raise ValueError(f"{product.name} of type {dtype}; possible: {', '.join(sorted(possible))}")
    return replace(product, dtype=dtype)
