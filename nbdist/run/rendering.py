"""Rendering the pieces of a plan; the serial and the Dask run call these functions and differ in the loop only.

Partials are added in the order of the plan's chunks, tile by tile, in float64, and divided once by the experiment's steps when all of
a pixel are there. So a frame has the same bits whether one task rendered it or many.
"""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.frames.products import Products, RenderedFrame, held_pixels, made_of, products_of, rendered_frame
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.run.context import RunContext
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
    return made_of(labelled_frame(context, frame, photons))


def labelled_frame(context: RunContext, frame: int, photons: Photons) -> RenderedFrame:
    """A frame of rendered photons, with its labels where the experiment asks for some."""
    rendered = rendered_frame(context.scene, frame, photons, context.readout)
    rendered = replace(rendered, diffraction=context.renderer.diffraction)
    if not context.scene.experiment.labels.of_frames:
        return rendered
    return replace(rendered, labels=context.renderer.labels(frame, rendered.photons))


def render_unit(
    context: RunContext,
    writer: UnitWriter,
    unit: Unit,
    render: Callable[[RunContext, int], Photons] | None = None,
) -> dict[str, Any]:
    """Render a unit's frames (with `render_frame`, where nothing else is given), write its shards, and return its record."""
    render = render_frame if render is None else render
    with context.turn:
        started, began = time.time(), time.perf_counter()
        frames = [finished_frame(context, frame, render(context, frame)) for frame in unit.frames]
        seconds = time.perf_counter() - began
    made = {**rendered_by(context), "started": started, "seconds": seconds}
    return write_unit(context, writer, unit, frames, made)


def rendered_by(context: RunContext) -> dict[str, str]:
    """What decides the last bits of an image, for its record: `kernel` ("compiled" or "eager"), `device`, `compiler` and `processor`."""
    backend = context.renderer.backend
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


def write_unit(
    context: RunContext,
    writer: UnitWriter,
    unit: Unit,
    frames: Sequence[Products],
    made: dict[str, Any],
) -> dict[str, Any]:
    """Write finished frames of a unit and its record.

    Parameters
    ----------
    made
        What the record says of the rendering: what `rendered_by` says, each "mixed" where the workers of a split frame differed;
        `started`, seconds since 1970; `seconds`, what the rendering took.
    """
    record = {
        "frames": [unit.first_frame, unit.last_frame],
        "precision": context.scene.instrument.precision,
        "host": platform.node(),
        **made,
    }
    held = held_pixels(products_of(context.scene.experiment), frames)
    if held is not None:
        record["saturated_pixels"] = held
    return writer.write(unit, frames, record)
