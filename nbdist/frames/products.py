"""The products of a frame, in one table: what a store holds, how it is kept, and the function that makes it.

What holds: a product is made of the photons as they are stored, of the frame's number and of the scene, and of nothing else. So it
can be made again from a store, on any machine, and must come out the same; `nbdist verify` does that.

A new product is an entry in `PRODUCTS` and the function that it names. The plan, the store, its checks and its readers go by the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.experiment import Experiment
from nbdist.planning.layout import READING_CHUNK
from nbdist.readout.photon_noise import LARGEST_COUNT, photon_counts
from nbdist.scene import Scene

Images = Sequence[NDArray[Any]]
"""One image (slow, fast) a panel, in order."""
Columns = Mapping[str, NDArray[Any]]
"""Rows of a table by column, each (row,)."""
Products = Mapping[str, Images | Columns]
"""The products of a frame by name."""


@dataclass(frozen=True)
class RenderedFrame:
    """All that the products of a frame are made of.

    Attributes
    ----------
    scene
        The experiment's numbers.
    number
        Of the frame in its series.
    photons
        Expected photons a pixel, float32 (slow, fast) for each panel; finite and not negative.
    """

    scene: Scene
    number: int
    photons: Images


def always(experiment: Experiment) -> bool:
    """True: what every experiment leaves."""
    return True


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
    held_at
        Value at which a pixel that would have more is held; the record of a unit tells how many are.
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
    held_at: int | None = None

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
class Column:
    """A column of a table: its name, NumPy dtype, units of measure, and what it is."""

    name: str
    dtype: str
    units: str
    long_name: str


@dataclass(frozen=True)
class TableProduct:
    """Any number of rows for each frame: one table a unit, to which the store adds a first column `frame`.

    Attributes
    ----------
    columns
        Columns but `frame`.
    make
        The rows of a frame, a value for each of `columns`.
    made_for
        Whether an experiment asks for it.
    bytes_per_frame
        Expected size of a frame's rows, in memory and in the store.
    """

    name: str
    long_name: str
    columns: tuple[Column, ...]
    make: Callable[[RenderedFrame], Columns]
    made_for: Callable[[Experiment], bool] = always
    bytes_per_frame: int = 2**16

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


Product = PixelProduct | TableProduct


def _intensity(frame: RenderedFrame) -> Images:
    return frame.photons


def _counts(frame: RenderedFrame) -> Images:
    """Photons drawn for each pixel, whose random words are those of its place among the pixels of all panels; 0 in dead ones."""
    counts, first_pixel = [], 0
    for photons, panel in zip(frame.photons, frame.scene.instrument.panels, strict=True):
        drawn = photon_counts(photons, frame.scene.experiment.noise.seed, frame.number, first_pixel)
        drawn[~panel.usable] = 0
        counts.append(drawn)
        first_pixel += photons.size
    return counts


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
    long_name="photons drawn from a Poisson distribution of intensity",
    make=_counts,
    made_for=lambda experiment: experiment.noise.photon_noise,
    disk_bytes_per_pixel=0.4,
    held_at=LARGEST_COUNT,
)
PRODUCTS: dict[str, Product] = {product.name: product for product in (INTENSITY, COUNTS)}
"""All products by name, in the order in which they are made, written and listed."""


def products_of(experiment: Experiment) -> tuple[Product, ...]:
    """The products that an experiment asks for."""
    return tuple(product for product in PRODUCTS.values() if product.made_for(experiment))


def rendered_frame(scene: Scene, number: int, photons: Images) -> RenderedFrame:
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
    return RenderedFrame(scene, number, stored)


def made_of(frame: RenderedFrame) -> dict[str, Images | Columns]:
    """The products of a frame by name."""
    return {product.name: product.make(frame) for product in products_of(frame.scene.experiment)}


def held_pixels(experiment: Experiment, frames: Sequence[Products]) -> int | None:
    """How many pixels of some frames are held at the largest value; None where no product has one."""
    limited = [p for p in products_of(experiment) if isinstance(p, PixelProduct) and p.held_at is not None]
    held = (image == product.held_at for product in limited for frame in frames for image in product.images(frame))
    return sum(int(pixels.sum()) for pixels in held) if limited else None


def same(a: Images | Columns, b: Images | Columns) -> bool:
    """Whether a product of a frame has the same values as another, in every image or column; what is no number in both is the same."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
    assert not isinstance(a, Mapping)
    assert not isinstance(b, Mapping)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
