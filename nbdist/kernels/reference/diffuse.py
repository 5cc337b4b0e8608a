"""Diffuse scattering of displacements that are normal: the published formulas, and how pixels are worked out by them.

With 2W = 4 pi^2 q.U.q for displacements of covariance U, and Gamma the transform of their correlation exp(-|r / gamma|),

    correlated   I(q) = N exp(-2W) 2W  sum over G of F(G)^2 V* Gamma(q - G),   Gamma(s) = 8 pi |gamma| / (1 + 4 pi^2 |gamma s|^2)^2
    rigid body   I(q) = N (1 - exp(-2W)) F(q)^2

(D. L. D. Caspar et al., Nature 332 (1988) 659; M. E. Wall et al., Proc. Natl Acad. Sci. USA 94 (1997) 6180; A. Peck et al., IUCrJ 5 (2018)
211). N is the number of cells, V* the volume of a cell of reciprocal space. F(q)^2 is interpolated between reflections, linearly along
each axis. Miller indices are float64; what is made of them has the dtype of the tables.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from nbdist.kernels.reference.amplitudes import AmplitudeTensors, nearest


class HaloTensors(NamedTuple):
    """`Halos` of one table on a device: `displacement`, `halo` (3, 3; None for rigid bodies), `between` (8, 8), `correction` (3, 3, 3).

    `table` are the amplitudes, `far` what all other reflections add at each, None for rigid bodies.
    """

    displacement: Tensor
    halo: Tensor | None
    between: Tensor
    correction: Tensor
    table: AmplitudeTensors
    far: AmplitudeTensors | None


def displaced(index: Tensor, displacement: Tensor, correlated: bool) -> Tensor:
    """exp(-2W) 2W, or 1 - exp(-2W) of displacements that are not correlated, (P,).

    Parameters
    ----------
    index
        h, k, l (3, P).
    displacement
        D (3, 3), with 2W = |D h|^2.
    """
    exponent = ((displacement @ index) ** 2).sum(0)
    return torch.exp(-exponent) * exponent if correlated else -torch.expm1(-exponent)


def halo(distance: Tensor, width: Tensor) -> Tensor:
    """V* Gamma at distances from a reflection (3, ...) in h, k, l; `width` is P (3, 3), as in `scene.diffuse.Disorder.halo`."""
    squared = (torch.tensordot(width, distance, dims=1) ** 2).sum(0)
    return torch.linalg.det(width) / math.pi**2 / (1 + squared) ** 2


def diffuse_sum(index: Tensor, miller: Tensor, F: Tensor, displacement: Tensor, width: Tensor | None) -> Tensor:
    """Diffuse intensity of one cell with the halos of some reflections and no others: the formula itself, electrons^2 (P,).

    Parameters
    ----------
    index
        h, k, l (3, P).
    miller, F
        Reflections (n, 3) and their amplitudes (n,).
    displacement, width
        D and P (3, 3); without P displacements are not correlated, and F is that at each of the n = P places.
    """
    if width is None:
        return displaced(index, displacement, correlated=False) * F**2
    return displaced(index, displacement, correlated=True) * (F**2 @ halo(index[:, None] - miller.T[:, :, None], width))


def diffuse_intensity(index: Tensor, halos: HaloTensors) -> Tensor:
    """Diffuse intensity of one cell at h, k, l (3, P), float64, with all reflections of a table, electrons^2 (P,) in its dtype.

    `kernels.diffuse` says how far reflections are interpolated.
    """
    values = halos.table.values
    whole = torch.floor(index)
    fraction = (index - whole).to(values.dtype)
    corners = list(product((0.0, 1.0), repeat=3))
    cells = [[(whole[axis] + corner[axis]).to(values.dtype) for axis in range(3)] for corner in corners]
    F2 = torch.stack([nearest(cell, halos.table) ** 2 for cell in cells])
    if halos.far is None:
        others, near = F2, torch.zeros_like(F2[0])
    else:
        far = torch.stack([nearest(cell, halos.far) for cell in cells])
        others = torch.clamp_min(far - halos.between.to(values.dtype) @ F2, 0)
        assert halos.halo is not None
        width = halos.halo.to(values.dtype)
        near = sum(
            (
                its * halo(fraction - fraction.new_tensor(corner)[:, None], width)
                for its, corner in zip(F2, corners, strict=True)
            ),
            start=torch.zeros_like(F2[0]),
        )
    shares = [1 - fraction, fraction]
    between = sum(
        (
            its * math.prod((shares[int(corner[axis])][axis] for axis in range(3)), start=torch.ones_like(fraction[0]))
            for its, corner in zip(others, corners, strict=True)
        ),
        start=torch.zeros_like(fraction[0]),
    )
    powers = torch.stack([torch.ones_like(fraction), fraction, fraction * fraction], dim=1)
    correction = torch.einsum("abc,ap,bp,cp->p", halos.correction.to(values.dtype), *powers)
    factor = displaced(index.to(values.dtype), halos.displacement.to(values.dtype), halos.far is not None)
    return factor * (between * correction + near)
