"""What previews show: images of a stored series, of a data set, or of samples that are rendered now, each with its scene and its labels.

What holds: frames are counted as a store counts them, through all samples, and a series is one sample. What a picture of pixels says comes
from arrays and tables alone, so it needs none of the files that a recipe names; where pixels are, and which reflections they show, is
asked of the sample's scene.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.frames.products import COUNTS, SHADOW, SPOTS
from nbdist.frames.sample_products import FRAMES, MASK, SAMPLES, SHADOW_IMAGES
from nbdist.frames.tables import Columns
from nbdist.kernels.prediction import Prediction, frame_reflections
from nbdist.kernels.spots import Diffraction
from nbdist.readout.chain import Readout
from nbdist.run.datasets import Sample, kept_contexts, sample
from nbdist.run.rendering import padded
from nbdist.scene import Scene, resolve
from nbdist.scene.amplitudes import Reflections, load_reflections
from nbdist.store import DatasetSummary, SeriesSummary, open_group, read_reflections
from nbdist.store.locations import read_known
from nbdist.store.number_set import NumberSet
from nbdist.store.places import objects_of
from nbdist.store.reading import read_frames
from nbdist.store.schema import FrameArray, Schema, schema_of_samples
from nbdist.store.shard_reading import ShardReader, decoding_threads

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe

Pixels = tuple[slice, slice]
"""Rows and columns of a panel."""
NAMED = ("panel", "slow", "fast", "photons", "lattice", "h", "k", "l")
"""Columns that say where a spot is, how bright, and of which reflection."""


class ShownImages(ABC):
    """Images that can be drawn, and what is known of the samples that they are of.

    Attributes
    ----------
    holder, name
        What holds them, in words, and its place.
    title
        Of the experiment or recipe.
    schema
        Arrays and tables, and how frames are counted.
    complete
        Frames that are there.
    """

    holder = "the store"

    def __init__(self, name: str, title: str, schema: Schema, complete: NumberSet) -> None:
        self.name, self.title, self.schema, self.complete = name, title, schema, complete
        self._scene: tuple[int, Scene] | None = None
        self._prediction: tuple[int, Prediction] | None = None

    @property
    def together(self) -> int:
        """Frames of a sample."""
        return self.schema.frames_per_sample or self.schema.frames

    def sample(self, frame: int) -> int:
        """Which sample a frame is of."""
        return frame // self.together

    @abstractmethod
    def image(self, array: FrameArray, panel: int, frame: int, pixels: Pixels) -> NDArray[Any]:
        """Pixels of a panel in a frame, of an array that holds it."""

    @abstractmethod
    def pixel_map(self, name: str, array: FrameArray, panel: int, sample: int, pixels: Pixels) -> NDArray[Any]:
        """Pixels of a panel, of what there is once for those of an array: "mask" or "shadow"."""

    @abstractmethod
    def units(self, array: FrameArray) -> str:
        """What an array counts."""

    @abstractmethod
    def limit(self, array: FrameArray, sample: int) -> float | None:
        """Value from which on pixels of a sample are saturated; None where there is none."""

    @abstractmethod
    def phi_deg(self, frames: range) -> tuple[float, float]:
        """Where the spindle is at the start and at the end of some frames."""

    @abstractmethod
    def stored_spots(self, frame: int) -> Columns | None:
        """The spots of a frame, with `NAMED` among their columns; None where no table has them."""

    @abstractmethod
    def frame_name(self, frames: range) -> str:
        """Which frame it is, or which frames these are."""

    @abstractmethod
    def caption(self, frame: int) -> str:
        """What a frame of a sheet is called."""

    @abstractmethod
    def _resolved(self, sample: int) -> Scene:
        """The scene of a sample, made now."""

    @abstractmethod
    def _reflections(self, scene: Scene) -> Sequence[Reflections]:
        """The amplitudes of its lattices."""

    def scene(self, sample: int) -> Scene:
        """The numbers of a sample; those of the last one are kept."""
        if self._scene is None or self._scene[0] != sample:
            self._scene = sample, self._resolved(sample)
        return self._scene[1]

    def spots(self, frames: Sequence[int]) -> Columns:
        """Where spots of some frames of a sample are, with the columns `NAMED`: those that are stored, or else all that are predicted."""
        tables = [self.stored_spots(frame) for frame in frames]
        if None in tables:
            prediction = self._predicting(self.sample(frames[0]))
            tables = [frame_reflections(prediction, frame % self.together) for frame in frames]
        return {name: np.concatenate([table[name] for table in tables if table is not None]) for name in NAMED}

    def _predicting(self, sample: int) -> Prediction:
        """What predicts the reflections of a sample; that of the last one is kept: its lists may be long."""
        if self._prediction is None or self._prediction[0] != sample:
            scene = self.scene(sample)
            self._prediction = sample, Prediction(Diffraction(scene, self._reflections(scene)))
        return self._prediction[1]

    def of_pixels(self, name: str, array: FrameArray, panel: int, frame: int, pixels: Pixels) -> NDArray[Any] | None:
        """What pixels of a panel are by "mask" or "shadow", in a frame or in all; None where there is no such label."""
        for its in self.schema.arrays:
            if its.product.name == name and panel in its.panels.numbers:
                return self.image(its, panel, frame, pixels)
        if name == MASK.name or any(its.name == name for its in self.schema.maps):
            return self.pixel_map(name, array, panel, self.sample(frame), pixels)
        return None

    @property
    def pixels_change(self) -> bool:
        """Whether what a pixel is differs from sample to sample."""
        return any(array.product.name in (MASK.name, SHADOW.name) for array in self.schema.arrays)

    def require_complete(self, frames: Sequence[int]) -> None:
        """Check that frames are there: those that are not would look like empty ones.

        Raises
        ------
        NbdistError
            Naming the first that is not.
        """
        for frame in frames:
            if not 0 <= frame < self.schema.frames:
                raise NbdistError(f"--frame {frame}: lies outside 0:{self.schema.frames}")
            if frame not in self.complete:
                raise NbdistError(f"{self.name}: {self.missing(frame)}")

    def missing(self, frame: int) -> str:
        """That a frame is not rendered yet, in words."""
        return f"frame {frame} is not rendered yet ({len(self.complete)} of {self.schema.frames} are)"


class _InAStore(ShownImages):
    """Images that a store holds."""

    def __init__(self, summary: SeriesSummary | DatasetSummary) -> None:
        super().__init__(summary.location, summary.title, summary.schema, summary.found.frames)
        self.group = open_group(summary.location)
        self._readers: dict[str, ShardReader] = {}

    def image(self, array: FrameArray, panel: int, frame: int, pixels: Pixels) -> NDArray[Any]:
        """Pixels of a panel in a frame, read from the store."""
        if array.name not in self._readers:
            stored = self.group[array.name]
            self._readers[array.name] = ShardReader(objects_of(self.group), stored, array, decoding_threads())
        shape = array.panels.shape[-2:]
        rows, columns = (slice(*its.indices(size)[:2]) for its, size in zip(pixels, shape, strict=True))
        place = (slice(number, number + 1) for number in array.index(panel))
        images = self._readers[array.name].read([frame], (*place, rows, columns))
        return images.reshape(images.shape[-2:])

    def pixel_map(self, name: str, array: FrameArray, panel: int, sample: int, pixels: Pixels) -> NDArray[Any]:
        """Pixels of a panel of the store's "mask" or "shadow"."""
        return read_known(self.group, f"{name}{array.panels.suffix}", (*array.index(panel), *pixels))

    def units(self, array: FrameArray) -> str:
        """What an array counts, as it says itself."""
        return str(self.group[array.name].attrs.get("units", array.product.units))


class SeriesImages(_InAStore):
    """The frames of a stored series."""

    def __init__(self, summary: SeriesSummary) -> None:
        super().__init__(summary)
        self.summary = summary

    def limit(self, array: FrameArray, sample: int) -> float | None:
        """Value from which on pixels are saturated, as the array says; None where it says none."""
        limit = self.group[array.name].attrs.get("saturation_value", array.product.held_at)
        return float(limit) if isinstance(limit, int | float) else None

    def phi_deg(self, frames: range) -> tuple[float, float]:
        """Where the spindle is at the start and at the end of some frames, by the scan."""
        scan = self.summary.experiment.scan
        return scan.frame_start_deg(frames.start), scan.frame_start_deg(frames.stop)

    def stored_spots(self, frame: int) -> Columns | None:
        """None: the table of spots of a series does not name their reflections."""
        return None

    def frame_name(self, frames: range) -> str:
        """Which frames these are, by number."""
        return _numbers(frames)

    def caption(self, frame: int) -> str:
        """The number of a frame, and where the spindle is."""
        start, end = self.phi_deg(range(frame, frame + 1))
        return f"frame {frame}: {start:g} to {end:g} deg"

    def _resolved(self, sample: int) -> Scene:
        return self.summary.scene

    def _reflections(self, scene: Scene) -> Sequence[Reflections]:
        return read_reflections(self.name)


class _OfSamples(ShownImages):
    """Images of the samples of a recipe."""

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The recipe."""

    @abstractmethod
    def rows(self, table: str, frame: int) -> Columns:
        """The rows of a frame in a table; those of its sample of a table of samples, whose first frame it is."""

    def limit(self, array: FrameArray, sample: int) -> float | None:
        """Value from which on pixels are saturated, by the table of samples; None of what are no counts."""
        if array.product.name != COUNTS.name:
            return None
        return float(self.rows(SAMPLES, sample * self.together)["saturation_adu"][0])

    def phi_deg(self, frames: range) -> tuple[float, float]:
        """Where the spindle is at the start and at the end of some frames, by the table of frames."""
        first, last = (self.rows(FRAMES.name, frame) for frame in (frames[0], frames[-1]))
        return float(first["phi_start_deg"][0]), float(last["phi_end_deg"][0])

    def stored_spots(self, frame: int) -> Columns | None:
        """The spots of a frame, by the table of spots; None where there is none."""
        there = any(table.name == SPOTS.name for table in self.schema.tables)
        return self.rows(SPOTS.name, frame) if there else None

    def frame_name(self, frames: range) -> str:
        """Which sample of which split it is, and which of its frames where it has several."""
        number = self.sample(frames.start)
        name = f"sample {number} ({self.rows(SAMPLES, number * self.together)['split'][0]})"
        first = frames.start - number * self.together
        return name if self.together == 1 else f"{name}, {_numbers(range(first, first + len(frames)))}"

    def caption(self, frame: int) -> str:
        """What `frame_name` calls a frame."""
        return self.frame_name(range(frame, frame + 1))

    def _resolved(self, sample: int) -> Scene:
        return resolve(self.recipe.draw(sample).experiment, sample=sample)

    def _reflections(self, scene: Scene) -> Sequence[Reflections]:
        return load_reflections(scene)

    def missing(self, frame: int) -> str:
        """That its sample is not rendered yet, in words."""
        done, every = (frames // self.together for frames in (len(self.complete), self.schema.frames))
        return f"sample {self.sample(frame)} is not rendered yet ({done} of {every} are)"


class DatasetImages(_OfSamples, _InAStore):
    """The frames of all samples of a data set, read as they are asked for."""

    def __init__(self, summary: DatasetSummary) -> None:
        super().__init__(summary)
        self.summary = summary
        self._recipe: Recipe | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe in the store; its files are read where it is first asked for."""
        if self._recipe is None:
            self._recipe = self.summary.recipe
        return self._recipe

    def rows(self, table: str, frame: int) -> Columns:
        """The rows of a frame in a table, read from the store."""
        rows = read_frames(self.group, range(frame, frame + 1), [table])[0][table]
        assert isinstance(rows, Mapping)
        return rows


class RenderedSamples(_OfSamples):
    """The first samples of a recipe, rendered one after the other as they are asked for; the last one is kept.

    Parameters
    ----------
    samples
        How many there are to be.
    """

    holder = "a sample of the recipe"

    def __init__(self, recipe: Recipe, samples: int) -> None:
        schema = schema_of_samples(recipe, samples, kept_contexts(recipe).plan.settings)
        super().__init__(self.holder, recipe.title, schema, NumberSet(range(schema.frames)))
        self._recipe = recipe
        self._last: Sample | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self._recipe

    def image(self, array: FrameArray, panel: int, frame: int, pixels: Pixels) -> NDArray[Any]:
        """Pixels of a panel in a frame of its sample, which is rendered."""
        number, its = divmod(frame, self.together)
        images: Any = self._sample(number).images[array.name]
        return np.asarray(images[its, *array.index(panel), *pixels])

    def pixel_map(self, name: str, array: FrameArray, panel: int, sample: int, pixels: Pixels) -> NDArray[Any]:
        """Pixels of a panel of the "mask" or "shadow" that follow from the scene of a sample."""
        scene = self.scene(sample)
        product, images = (MASK, Readout(scene).masks) if name == MASK.name else (SHADOW_IMAGES, SHADOW.make(scene))
        return product.images(padded({name: images}, [product], self.recipe.shapes))[panel][pixels]

    def units(self, array: FrameArray) -> str:
        """What an array counts, as its product says."""
        return array.product.units

    def rows(self, table: str, frame: int) -> Columns:
        """The rows of a frame in a table of its sample, which is rendered."""
        number, its = divmod(frame, self.together)
        rows = self._sample(number).tables[table]
        return {name: values[rows["frame"] == its] for name, values in rows.items()} if "frame" in rows else rows

    def _sample(self, number: int) -> Sample:
        if self._last is None or self._last.number != number:
            self._last = sample(self._recipe, number)
        return self._last


def shown_images(summary: SeriesSummary | DatasetSummary) -> SeriesImages | DatasetImages:
    """The images of a store."""
    return SeriesImages(summary) if isinstance(summary, SeriesSummary) else DatasetImages(summary)


def _numbers(frames: range) -> str:
    return f"frame {frames.start}" if len(frames) == 1 else f"frames {frames.start} to {frames.stop - 1}"
