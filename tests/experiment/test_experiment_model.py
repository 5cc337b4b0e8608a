"""Experiments are frozen, have a fingerprint of what decides a pixel, and resolve to the numbers they say."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from pydantic import ValidationError, create_model

from nbdist.errors import ExperimentError
from nbdist.experiment import Experiment, model, validate
from nbdist.experiment.beam import Beam
from nbdist.experiment.detector import Detector, Panel
from nbdist.experiment.lattice import reciprocal_from_cell
from nbdist.experiment.structure_factors import Uniform, Wilson
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections, wilson_amplitudes


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
    assert experiment.with_changes(title="another").title == "another"
    assert experiment.with_changes(beam=Beam(wavelength_A=1.5)).beam == Beam(wavelength_A=1.5)
    with pytest.raises(ExperimentError, match=r"^bean: unknown field, near beam \(found .*\)$"):
        experiment.with_changes(bean={"wavelength_A": 1.5})
    with pytest.raises(ExperimentError, match=r"^beam: should be .*, found 3$"):
        experiment.with_changes(beam=3)


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
        {"labels": {"bragg": True}},
        {"labels": {"spot_share": 0.4}},
    ]
    prints = {small_experiment(**change).fingerprint for change in changes}
    assert len(prints | {plain}) == len(changes) + 1


def test_the_version_of_the_integrated_method_is_in_the_fingerprints_of_its_experiments_alone(
    small_experiment, monkeypatch
):
    summed = small_experiment(crystal={"shape": "gauss"})
    integrated = summed.with_changes(sampling={"method": "integrated"})
    first = [(its.fingerprint, its.photons_fingerprint) for its in (summed, integrated)]
    monkeypatch.setattr(model, "INTEGRATED_VERSION", model.INTEGRATED_VERSION + 1)
    again = [(its.fingerprint, its.photons_fingerprint) for its in (summed, integrated)]
    assert again[0] == first[0]
    assert all(new != old for new, old in zip(again[1], first[1], strict=True))


def test_the_fingerprint_of_a_missing_file_names_it(small_experiment, tmp_path):
    experiment = small_experiment(structure_factors={"kind": "file", "file": tmp_path / "gone.hkl"})
    with pytest.raises(ExperimentError, match=r"^structure_factors\.file: .*gone\.hkl cannot be read"):
        _ = experiment.fingerprint
    with pytest.raises(ExperimentError, match=r"^structure_factors\.file: .* cannot be read: .*embedded null"):
        _ = small_experiment(structure_factors={"kind": "file", "file": "a\0b"}).fingerprint


def test_a_copy_with_other_fields_has_its_own_fingerprint(small_experiment):
    experiment = small_experiment()
    before, beam = experiment.fingerprint, {"wavelength_A": 1.5, "fluence_photons_per_m2": 1e24}
    other = experiment.model_copy(update={"beam": Beam(**beam)})
    assert (
        other.fingerprint
        == validate(other.model_dump()).fingerprint
        == small_experiment(beam={**beam, "polarization_factor": 0.0}).fingerprint
    )
    assert other.fingerprint != before == experiment.fingerprint


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e)), lambda e: e.model_copy(deep=True)],
    ids=["copy", "deepcopy", "pickle", "model_copy"],
)
def test_nothing_that_a_copy_carries_along_decides_its_fingerprint(small_experiment, copied):
    experiment = small_experiment()
    first = experiment.fingerprint
    again = copied(experiment)
    assert again == experiment
    assert again.fingerprint == first
    again.__dict__["beam"] = Beam(wavelength_A=2.0)  # what no interface allows
    assert again.fingerprint != first


def test_a_file_that_changes_between_two_calls_changes_the_fingerprint(with_file):
    experiment = with_file("here", "1 2 3 4\n")
    before = experiment.fingerprint
    with_file("here", "1 2 3 5\n")
    assert experiment.fingerprint != before


def test_the_mask_of_a_panel_enters_the_fingerprint_by_its_content(small_experiment, tmp_path):
    def masked(name, dead):
        np.save(tmp_path / name, np.full((96, 80), dead))
        return small_experiment(panel={"mask_file": tmp_path / name})

    first = masked("a.npy", 0)
    assert first.named_files() == {"detector.panels.0.mask_file": tmp_path / "a.npy"}
    assert masked("b.npy", 0).fingerprint == first.fingerprint != small_experiment().fingerprint
    assert masked("c.npy", 1).fingerprint != first.fingerprint
    (tmp_path / "a.npy").unlink()
    with pytest.raises(ExperimentError, match=r"^detector\.panels\.0\.mask_file: .*a\.npy cannot be read"):
        _ = first.fingerprint


def test_a_schema_that_grows_fields_left_at_their_defaults_keeps_every_fingerprint(small_experiment):
    grown_panel = create_model("GrownPanel", __base__=Panel, gap_mm=(float, 0.0))
    grown_detector = create_model(
        "GrownDetector", __base__=Detector, panels=(tuple[grown_panel, ...], (grown_panel(),)), gain=(float, 1.0)
    )
    grown_uniform = create_model("GrownUniform", __base__=Uniform, phase_deg=(float, 0.0))
    grown = create_model(
        "Grown",
        __base__=Experiment,
        detector=(grown_detector, grown_detector()),
        structure_factors=(grown_uniform, ...),
        goniometer=(Beam, Beam()),
    )
    for change in (
        {},
        {"panel": {"rotation_deg": (1, 2, 3)}},
        {"detector": {"panels": [{}]}},
        {"detector": {"panels": [{}, {}]}},
    ):
        content = small_experiment(**change, structure_factors={"kind": "uniform", "F": 5}).model_dump(
            exclude_unset=True
        )
        assert grown.model_validate(content).fingerprint == validate(content).fingerprint
        assert (
            grown.model_validate({**content, "goniometer": {"energy_eV": 12000}}).fingerprint
            != validate(content).fingerprint
        )


def test_a_section_that_grew_stands_for_its_ancestor_wherever_it_is_put(small_experiment):
    grown_panel = create_model("GrownPanel", __base__=Panel, gap_mm=(float, 0), offsets=(tuple[float, float], [0, 0]))
    grown_detector = create_model("GrownDetector", __base__=Detector, gain=(float, 1.0))
    experiment = small_experiment()
    plain = experiment.detector
    panels = [grown_panel(**panel.model_dump()) for panel in plain.panels]
    detector = grown_detector(**{**plain.model_dump(exclude={"panels"}), "panels": panels})
    assert experiment.model_copy(update={"detector": detector}).fingerprint == experiment.fingerprint
    panels[0] = panels[0].model_copy(update={"offsets": (0, 1)})
    changed = experiment.model_copy(update={"detector": plain.model_copy(update={"panels": panels})})
    assert changed.fingerprint != experiment.fingerprint
    assert Detector(panels=(grown_panel(),)).content() == {}


@pytest.mark.filterwarnings("ignore:The `copy` method is deprecated")
def test_pydantics_older_copy_is_checked_too(small_experiment):
    experiment = small_experiment()
    assert experiment.copy(update={"title": "other"}).title == "other"
    with pytest.raises(ValidationError, match="wavelength_A"):
        experiment.copy(update={"beam": {"wavelength_A": -1}})


def test_kinds_of_amplitudes_with_the_same_fields_have_different_content(small_experiment, tmp_path):
    wilson = small_experiment(structure_factors={"kind": "wilson", "d_min_A": 2.5, "seed": 0})
    assert wilson.content()["structure_factors"] == {"kind": "wilson", "d_min_A": 2.5}
    assert wilson.fingerprint == small_experiment(structure_factors={"kind": "wilson", "d_min_A": 2.5}).fingerprint


def test_an_update_is_converted_and_checked_as_a_new_section_is(small_experiment):
    experiment = small_experiment()
    assert experiment.scan.model_copy(update={"frames": "7", "spindle_axis": [0, 1, 0]}).spindle_axis == (0.0, 1.0, 0.0)
    assert experiment.model_copy(update={"scan": {"frames": 7}}).scan.frames == 7
    for wrong in ({"frames": 0}, {"phi_steps": "many"}, {"no_such_field": 1}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            experiment.scan.model_copy(update=wrong)
    with pytest.raises(ValidationError, match="not both"):
        experiment.beam.model_copy(update={"energy_eV": 12000.0})


def test_dead_pixels_of_a_panel_and_of_the_detector_add_up(small_experiment, tmp_path):
    whole, second = np.zeros((2, 2, 3), dtype=np.uint8), np.zeros((2, 3), dtype=np.uint8)
    whole[0, 0, 0], second[1, 2] = 1, 7
    np.save(tmp_path / "whole.npy", whole)
    np.save(tmp_path / "second.npy", second)
    panels = [{"spixels": 2, "fpixels": 3}, {"spixels": 2, "fpixels": 3, "mask_file": tmp_path / "second.npy"}]
    scene = resolve(small_experiment(detector={"panels": panels, "mask_file": tmp_path / "whole.npy"}))
    dead = [np.argwhere(~panel.usable).tolist() for panel in scene.instrument.panels]
    assert dead == [[[0, 0]], [[1, 2]]]


def test_a_mask_of_the_detector_needs_panels_of_one_size(small_experiment, tmp_path):
    np.save(tmp_path / "whole.npy", np.zeros((5, 3)))
    panels = [{"spixels": 3, "fpixels": 3}, {"spixels": 2, "fpixels": 3}]
    with pytest.raises(ExperimentError, match=r"^detector\.mask_file: the panels differ in size"):
        resolve(small_experiment(detector={"panels": panels, "mask_file": tmp_path / "whole.npy"}))


def test_a_panels_mask_of_another_shape_is_refused_by_name(small_experiment, tmp_path):
    np.save(tmp_path / "mask.npy", np.zeros((80, 96)))
    experiment = small_experiment(panel={"mask_file": tmp_path / "mask.npy"})
    with pytest.raises(ExperimentError, match=r"^detector\.panels\.0\.mask_file: .*\(80, 96\), the panel \(96, 80\)"):
        resolve(experiment)


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


@pytest.mark.parametrize("last_bits", [1 - 1e-14, 1.0, 1 + 1e-14])
def test_reflections_at_the_resolution_itself_are_listed_whatever_the_last_bits_are(last_bits):
    # of a cubic cell of 40 A, 10 0 0, 8 6 0 and those like them lie at 4 A: 6 and 24 of the integer points within a radius of 10,
    # of which there are 4169 (OEIS A000605), the origin among them
    reciprocal = reciprocal_from_cell([40 * last_bits] * 3 + [90] * 3)
    indices, _ = wilson_amplitudes(reciprocal, Wilson(kind="wilson", d_min_A=4, seed=1))
    assert len(indices) == 4168


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
    sets = [
        load_reflections(resolve(small_experiment(crystal={"misset_deg": m})))[0] for m in ((0, 0, 0), (10, 20, 30))
    ]
    np.testing.assert_array_equal(sets[0].indices, sets[1].indices)
    np.testing.assert_allclose(sets[0].amplitudes, sets[1].amplitudes, rtol=1e-12)


@pytest.mark.parametrize("d_min_A", [0.01, 1000])
def test_absurd_wilson_resolutions_are_refused_by_name(small_experiment, d_min_A):
    scene = resolve(small_experiment(structure_factors={"kind": "wilson", "d_min_A": d_min_A}))
    with pytest.raises(ExperimentError, match=r"^structure_factors\.d_min_A: "):
        load_reflections(scene)


def test_phi_of_a_frame_is_sampled_by_the_rule(small_experiment):
    scan = {"phi_start_deg": 10, "osc_range_deg": 0.5, "phi_steps": 2}
    assert small_experiment(scan=scan).scan.phi_deg(3, 2) == pytest.approx([11.625, 11.875], abs=1e-13)
    assert small_experiment(scan=scan | {"phi_rule": "left"}).scan.phi_deg(3, 2) == pytest.approx(
        [11.5, 11.75], abs=1e-13
    )


def test_auto_oversample_takes_three_samples_across_a_spot(small_experiment):
    # ceil(3 * 400 A / (1 A * 100 mm / 0.1 mm)) = ceil(1.2) = 2
    experiment = small_experiment(
        panel={"pixel_size_mm": 0.1},
        crystal={"cell": [40] * 3 + [90] * 3, "N_cells": [10] * 3},
        sampling={"oversample": "auto"},
    )
    assert resolve(experiment).instrument.oversample == 2


@pytest.mark.parametrize("last_bits", [1 - 1e-14, 1.0, 1 + 1e-14])
def test_auto_oversample_does_not_depend_on_last_bits(small_experiment, last_bits):
    # 3 * 400 A / (0.8 A * 100 mm / 0.1 mm) = 1.5 for 10 cells, and 3 for 20
    for cells, subpixels in ((10, 2), (20, 3)):
        experiment = small_experiment(
            beam={"wavelength_A": 0.8},
            panel={"pixel_size_mm": 0.1},
            crystal={"cell": [40 * last_bits] * 3 + [90] * 3, "N_cells": [cells] * 3},
            sampling={"oversample": "auto"},
        )
        assert resolve(experiment).instrument.oversample == subpixels


def test_energy_is_nanobraggs_wavelength(small_experiment):
    experiment = small_experiment(beam={"wavelength_A": None, "energy_eV": 12398.42})
    assert resolve(experiment).instrument.sources.wavelengths_A.tolist() == [1.0]
