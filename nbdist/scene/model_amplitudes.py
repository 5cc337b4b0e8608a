"""Structure factors of an atomic model with bulk solvent, by way of its density on a grid.

F(h) = [ F_0 + sum over elements of (f' + i f'') A_e + k_sol exp(-B_sol s^2) F_mask ] exp(-B_added s^2),   s = 1/(2 d)

F_0 is of the form factors alone (IT92, neutral atoms, as gemmi has them), A_e of the elements' atoms as points with their B factors,
and F_mask of what lies beyond the molecules (gemmi's mask with cctbx's radii; J.-S. Jiang and A. T. Brunger, J. Mol. Biol. 243 (1994)
100). Each is the Fourier transform of a real density, so one transform serves both Friedel mates and all wavelengths. Densities are
spread by a B factor until the grid carries them and the transforms sharpened again (L. F. Ten Eyck, Acta Cryst. A33 (1977) 486), which
agrees with sums over atoms to 3e-5 of the amplitudes, and to 1e-3 of their mean at the worst.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import EV_ANGSTROM
from nbdist.experiment.lattice import Cell
from nbdist.experiment.structure_factors import AnomalousScatterer, FromModel
from nbdist.formats.atomic_model import AtomicModel
from nbdist.formats.dispersion import read_dispersion
from nbdist.formats.text import said_of
from nbdist.scene.symmetry import AmplitudeBox, Symmetry

if TYPE_CHECKING:
    import gemmi

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

POINTS_PER_D_MIN = 3.0
"""Grid points across the finest spacing."""
CUTOFF = 1e-6
"""Density below which an atom is not followed, electrons/A^3."""
MASK_SPACING_A = 0.4
"""Of the solvent's grid, the same for every resolution, as its amplitudes are; beyond twice of it the solvent has none."""
LARGEST_GRID = 2**30
"""Points of the largest grid of a density (4 GiB)."""
LARGEST_LIST = 50_000_000
"""Reflections within the finest spacing, at most."""
EDGE_EV = 20.0
"""How far from an absorption edge a calculated f' or f'' is no crystal's."""
SLOW_S = 2.0
"""Seconds beyond which it is said beforehand how long it takes."""
LEAST_DISPERSION_E = 1e-4
"""Electrons: combinations of the elements' f' and f'' whose size at all wavelengths is less are left out."""
ELECTRON_RADIUS_A, COMPTON_WAVELENGTH_A = 2.8179403e-5, 0.024263102
WATER_ELECTRONS = 10


class ModelAmplitudes(NamedTuple):
    """Amplitudes of a model in P1.

    Attributes
    ----------
    indices
        h, k, l, int32 (n, 3), each once, Friedel mates and 0 0 0 among them; reflections that are extinct are left out.
    amplitudes
        F in electrons, float64 (wavelengths, n).
    electrons
        In the cell: the atomic numbers of its atoms, and those of the solvent.
    solvent_share
        Share of the cell beyond the molecules.
    wavelengths_A
        Those at which they are.
    dispersion
        f' and f'' (wavelengths,) of each element, by its symbol; none where it is left out.
    """

    indices: NDArray[np.int32]
    amplitudes: Array
    electrons: float
    solvent_share: float
    wavelengths_A: Sequence[float]
    dispersion: dict[str, tuple[Array, Array]]


def model_amplitudes(
    model: AtomicModel, source: FromModel, d_min_A: float, wavelengths_A: Sequence[float], field: str
) -> ModelAmplitudes:
    """Work out the amplitudes of a model.

    Parameters
    ----------
    model, source
        The model, and what is asked for of it.
    d_min_A
        Amplitudes to this spacing of the model's cell.
    wavelengths_A
        Those at which dispersion, or the mass of electrons, is wanted.
    field
        Names the structure factors in an error.

    Raises
    ------
    FileFormatError
        If a table of dispersion cannot be read.
    ExperimentError
        If the grid would be too large, or dispersion is asked for of an element that the model lacks, or beyond a table.
    """
    import gemmi

    cell = model.structure.cell
    _check_size(cell, d_min_A, field)
    unique = gemmi.make_miller_array(cell, model.space_group, d_min_A)
    hkl = np.concatenate([np.zeros((1, 3), dtype=np.int32), unique])
    s2 = cell.calculate_1_d2_array(hkl) / 4
    dispersion = _dispersion(model, source, EV_ANGSTROM / np.asarray(wavelengths_A), field)
    weights, factors = _combinations(dispersion, len(wavelengths_A))
    _say_if_slow(model, d_min_A, len(weights) + 1, field)
    density, share = _Density(model, source, d_min_A), 0.0
    atoms = density.of_atoms(hkl)
    points = [density.of_points(hkl, dict(zip(model.elements, its, strict=True))) for its in weights]
    electrons = sum(atom.occ * atom.element.atomic_number for atom in model.atoms) * len(model.space_group.operations())
    if source.k_sol_e_per_A3:
        mask = _solvent(model, hkl)
        atoms += source.k_sol_e_per_A3 * density.of_an_electron_of_water * np.exp(-source.B_sol_A2 * s2) * mask
        share = float(mask[0].real) / cell.volume
        electrons += source.k_sol_e_per_A3 * share * cell.volume
    damping, tables = np.exp(-source.B_added_A2 * s2), []
    box, both_mates = (
        AmplitudeBox(Symmetry.of(model.space_group_name, Cell(*model.cell)), hkl),
        np.concatenate([hkl, -hkl]),
    )
    for wavelength_A, its in zip(wavelengths_A, factors, strict=True):
        scale = damping if source.scattering == "xrays" else damping * electron_scale(wavelength_A)
        real = sum((factor.real * point for factor, point in zip(its, points, strict=True)), start=atoms)
        imaginary = sum(
            (factor.imag * point for factor, point in zip(its, points, strict=True)), start=np.zeros_like(atoms)
        )
        # F(-h) = conj(real) + i conj(imaginary), whose size is that of real - i imaginary
        box.put(
            both_mates, np.concatenate([np.abs(real + 1j * imaginary) * scale, np.abs(real - 1j * imaginary) * scale])
        )
        indices, amplitudes, _ = box.listed()
        tables.append(amplitudes)
    return ModelAmplitudes(indices, np.stack(tables), electrons, share, wavelengths_A, dispersion)


def described(model: AtomicModel, source: FromModel, its: ModelAmplitudes) -> str:
    """What a model is and what was made of it, in words."""
    cell = " ".join(f"{length:.6g}" for length in model.cell)
    text = f"{len(model.atoms):,} atoms in {model.space_group_name}, cell {cell}; {its.electrons:,.0f} electrons in it"
    if source.k_sol_e_per_A3:
        text += f", {100 * its.solvent_share:.0f} % solvent of {source.k_sol_e_per_A3:g} e/A^3"
    if not its.dispersion:
        return text
    strongest = max(its.dispersion, key=lambda name: float(its.dispersion[name][1].max()))
    values = zip(its.wavelengths_A, *its.dispersion[strongest], strict=True)
    listed = ", ".join(f"{real:.2f} {imaginary:.2f} at {wavelength:.5g} A" for wavelength, real, imaginary in values)
    return f"{text}; f' f'' of {strongest} {listed}"


def electron_scale(wavelength_A: float) -> float:
    """What a form factor of electrons in Angstrom is multiplied with: gamma / r_e, so that r_e^2 F^2 is a differential cross section.

    gamma = sqrt(1 + (lambda_C / lambda)^2) is the relativistic mass of electrons of that wavelength over their mass at rest, and
    lambda_C = h / (m c).
    """
    return math.sqrt(1 + (COMPTON_WAVELENGTH_A / wavelength_A) ** 2) / ELECTRON_RADIUS_A


class _Density:
    """Fourier transforms of densities that atoms make on a grid."""

    def __init__(self, model: AtomicModel, source: FromModel, d_min_A: float) -> None:
        import gemmi

        self._model = model
        self._electrons = source.scattering == "electrons"
        self._calculator = gemmi.DensityCalculatorE() if self._electrons else gemmi.DensityCalculatorX()
        self._calculator.d_min, self._calculator.rate, self._calculator.cutoff = d_min_A, POINTS_PER_D_MIN / 2, CUTOFF
        self._calculator.set_grid_cell_and_spacegroup(model.structure)
        # a Gaussian of B = 8 pi^2 / 1.1 spacing^2 is wide enough for the grid
        wanted_A2 = 8 * math.pi**2 / 1.1 * (d_min_A / POINTS_PER_D_MIN) ** 2
        self._calculator.blur = max(0.0, wanted_A2 - model.structure[0].calculate_b_aniso_range()[0])

    @property
    def of_an_electron_of_water(self) -> float:
        """What an electron of the solvent scatters: 1; or its share of the form factor of a molecule of water at s = 0, Angstrom."""
        import gemmi

        if not self._electrons:
            return 1.0
        hydrogen, oxygen = (gemmi.Element(name).c4322.calculate_sf(0.0) for name in ("H", "O"))
        return float(2 * hydrogen + oxygen) / WATER_ELECTRONS

    def of_atoms(self, hkl: NDArray[np.int32]) -> Complex:
        """Transform of all atoms with their form factors, (n,)."""
        self._calculator.initialize_grid()
        self._calculator.add_model_density_to_grid(self._model.structure[0])
        return self._transformed(hkl)

    def of_points(self, hkl: NDArray[np.int32], weights: dict[str, float]) -> Complex:
        """Transform of all atoms as points with a weight by element, spread by their B factors alone, (n,)."""
        self._calculator.initialize_grid()
        for atom in self._model.atoms:
            self._calculator.add_c_contribution_to_grid(atom, weights[atom.element.name])
        return self._transformed(hkl)

    def _transformed(self, hkl: NDArray[np.int32]) -> Complex:
        import gemmi

        grid = self._calculator.grid
        grid.symmetrize_sum()
        transform = gemmi.transform_map_to_f_phi(grid, half_l=True)
        return np.asarray(transform.get_value_by_hkl(hkl, unblur=self._calculator.blur), dtype=np.complex128)


def _check_size(cell: gemmi.UnitCell, d_min_A: float, field: str) -> None:
    for points, most, what in (
        (cell.volume * (POINTS_PER_D_MIN / d_min_A) ** 3, LARGEST_GRID, "points of a grid"),
        (cell.volume / MASK_SPACING_A**3, LARGEST_GRID, "points of a grid of solvent"),
        (4 / 3 * math.pi * cell.volume / d_min_A**3, LARGEST_LIST, "reflections"),
    ):
        if points > most:
            raise ExperimentError(
                f"{field}: a cell of {cell.volume:.3g} A^3 at {d_min_A:.3g} A takes {points:.3g} {what}, more than {most}; "
                "is the cell in Angstrom? d_min_A sets the resolution"
            )


def _say_if_slow(model: AtomicModel, d_min_A: float, maps: int, field: str) -> None:
    """Say how long it takes, as measured on one core, where a person would wonder."""
    volume = model.structure.cell.volume
    points, mask_points = volume * (POINTS_PER_D_MIN / d_min_A) ** 3, volume / MASK_SPACING_A**3
    seconds = 7e-8 * (maps * points + mask_points) + 7e-5 * len(model.atoms)
    if seconds > SLOW_S:
        gibibytes = 8 * max(points, mask_points) / 2**30  # of a grid and its transform
        logger.warning(
            "%s: F_calc of %s atoms at %.3g A takes about %.0f s and %.1f GiB",
            field,
            f"{len(model.atoms):,}",
            d_min_A,
            seconds,
            gibibytes,
        )


def _solvent(model: AtomicModel, hkl: NDArray[np.int32]) -> Complex:
    """Transform (n,) of what is 1 beyond the molecules, in cubic Angstrom; 0 where its grid is too coarse to have one."""
    import gemmi

    grid = gemmi.FloatGrid()
    grid.spacegroup = model.space_group
    grid.set_unit_cell(model.structure.cell)
    grid.set_size_from_spacing(MASK_SPACING_A, gemmi.GridSizeRounding.Up)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(grid, model.structure[0])
    carried = (2 * np.abs(hkl) < np.array([grid.nu, grid.nv, grid.nw])).all(axis=1)
    found = np.zeros(len(hkl), dtype=np.complex128)
    found[carried] = gemmi.transform_map_to_f_phi(grid, half_l=True).get_value_by_hkl(hkl[carried])
    return found


def _dispersion(
    model: AtomicModel, source: FromModel, energies_eV: Array, field: str
) -> dict[str, tuple[Array, Array]]:
    """f' and f'' (wavelengths,) of each element of a model; none where they are left out."""
    import gemmi

    given, found = source.anomalous_scatterers, {}
    if source.scattering == "electrons" or source.anomalous == "none":
        return {}
    for name in given:
        if name not in model.elements:
            raise ExperimentError(
                f"{field}.anomalous_scatterers.{name}: {source.file} has no such atoms, but {', '.join(model.elements)}"
            )
    for name, number in model.elements.items():
        if name in given:
            found[name] = _measured(given[name], energies_eV, f"{field}.anomalous_scatterers.{name}")
        else:
            pairs = np.array([gemmi.cromer_liberman(number, energy) for energy in energies_eV.tolist()])
            found[name] = pairs[:, 0], pairs[:, 1]
    return found


def at_an_edge(model: AtomicModel, source: FromModel, wavelengths_A: Sequence[float]) -> dict[str, float]:
    """Elements whose calculated dispersion is taken within `EDGE_EV` of an absorption edge, and the first such photon energy of each, eV.

    f'' falls with energy but for its edges, across which it rises.
    """
    import gemmi

    found: dict[str, float] = {}
    if source.scattering == "electrons" or source.anomalous == "none":
        return found
    for name, number in model.elements.items():
        for wavelength_A in wavelengths_A if name not in source.anomalous_scatterers else ():
            energy = EV_ANGSTROM / wavelength_A
            (_, below), (_, above) = (gemmi.cromer_liberman(number, energy + step) for step in (-EDGE_EV, EDGE_EV))
            if above > below:
                found.setdefault(name, energy)
    return found


def _measured(scatterer: AnomalousScatterer, energies_eV: Array, field: str) -> tuple[Array, Array]:
    if scatterer.file is None:
        real, imaginary = (
            np.full(len(energies_eV), value) for value in (scatterer.f_prime_e, scatterer.f_double_prime_e)
        )
        return real, imaginary
    with said_of(f"{field}.file"):
        table_eV, real, imaginary = read_dispersion(scatterer.file)
    outside = energies_eV[(energies_eV < table_eV[0]) | (energies_eV > table_eV[-1])]
    if len(outside):
        raise ExperimentError(
            f"{field}.file: {scatterer.file} holds {table_eV[0]:.6g} to {table_eV[-1]:.6g} eV, the beam has {outside[0]:.6g} eV"
        )
    return np.interp(energies_eV, table_eV, real), np.interp(energies_eV, table_eV, imaginary)


def _combinations(dispersion: dict[str, tuple[Array, Array]], wavelengths: int) -> tuple[Array, Complex]:
    """The fewest combinations of elements that make up their dispersion at all wavelengths.

    Returns
    -------
    The share of each element in each combination (combinations, elements), and the f' + i f'' of each (wavelengths, combinations).
    """
    if not dispersion:
        return np.zeros((0, 0)), np.zeros((wavelengths, 0), dtype=np.complex128)
    left, sizes, right = np.linalg.svd(
        np.array([np.concatenate(its) for its in dispersion.values()]), full_matrices=False
    )
    kept = sizes > LEAST_DISPERSION_E
    real, imaginary = np.split(sizes[kept, None] * right[kept], 2, axis=1)
    return np.asarray(left[:, kept].T), np.asarray((real + 1j * imaginary).T)
