"""A beam along its own E vector: legal where it is not polarised, refused where psi has no zero or a divergence no axis."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.scene import resolve

ALONG = {"direction": [0, 0, 1], "polarization_vector": [0, 0, -2]}
ACROSS = {"direction": [0, 0, 1], "polarization_vector": [1, 0, 0]}
ONE_OF_TWO = {
    "polarization_vector": [1, 0, 0],
    "sources": [{"direction": [0, 0, 1]}, {"direction": [-3, 0, 0], "weight": 2.0}],
}


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("every_term", [False, True])
@pytest.mark.parametrize("factor", [0.0, None])
def test_an_unpolarised_beam_needs_no_direction_of_its_field(small_experiment, make_renderer, factor, every_term, mode):
    sampling = {"oversample_polar": every_term}
    images = [
        make_renderer(small_experiment(beam={**beam, "polarization_factor": factor}, sampling=sampling), mode).frame(0)
        for beam in (ALONG, ACROSS)
    ]
    assert images[1].max() > 0
    np.testing.assert_allclose(images[0], images[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_one_source_of_many_may_run_along_the_field(small_experiment, make_renderer, mode):
    experiment = small_experiment(
        beam={**ONE_OF_TWO, "polarization_factor": 0.0}, sampling={"oversample_polar": True}, background={"water_um": 5}
    )
    assert np.isfinite(make_renderer(experiment, mode).frame(0)).all()


@pytest.mark.parametrize(("beam", "which"), [(ALONG, "the beam"), (ONE_OF_TWO, "source 1")])
def test_a_polarised_source_along_the_field_is_refused(small_experiment, beam, which):
    with pytest.raises(ExperimentError, match=rf"^beam\.polarization_vector: is parallel to {which},.* found 0\.5$"):
        resolve(small_experiment(beam={**beam, "polarization_factor": 0.5}))


def test_explicit_sources_are_judged_by_their_own_directions(small_experiment):
    """Here the beam's own direction, z, is along the field; no photon travels it."""
    beam = {"polarization_vector": [0, 0, 1], "polarization_factor": 0.9, "sources": [{"direction": [0, 1, 0]}]}
    assert len(resolve(small_experiment(beam=beam)).instrument.sources) == 1


def test_only_a_horizontal_divergence_needs_an_axis_across_the_field(small_experiment):
    def sources(**divergence):
        beam = {**ALONG, "polarization_factor": 0.0, "divergence": divergence}
        return resolve(small_experiment(beam=beam)).instrument.sources

    vertical = sources(vertical_mrad=3.0, vertical_steps=3)  # turned about the field, which is the beam
    np.testing.assert_allclose(vertical.directions, [[0, 0, 1]] * 3, atol=1e-15)
    assert len(sources(horizontal_mrad=0.0, horizontal_steps=2)) == 2
    with pytest.raises(ExperimentError, match=r"^beam\.divergence\.horizontal_mrad: has no axis"):
        sources(horizontal_mrad=1.0, horizontal_steps=2)
