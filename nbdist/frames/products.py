"""The products of a frame and of a series, in one table: what a store holds, how it is kept, and the function that makes it.

What holds: a product is made of the scene, and one of a frame also of its number and of the photons as they are stored; labels are made
while those are rendered. So it can be made again, and must come out the same: on any machine where it is made of stored photons, to
the accuracy of rendering where it is a label. `nbdist verify` does that.

A new product is an entry in `PRODUCTS` and the function that it names. The plan, the store, its checks and its readers go by the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.experiment import Experiment
from nbdist.experiment.readout import LARGEST_READING
from nbdist.frames.exposure import B_factors_A2, doses_MGy, fluence_factors
from nbdist.frames.labels import FrameLabels, Images
from nbdist.frames.tables import REFLECTION_COLUMNS, SPOT_COLUMNS, Column, Columns
from nbdist.kernels.prediction import series_reflections
from nbdist.kernels.spots import Diffraction
from nbdist.planning.layout import READING_CHUNK
from nbdist.readout.chain import Readout
from nbdist.readout.integers import BAD, GAP, marker
from nbdist.scene import Scene, Tile
from nbdist.scene.amplitudes import Reflections
from nbdist.scene.tile import bands

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Draw

Products = Mapping[str, Images | Columns]
"""The products of a frame by name."""
Key = Literal["sample", "frame"]
"""A column that says whose the rows of a table are."""


@dataclass(frozen=True)
class RenderedFrame:
    """All that the products of a frame are made of.

    Attributes
    ----------
    scene
        The experiment's numbers.
    number
        Of the frame in its series, or in its sample.
    photons
        Expected photons a pixel, float32 (slow, fast) for each panel; finite and not negative.
    readout
        Of the scene, which keeps what is the same in all frames.
    labels
        What was found out of it while it was rendered; None where the experiment asks for no label.
    diffraction
        The reflections of the scene's lattices; None where nobody asks for them.
    draw
        What was drawn for its sample; None of a series.
    """

    scene: Scene
    number: int
    photons: Images
    readout: Readout
    labels: FrameLabels | None = None
    diffraction: Diffraction | None = None
    draw: Draw | None = None


def always(experiment: Experiment) -> bool:
    """True: what every experiment leaves."""
    return True


def _itself(product: PixelProduct, experiment: Experiment) -> PixelProduct:
    return product


@dataclass(frozen=True)
class PixelProduct:
    """A number for each pixel of each frame: an array (frame, slow, fast), with a dimension `panel` where panels share one.

    Attributes
    ----------
    name, dtype
        Of the array.
    units, long_name
        Units of measure, and what it is.
    make
        One image a panel, (slow, fast) in `dtype`.
    made_for
        Whether an experiment asks for it.
    compressor
        lz4 is quick, zstd packs what can be packed; either after the bits of equal place are put together.
    disk_bytes_per_pixel
        Expected size of a pixel in the store.
    chunk
        Pixels along a side of an inner chunk, about.
    fill
        Value where nothing is rendered yet.
    least
        No value is less.
    gap
        Value of the pixels that the detector of a sample lacks, where those of other samples are larger.
    held_at
        Value at which a pixel that would have more is held; the record of a unit tells how many are.
    label
        Whether it is made of the labels of a frame rather than of its photons.
    repeats
        Whether frames mostly share one image, which then is read-only: it is packed once.
    attributes
        What else its array says of itself.
    as_in
        What it is in the store of an experiment, where its type, units and so on are the experiment's to say.
    dtypes
        Types that this can give it besides `dtype`.
    """

    name: str
    dtype: str
    units: str
    long_name: str
    make: Callable[[RenderedFrame], Images]
    made_for: Callable[[Experiment], bool] = always
    compressor: Literal["lz4", "zstd"] = "zstd"
    disk_bytes_per_pixel: float = 4.0
    chunk: int = READING_CHUNK
    fill: float = 0
    least: float = 0
    gap: float = 0
    held_at: int | None = None
    label: bool = False
    repeats: bool = False
    attributes: Mapping[str, float] = field(default_factory=dict, hash=False)
    as_in: Callable[[PixelProduct, Experiment], PixelProduct] = _itself
    dtypes: tuple[str, ...] = ()

    def images(self, products: Products) -> Images:
        """Its images among the products of a frame."""
        images = products[self.name]
        assert not isinstance(images, Mapping)
        return images

    def frame_bytes(self, pixels: int) -> int:
        """Bytes of a frame of so many pixels in memory."""
        return np.dtype(self.dtype).itemsize * pixels

    def disk_bytes(self, pixels: int) -> float:
        """Expected bytes in the store of a frame of which so many pixels are rendered."""
        return self.disk_bytes_per_pixel * pixels


@dataclass(frozen=True)
class TableProduct:
    """Any number of rows for each frame: one table a unit, to which the store adds columns that say whose they are, the first ones.

    Attributes
    ----------
    columns
        Columns but those of `keys`.
    make
        The rows of a frame, a value for each of `columns`.
    made_for
        Whether an experiment asks for it.
    bytes_per_frame
        Expected size of a frame's rows, in memory and in the store.
    label
        Whether it is made of the labels of a frame rather than of its photons.
    keys
        What the columns in front are: "frame" in a series; "sample", and "frame" in the sample, in a data set. Rows of a sample alone
        are those of its first frame, and others have none.
    """

    name: str
    long_name: str
    columns: tuple[Column, ...]
    make: Callable[[RenderedFrame], Columns]
    made_for: Callable[[Experiment], bool] = always
    bytes_per_frame: int = 2**16
    label: bool = False
    keys: tuple[Key, ...] = ("frame",)

    def rows(self, products: Products) -> Columns:
        """Its rows among the products of a frame."""
        rows = products[self.name]
        assert isinstance(rows, Mapping)
        return rows

    def frame_bytes(self, pixels: int) -> int:
        """Bytes of a frame's rows in memory, whatever its pixels."""
        return self.bytes_per_frame

    def disk_bytes(self, pixels: int) -> float:
        """Expected bytes of a frame's rows in the store, whatever its pixels."""
        return self.bytes_per_frame


class _OnceASeries:
    """A product that frames take no room for."""

    def frame_bytes(self, pixels: int) -> int:
        """0: no frame has it."""
        return 0

    def disk_bytes(self, pixels: int) -> float:
        """0: no frame has it."""
        return 0.0


@dataclass(frozen=True)
class SeriesMap(_OnceASeries):
    """A number for each pixel, the same in all frames: a coordinate (slow, fast), with a dimension `panel` where panels share one.

    Attributes
    ----------
    name, dtype
        Of the array.
    units, long_name
        Units of measure, and what it is.
    make
        One image a panel, (slow, fast) in `dtype`.
    made_for
        Whether an experiment asks for it.
    """

    name: str
    dtype: str
    units: str
    long_name: str
    make: Callable[[Scene], Images]
    made_for: Callable[[Experiment], bool] = always


@dataclass(frozen=True)
class SeriesTable(_OnceASeries):
    """A table of the whole series, written when its store is made.

    Attributes
    ----------
    columns
        Its columns.
    make
        The rows of an experiment, given the amplitudes of each lattice, a value for each of `columns`.
    made_for
        Whether an experiment asks for it.
    """

    name: str
    long_name: str
    columns: tuple[Column, ...]
    make: Callable[[Scene, Sequence[Reflections]], Columns]
    made_for: Callable[[Experiment], bool] = always


@dataclass(frozen=True)
class FrameSeries(_OnceASeries):
    """A number for each frame that is known before it is rendered: a coordinate (frame), or (frame, lattice) of several crystals.

    Attributes
    ----------
    name, dtype
        Of the array.
    units, long_name
        Units of measure, and what it is.
    make
        The numbers of consecutive frames, (frames,) or (frames, lattices).
    of_crystals
        Whether each of several crystals has its own.
    made_for
        Whether an experiment asks for it.
    """

    name: str
    dtype: str
    units: str
    long_name: str
    make: Callable[[Scene, range], NDArray[np.float64]]
    of_crystals: bool = True
    made_for: Callable[[Experiment], bool] = always


FrameProduct = PixelProduct | TableProduct
Product = FrameProduct | SeriesMap | SeriesTable | FrameSeries


def _intensity(frame: RenderedFrame) -> Images:
    return frame.photons


def _counts(frame: RenderedFrame) -> Images:
    return frame.readout.counts(frame.photons, frame.number, frame.scene.sample)


def _counts_of(counts: PixelProduct, experiment: Experiment) -> PixelProduct:
    """`counts` as an experiment reads it: in its integers, in units that its gain makes, and with what a reader needs to know."""
    readout = experiment.readout
    attributes: dict[str, float] = {
        "gap_value": marker(GAP, readout.integers),
        "bad_value": marker(BAD, readout.integers),
        "saturation_value": experiment.saturation_adu,
        "adu_per_photon": readout.adu_per_photon,
        "offset_adu": readout.offset_adu,
    }
    return replace(
        counts,
        dtype=readout.integers,
        units="photon" if readout.adu_per_photon == 1 and not readout.offset_adu else "ADU",
        held_at=None if readout.rolls_over else experiment.saturation_adu,
        attributes=attributes,
        gap=marker(GAP, readout.integers),
    )


def labels_of(frame: RenderedFrame) -> FrameLabels:
    """The labels of a frame.

    Raises
    ------
    RunError
        If it was rendered without.
    """
    if frame.labels is None:
        raise RunError(f"frame {frame.number}: labels are asked for, and whoever rendered it gave none")
    return frame.labels


def _resolution(scene: Scene) -> Images:
    """Spacing that scatters to the middle of each pixel, for the mean wavelength."""
    panels, wavelength_A = scene.instrument.panels, scene.experiment.beam.mean_wavelength_A

    def of_pixels(tile: Tile) -> NDArray[np.float64]:
        slow, fast = (np.arange(*span) + 0.5 for span in (tile[1:3], tile[3:5]))
        return panels[tile.panel].resolution_A(slow[:, None], fast, wavelength_A)

    return _maps(scene, "float32", of_pixels)


def _shadow(scene: Scene) -> Images:
    """1 where less than half of the photons pass."""
    return _maps(scene, "uint8", lambda tile: scene.instrument.shadow(tile) < 0.5)


def _maps(scene: Scene, dtype: str, of_pixels: Callable[[Tile], NDArray[Any]]) -> Images:
    """An image a panel, made a few rows at a time, whose vectors take memory."""
    images = []
    for number, shape in enumerate(scene.instrument.shapes):
        image = np.empty(shape, dtype=dtype)
        for rows in bands(Tile(number, 0, shape[0], 0, shape[1])):
            image[rows.slices] = of_pixels(rows)
        images.append(image)
    return images


INTENSITY = PixelProduct(
    name="intensity",
    dtype="float32",
    units="photon",
    long_name="expected photons, without noise",
    make=_intensity,
    compressor="lz4",  # of a float only sign and exponent can be packed: zstd takes four times as long and gains half a percent
    disk_bytes_per_pixel=3.6,
)
COUNTS = PixelProduct(
    name="counts",
    dtype="int32",
    units="photon",
    long_name="what the detector reads of intensity",
    make=_counts,
    made_for=lambda experiment: experiment.writes_counts,
    disk_bytes_per_pixel=0.4,
    least=BAD,
    as_in=_counts_of,
    dtypes=tuple(LARGEST_READING),
)
BRAGG = PixelProduct(
    name="bragg",
    dtype="float32",
    units="photon",
    long_name="expected photons that the crystals diffract",
    make=lambda frame: labels_of(frame).bragg,
    made_for=lambda experiment: experiment.labels.bragg,
    compressor="lz4",
    disk_bytes_per_pixel=3.6,
    label=True,
)
BACKGROUND = PixelProduct(
    name="background",
    dtype="float32",
    units="photon",
    long_name="expected photons of the background",
    make=lambda frame: labels_of(frame).background,
    made_for=lambda experiment: experiment.labels.background,
    compressor="lz4",
    disk_bytes_per_pixel=3.6,
    label=True,
    repeats=True,
)
SPOT = PixelProduct(
    name="spot",
    dtype="int32",
    units="",
    long_name="0, or 1 + the row among the frame's spots of the one that dominates the pixel",
    make=lambda frame: labels_of(frame).spot,
    made_for=lambda experiment: experiment.labels.spot,
    disk_bytes_per_pixel=0.1,
    label=True,
)
SPOTS = TableProduct(
    name="spots",
    long_name="what each frame has of the reflections of the series",
    columns=SPOT_COLUMNS,
    make=lambda frame: labels_of(frame).spots,
    made_for=lambda experiment: experiment.labels.spots,
    bytes_per_frame=2**18,
    label=True,
)
RESOLUTION = SeriesMap(
    name="resolution",
    dtype="float32",
    units="angstrom",
    long_name="spacing that scatters to the pixel",
    make=_resolution,
    made_for=lambda experiment: experiment.labels.resolution,
)
SHADOW = SeriesMap(
    name="shadow",
    dtype="uint8",
    units="",
    long_name="1 where beam stop, holder or pin take more than half of the photons",
    make=_shadow,
    made_for=lambda experiment: experiment.labels.shadow and experiment.shadows.any,
)
SERIES_REFLECTIONS = SeriesTable(
    name="series_reflections",
    long_name="each crossing of the Ewald sphere by a reflection of a lattice",
    columns=REFLECTION_COLUMNS,
    make=series_reflections,
    made_for=lambda experiment: experiment.labels.reflections,
)
FLUENCE_FACTOR = FrameSeries(
    name="fluence_factor",
    dtype="float64",
    units="1",
    long_name="fluence of the frame, relative to that of the experiment",
    make=lambda scene, frames: fluence_factors(scene.experiment, frames, scene.sample),
    of_crystals=False,
    made_for=lambda experiment: not experiment.beam.steady,
)
DOSE = FrameSeries(
    name="dose_MGy",
    dtype="float64",
    units="MGy",
    long_name="dose of the crystal at the middle of the frame",
    make=doses_MGy,
    made_for=lambda experiment: any(crystal.decay for crystal in experiment.each_crystal.values()),
)
B_FACTOR = FrameSeries(
    name="B_factor_A2",
    dtype="float64",
    units="angstrom^2",
    long_name="growth of the crystal's B factor with dose, at the middle of the frame",
    make=B_factors_A2,
    made_for=lambda experiment: any(
        crystal.decay is not None and crystal.decay.B_factor_A2_per_MGy > 0
        for crystal in experiment.each_crystal.values()
    ),
)
PRODUCTS: dict[str, Product] = {
    product.name: product
    for product in (
        INTENSITY,
        COUNTS,
        BRAGG,
        BACKGROUND,
        SPOT,
        SPOTS,
        RESOLUTION,
        SHADOW,
        FLUENCE_FACTOR,
        DOSE,
        B_FACTOR,
        SERIES_REFLECTIONS,
    )
}
"""All products by name, in the order in which they are made, written and listed."""


def products_of(experiment: Experiment) -> tuple[Product, ...]:
    """The products that an experiment asks for, as they are in its store."""
    asked_for = (product for product in PRODUCTS.values() if product.made_for(experiment))
    return tuple(its.as_in(its, experiment) if isinstance(its, PixelProduct) else its for its in asked_for)


def rendered_frame(scene: Scene, number: int, photons: Images, readout: Readout) -> RenderedFrame:
    """A frame of rendered photons, (slow, fast) in any precision for each panel.

    Raises
    ------
    RunError
        If a pixel has photons that a store cannot hold: not finite in float32, or less than 0.
    """
    stored = []
    for panel, image in enumerate(photons):
        with np.errstate(over="ignore"):
            kept = image.astype(np.float32, copy=False)
        good = np.isfinite(kept) & (kept >= 0)
        if not good.all():
            slow, fast = np.argwhere(~good)[0]
            place = f"panel {panel}, slow {slow}, fast {fast}" if len(photons) > 1 else f"slow {slow}, fast {fast}"
            raise RunError(
                f"frame {number}: pixel ({place}) has {image[slow, fast]} photons; "
                "the fluence, the crystal or the amplitudes are too large, or a pixel lies at the sample"
            )
        stored.append(kept)
    return RenderedFrame(scene, number, stored, readout)


def made_of(frame: RenderedFrame, products: Iterable[Product] | None = None) -> dict[str, Images | Columns]:
    """The products of a frame by name (those of its experiment where left out), columns of tables in the types of a store."""
    made: dict[str, Images | Columns] = {}
    for product in products_of(frame.scene.experiment) if products is None else products:
        if isinstance(product, PixelProduct):
            made[product.name] = product.make(frame)
        elif isinstance(product, TableProduct):
            rows = product.make(frame)
            made[product.name] = {its.name: np.asarray(rows[its.name], its.dtype) for its in product.columns}
    return made


def held_pixels(products: Iterable[Product], frames: Sequence[Products]) -> int | None:
    """How many pixels of some frames are held at the largest value; None where no product has one."""
    limited = [p for p in products if isinstance(p, PixelProduct) and p.held_at is not None]
    held = (image == product.held_at for product in limited for frame in frames for image in product.images(frame))
    return sum(int(pixels.sum()) for pixels in held) if limited else None


def same(a: Images | Columns, b: Images | Columns) -> bool:
    """Whether a product of a frame has the same values as another, in every image or column; what is no number in both is the same."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same_column(a[name], b[name]) for name in a)
    assert not isinstance(a, Mapping)
    assert not isinstance(b, Mapping)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _same_column(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" == b.dtype.kind)
