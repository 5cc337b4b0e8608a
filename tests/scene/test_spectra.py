"""Wavelengths beside the beam's own: what they bring onto the detector is there, and what goes by the beam's is said."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist import predict, simulate_frame
from nbdist.experiment.model import SPECTRUM_VERSION
from nbdist.kernels.spots import Diffraction
from nbdist.scene import resolve
from nbdist.scene.amplitudes import AmplitudeCache, load_reflections
from nbdist.scene.notes import notes

BLUE = {"sources": [{"direction": [0, 0, 1], "wavelength_A": 0.6}]}


@pytest.fixture
def of_beam(small_experiment):
    """`of_beam(beam)`: an experiment in which every reflection has an amplitude."""

    def make(beam, method="integrated", **source):
        return small_experiment(
            beam=beam,
            crystal={"shape": "gauss", "mosaicity": {"sigma_deg": 0.3}},
            structure_factors={"kind": "uniform", "F": 30} | source,
            sampling={"method": method, "precision": "float64"},
        )

    return make


def test_a_source_shows_what_a_beam_of_its_wavelength_shows(of_beam):
    blue, beams = of_beam(BLUE), of_beam({"wavelength_A": 0.6})
    image = simulate_frame(beams)
    np.testing.assert_allclose(simulate_frame(blue), image, rtol=0, atol=1e-9 * image.max())
    assert len(predict(blue)) == len(predict(beams)) > 100


def test_reflections_are_kept_that_the_shortest_wavelength_brings_onto_the_detector(of_beam):
    def finest(beam, **source):
        scene = resolve(of_beam(beam, **source))
        return scene.finest_A, 1 / np.linalg.norm(
            Diffraction(scene, load_reflections(scene)).lists[0].vectors, axis=1
        ).max()

    at_A, plain = finest({"wavelength_A": 1.0})
    assert plain == pytest.approx(0.97 * at_A, rel=5e-3)
    for beam, share in (
        ({"dispersion": {"percent": 20, "steps": 3}}, 0.9 * 0.97),
        ({"bandwidth_sigma": 0.005}, 0.97),
        ({"bandwidth_sigma": 0.06}, 1 - 3 * 0.06),
        ({"sources": [*BLUE["sources"], {"direction": [0, 0, 1], "wavelength_A": 0.5, "weight": 0}]}, 0.6 * 0.97),
    ):
        assert finest({"wavelength_A": 1.0, **beam})[1] == pytest.approx(share * at_A, rel=5e-3)


@pytest.mark.parametrize("cached", [False, True])
def test_what_is_missing_is_drawn_to_where_the_shortest_wavelength_reaches(cached, small_experiment, tmp_path):
    path = tmp_path / "a.hkl"
    path.write_text("1 2 3 4\n2 0 1 5\n")

    def drawn(beam, cache=None):
        source = {"kind": "file", "file": path, "missing": "wilson"}
        (found,) = load_reflections(resolve(small_experiment(beam=beam, structure_factors=source)), cache)
        return len(found.indices)

    blue = drawn({"wavelength_A": 0.6})
    assert blue > 3 * drawn({"wavelength_A": 1.0})
    found = drawn({"wavelength_A": 1.0, **BLUE}, AmplitudeCache() if cached else None)
    assert found >= blue if cached else found == pytest.approx(blue, rel=0.01)  # 2 sin(theta) of one angle, scaled


def test_sources_of_another_mean_wavelength_than_the_beams_are_said(of_beam):
    def said(beam, method="integrated"):
        scene = resolve(of_beam(beam, method))
        return [line for line in notes(scene, load_reflections(scene)) if line.startswith("beam: the mean wavelength")]

    (line,) = said({"wavelength_A": 1.0, **BLUE})
    assert "of its sources is 0.6 A, and its own 1 A" in line
    assert said({"wavelength_A": 0.6, **BLUE}) == []
    assert said({"wavelength_A": 1.0, "dispersion": {"percent": 20, "steps": 3}}) == []
    assert said({"wavelength_A": 1.0, "bandwidth_sigma": 0.1, "spread_sources": 3}, "sum") == []


def test_the_version_of_spectra_is_in_the_fingerprints_of_their_experiments_alone(of_beam, monkeypatch):
    its = [of_beam({"wavelength_A": 1.0}), of_beam(BLUE), of_beam({"bandwidth_sigma": 0.01})]
    before = [(each.fingerprint, each.photons_fingerprint) for each in its]
    monkeypatch.setattr("nbdist.experiment.model.SPECTRUM_VERSION", SPECTRUM_VERSION + 1)
    after = [(each.fingerprint, each.photons_fingerprint) for each in its]
    assert after[0] == before[0]
    assert not {*sum(after[1:], ())} & {*sum(before[1:], ())}
