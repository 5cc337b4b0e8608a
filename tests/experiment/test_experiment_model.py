"""Experiments are frozen, have a fingerprint of what decides a pixel, and resolve to the numbers they say."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from nbdist.errors import ExperimentError
from nbdist.experiment import resolve
from nbdist.experiment.amplitudes import load_reflections, wilson_amplitudes
from nbdist.experiment.lattice import reciprocal_from_cell
from nbdist.experiment.structure_factors import Wilson


@pytest.mark.parametrize(("section", "field"), [("beam", "wavelength_A"), ("crystal", "cell"), ("detector", "curved")])
def test_experiments_are_frozen(small_experiment, section, field):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(getattr(small_experiment(), section), field, 1)


def test_changes_are_validated_and_leave_the_original_alone(small_experiment):
    experiment = small_experiment()
    assert experiment.with_changes(scan={"frames": 9}).scan.frames == 9
    assert experiment.scan.frames == 3
    with pytest.raises(ExperimentError, match=r"scan\.frames"):
        experiment.with_changes(scan={"frames": -1})


@pytest.fixture
def with_file(small_experiment, tmp_path):
    """`with_file(folder, text)`: an experiment whose amplitudes are in folder/a.hkl."""

    def make(folder, text):
        path = tmp_path / folder / "a.hkl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return small_experiment(structure_factors={"kind": "file", "file": path})

    return make


def test_the_fingerprint_knows_a_files_content_and_not_its_place(with_file):
    here = with_file("here", "1 2 3 4\n").fingerprint
    assert with_file("there", "1 2 3 4\n").fingerprint == here
    assert with_file("elsewhere", "1 2 3 5\n").fingerprint != here


def test_the_fingerprint_knows_everything_but_the_title(small_experiment):
    plain = small_experiment().fingerprint
    assert small_experiment(title="another").fingerprint == plain
    changes = [
        {"beam": {"wavelength_A": 1.0000001}},
        {"crystal": {"fudge": 1.1}},
        {"scan": {"phi_rule": "left"}},
        {"detector": {"point_pixels": True}},
        {"structure_factors": {"kind": "wilson", "d_min_A": 2.5, "seed": 2}},
        {"sampling": {"precision": "float64"}},
        {"background": {"water_um": 1}},
        {"noise": {"seed": 5}},
    ]
    prints = {small_experiment(**change).fingerprint for change in changes}
    assert len(prints | {plain}) == len(changes) + 1


def test_the_fingerprint_of_a_missing_file_names_it(small_experiment, tmp_path):
    experiment = small_experiment(structure_factors={"kind": "file", "file": tmp_path / "gone.hkl"})
    with pytest.raises(ExperimentError, match=r"^structure_factors\.file: .*gone\.hkl cannot be read"):
        _ = experiment.fingerprint


@pytest.fixture(scope="module")
def wilson():
    """A drawn set and its reciprocal vectors: 40 x 45 x 50 A to 1.5 A, about 112,000 reflections."""
    reciprocal = reciprocal_from_cell((40, 45, 50, 80, 95, 100))
    source = Wilson(d_min_A=1.5, mean_F2=900, B_factor_A2=12, seed=4)
    return reciprocal, source, *wilson_amplitudes(reciprocal, source)


def test_wilson_amplitudes_have_equal_friedel_mates_and_no_origin(wilson):
    _, _, indices, amplitudes = wilson
    values = {tuple(hkl): F for hkl, F in zip(indices.tolist(), amplitudes, strict=True)}
    assert len(values) == len(indices)
    assert (0, 0, 0) not in values
    assert all(values[-h, -k, -l] == F for (h, k, l), F in values.items())


def test_wilson_amplitudes_fill_the_sphere_of_their_resolution(wilson):
    reciprocal, source, indices, _ = wilson
    assert np.linalg.norm(indices @ reciprocal, axis=1).max() <= 1 / source.d_min_A
    # volume of the sphere over that of a reciprocal cell, to about its surface
    expected = 4 / 3 * np.pi / source.d_min_A**3 / np.linalg.det(reciprocal)
    assert len(indices) == pytest.approx(expected, rel=0.01)


def test_wilson_intensities_are_exponential_about_their_mean(wilson):
    reciprocal, _, indices, amplitudes = wilson
    s_squared = (np.linalg.norm(indices @ reciprocal, axis=1) / 2) ** 2
    z = amplitudes**2 / (900 * np.exp(-2 * 12 * s_squared))
    independent = len(z) / 2
    # an exponential deviate has mean 1, variance 1 and <z^2> 2 with variance 20
    assert abs(z.mean() - 1) < 5 / np.sqrt(independent)
    assert abs((z**2).mean() - 2) < 5 * np.sqrt(20 / independent)


def test_wilson_amplitudes_are_the_same_for_the_same_seed_only(wilson):
    reciprocal, source, _, amplitudes = wilson
    np.testing.assert_array_equal(wilson_amplitudes(reciprocal, source)[1], amplitudes)
    other = wilson_amplitudes(reciprocal, source.model_copy(update={"seed": 5}))[1]
    assert not np.array_equal(other, amplitudes)


def test_wilson_amplitudes_do_not_depend_on_the_orientation(small_experiment):
    sets = [load_reflections(resolve(small_experiment(crystal={"misset_deg": m}))) for m in ((0, 0, 0), (10, 20, 30))]
    np.testing.assert_array_equal(sets[0].indices, sets[1].indices)
    np.testing.assert_allclose(sets[0].amplitudes, sets[1].amplitudes, rtol=1e-12)


@pytest.mark.parametrize("d_min_A", [0.01, 1000])
def test_absurd_wilson_resolutions_are_refused_by_name(small_experiment, d_min_A):
    resolved = resolve(small_experiment(structure_factors={"kind": "wilson", "d_min_A": d_min_A}))
    with pytest.raises(ExperimentError, match=r"^structure_factors\.d_min_A: "):
        load_reflections(resolved)


def test_phi_of_a_frame_is_sampled_by_the_rule(small_experiment):
    scan = {"phi_start_deg": 10, "osc_range_deg": 0.5, "phi_steps": 2}
    assert small_experiment(scan=scan).scan.phi_deg(3) == pytest.approx([11.625, 11.875], abs=1e-13)
    assert small_experiment(scan=scan | {"phi_rule": "left"}).scan.phi_deg(3) == pytest.approx([11.5, 11.75], abs=1e-13)


def test_auto_oversample_takes_three_samples_across_a_spot(small_experiment):
    # ceil(3 * 400 A / (1 A * 100 mm / 0.1 mm)) = ceil(1.2) = 2
    experiment = small_experiment(
        panel={"pixel_size_mm": 0.1},
        crystal={"cell": [40] * 3 + [90] * 3, "N_cells": [10] * 3},
        sampling={"oversample": "auto"},
    )
    assert resolve(experiment).oversample == 2


def test_energy_is_nanobraggs_wavelength(small_experiment):
    experiment = small_experiment(beam={"wavelength_A": None, "energy_eV": 12398.42})
    assert resolve(experiment).sources.wavelengths_A.tolist() == [1.0]
