"""The sum over orientations: all the cost of a simulation, as one pure function.

The Miller index of pixel p in orientation m is h = a_m . q_p. In float32 that product loses the digits that matter when a crystal
has a thousand cells, so it is taken apart with a reference orientation a_0 and a reference scattering vector q_0 near by:

    a_m . q_p = a_0 . (q_p - q_0)  +  a_m . q_0  +  (a_m - a_0) . (q_p - q_0)

The first term belongs to the pixel, the second to the orientation; both are worked out in float64 and split into a part on a grid of
2^-11, which float32 adds and rounds without error up to |h| = 8192, and a small rest. The third is small times small. What is left
to the inner loop is exact to about 1e-10 of a Miller index where the lattice transform is sharp.

`orientation_sum` is the specification: it runs eagerly as it stands, and compiled without ever storing pixels x orientations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nbdist.kernels.reference.amplitudes import AmplitudeTensors, interpolated, nearest
from nbdist.kernels.reference.pixels import PanelVectors, directions, positions, scattering_vectors
from nbdist.kernels.reference.shapes import lattice_factor
from nbdist.kernels.variant import Variant

GRID = 2048.0


def split(value: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Split float64 values into a part on the grid of 2^-11 and the rest, both in `dtype`."""
    coarse = torch.round(value * GRID) * (1 / GRID)
    return coarse.to(dtype), (value - coarse).to(dtype)


def pixel_part(
    slow: Tensor,
    fast: Tensor,
    depth: Tensor,
    panel: PanelVectors,
    incident: Tensor,
    wavelength: Tensor,
    q_reference: Tensor,
    real_reference: Tensor,
    curved: bool,
    dtype: torch.dtype,
) -> Tensor:
    """What the inner sum needs of each pixel, (9, P) in `dtype`: q - q_0, and a_0 . (q - q_0) split in two.

    Parameters
    ----------
    slow, fast, depth, panel, curved
        As in `pixels.positions`.
    incident, wavelength
        Unit vector (3,) and Angstrom () of the source.
    q_reference
        q_0 (3,), 1/Angstrom.
    real_reference
        Rows a, b, c of the reference orientation (3, 3), Angstrom.
    """
    direction, _ = directions(positions(slow, fast, depth, panel, curved))
    q = scattering_vectors(direction, incident, wavelength) - q_reference[:, None]
    indices = [r[0] * q[0] + r[1] * q[1] + r[2] * q[2] for r in real_reference]
    coarse, rest = zip(*(split(index, dtype) for index in indices), strict=True)
    return torch.stack([*(component.to(dtype) for component in q), *coarse, *rest])


def orientation_part(real: Tensor, real_reference: Tensor, q_reference: Tensor, dtype: torch.dtype) -> Tensor:
    """What the inner sum needs of each orientation, (15, M, 1) in `dtype`: a_m - a_0 row by row, and a_m . q_0 split in two.

    Parameters
    ----------
    real
        Rows a, b, c of every orientation (M, 3, 3), float64, Angstrom.
    """
    turn = (real - real_reference).reshape(-1, 9)
    coarse, rest = split(real @ q_reference, dtype)
    return torch.cat([turn.to(dtype), coarse, rest], dim=1).T[:, :, None].contiguous()


Reflections = tuple[list[Tensor], list[tuple[Tensor, Tensor]]]
"""Nearest whole h, k, l, and the distance to it of each in two parts, as `shapes` wants them."""


def nearest_reflections(pixels: Tensor, orientations: Tensor) -> Reflections:
    """The reflection nearest to every pixel in every orientation, tensors (M, P); arguments as in `orientation_sum`."""
    whole, distances = [], []
    for axis in range(3):
        coarse = pixels[3 + axis] + orientations[9 + axis]
        rest = (
            pixels[6 + axis]
            + orientations[12 + axis]
            + orientations[3 * axis] * pixels[0]
            + orientations[3 * axis + 1] * pixels[1]
            + orientations[3 * axis + 2] * pixels[2]
        )
        nearest_whole = torch.round(coarse + rest)
        whole.append(nearest_whole)
        distances.append((coarse - nearest_whole, rest))
    return whole, distances


def cell_amplitudes(
    whole: list[Tensor], distances: list[tuple[Tensor, Tensor]], table: AmplitudeTensors, variant: Variant
) -> Tensor:
    """F_cell of what `nearest_reflections` found, electrons (M, P)."""
    if variant.interpolate:
        return interpolated(whole, [coarse + rest for coarse, rest in distances], table)
    return nearest(whole, table)


def orientation_sum(
    pixels: Tensor, orientations: Tensor, cells: Tensor, fudge: Tensor, table: AmplitudeTensors, variant: Variant
) -> Tensor:
    """Sum F_cell^2 F_latt^2 over orientations: one un-normalised partial, float64 (P,), electrons^2.

    Parameters
    ----------
    pixels
        From `pixel_part`, (9, P).
    orientations
        From `orientation_part`, (15, M, 1).
    cells, fudge
        N_a, N_b, N_c (3,), or (3, 3) for `shapes.isotropic`, and the spot-size factor (), in the kernel's dtype.
    table
        Amplitudes.
    variant
        Shape, interpolation; the dtype is that of the tensors.
    """
    whole, distances = nearest_reflections(pixels, orientations)
    terms = lattice_factor(variant.shape, distances, cells, fudge)
    if variant.uniform:
        return terms.sum(0, dtype=torch.float64) * table.values[0].to(torch.float64) ** 2
    F_cell = cell_amplitudes(whole, distances, table, variant)
    return (F_cell * F_cell * terms).sum(0, dtype=torch.float64)
