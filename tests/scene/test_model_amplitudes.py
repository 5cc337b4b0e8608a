"""Structure factors of an atomic model: against sums over its atoms, closed forms, and the symmetry of its space group."""

from __future__ import annotations

import re

import gemmi
import numpy as np
import pytest
from atomic_models import SITES, write_model

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import EV_ANGSTROM
from nbdist.experiment.structure_factors import FromModel
from nbdist.formats.atomic_model import read_atomic_model
from nbdist.scene.model_amplitudes import electron_scale, model_amplitudes

D_MIN_A = 1.6
NO_SOLVENT = {"k_sol_e_per_A3": 0.0}
ANISOTROPIC = "ANISOU    5  S   MSE A   5     3000   1500   2200    300   -400    200           S\n"


def amplitudes(path, wavelengths_A=(1.0,), d_min_A=D_MIN_A, **fields):
    source = FromModel(file=path, **fields)
    return model_amplitudes(read_atomic_model(path), source, d_min_A, wavelengths_A, "structure_factors")


def by_index(its, table=0):
    return dict(zip(map(tuple, its.indices.tolist()), its.amplitudes[table].tolist(), strict=True))


def summed_over_atoms(path, indices, dispersion):
    """|F| by gemmi's direct summation, with f' + i f'' of each element."""
    structure, sums = gemmi.read_structure(str(path)), []
    bare = gemmi.StructureFactorCalculatorX(structure.cell)
    without = np.array([bare.calculate_sf_from_model(structure[0], hkl) for hkl in indices])
    for part in (1, 1j):
        calculator = gemmi.StructureFactorCalculatorX(structure.cell)
        for name, value in dispersion.items():
            calculator.addends.set(gemmi.Element(name), complex(value / part).real)
        sums.append(np.array([calculator.calculate_sf_from_model(structure[0], hkl) for hkl in indices]))
    real, imaginary = sums
    return np.abs(real + 1j * (imaginary - without))


def cromer_liberman(wavelength_A, elements=("H", "C", "N", "O", "S", "Se")):
    numbers = [gemmi.Element(name).atomic_number for name in elements]
    values = [gemmi.cromer_liberman(number, EV_ANGSTROM / wavelength_A) for number in numbers]
    return {name: complex(*value) for name, value in zip(elements, values, strict=True)}


@pytest.mark.parametrize("wavelength_A", [0.9, 0.97, 1.6])
def test_they_are_those_of_a_sum_over_atoms_for_both_mates(tmp_path, wavelength_A):
    path = write_model(tmp_path / "a.pdb")
    lines = path.read_text().splitlines(keepends=True)
    lines.insert(1 + 5, ANISOTROPIC)
    path.write_text("".join(lines))
    its = amplitudes(path, (wavelength_A,), **NO_SOLVENT)
    some = np.random.default_rng(1).permutation(len(its.indices))[:150]
    wanted = summed_over_atoms(path, its.indices[some].tolist(), cromer_liberman(wavelength_A))
    off = np.abs(its.amplitudes[0, some] - wanted)
    assert off.sum() < 1e-4 * wanted.sum()
    assert off.max() < 1e-3 * wanted.mean()


@pytest.mark.parametrize(
    ("space_group", "cell"),
    [("C 1 2 1", (40, 30, 35, 90, 105, 90)), ("H 3", (40, 40, 50, 90, 90, 120)), ("F 4 3 2", (50, 50, 50, 90, 90, 90))],
)
def test_centred_lattices_and_atoms_on_axes_are_summed_like_any(tmp_path, space_group, cell):
    on_an_axis = ("ZN", (0.0, 0.0, 0.0), 0.25, 15.0)
    path = write_model(tmp_path / "a.pdb", (*SITES, on_an_axis), space_group, cell=cell)
    its = amplitudes(path, d_min_A=2.5, **NO_SOLVENT)
    some = np.random.default_rng(1).permutation(len(its.indices))[:40]
    dispersion = cromer_liberman(1.0, ("H", "C", "N", "O", "S", "Se", "Zn"))
    wanted = summed_over_atoms(path, its.indices[some].tolist(), dispersion)
    np.testing.assert_allclose(its.amplitudes[0, some], wanted, atol=1e-3 * wanted.mean())


def test_every_wavelength_has_its_own_as_if_it_were_alone(tmp_path):
    path, wavelengths_A = write_model(tmp_path / "a.pdb"), (0.95, 0.9795, 0.99, 1.3)
    together = amplitudes(path, wavelengths_A, **NO_SOLVENT)
    for number, wavelength_A in enumerate(wavelengths_A):
        alone = amplitudes(path, (wavelength_A,), **NO_SOLVENT)
        np.testing.assert_array_equal(alone.indices, together.indices)
        off = np.abs(alone.amplitudes[0] - together.amplitudes[number])
        assert off.max() < 1e-3 * alone.amplitudes.mean(), "what is left out of their dispersion is 1e-4 electrons"


def test_equivalents_have_one_amplitude_and_mates_differ_where_atoms_absorb(tmp_path):
    its = amplitudes(write_model(tmp_path / "a.pdb"), (0.97,))
    F = by_index(its)
    assert len(F) == len(its.indices), "each reflection once"
    two_folds = ((1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    for hkl in ((3, 4, 5), (1, 2, 7), (2, 5, 3)):
        mate = tuple(-n for n in hkl)
        assert abs(F[hkl] - F[mate]) > 0.1, hkl
        for signs in two_folds:
            assert F[tuple(s * n for s, n in zip(signs, hkl, strict=True))] == F[hkl]
            assert F[tuple(s * n for s, n in zip(signs, mate, strict=True))] == F[mate]
    for centric in ((0, 2, 3), (4, 0, 1), (2, 3, 0)):
        assert F[centric] == pytest.approx(F[tuple(-n for n in centric)], rel=1e-3)
    assert not {(1, 0, 0), (0, 3, 0), (0, 0, 5)} & F.keys(), "the screw axes extinguish them"
    assert {(2, 0, 0), (0, 4, 0), (0, 0, -6), (0, 0, 0)} <= F.keys()


def test_without_dispersion_mates_are_equal(tmp_path):
    F = by_index(amplitudes(write_model(tmp_path / "a.pdb"), anomalous="none"))
    assert all(F[tuple(-n for n in hkl)] == value for hkl, value in F.items())


def test_the_list_is_the_sphere_to_the_spacing_asked_for(tmp_path):
    its = amplitudes(write_model(tmp_path / "a.pdb", space_group="P 1"), d_min_A=2.0)
    h, k, l = np.meshgrid(*[np.arange(-15, 16)] * 3, indexing="ij")
    assert len(its.indices) == ((h / 20) ** 2 + (k / 24) ** 2 + (l / 28) ** 2 <= 0.25).sum()


def test_an_atom_alone_is_its_form_factor(tmp_path):
    path = write_model(tmp_path / "a.pdb", (("S", (3.3, 2.2, 1.1), 0.7, 25.0),), "P 1")
    dispersion = {"S": {"f_prime_e": 0.3, "f_double_prime_e": 0.6}}
    F = by_index(amplitudes(path, anomalous_scatterers=dispersion, B_added_A2=5.0, **NO_SOLVENT))
    for hkl in ((0, 0, 0), (1, 2, 3), (-4, 5, 6)):
        s2 = ((hkl[0] / 20) ** 2 + (hkl[1] / 24) ** 2 + (hkl[2] / 28) ** 2) / 4
        form = gemmi.Element("S").it92.calculate_sf(s2) + 0.3 + 0.6j
        assert F[hkl] == pytest.approx(abs(form) * 0.7 * np.exp(-30 * s2), rel=2e-4)


def test_F000_is_the_electrons_of_the_cell(tmp_path):
    path = write_model(tmp_path / "a.pdb")
    electrons = 4 * (7 + 6 + 6 + 0.6 * 8 + 16 + 0.8 * 34 + 1)
    alone = amplitudes(path, anomalous="none", **NO_SOLVENT)
    assert alone.electrons == pytest.approx(electrons, rel=1e-6)
    assert by_index(alone)[0, 0, 0] == pytest.approx(electrons, rel=1e-3), "IT92 is off by up to 0.02 electrons an atom"
    wet = amplitudes(path, anomalous="none", k_sol_e_per_A3=0.4)
    solvent = 0.4 * wet.solvent_share * 20 * 24 * 28
    assert 0.5 < wet.solvent_share < 0.99
    assert wet.electrons == pytest.approx(electrons + solvent, rel=1e-6)
    assert by_index(wet)[0, 0, 0] == pytest.approx(by_index(alone)[0, 0, 0] + solvent, rel=1e-5)


def test_a_solvent_without_a_boundary_is_in_F000_alone(tmp_path):
    path = write_model(tmp_path / "a.pdb")
    wet, dry = by_index(amplitudes(path, B_sol_A2=1e5)), by_index(amplitudes(path, **NO_SOLVENT))
    assert wet.pop((0, 0, 0)) > 2 * dry.pop((0, 0, 0))
    np.testing.assert_allclose(list(wet.values()), list(dry.values()), atol=1e-6)


def test_the_solvent_is_absent_where_an_atom_is(tmp_path):
    """About a carbon atom it leaves a sphere of 1.775 + 1.1 - 0.9 A, which scatters against the atom."""
    path = write_model(tmp_path / "a.pdb", (("C", (10.0, 12.0, 14.0), 1.0, 10.0),), "P 1")
    fields = {"anomalous": "none", "B_sol_A2": 0.0}
    wet, dry = (by_index(amplitudes(path, k_sol_e_per_A3=k, **fields)) for k in (1.0, 0.0))
    for hkl in ((1, 0, 0), (2, 1, 0), (0, 2, 3)):
        x = 2 * np.pi * 1.975 * np.sqrt((hkl[0] / 20) ** 2 + (hkl[1] / 24) ** 2 + (hkl[2] / 28) ** 2)
        sphere = 4 * np.pi * 1.975**3 * (np.sin(x) - x * np.cos(x)) / x**3
        assert sphere > 20
        assert wet[hkl] == pytest.approx(abs(dry[hkl] - sphere), abs=0.2 * sphere), "of points 0.4 A apart"


def test_electrons_see_scattering_lengths_in_units_of_the_electron_radius(tmp_path):
    path = write_model(tmp_path / "a.pdb", (("C", (3.3, 2.2, 1.1), 1.0, 20.0),), "P 1")
    wavelength_A = 0.0250793  # 200 keV, where gamma is 1 + 200 / 511
    assert electron_scale(wavelength_A) * 2.8179403e-5 == pytest.approx(1 + 200 / 510.99895, rel=1e-5)
    F = by_index(amplitudes(path, (wavelength_A,), scattering="electrons", **NO_SOLVENT))
    s2 = (1 / 400 + 4 / 576 + 9 / 784) / 4
    length_A = gemmi.Element("C").c4322.calculate_sf(s2) * np.exp(-20 * s2)
    assert F[1, 2, 3] == F[-1, -2, -3] == pytest.approx(length_A * 1.3913902 / 2.8179403e-5, rel=1e-3)
    wet = amplitudes(path, (wavelength_A,), scattering="electrons", k_sol_e_per_A3=0.334)
    potential_V = 47.878 * by_index(wet)[0, 0, 0] * 2.8179403e-5 / 1.3913902 / (20 * 24 * 28)
    assert potential_V == pytest.approx(4.87, rel=0.02), "the mean inner potential of water of independent atoms, volts"


def test_copies_by_non_crystallographic_symmetry_are_made(tmp_path):
    matrix = "".join(
        f"MTRIX{row}   1" + "".join(f"{value:10.6f}" for value in values) + f"     {shift:10.5f}\n"
        for row, (values, shift) in enumerate((((-1, 0, 0), 15.0), ((0, -1, 0), 20.0), ((0, 0, 1), 2.0)), start=1)
    )
    its = amplitudes(write_model(tmp_path / "a.pdb", extra=matrix), anomalous="none", **NO_SOLVENT)
    copies = tuple((name, (15.0 - x, 20.0 - y, z + 2.0), occ, B) for name, (x, y, z), occ, B in SITES)
    listed = amplitudes(write_model(tmp_path / "b.pdb", SITES + copies), anomalous="none", **NO_SOLVENT)
    np.testing.assert_allclose(its.amplitudes, listed.amplitudes, atol=1e-3 * listed.amplitudes.mean())


def test_measured_dispersion_takes_the_place_of_the_calculated_one(tmp_path):
    path = write_model(tmp_path / "a.pdb")
    energies = [EV_ANGSTROM / wavelength for wavelength in (0.985, 0.9795, 0.97)]
    rows = list(zip(energies, (-6.0, -10.5, -4.0), (0.5, 3.2, 5.9), strict=True))
    (tmp_path / "Se.txt").write_text(
        "# E f' f''\n" + "".join(f"{e} {real} {imaginary}\n" for e, real, imaginary in rows)
    )
    (tmp_path / "Se.efs").write_text("title\n" + "".join(f"{e} {imaginary} {real}\n" for e, real, imaginary in rows))
    middle = (energies[0] + energies[1]) / 2
    for name in ("Se.txt", "Se.efs"):
        its = amplitudes(
            path, (EV_ANGSTROM / middle,), anomalous_scatterers={"Se": {"file": tmp_path / name}}, **NO_SOLVENT
        )
        assert (its.dispersion["Se"][0][0], its.dispersion["Se"][1][0]) == pytest.approx((-8.25, 1.85))
        some = its.indices[:: len(its.indices) // 40]
        wanted = summed_over_atoms(path, some.tolist(), {**cromer_liberman(EV_ANGSTROM / middle), "Se": -8.25 + 1.85j})
        np.testing.assert_allclose(its.amplitudes[0, :: len(its.indices) // 40], wanted, atol=1e-3 * wanted.mean())


def test_dispersion_that_cannot_be_is_refused_with_its_field(tmp_path):
    path = write_model(tmp_path / "a.pdb")
    (tmp_path / "Se.txt").write_text("12600 -8 1\n12700 -6 4\n")
    with pytest.raises(
        ExperimentError,
        match=r"structure_factors\.anomalous_scatterers\.Se\.file: .* 12600 to 12700 eV, the beam has 12398",
    ):
        amplitudes(path, anomalous_scatterers={"Se": {"file": tmp_path / "Se.txt"}})
    with pytest.raises(
        ExperimentError, match=r"anomalous_scatterers\.Zn: .*a\.pdb has no such atoms, but H, C, N, O, S, Se"
    ):
        amplitudes(path, anomalous_scatterers={"Zn": {"f_prime_e": -1.0, "f_double_prime_e": 1.0}})


def test_what_takes_long_is_said_beforehand(tmp_path, caplog, monkeypatch):
    path = write_model(tmp_path / "a.pdb")
    amplitudes(path)
    assert not caplog.records
    monkeypatch.setattr("nbdist.scene.model_amplitudes.SLOW_S", 1e-3)
    amplitudes(path)
    assert re.fullmatch(
        r"structure_factors: F_calc of 7 atoms at 1.6 A takes about 0 s and 0.0 GiB", caplog.messages[0]
    )


def test_a_grid_that_no_machine_holds_is_refused(tmp_path):
    path = write_model(tmp_path / "a.pdb", cell=(900.0, 900.0, 900.0, 90.0, 90.0, 90.0))
    with pytest.raises(
        ExperimentError,
        match=r"structure_factors: a cell of 7.29e\+08 A\^3 at 1 A takes .* points of a grid, more than",
    ):
        amplitudes(path, d_min_A=1.0)
