"""Rendering the pieces of a plan; the serial and the Dask run call these functions and differ in the loop only.

Partials are added in the order of the plan's chunks, tile by tile, in float64, and divided once by the experiment's steps when all of
a pixel are there. So a frame has the same bits whether one task rendered it or many.
"""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.frames.products import (
    COUNTS,
    INTENSITY,
    PixelProduct,
    Product,
    Products,
    RenderedFrame,
    held_pixels,
    made_of,
    products_of,
    rendered_frame,
)
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.readout.draws import MOST_PHOTONS
from nbdist.readout.integers import is_reading
from nbdist.run.context import Context, RunContext
from nbdist.run.device_memory import partial_that_fits
from nbdist.store import UnitWriter

MIXED = "mixed"
"""What a record says of a unit whose parts were made by different ones."""
Photons = list[NDArray[np.floating[Any]]]
"""Expected photons of each panel, (slow, fast)."""


def render_partial(context: RunContext, frame: int, tile: Tile, chunk: PhiChunk) -> NDArray[np.floating[Any]]:
    """Partial intensity of one tile over one phi chunk, (slow, fast), un-normalised."""
    with context.turn:
        return partial_that_fits(context, tile, frame, chunk)


def assemble_frame(context: RunContext, frame: int, partials: Sequence[Sequence[NDArray[np.floating[Any]]]]) -> Photons:
    """Photons of a frame from its partials, given by tile and then by chunk in plan order."""
    return _photons(context, frame, partials)


def render_frame(context: RunContext, frame: int) -> Photons:
    """Expected photons of each panel of a frame, (slow, fast), in the experiment's precision; pixels outside the tiles are 0."""
    tiles, chunks = context.plan.tiles, context.plan.chunks
    return _photons(
        context, frame, ((partial_that_fits(context, tile, frame, chunk) for chunk in chunks) for tile in tiles)
    )


def _photons(context: RunContext, frame: int, partials: Iterable[Iterable[NDArray[np.floating[Any]]]]) -> Photons:
    """Add each tile's partials in the plan's order, and make photons of them."""
    instrument = context.scene.instrument
    images: Photons = [np.zeros(shape, dtype=instrument.precision) for shape in instrument.shapes]
    for tile, parts in zip(context.plan.tiles, partials, strict=True):
        photons = context.renderer.photons(functools.reduce(np.add, parts), tile, frame)
        with np.errstate(over="ignore"):  # `rendered_frame` refuses what does not fit
            images[tile.panel][tile.slices] = photons
    return images


def finished_frame(context: RunContext, frame: int, photons: Photons) -> Products:
    """What a store holds of a frame, by product."""
    return in_a_store(context, labelled_frame(context, frame, photons))


def in_a_store(context: RunContext, frame: RenderedFrame) -> Products:
    """The products of a frame as a store holds them; images of a sample whose detector is smaller are padded."""
    made, products, shapes = made_of(frame, context.products), context.products, context.shapes
    return made if products is None or shapes is None else padded(made, products, shapes)


def padded(made: Products, products: Iterable[Product], shapes: Sequence[tuple[int, int]]) -> Products:
    """The products of a frame with images (slow, fast) of these shapes, one a panel: its own lie at the top left, gaps beside them."""
    wider = dict(made)
    for product in products:
        if isinstance(product, PixelProduct):
            pairs = zip(product.images(made), shapes, strict=True)
            wider[product.name] = [_padded(image, shape, product.gap) for image, shape in pairs]
    return wider


def _padded(image: NDArray[Any], shape: tuple[int, int], gap: float) -> NDArray[Any]:
    if image.shape == shape:
        return image
    whole = np.full(shape, gap, dtype=image.dtype)
    whole[: image.shape[0], : image.shape[1]] = image
    return whole


def labelled_frame(context: RunContext, frame: int, photons: Photons) -> RenderedFrame:
    """A frame of rendered photons, with its labels where the experiment asks for some."""
    rendered = rendered_frame(context.scene, frame, photons, context.readout)
    rendered = replace(rendered, diffraction=context.renderer.diffraction, draw=context.draw)
    if not context.scene.experiment.labels.of_frames:
        return rendered
    return replace(rendered, labels=context.renderer.labels(frame, rendered.photons))


def render_unit(
    context: Context,
    writer: UnitWriter,
    unit: Unit,
    render: Callable[[RunContext, int], Photons] | None = None,
) -> dict[str, Any]:
    """Render a unit's frames (with `render_frame`, where nothing else is given), write its shards, and return its record."""
    render = render_frame if render is None else render
    frames, makers, held = [], [], list[int | None]()
    with context.turn:
        started, began = time.time(), time.perf_counter()
        for number in unit.frames:
            with context.frame(number) as (its, frame):
                frames.append(finished_frame(its, frame, render(its, frame)))
                held.append(held_in(its, frames[-1:]))
                makers.append(rendered_by(its))
        seconds = time.perf_counter() - began
    made = {**common_makers(makers), "started": started, "seconds": seconds}
    return write_unit(context, writer, unit, frames, held, made)


def held_in(context: RunContext, frames: Sequence[Products]) -> int | None:
    """Pixels of some frames that are held at the largest value that they can have; None where no product has one.

    Those are among them that more photons fall on than are counted, whatever a small gain makes of so many.
    """
    experiment = context.scene.experiment
    held = held_pixels(products_of(experiment), frames)
    if held is None or not experiment.noise.photon_noise:
        return held
    pairs = (pair for its in frames for pair in zip(INTENSITY.images(its), COUNTS.images(its), strict=True))
    return held + sum(
        int((is_reading(counts) & (counts != experiment.saturation_adu) & (photons >= MOST_PHOTONS)).sum())
        for photons, counts in pairs
        if photons.max() >= MOST_PHOTONS
    )


def rendered_by(context: RunContext) -> dict[str, str]:
    """What decides the last bits of an image, for its record: `kernel` ("compiled" or "eager"), `device`, `compiler` and `processor`."""
    backend = context.backend
    return {
        "kernel": backend.mode,
        "device": backend.device,
        "compiler": backend.compiler,
        "processor": backend.processor,
    }


def common(names: Iterable[str]) -> str:
    """The name that all share, or "mixed"."""
    first, *others = set(names)
    return MIXED if others else first


def common_makers(makers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What `rendered_by` says of several, each "mixed" where they differ."""
    return {name: common(by[name] for by in makers) for name in makers[0]}


def write_unit(
    context: Context,
    writer: UnitWriter,
    unit: Unit,
    frames: Sequence[Products],
    held: Sequence[int | None],
    made: dict[str, Any],
) -> dict[str, Any]:
    """Write finished frames of a unit and its record.

    Parameters
    ----------
    held
        What `held_in` says of them.
    made
        What the record says of the rendering: what `rendered_by` says, each "mixed" where the workers of a split frame differed;
        `started`, seconds since 1970; `seconds`, what the rendering took.
    """
    record = {
        "frames": [unit.first_frame, unit.last_frame],
        "precision": context.precision,
        "host": platform.node(),
        **made,
    }
    counted = [pixels for pixels in held if pixels is not None]
    if counted:
        record["saturated_pixels"] = sum(counted)
    return writer.write(unit, frames, record)
