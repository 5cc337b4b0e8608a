"""What a space group makes of reflections: which are equivalent, absent, centric, and the whole of P1 that follows from some.

A reflection hkl is a row. An operation x' = W x + w of the space group makes hkl W equivalent to it, with the same amplitude, and its
Friedel mate -hkl, whose amplitude is another where there is anomalous scattering. It is systematically absent where a W leaves it as it
is and hkl w is no whole number, and centric where a W turns it into its mate (International Tables for Crystallography B (2010), 1.4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import Cell, cell_from_real, dual_vectors
from nbdist.experiment.space_groups import P1, space_group
from nbdist.formats.hkl import PACKING
from nbdist.scene.rounding import ROUNDING

if TYPE_CHECKING:
    import gemmi

Array = NDArray[np.float64]
Indices = NDArray[np.integer[Any]]
LARGEST_TABLE = 2**30
"""Cells of the largest box of indices that amplitudes are put into (4 GiB in float32)."""
CONTRADICTION = 0.01
"""Share of the larger amplitude, and of the root mean square of all, by which equivalents may differ: files are rounded."""


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The symmetry of amplitudes.

    Attributes
    ----------
    name
        Of the space group, as gemmi writes it, with the axes of an R lattice.
    rotations
        W of each class of operations, int64 (n, 3, 3); the identity is the first.
    centring
        Lattice points of a cell: 1 for P, 2 for C and I, 3 for R on hexagonal axes, 4 for F.
    """

    name: str
    rotations: NDArray[np.int64]
    centring: int

    @classmethod
    def of(cls, name: str, cell: Cell) -> Symmetry:
        """The symmetry of a space group by its canonical name; the cell tells the axes of an R lattice where the name does not."""
        if name == P1:  # without gemmi, which most experiments do not need
            return P1_SYMMETRY
        group = space_group(name, cell)
        operations = group.operations()
        rotations = np.array([operation.rot for operation in operations.sym_ops], dtype=np.int64)
        return cls(group.xhm(), rotations // operations.sym_ops[0].DEN, len(operations.cen_ops))

    @property
    def trivial(self) -> bool:
        """Whether nothing but Friedel mates is equivalent, and nothing absent."""
        return len(self.rotations) == 1 and self.centring == 1

    def has(self, rotation: NDArray[np.int64]) -> bool:
        """Whether W (3, 3) is the rotation of one of its operations."""
        return bool((self.rotations == rotation).all(axis=(1, 2)).any())

    def _operations(self) -> gemmi.GroupOps:
        import gemmi

        return gemmi.SpaceGroup(self.name).operations()

    def absent(self, indices: Indices) -> NDArray[np.bool_]:
        """Which reflections (n, 3) are systematically absent, (n,)."""
        if self.trivial:
            return np.zeros(len(indices), dtype=bool)
        return self._operations().systematic_absences(np.ascontiguousarray(indices, dtype=np.int32))

    def centric(self, indices: Indices) -> NDArray[np.bool_]:
        """Which reflections (n, 3) are centric, (n,): their phase has two values, as F and its mate's are equivalent."""
        if self.trivial:
            return np.zeros(len(indices), dtype=bool)
        return self._operations().centric_flag_array(np.ascontiguousarray(indices, dtype=np.int32))

    def epsilon(self, indices: Indices) -> Array:
        """Ratio of <F^2> of reflections (n, 3) that are not absent to the sum of f^2 over the atoms of a cell, (n,).

        That is how many operations, centring translations among them, leave hkl as it is.
        """
        if self.trivial:
            return np.ones(len(indices))
        return self._operations().epsilon_factor_array(np.ascontiguousarray(indices, dtype=np.int32)).astype(np.float64)

    def represents(self, indices: Indices) -> NDArray[np.bool_]:
        """Which reflections (n, 3) come last among their equivalents and mates in the order of h, k, l, (n,): one of each set."""
        own, last = indices @ PACKING, np.ones(len(indices), dtype=bool)
        for rotation in self.rotations:
            equivalent = indices @ (rotation @ PACKING)
            last &= (own >= equivalent) & (own >= -equivalent)
        return last

    def nearest_cell(self, real_vectors_A: Array) -> Cell:
        """The cell with this symmetry nearest to one (rows a, b, c): that of the mean of its metric over all operations."""
        metric = real_vectors_A @ real_vectors_A.T
        mean = (self.rotations.transpose(0, 2, 1) @ metric @ self.rotations).mean(axis=0)
        return cell_from_real(np.linalg.cholesky(mean))


def half_sphere(reciprocal_per_A: Array, d_min_A: float) -> Iterator[NDArray[np.int64]]:
    """Yield reflections within a resolution, int64 (n, 3): those of h = 0, 1, 2 ..., in the order of k and l, one of two Friedel mates.

    It is that one whose first index that is not 0 is positive; 000 is left out.
    """
    farthest_per_A = (1 + ROUNDING) / d_min_A
    limits = np.linalg.norm(dual_vectors(reciprocal_per_A), axis=1) * farthest_per_A
    h_limit, k_limit, l_limit = map(int, limits)
    k, l = np.arange(-k_limit, k_limit + 1), np.arange(-l_limit, l_limit + 1)
    plane = k[:, None, None] * reciprocal_per_A[1] + l[:, None] * reciprocal_per_A[2]
    for h in range(h_limit + 1):
        inside = ((h * reciprocal_per_A[0] + plane) ** 2).sum(axis=-1) <= farthest_per_A**2
        if h == 0:  # half a plane, and half a row of it
            inside[:k_limit] = False
            inside[k_limit, : l_limit + 1] = False
        rows, columns = np.nonzero(inside)
        yield np.stack([np.full(len(rows), h), k[rows], l[columns]], axis=1)


P1_SYMMETRY = Symmetry(P1, np.eye(3, dtype=np.int64)[None], 1)


class AmplitudeBox:
    """Amplitudes of all reflections that follow from some by symmetry, float64 over a box of indices; NaN where there is none.

    Parameters
    ----------
    symmetry
        Of the amplitudes.
    sets
        Indices (n, 3) of all that will be put into it.

    Raises
    ------
    ExperimentError
        If the box is too large to be a crystal's.
    """

    def __init__(self, symmetry: Symmetry, *sets: Indices) -> None:
        self.symmetry = symmetry
        extents = [np.abs(indices @ W).max(axis=0) for indices in sets if len(indices) for W in symmetry.rotations]
        self._limits = np.max(extents, axis=0, initial=0).astype(np.int64)
        h, k, l = shape = (2 * self._limits + 1).tolist()
        if math.prod(shape) > LARGEST_TABLE:
            raise ExperimentError(f"a table of {(h, k, l)} reflections is too large")
        self._strides = np.array([k * l, l, 1])
        self._middle = int(self._limits @ self._strides)
        self._values = np.full(h * k * l, np.nan)
        self._filled = np.zeros(h * k * l, dtype=bool)

    def _places(self, indices: Indices) -> Iterator[NDArray[np.int64]]:
        """Where the equivalents of reflections lie, by each rotation, seen from the middle of the box; of mates, on its other side."""
        for W in self.symmetry.rotations:
            yield indices @ (W @ self._strides)

    def put(self, indices: Indices, amplitudes: Array) -> None:
        """Put listed amplitudes and all that follow from them into the box.

        A reflection that is listed keeps its own amplitude; its equivalents have that too, and so have their Friedel mates that are not
        listed. Absent ones are left out.

        Raises
        ------
        ExperimentError
            If amplitudes of equivalent reflections differ by more than a file's rounding.
        """
        present = ~self.symmetry.absent(indices)
        indices, amplitudes = indices[present], amplitudes[present]
        for sign in (-1, 1):
            for place in self._places(indices):
                self._values[self._middle + sign * place] = amplitudes
        own = self._middle + indices @ self._strides
        put = self._values[own]
        floor = math.sqrt(np.mean(amplitudes * amplitudes)) if len(amplitudes) else 0.0
        differ = np.abs(put - amplitudes) > CONTRADICTION * np.maximum(np.maximum(put, amplitudes), floor)
        if differ.any():
            first = int(differ.argmax())
            place = own[first] - self._middle
            rows = np.concatenate([np.flatnonzero(equivalent == place) for equivalent in self._places(indices)])
            other = rows[np.flatnonzero(amplitudes[rows] == put[first])[0]]
            raise ExperimentError(
                f"{_hkl(indices[first])} has F {amplitudes[first]:g} and {_hkl(indices[other])} F {put[first]:g}, but they are "
                f"equivalent in {self.symmetry.name}"
            )
        self._values[own] = amplitudes

    def fill(self, indices: Indices, amplitudes: Array) -> None:
        """Put amplitudes and all that follow from them, mates included, where the box holds none yet."""
        for place in self._places(indices):
            for sign in (-1, 1):
                at = self._middle + sign * place
                empty = np.isnan(self._values[at])
                self._values[at[empty]] = amplitudes[empty]
                self._filled[at[empty]] = True

    def listed(self) -> tuple[NDArray[np.int32], Array, NDArray[np.bool_]]:
        """Indices int32 (n, 3) of all reflections in the box, in the order of h, k, l, their amplitudes, and which were filled in."""
        held = ~np.isnan(self._values)
        places = np.nonzero(held.reshape(2 * self._limits + 1))
        indices = np.empty((len(places[0]), 3), dtype=np.int32)
        for axis, (place, limit) in enumerate(zip(places, self._limits, strict=True)):
            np.subtract(place, limit, out=indices[:, axis], casting="same_kind")
        return indices, self._values[held], self._filled[held]


def _hkl(indices: Indices) -> str:
    return "({} {} {})".format(*indices.tolist())
