"""Values of pixels that change slowly over a panel: worked out at some rows and columns, with cubic polynomials in between.

Between nodes a step h apart, a polynomial through four of them is off by 3/128 h^4 times the fourth derivative at most. What a beam
scatters changes over lengths of the distance to the panel, so this is done where that is `LEAST_PIXELS` at least; near the beam it
changes over the distance to that, too, so pixels within `EXACT_STEPS` steps of it are not interpolated so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.panels import PanelGeometry
from nbdist.scene.tile import Tile

Array = NDArray[np.float64]
OfDirections = Callable[[Array, Array], Array]
"""Values (...) of unit vectors (..., 3) from the sample to the middles of pixels, and of their distances (...) in metres."""

STEPS = (8, 2)
"""Pixels from node to node, far from the beam and next to it."""
EXACT_STEPS = 16
"""From the beam, in steps: what is nearer is left to the next smaller step, and at last to be worked out pixel by pixel."""
LEAST_PIXELS = 512


def _weights(step: int) -> Array:
    """What each of four nodes, at -1, 0, 1 and 2, adds to the pixels from 0 to 1 (step, 4), after Lagrange."""
    t, nodes = np.arange(step) / step, np.arange(-1, 3)
    each = [np.prod([(t - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes]
    return np.stack(each, axis=1)


WEIGHTS = {step: _weights(step) for step in STEPS}


def changes_slowly(panel: PanelGeometry) -> bool:
    """Whether what is scattered changes slowly from pixel to pixel, but near the beam."""
    return panel.close_distance_m >= LEAST_PIXELS * panel.pixel_m


def interpolated(panel: PanelGeometry, tile: Tile, step: int, values: OfDirections) -> Array:
    """Values of the pixels of a tile, float64 (rows, columns), of the values at nodes that are one of `STEPS` apart."""
    weights, (rows, columns) = WEIGHTS[step], (-(-size // step) for size in tile.shape)
    slow = tile.slow_start + 0.5 + step * np.arange(-1.0, rows + 2)
    fast = tile.fast_start + 0.5 + step * np.arange(-1.0, columns + 2)
    nodes = values(*panel.directions(slow[:, None], fast))
    between = np.zeros((rows, step, len(fast)))
    for node in range(4):
        between += weights[:, node, None] * nodes[node : node + rows, None, :]
    lines = between.reshape(-1, len(fast))[: tile.shape[0]]
    found = np.zeros((tile.shape[0], columns, step))
    for node in range(4):
        found += lines[:, node : node + columns, None] * weights[:, node]
    return found.reshape(tile.shape[0], -1)[:, : tile.shape[1]]


def near_the_beam(panel: PanelGeometry, tile: Tile, beam: Array, step: int) -> Tile | None:
    """The pixels of a tile about the place where a beam (3,) meets its panel that a step is too large for; None for none."""
    slow, fast = panel.coordinates(beam).tolist()
    if not np.isfinite([slow, fast]).all():
        return None
    reach = EXACT_STEPS * step
    (first, last), (left, right) = (
        (max(start, round(at) - reach), min(stop, round(at) + reach))
        for at, start, stop in ((slow, *tile[1:3]), (fast, *tile[3:5]))
    )
    return Tile(tile.panel, first, last, left, right) if first < last and left < right else None
