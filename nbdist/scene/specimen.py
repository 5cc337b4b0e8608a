"""The specimen: the lattices in the beam, each with its shape, size, mosaicity and orientation; what changes from crystal to crystal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.crystal import Shape
from nbdist.experiment.decay import Decay
from nbdist.experiment.lattice import Cell, cell_from_real, turned
from nbdist.experiment.space_groups import P1
from nbdist.experiment.structure_factors import FromFile, StructureFactors
from nbdist.formats.merged import form_of, read_crystal
from nbdist.formats.text import said_of
from nbdist.scene.diffuse import Disorder
from nbdist.scene.mosaic import NormalDomains
from nbdist.scene.symmetry import Symmetry

Array = NDArray[np.float64]


class Orientations(NamedTuple):
    """Consecutive phi steps of a lattice with all its mosaic domains: rows a, b, c of each (M, 3, 3), and a reference (3, 3), Angstrom."""

    real: Array
    reference: Array


class KnownCrystal(NamedTuple):
    """What files that an experiment names said of a crystal when its amplitudes were made: the space group, and rows a, b, c, Angstrom."""

    space_group: str
    real_vectors_A: tuple[tuple[float, ...], ...]


class TwinDomain(NamedTuple):
    """How a lattice lies to that of its crystal.

    Attributes
    ----------
    law
        As the experiment has it, "k,h,-l".
    fraction
        Of the crystal.
    obliquity_deg
        Angle between the axis of the law in the lattice and in the reciprocal lattice, degrees: 0 where the lattices lie on each other.
    """

    law: str
    fraction: float
    obliquity_deg: float


@dataclass(frozen=True, eq=False)
class Lattice:
    """One lattice; arrays are float64.

    Attributes
    ----------
    field
        Its name in the experiment: "crystal", or "crystals.1"; of a twin's domains "crystal.twin.0".
    real_vectors_A
        Rows a, b, c (3, 3) at phi 0, Angstrom.
    N_cells
        Cells along a, b, c; rounded up where the crystal has a size instead.
    size_A
        L, its size in all directions, where it is given so, Angstrom.
    cells_in_all
        N, the cells of the whole crystal, a real number: their product, or L^3/V for a cell of volume V.
    shape_metric
        W (3, 3): r^2 = dh^T W dh is the squared radius of a spot at a distance dh from its h, k, l: diag(N_a^2, N_b^2, N_c^2), or L^2 G*
        with the reciprocal metric G*, which makes r = L |q - G| in reciprocal space.
    shape, fudge
        Shape transform, and what scales the radius of its spots.
    mosaic
        Rotations of counted mosaic domains (n, 3, 3), as nanoBragg has them: after the spindle's; one identity where there are none.
    normal_domains
        What stands for normal misorientations in the sum.
    mosaic_sigma_rad
        Root mean square of normal misorientations (3,), radians, about x along a, y = z x x and z along c*, fixed to the crystal;
        0 for none.
    decay
        How it fades with dose; None for one that does not.
    disorder
        What scatters diffusely; None where nothing does.
    weight
        What its photons are multiplied with.
    structure_factors, amplitudes_field
        Where its amplitudes come from, and the name of that field in the experiment.
    interpolate
        Whether amplitudes are interpolated between reflections.
    rocking_width_deg
        Rotation over which a reflection at the finest resolution crosses the Ewald sphere at the least, full width at half maximum.
    stated_cell
        The cell that a matrix file gives beside its matrix, if it does.
    stated_space_group
        The canonical name of the crystal's space group, if it is given; `space_group` is the one that it has.
    twin
        How it lies to the lattice of its crystal, which comes before it, where it is a twin's; None of a crystal's own.
    """

    field: str
    real_vectors_A: Array
    N_cells: tuple[int, int, int]
    size_A: float | None
    cells_in_all: float
    shape_metric: Array
    shape: Shape
    fudge: float
    mosaic: Array
    normal_domains: NormalDomains | None
    mosaic_sigma_rad: Array
    decay: Decay | None
    disorder: Disorder | None
    weight: float
    structure_factors: StructureFactors
    amplitudes_field: str
    interpolate: bool
    rocking_width_deg: float
    stated_cell: Cell | None
    stated_space_group: str | None
    twin: TwinDomain | None = None

    @cached_property
    def symmetry(self) -> Symmetry:
        """The symmetry of its amplitudes, that of its space group; the file of its amplitudes is asked where the crystal has none.

        Raises
        ------
        FileFormatError
            If that file cannot be read.
        ExperimentError
            If that file names no space group, or the cell is not one of it.
        """
        cell, name, source = cell_from_real(self.real_vectors_A), self.stated_space_group, self.structure_factors
        field, advice = f"{self.field}.space_group", ""
        if name is None and isinstance(source, FromFile) and self._may_name_a_group(source):
            with said_of(f"{self.amplitudes_field}.file"):
                name = read_crystal(source.file).space_group
            place = f"{self.amplitudes_field}.file: {source.file}"
            if name is None:
                raise ExperimentError(f"{place} names no space group that is known; give {field}")
            field = place
            advice = (
                f"; {self.field} should be indexed as the reflections are: from DIALS, models of that Bravais setting, by "
                "dials.refine_bravais_settings or dials.symmetry"
            )
        symmetry = Symmetry.of(name or P1, cell)
        nearest = symmetry.nearest_cell(self.real_vectors_A)
        if not nearest.is_meant_by(cell):
            raise ExperimentError(
                f"{field}: {symmetry.name} does not allow a cell of {cell}; the nearest that it allows is {nearest}{advice}"
            )
        return symmetry

    def _may_name_a_group(self, source: FromFile) -> bool:
        """Whether a file of amplitudes may name a space group, which text does not."""
        with said_of(f"{self.amplitudes_field}.file"):
            return form_of(source.file) != "text"

    @property
    def space_group(self) -> str:
        """Name of its space group as gemmi writes it ("P 43 21 2", "R 3:H"): the crystal's, else its amplitudes' file's, else P 1."""
        return self.symmetry.name

    def left_by_dose(self, frame: float | Array, s_per_A: Array) -> Array:
        """Share of its intensities at s = 1/d (...), 1/Angstrom, that dose has left by the middle of a frame, or of one for each (...).

        After a dose D it is 2^(-D s/H) 2^(-D/D_half) exp(-k D s^2/2): a dose of H d halves the intensity at a spacing of d, with
        H = 10 MGy/Angstrom (M. R. Howells et al., J. Electron Spectrosc. 170 (2009) 4; J. M. Holton, J. Synchrotron Rad. 16 (2009) 133),
        D_half halves all (R. L. Owen, E. Rudino-Pinera, E. F. Garman, PNAS 103 (2006) 4912), and a B factor that grows by k a dose
        weakens by exp(-B s^2/2) (J. Kmetko et al., Acta Cryst. D62 (2006) 1030; D. Borek et al., J. Synchrotron Rad. 14 (2007) 24).
        """
        if self.decay is None:
            return np.ones(s_per_A.shape)
        dose_MGy = np.asarray(self.decay.dose_MGy(frame))
        halvings = np.zeros(s_per_A.shape)
        if self.decay.half_dose_MGy_per_A is not None:
            halvings += dose_MGy * s_per_A / self.decay.half_dose_MGy_per_A
        if self.decay.half_dose_MGy is not None:
            halvings += dose_MGy / self.decay.half_dose_MGy
        growth_A2 = self.decay.B_factor_A2_per_MGy * dose_MGy
        return np.asarray(np.exp(-math.log(2) * halvings - growth_A2 * s_per_A * s_per_A / 2))

    @property
    def largest_A(self) -> float:
        """Size along its longest axis, or in all directions, Angstrom."""
        return largest_size_A(self.real_vectors_A, self.N_cells) if self.size_A is None else self.size_A

    @property
    def shape_root(self) -> Array:
        """K (3, 3), upper triangular, with K^T K = `shape_metric`: r = |K dh|, and the product of its diagonal is `cells_in_all`."""
        return np.asarray(np.linalg.cholesky(self.shape_metric).T)

    @property
    def domains(self) -> int:
        """Mosaic domains that the sum takes at every phi step."""
        return len(self.mosaic) if self.normal_domains is None else self.normal_domains.count

    def orientations_A(self, spindle_rotations: Array, first_step: int) -> Array:
        """Rows a, b, c in every domain at consecutive phi steps of a frame, float64 (steps, domains, 3, 3), Angstrom.

        Parameters
        ----------
        spindle_rotations
            Of those steps (steps, 3, 3).
        first_step
            Number of the first of them in the frame.
        """
        if self.normal_domains is None:
            undisturbed = self.real_vectors_A @ spindle_rotations.transpose(0, 2, 1)
            return np.asarray(undisturbed[:, None] @ self.mosaic.transpose(0, 2, 1))
        real = np.empty((len(spindle_rotations), self.domains, 3, 3))
        for number, rotation in enumerate(spindle_rotations):
            # R exp(w) a = exp(R w) R a; einsum adds in one order, whatever the number of cores
            turns_rad = np.einsum("ni,ji->nj", self.normal_domains.turns_rad(first_step + number), rotation)
            real[number] = turned(self.real_vectors_A @ rotation.T, turns_rad[:, None])
        return real


@dataclass(frozen=True, eq=False)
class Specimen:
    """The lattices whose photons add up in a frame."""

    lattices: tuple[Lattice, ...]

    @property
    def of_crystals(self) -> tuple[Lattice, ...]:
        """Those that are no twin's: one of each crystal, in order."""
        return tuple(lattice for lattice in self.lattices if lattice.twin is None)

    @property
    def decays(self) -> bool:
        """Whether any of them fades with dose."""
        return any(lattice.decay is not None for lattice in self.lattices)

    @property
    def domains(self) -> int:
        """Mosaic domains that the experiment's steps count: those of the lattice that has most."""
        return max(lattice.domains for lattice in self.lattices)

    @property
    def all_domains(self) -> int:
        """Mosaic domains of all lattices: orientations that one phi step costs."""
        return sum(lattice.domains for lattice in self.lattices)

    def share(self, lattice: Lattice) -> float:
        """What multiplies a lattice's partial intensity, which the experiment's steps divide: its weight, and the steps it lacks."""
        return lattice.weight * (self.domains / lattice.domains)


def largest_size_A(real_vectors_A: Array, N_cells: tuple[int, int, int]) -> float:
    """Size of a crystal along its longest axis, Angstrom."""
    return float((np.linalg.norm(real_vectors_A, axis=1) * N_cells).max())
