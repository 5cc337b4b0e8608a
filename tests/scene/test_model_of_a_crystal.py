"""An atomic model gives a crystal its cell and space group, and amplitudes to the corner of the detector."""

from __future__ import annotations

import numpy as np
import pytest
from atomic_models import CELL, SITES, write_model

from nbdist.errors import ExperimentError, FileFormatError
from nbdist.experiment import model as experiments
from nbdist.experiment.lattice import cell_from_real
from nbdist.formats.atomic_model import _read, _structure
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.notes import notes


@pytest.fixture
def of_model(small_experiment, tmp_path):
    path = write_model(tmp_path / "a.pdb")

    def make(crystal=None, beam=None, **fields):
        return small_experiment(
            beam=beam or {},
            crystal=None,
            crystals=[{"N_cells": [8, 7, 6], **(crystal or {})}],
            structure_factors={"kind": "model", "file": str(path), **fields},
        )

    return make


def test_a_crystal_without_a_cell_has_the_models(of_model):
    scene = resolve(of_model({"misset_deg": [10, 20, 30]}))
    [lattice], [its] = scene.specimen.lattices, load_reflections(scene)
    assert cell_from_real(lattice.real_vectors_A) == pytest.approx(CELL)
    assert lattice.space_group == "P 21 21 21"
    spacings_A = 1 / np.linalg.norm(its.indices[its.indices.any(axis=1)] / np.array(CELL[:3]), axis=1)
    assert 0.96 * scene.finest_A < spacings_A.min() < 0.98 * scene.finest_A, "spots beyond the corner have tails on it"
    assert its.origin.startswith("7 atoms in P 21 21 21, cell 20 24 28 90 90 90; ")
    assert its.notes == ()


@pytest.mark.parametrize("packed", [True, False])
def test_a_model_of_crystals_that_are_turned_is_read_once(small_experiment, tmp_path, packed):
    path = write_model(tmp_path / "a.pdb", space_group="P 21 21 21" if packed else None)
    crystal = {"N_cells": [5, 5, 5], "cell": (20.1, 24.2, 28.3, 90, 90, 90), "space_group": "P 21 21 21"}
    turned = [{**crystal, "misset_deg": [7 * n, 11 * n, 13 * n]} for n in range(5)]
    source = {"kind": "model", "file": str(path), "d_min_A": 6.0}
    before = [cached.cache_info().misses for cached in (_structure, _read)]
    load_reflections(resolve(small_experiment(crystal=None, crystals=turned, structure_factors=source)))
    assert [cached.cache_info().misses for cached in (_structure, _read)] == [1 + misses for misses in before]


def test_without_a_model_a_cell_is_required(small_experiment):
    with pytest.raises(
        ExperimentError, match=r"crystals\.0: give exactly one of cell, matrix_file, .*; found none of them"
    ):
        small_experiment(crystal=None, crystals=[{"N_cells": [3, 3, 3]}])


@pytest.mark.parametrize("header", ["CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n", ""])
def test_a_model_without_a_cell_lies_in_the_crystals_with_its_coordinates(of_model, tmp_path, header):
    path = tmp_path / "a.pdb"
    [packed] = load_reflections(resolve(of_model(d_min_A=3.9)))
    path.write_text(header + "".join(path.read_text().splitlines(keepends=True)[1:]))
    scene = resolve(of_model({"cell": list(CELL), "space_group": "P212121"}, d_min_A=3.9))
    [its] = load_reflections(scene)
    assert scene.specimen.lattices[0].space_group == "P 21 21 21"
    np.testing.assert_array_equal(its.indices, packed.indices)
    np.testing.assert_allclose(its.amplitudes, packed.amplitudes, rtol=1e-6, atol=1e-6 * packed.amplitudes.max())
    assert any("has no cell; its atoms lie in that of crystals.0" in note for note in its.notes)
    with pytest.raises(FileFormatError, match=r"has no unit cell"):
        resolve(of_model(d_min_A=3.9))


def test_a_cell_of_its_own_turns_indices_not_atoms_and_reaches_the_corner_as_well(of_model):
    scene = resolve(of_model({"cell": [19.0, 25.0, 28.0, 90, 90, 90]}))
    [its] = load_reflections(scene)
    spacings_A = 1 / np.linalg.norm(its.indices[its.indices.any(axis=1)] / np.array([19.0, 25.0, 28.0]), axis=1)
    corner = spacings_A < scene.finest_A / 0.99
    assert spacings_A[corner].min() < 0.98 * scene.finest_A
    assert any(
        "has a cell of 20 24 28 90 90 90, crystals.0 one of 19 25 28 90 90 90: its atoms keep" in note
        for note in its.notes
    )


def test_another_space_group_than_the_models_is_refused(of_model):
    assert resolve(of_model({"space_group": "P212121"})).specimen.lattices[0].space_group == "P 21 21 21"
    with pytest.raises(
        ExperimentError, match=r"crystals\.0\.space_group: P 2 2 2 is not that of the model .*a\.pdb, P 21 21 21; leave"
    ):
        resolve(of_model({"space_group": "P 2 2 2"}))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"scattering": "electrons", "anomalous": "each_wavelength"}, r"anomalous dispersion is of X-rays"),
        (
            {"anomalous": "none", "anomalous_scatterers": {"Se": {"f_prime_e": -8, "f_double_prime_e": 4}}},
            r"anomalous_scatterers need anomalous mean_wavelength or each_wavelength; found none",
        ),
        ({"anomalous_scatterers": {"Se": {"f_prime_e": -8}}}, r"Se: give f_prime_e and f_double_prime_e, or file"),
        ({"anomalous_scatterers": {"Se": {}}}, r"Se: give f_prime_e and f_double_prime_e, or file"),
        ({"k_sol_e_per_A3": -1}, r"structure_factors\.k_sol_e_per_A3: should be greater than or equal to 0"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(of_model, fields, complaint):
    with pytest.raises(ExperimentError, match=complaint):
        of_model(**fields)


def test_the_fingerprint_is_of_the_models_content_and_of_the_recipe(of_model, tmp_path, monkeypatch):
    experiment = of_model()
    first, photons = experiment.fingerprint, experiment.photons_fingerprint
    assert of_model(k_sol_e_per_A3=0.3).fingerprint != first
    monkeypatch.setattr(experiments, "MODEL_VERSION", 0)
    assert first != experiment.fingerprint
    assert photons != experiment.photons_fingerprint
    monkeypatch.undo()
    write_model(tmp_path / "a.pdb", SITES[:-1])
    assert experiment.fingerprint != first


def test_what_is_probably_not_meant_is_said(of_model):
    def said(**sections):
        scene = resolve(of_model(**sections))
        return "\n".join(notes(scene, load_reflections(scene)))

    assert "structure_factors.anomalous: each_wavelength, but all sources have one wavelength" in said(
        anomalous="each_wavelength"
    )
    dispersed = {"dispersion": {"percent": 1.0, "steps": 3}}
    assert "one wavelength" not in said(beam=dispersed, anomalous="each_wavelength")
    assert "polarization_factor: electrons have no polarization" in said(scattering="electrons")
    assert "electrons" not in said(beam={"polarization_factor": None}, scattering="electrons")


def test_a_calculated_dispersion_at_an_edge_is_noted(of_model):
    def said(energy_eV, **fields):
        [its] = load_reflections(resolve(of_model(beam={"wavelength_A": None, "energy_eV": energy_eV}, **fields)))
        return its.notes

    [note] = said(12650)  # the K edge of selenium is at 12658 eV
    assert note.startswith("structure_factors.anomalous: Se has an edge within 20 eV of 12650 eV, where calculated")
    assert said(12600) == said(12650, anomalous="none") == ()
    assert said(12650, anomalous_scatterers={"Se": {"f_prime_e": -8.0, "f_double_prime_e": 4.0}}) == ()


def test_of_three_wavelengths_the_check_says_the_dispersion_of_the_strongest(of_model):
    scene = resolve(
        of_model(beam={"wavelength_A": 0.979, "dispersion": {"percent": 0.4, "steps": 3}}, anomalous="each_wavelength")
    )
    [its] = load_reflections(scene)
    assert its.amplitudes.shape == (3, len(its.indices))
    listed = its.origin.partition("f' f'' of Se ")[2].split(", ")
    assert [part.rpartition(" at ")[2] for part in listed] == ["0.97704 A", "0.979 A", "0.98096 A"]
