"""The integrated method by the reference's own functions: on a GPU, and on a CPU without a compiler.

Spots of about one size are taken together, each on a patch of pixels that holds what of it exceeds the tolerance.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbdist.experiment.lattice import turned
from nbdist.kernels.reference.factors import pixel_factors
from nbdist.kernels.reference.integrated import SpotModel, SpotVariables, bent, mean_intensity, spot_model
from nbdist.kernels.reference.pixels import directions, positions
from nbdist.kernels.spots import Diffraction, Entries
from nbdist.kernels.torch_scene import TorchInstrument
from nbdist.scene.instrument import Factor
from nbdist.scene.mosaic import crystal_axes
from nbdist.scene.tile import Tile

logger = logging.getLogger(__name__)

POINTS_AT_ONCE = {"cpu": 2**20, "cuda": 2**23}
"""Of all pixels of the spots that are taken together, some 180 bytes each: a GPU waits for the launches of fewer."""
NODES = 8
DEVIATION_OF_NODES = 0.157
"""Deviation of a spot, in units of the side that `NODES` Gauss-Legendre nodes integrate to 1e-4 of its peak."""
MOST_PIECES = 32
"""Of a pixel's side, each with its nodes."""
BEYOND = 0.2
"""Of the tolerance: what is cut off all around a spot adds up to less than that."""


BENT_MORE = 1.25
"""Times what they say about the end of a spot's line, the terms of second order may take it off the line."""


class Patches(NamedTuple):
    """Where spots fall: first row and column, rows and columns, and pieces of a pixel's side that they need, int64 (R,) each.

    `low` and `high` are the pixel coordinates (R, 2) between which they are above the tolerance: a thin spot is integrated over its own
    extent, not over all of a pixel.
    """

    slow: Tensor
    fast: Tensor
    rows: Tensor
    columns: Tensor
    pieces: Tensor
    low: Tensor
    high: Tensor


def models(
    diffraction: Diffraction, entries: Entries, lattice: int, source: int, tensors: TorchInstrument
) -> tuple[Tensor, SpotModel]:
    """Reciprocal lattice vectors (R, 3) and coefficients of spots of one lattice and source, float64 on the device."""
    scene, tensor = diffraction.scene, tensors.tensor
    instrument, its = scene.instrument, scene.specimen.lattices[lattice]
    turn = turned(np.eye(3), entries.phi[:, None, None] * scene.spindle_axis).transpose(0, 2, 1)
    axes = np.einsum("rij,aj->rai", turn, crystal_axes(its.real_vectors_A))
    shape = turn @ diffraction.spreads[lattice].shape @ turn.transpose(0, 2, 1)
    direction, wavelength_A = instrument.sources.directions[source], float(instrument.sources.wavelengths_A[source])
    variance = (
        np.concatenate([its.mosaic_sigma_rad, [instrument.bandwidth_sigma], instrument.divergence_sigma_rad]) ** 2
    )
    G = tensor(np.einsum("rij,rj->ri", turn, entries.vector))
    variables = SpotVariables(
        variance=tensor(variance),
        axes=tensor(axes),
        spindle=tensor(scene.spindle_axis),
        tilts=tensor(np.cross(diffraction.divergence_axes, direction) / wavelength_A),
        beam=tensor(direction / wavelength_A),
        low=tensor(entries.low),
        high=tensor(entries.high),
    )
    return G, spot_model(G, tensor(shape), variables)


class TorchSpots:
    """The spots of one lattice, source and layer on a panel.

    Parameters
    ----------
    tensors
        The instrument on its device.
    panel, layer, source
        Of the detector, of its sensor, and of the beam.
    """

    def __init__(self, tensors: TorchInstrument, panel: int, layer: int, source: int) -> None:
        self._tensors, self._geometry = tensors, tensors.instrument.panels[panel]
        self._vectors = tensors.panels[panel]
        self._panel, self._sensor = panel, tensors.sensors[panel][layer]
        self._depth = self._sensor.layer * self._sensor.layer_thickness
        self._incident, self._wavelength = tensors.sources[source]

    def scattering(self, slow: Tensor, fast: Tensor) -> Tensor:
        """q at pixel coordinates, float64 (..., 3)."""
        towards, _ = directions(
            positions(slow.reshape(-1), fast.reshape(-1), self._depth, self._vectors, self._geometry.curved)
        )
        q = (towards - self._incident[:, None]) / self._wavelength
        return q.T.reshape(*slow.shape, 3)

    def _factors(self, which: Factor, slow: Tensor, fast: Tensor) -> Tensor:
        choice, source = self._tensors.choice(which, self._panel), (self._incident, self._wavelength)
        return pixel_factors(slow.reshape(-1), fast.reshape(-1), self._vectors, *source, self._sensor, choice).prod(0)

    def patches(self, G: Tensor, model: SpotModel, tolerance: float) -> tuple[Tensor, Patches]:
        """Which spots meet the panel's plane (R,), and where."""
        towards = (self._incident + self._wavelength * G).cpu().numpy()
        place = self._geometry.coordinates(towards / np.linalg.norm(towards, axis=1)[:, None])
        far = 4.0 * sum(self._geometry.shape)
        there = self._tensors.tensor(place)
        met = torch.isfinite(there).all(1) & (there.abs() < far).all(1)
        there = torch.where(met[:, None], there, torch.zeros_like(there))
        slow, fast = there[:, 0], there[:, 1]
        D = self.scattering(slow, fast) - G + model.shift
        by = torch.stack(
            [
                self.scattering(slow + 0.5, fast) - self.scattering(slow - 0.5, fast),
                self.scattering(slow, fast + 0.5) - self.scattering(slow, fast - 0.5),
            ],
            dim=1,
        )
        flat = torch.einsum("rei,rej->rij", model.across, model.across)
        full = flat + model.along[:, :, None] * model.along[:, None] / model.curvature[:, None, None]
        half = 0.5 * (model.high - model.low)
        # outside the stretch of phi: (|x| - half)^2 >= x^2 / 2 - half^2, x from its middle
        phi = torch.einsum("ri,rai->ra", model.along, by) / model.curvature[:, None]
        offset = (model.along * D).sum(1) / model.curvature - 0.5 * (model.low + model.high)
        limit = -2 * math.log(BEYOND * tolerance)
        bounds = []
        for weight, slack in ((0.5, model.curvature * half * half), (0.0, torch.zeros_like(half))):
            A = torch.einsum("rai,rij,rbj->rab", by, flat, by) + weight * (
                model.curvature[:, None, None] * phi[:, :, None] * phi[:, None]
            )
            b = torch.einsum("rai,rij,rj->ra", by, flat, D) + weight * (model.curvature * offset)[:, None] * phi
            c = torch.einsum("ri,rij,rj->r", D, flat, D) + weight * model.curvature * offset**2 - slack
            determinant = torch.linalg.det(A)
            known = determinant > 1e-12 * A[:, 0, 0] * A[:, 1, 1]
            inverse = torch.linalg.inv(
                torch.where(known[:, None, None], A, torch.eye(2, dtype=A.dtype, device=A.device))
            )
            middle = -torch.einsum("rab,rb->ra", inverse, b)
            room = limit - (c + (b * middle).sum(1))
            reach = torch.sqrt(torch.clamp_min(room, 0)[:, None] * torch.diagonal(inverse, dim1=1, dim2=2))
            bounds.append((known, room > 0, middle - reach, middle + reach))
        first = torch.full_like(there, -far)
        last = torch.full_like(there, far)
        for known, inside, low, high in bounds:
            met = met & (inside | ~known)
            first = torch.where(known[:, None], torch.maximum(first, low), first)
            last = torch.where(known[:, None], torch.minimum(last, high), last)
        smooth = torch.einsum("rai,rij,rbj->rab", by, full, by)
        margin = self._bend(G, model, there, D, by, full, smooth, first, last)
        low, high = there + first - margin, there + last + margin
        sharp = torch.sqrt(torch.diagonal(smooth, dim1=1, dim2=2)) * torch.clamp_max(high - low, 1)
        pieces = torch.clamp_min(torch.ceil(DEVIATION_OF_NODES * sharp.amax(1)), 1).long()
        begin = torch.floor(low).long()
        size = torch.ceil(high).long() - begin
        return met & (size > 0).all(1), Patches(begin[:, 0], begin[:, 1], size[:, 0], size[:, 1], pieces, low, high)

    def _bend(
        self,
        G: Tensor,
        model: SpotModel,
        there: Tensor,
        D: Tensor,
        by: Tensor,
        full: Tensor,
        smooth: Tensor,
        first: Tensor,
        last: Tensor,
    ) -> Tensor:
        """Pixels (R, 1) by which the ends of spots may lie off the line through them that is linear in slow and fast.

        `full` is the exponent's matrix with phi, and `smooth` the same on the panel; the ends are those along slow and along fast.
        """
        middle = 0.5 * (first + last)
        one = torch.eye(2, dtype=smooth.dtype, device=smooth.device)
        determinant = torch.linalg.det(smooth)[:, None, None]
        known = determinant > 1e-12 * (smooth[:, 0, 0] * smooth[:, 1, 1])[:, None, None]
        inverse = torch.linalg.inv(torch.where(known, smooth, one))
        most = torch.zeros_like(first[:, :1])
        for axis in (0, 1):
            slope = -smooth[:, 0, 1] / smooth[:, 1 - axis, 1 - axis]
            for end in (first, last):
                step = torch.empty_like(end)
                step[:, axis] = end[:, axis]
                step[:, 1 - axis] = middle[:, 1 - axis] + slope * (end - middle)[:, axis]
                step = torch.minimum(torch.maximum(step, first), last)
                place = there + step
                off = bent(model, (self.scattering(place[:, 0], place[:, 1]) - G)[:, None])[0][:, 0]
                off = off - D - torch.einsum("ra,rai->ri", step, by)
                pull = torch.einsum("rai,rij,rj->ra", by, full, off)
                moved = torch.where(known[:, 0], torch.einsum("rab,rb->ra", inverse, pull), torch.zeros_like(pull))
                most = torch.maximum(most, moved.abs().amax(1, keepdim=True))
        return torch.clamp_max(BENT_MORE * most, 100.0)

    def values(
        self, tile: Tile, G: Tensor, model: SpotModel, strength: Tensor, factor: Tensor, varying: Factor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield what spots give to a tile: numbers of spots, pixels (row by row) and values (n,), times the factors (rows, columns).

        `varying` are factors that are evaluated at every point, besides.
        """
        instrument = self._tensors.instrument
        met, patches = self.patches(G, model, instrument.tolerance)
        inside = (
            met
            & (patches.slow < tile.slow_stop)
            & (patches.slow + patches.rows > tile.slow_start)
            & (patches.fast < tile.fast_stop)
            & (patches.fast + patches.columns > tile.fast_start)
        )
        if instrument.subpixels is None and bool((patches.pieces[inside] > MOST_PIECES).any()):
            _warn_of_few_points()
        for some, rows, columns, pieces in _batches(torch.nonzero(inside)[:, 0], patches, instrument.subpixels):
            nodes, weights = map(self._tensors.tensor, _nodes(instrument.subpixels, pieces))
            its = SpotModel(*(column[some] for column in model))
            slow = patches.slow[some][:, None] + torch.arange(rows, device=G.device)
            fast = patches.fast[some][:, None] + torch.arange(columns, device=G.device)
            if instrument.subpixels is None:
                (s, s_length), (f, f_length) = (
                    _within(pixels, patches.low[some, axis], patches.high[some, axis])
                    for axis, pixels in enumerate((slow, fast))
                )
            else:
                s, f, s_length, f_length = slow, fast, torch.ones_like(slow), torch.ones_like(fast)
            s, f = s[:, :, None] + s_length[:, :, None] * nodes, f[:, :, None] + f_length[:, :, None] * nodes
            points = (
                s[:, :, None, :, None].expand(-1, rows, columns, len(nodes), len(nodes)),
                f[:, None, :, None, :].expand(-1, rows, columns, len(nodes), len(nodes)),
            )
            D = self.scattering(*points).reshape(len(some), -1, 3) - G[some][:, None]
            typed = SpotModel(*(column.to(self._tensors.dtype) for column in its))
            values = mean_intensity(typed, D.to(self._tensors.dtype)).to(torch.float64)
            values = values.reshape(len(some), rows, columns, len(nodes) ** 2)
            if varying:
                values = values * self._factors(varying, *points).reshape(values.shape)
            values = values @ torch.outer(weights, weights).reshape(-1)
            values = values * strength[some][:, None, None] * s_length[:, :, None] * f_length[:, None]
            row, column = slow[:, :, None] - tile.slow_start, fast[:, None, :] - tile.fast_start
            height, width = tile.shape
            there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = (row * width + column)[there]
            yield some[:, None, None].expand_as(there)[there], pixel, values[there] * factor.reshape(-1)[pixel]


@cache
def _warn_of_few_points() -> None:
    """Once in a process."""
    logger.warning(
        "spots are long and hundreds of times thinner than a pixel: torch has too few points for them, and pixels may be off by a tenth; "
        "the compiled kernel of a CPU has enough (device cpu)"
    )


def _within(pixels: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where the part of pixels (R, n) begins that lies between two coordinates (R,), and its length."""
    begin = torch.maximum(pixels.to(low.dtype), low[:, None])
    return begin, torch.clamp_min(torch.minimum(pixels + 1, high[:, None]) - begin, 0)


def _batches(spots: Tensor, patches: Patches, subpixels: int | None) -> Iterator[tuple[Tensor, int, int, int]]:
    """Spots of about one size, few enough to be taken together: their numbers, rows, columns and pieces."""
    size = torch.maximum(patches.rows, patches.columns)[spots]
    pieces = patches.pieces[spots].clamp_max(MOST_PIECES) if subpixels is None else torch.ones_like(spots)
    kind = torch.ceil(torch.log2(size.to(torch.float64))).long() * (MOST_PIECES + 1) + pieces
    for one in torch.unique(kind).tolist():
        its = spots[kind == one]
        rows, columns = int(patches.rows[its].max()), int(patches.columns[its].max())
        number = one % (MOST_PIECES + 1)
        each = rows * columns * (subpixels or NODES * number) ** 2
        together = max(1, POINTS_AT_ONCE.get(spots.device.type, POINTS_AT_ONCE["cuda"]) // each)
        for start in range(0, len(its), together):
            yield its[start : start + together], rows, columns, number


def _nodes(subpixels: int | None, pieces: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in a pixel along a side, and their weights: midpoints, or Gauss-Legendre nodes in each piece."""
    if subpixels is not None:
        return (np.arange(subpixels) + 0.5) / subpixels, np.full(subpixels, 1 / subpixels)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    places = (np.arange(pieces)[:, None] + 0.5 + nodes / 2) / pieces
    return places.reshape(-1), np.tile(weights / (2 * pieces), pieces)
