"""One frame as an array, or the whole series as a lazy one: no store, no cluster needed."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.experiment import Experiment, validate
from nbdist.frames.products import INTENSITY
from nbdist.kernels.devices import Device, pick_device, preferred_device
from nbdist.run.context import RunContext, make_context
from nbdist.run.rendering import render_frame
from nbdist.scene import Tile

if TYPE_CHECKING:
    import xarray

logger = logging.getLogger(__name__)
LAZY_TILE = (512, 512)
KEPT_CONTEXTS = 2
_contexts: dict[tuple[str, str, str], RunContext] = {}
"""The contexts that were used last, by fingerprint, device and kernel: amplitudes and kernels are not loaded again for the next call."""
_lock = threading.Lock()


def simulate_frame(
    experiment: Experiment,
    frame: int = 0,
    *,
    device: Device = "auto",
    kernel: str = "compiled",
    panel: int | None = None,
) -> NDArray[np.floating[Any]]:
    """Render one frame; what the experiment probably does not mean is logged as a warning.

    Parameters
    ----------
    experiment
        What to simulate.
    frame
        Number of the frame, from 0.
    device, kernel
        Where to render, "auto", "cpu" or "cuda", and "compiled" or "eager".
    panel
        Which panel of several, from 0; all of them where left out and they have one size.

    Returns
    -------
    Expected photons a pixel, (slow, fast), float32 or float64 as `sampling.precision` says; (panel, slow, fast) of several panels.

    Raises
    ------
    NbdistError
        If the experiment or one of its files is wrong, or the frame or the panel is not there.
    """
    device = preferred_device(device, experiment.sampling.method)
    context = _context(experiment.fingerprint, lambda: experiment, device, kernel)
    if not 0 <= frame < context.plan.frames:
        raise RunError(f"frame {frame} lies outside the series of {context.plan.frames} frames")
    chosen = _chosen_panels(experiment, panel)
    images = render_frame(context, frame)
    return images[chosen[0]] if len(chosen) == 1 else np.stack(images)


def _chosen_panels(experiment: Experiment, panel: int | None) -> range:
    """The panels that make one array."""
    shapes = experiment.detector.shapes
    if panel is None:
        if len(set(shapes)) > 1:
            raise RunError("detector.panels: panels of different sizes make no one array; choose one: panel=0")
        return range(len(shapes))
    if not 0 <= panel < len(shapes):
        raise RunError(f"panel {panel} lies outside 0:{len(shapes)}")
    return range(panel, panel + 1)


def simulate_series(
    experiment: Experiment,
    *,
    device: Device = "auto",
    kernel: str = "compiled",
    tile: tuple[int, int] = LAZY_TILE,
    panel: int | None = None,
) -> xarray.DataArray:
    """The series as a lazy array: slicing renders only the tiles that are asked for; warnings are as of `simulate_frame`.

    Parameters
    ----------
    experiment
        What to simulate.
    device, kernel
        Where to render, "auto", "cpu" or "cuda", and "compiled" or "eager".
    tile
        Rows and columns of a block.
    panel
        Which panel of several, from 0; all of them where left out and they have one size.

    Returns
    -------
    DataArray over Dask (frame, slow, fast), expected photons a pixel, float32 or float64 as `sampling.precision` says, with the
    coordinates phi_start_deg and phi_end_deg (frame), degrees; (frame, panel, slow, fast) of several panels.

    Raises
    ------
    NbdistError
        If the experiment or one of its files is wrong, or the panel is not there.
    """
    import dask.array
    import xarray

    fingerprint, device = experiment.fingerprint, preferred_device(device, experiment.sampling.method)
    _context(fingerprint, lambda: experiment, device, kernel)  # what is wrong is said here, not at the first slice
    frames = range(experiment.scan.frames)
    chosen = _chosen_panels(experiment, panel)
    slow, fast = experiment.detector.shapes[chosen[0]]
    of_panels = ((1,) * len(chosen),) if len(chosen) > 1 else ()
    chunks = ((1,) * len(frames), *of_panels, _pieces(slow, tile[0]), _pieces(fast, tile[1]))
    dtype = np.dtype(experiment.sampling.precision)
    values = dask.array.map_blocks(
        _render_block,
        chunks=chunks,
        dtype=dtype,
        meta=np.empty((0,) * len(chunks), dtype=dtype),
        name=f"nbdist-{fingerprint[:16]}-{tile[0]}-{tile[1]}-{kernel}-{device}-{panel}",
        experiment=experiment.model_dump_json(),
        fingerprint=fingerprint,
        device=device,
        kernel=kernel,
        tile=tile,
        image_shape=(slow, fast),
        first_panel=chosen[0],
    )
    scan = experiment.scan
    dimensions = ("frame", *(("panel",) if len(chosen) > 1 else ()), "slow", "fast")
    coordinates = {
        "frame": list(frames),
        "phi_start_deg": ("frame", [scan.frame_start_deg(frame) for frame in frames]),
        "phi_end_deg": ("frame", [scan.frame_start_deg(frame + 1) for frame in frames]),
    }
    return xarray.DataArray(
        values,
        dims=dimensions,
        coords=coordinates,
        name=INTENSITY.name,
        attrs={"units": INTENSITY.units},
    )


def _render_block(
    experiment: str,
    fingerprint: str,
    device: Device,
    kernel: str,
    tile: tuple[int, int],
    image_shape: tuple[int, int],
    first_panel: int,
    block_id: tuple[int, ...],
) -> NDArray[np.floating[Any]]:
    """Render the tile of a block, which Dask tells by its number alone: what it knew of each would be kept for millions."""
    frame, *panel, row, column = block_id
    slow0, fast0 = row * tile[0], column * tile[1]
    slow1, fast1 = min(slow0 + tile[0], image_shape[0]), min(fast0 + tile[1], image_shape[1])
    context = _context(fingerprint, lambda: validate(json.loads(experiment)), device, kernel)
    values = context.renderer.frame(frame, Tile(panel[0] if panel else first_panel, slow0, slow1, fast0, fast1))
    return values.astype(context.scene.instrument.precision)[(None,) * (1 + len(panel))]


def _pieces(size: int, piece: int) -> tuple[int, ...]:
    return tuple(min(piece, size - start) for start in range(0, size, piece))


def _context(fingerprint: str, experiment: Callable[[], Experiment], device: Device, kernel: str) -> RunContext:
    """The context of the experiment with this fingerprint, kept for the next call.

    Raises
    ------
    RunError
        If the experiment's files are not those of the fingerprint any more.
    """
    with _lock:
        key = (fingerprint, pick_device(device), kernel)
        context = _contexts.pop(key, None)
        if context is None:
            made = experiment()
            context = make_context(made, device=key[1], kernel=kernel)
            if made.fingerprint != fingerprint:
                raise RunError("a file that the experiment names has changed since; simulate it anew")
            for note in context.notes:
                logger.warning("%s", note)
            while len(_contexts) >= KEPT_CONTEXTS:
                del _contexts[next(iter(_contexts))]
        _contexts[key] = context
        return context
