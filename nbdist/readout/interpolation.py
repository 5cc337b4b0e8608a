"""Values of pixels that change slowly over a panel: worked out at some rows and columns, with cubic polynomials in between.

Between nodes a step h apart, a polynomial through four of them is off by 3/128 h^4 times the fourth derivative at most. What a beam
scatters changes over lengths of the distance to the panel, the faster the shorter its wave is, so a step is taken where that is
`LEAST_STEPS` of it; near the beam it changes over the distance to that, too, so pixels within `EXACT_STEPS` steps of it are not
interpolated so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbdist.scene.panels import SMALLEST_OBLIQUITY, PanelGeometry
from nbdist.scene.tile import Tile

Array = NDArray[np.float64]
OfDirections = Callable[[Array, Array], Array]
"""Values (...) of unit vectors (..., 3) from the sample to the middles of pixels, and of their distances (...) in metres."""

STEPS = (8, 4, 2)
"""Pixels from node to node, far from the beam and nearer to it."""
EXACT_STEPS = 24
"""From the beam, in steps: what is nearer is left to the next smaller step, and at last to be worked out pixel by pixel."""
LEAST_STEPS = 128
"""From the sample to a panel, for wavelengths of 1 Angstrom and more; in proportion more for shorter ones."""


def _weights(step: int) -> Array:
    """What each of four nodes, at -1, 0, 1 and 2, adds to the pixels from 0 to 1 (step, 4), after Lagrange."""
    t, nodes = np.arange(step) / step, np.arange(-1, 3)
    each = [np.prod([(t - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes]
    return np.stack(each, axis=1)


WEIGHTS = {step: _weights(step) for step in STEPS}


def steps_on(panel: PanelGeometry, wavelength_A: float) -> tuple[int, ...]:
    """Those of `STEPS` from pixel to pixel of which what is scattered changes slowly, but near the beam."""
    slowly_m = panel.close_distance_m * min(1.0, wavelength_A)
    return tuple(step for step in STEPS if slowly_m >= LEAST_STEPS * step * panel.pixel_m)


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


def near_the_beam(panel: PanelGeometry, tile: Tile, beam: Array, step: int) -> list[Tile]:
    """The pixels of a tile that a step is too large for: about the places where the line of a beam (3,) meets its panel.

    Those behind the sample are among them, where the air is that scatters before the beam comes to it.
    """
    reach, spots = EXACT_STEPS * step, panel.coordinates([beam, -beam])
    if panel.curved:
        half = np.pi * panel.distance_m / panel.pixel_m
        spots = spots[0] + half * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    else:
        obliquity = max(abs(float(panel.normal @ beam)), SMALLEST_OBLIQUITY)
        reach = math.ceil(reach / obliquity)  # where a panel is tilted, the line comes near it slowly
    near = []
    for slow, fast in spots[np.isfinite(spots).all(axis=1)].tolist():
        (first, last), (left, right) = (
            (max(start, round(at) - reach), min(stop, round(at) + reach))
            for at, start, stop in ((slow, *tile[1:3]), (fast, *tile[3:5]))
        )
        if first < last and left < right:
            near.append(Tile(tile.panel, first, last, left, right))
    return near
