"""How a lattice is turned from the standard setting of its cell, and the orientations that its symmetry makes one of.

The reciprocal vectors of a lattice are the columns of A, so that q = A h for indices h (a column). A = U B, with B of the cell alone: a*
along x and b* in the x-y plane (W. R. Busing, H. A. Levy, Acta Cryst. 22 (1967) 457; `reciprocal_from_cell`). U is a proper rotation. That
of DIALS is another: its B has a along x.

An operation x' = W x of the space group gives the same crystal other indices, h W as a row; A becomes A W^-T, and U becomes U S with
S = B W^-T B^-1, a rotation about an axis of the crystal. So a crystal with n proper rotations in its point group has n U, between which no
image can tell. Mirrors and the inversion are left out: they make no rotation of it.

The one of smallest angle stands for all, as everywhere in texture analysis (A. Heinz, P. Neumann, Acta Cryst. A47 (1991) 780).
A rotation by an angle t about a unit vector n is the quaternion (w, x, y, z) = (cos t/2, n sin t/2), right-handed, with w >= 0; the
smallest angle has the largest w.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.lattice import cell_from_real, dual_vectors, reciprocal_from_cell
from nbdist.scene.symmetry import Symmetry

Array = NDArray[np.float64]
TIE = 1e-9
"""Components of quaternions that are nearer to each other count as the same."""


def standard_rotation(real_vectors_A: Array) -> Array:
    """The rotation U of a lattice from the standard setting of its cell: A = U B.

    Parameters
    ----------
    real_vectors_A
        Rows a, b, c (3, 3) in the laboratory, Angstrom.

    Returns
    -------
    U, float64 (3, 3); it turns column vectors.
    """
    standard = dual_vectors(reciprocal_from_cell(cell_from_real(real_vectors_A)))
    return np.asarray(dual_vectors(real_vectors_A).T @ standard)


def symmetry_rotations(real_vectors_A: Array, symmetry: Symmetry) -> Array:
    """The proper rotations S of a lattice's point group, in the standard setting of its cell.

    They are those of the nearest cell that the symmetry allows, which are rotations exactly.

    Parameters
    ----------
    real_vectors_A
        Rows a, b, c (3, 3), Angstrom.
    symmetry
        Of the lattice, on these axes.

    Returns
    -------
    S, float64 (n, 3, 3), in the order of `symmetry.rotations`; the identity is the first.
    """
    standard = dual_vectors(reciprocal_from_cell(symmetry.nearest_cell(real_vectors_A)))
    proper = symmetry.rotations[np.linalg.det(symmetry.rotations) > 0]
    # B^-1 has the rows a, b, c, so that S = S^-T = (B W^-T B^-1)^-T = B^-T W B^T
    return np.asarray(standard.T @ proper @ np.linalg.inv(standard.T))


def equivalent_rotations(real_vectors_A: Array, symmetry: Symmetry) -> Array:
    """All rotations U S of a lattice from the standard setting of its cell, between which its symmetry leaves the choice.

    Parameters
    ----------
    real_vectors_A
        Rows a, b, c (3, 3) in the laboratory, Angstrom.
    symmetry
        Of the lattice, on these axes: `Lattice.symmetry`, or `Symmetry.of("P 43 21 2", cell_from_real(real_vectors_A))`.

    Returns
    -------
    float64 (n, 3, 3): one for each proper rotation of the point group, `standard_rotation` first.
    """
    return np.asarray(standard_rotation(real_vectors_A) @ symmetry_rotations(real_vectors_A, symmetry))


def reduced_quaternion(real_vectors_A: Array, symmetry: Symmetry) -> Array:
    """The quaternion of smallest angle among a lattice's `equivalent_rotations`.

    Of several with that angle it is the one with the largest x, then y, then z; components that differ by less than 1e-9 are the same.

    Parameters
    ----------
    real_vectors_A, symmetry
        As in `equivalent_rotations`.

    Returns
    -------
    w, x, y, z of a unit quaternion, float64 (4,); the first of them that is not 0 is positive.
    """
    left = quaternions(equivalent_rotations(real_vectors_A, symmetry))
    for component in range(4):
        left = left[left[:, component] > left[:, component].max() - TIE]
    return np.asarray(left[0])


def quaternions(rotations: Array) -> Array:
    """Unit quaternions w, x, y, z of rotations (..., 3, 3), float64 (..., 4); the first component that is not 0 is positive.

    Of the four rows of 4 q q^T, which are linear in the matrix, the longest is taken (S. W. Shepperd, J. Guid. Control 1 (1978) 223).
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = np.moveaxis(rotations.reshape(*rotations.shape[:-2], 9), -1, 0)
    products = np.stack(
        [
            *(1 + xx + yy + zz, zy - yz, xz - zx, yx - xy),
            *(zy - yz, 1 + xx - yy - zz, xy + yx, zx + xz),
            *(xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy),
            *(yx - xy, zx + xz, yz + zy, 1 - xx - yy + zz),
        ],
        axis=-1,
    ).reshape(*rotations.shape[:-2], 4, 4)
    longest = np.diagonal(products, axis1=-2, axis2=-1).argmax(axis=-1)
    found = np.take_along_axis(products, longest[..., None, None], axis=-2)[..., 0, :]
    found = found / np.linalg.norm(found, axis=-1, keepdims=True)
    found[np.abs(found) < TIE] = 0.0
    leading = np.take_along_axis(found, (found != 0).argmax(axis=-1)[..., None], axis=-1)
    return np.asarray(found * np.sign(leading))
