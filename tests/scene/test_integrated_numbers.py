"""What `sampling.method: integrated` asks of an experiment, and what the numbers are that it makes."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import create_model

from nbdist.errors import ExperimentError
from nbdist.experiment import Experiment
from nbdist.experiment.sampling import Method, Sampling
from nbdist.experiment.validation import validated
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.notes import notes

_sampling = create_model("_sampling", __base__=Sampling, method=(Method, "sum"))
_experiment = create_model("_experiment", __base__=Experiment, sampling=(_sampling, _sampling()))


@pytest.fixture
def integrated(small_experiment):
    """`integrated(**sections)`: the small experiment by this method, gauss, with fields of some sections replaced."""

    def make(**sections):
        crystal = {"shape": "gauss", **sections.pop("crystal", {})}
        sampling = {"oversample": "auto", **sections.pop("sampling", {})}
        content = small_experiment(crystal=crystal, sampling=sampling, **sections).model_dump(exclude_unset=True)
        content["sampling"]["method"] = "integrated"
        return validated(_experiment, content)

    return make


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"crystal": {"shape": "square"}},
            r"^crystal\.shape: .* closed form for gauss alone, found square; give gauss",
        ),
        ({"crystal": {"mosaic_spread_deg": 0.1}}, r"^crystal\.mosaic_spread_deg: .* give mosaicity\.sigma_deg$"),
        ({"crystal": {"mosaic_domains": 3}}, r"^crystal\.mosaic_domains: .* give mosaicity\.sigma_deg$"),
        (
            {"crystal": {"mosaic_rotations": [np.eye(3).tolist()]}},
            r"^crystal\.mosaic_rotations: .* mosaicity\.sigma_deg$",
        ),
        ({"crystal": {"mosaic_rotations_file": "a.npy"}}, r"^crystal\.mosaic_rotations_file: .* mosaicity\.sigma_deg$"),
        ({"sampling": {"interpolate": True}}, r"^sampling\.interpolate: .* leave it at false or auto$"),
    ],
)
def test_what_has_no_closed_form_is_refused_with_the_reason(integrated, sections, said):
    with pytest.raises(ExperimentError, match=said):
        integrated(**sections)


def test_means_have_no_points_and_no_divisor_but_the_sources(integrated):
    listed = [{"direction": [0, 0, 1]}, {"direction": [0, 0.01, 1], "weight": 3}]
    scene = resolve(
        integrated(
            beam={"sources": listed, "bandwidth_sigma": 1e-3, "divergence_sigma_mrad": [1, 2], "spread_sources": 7},
            crystal={"mosaicity": {"sigma_deg": 0.2, "domains": 9}, "N_cells": [2, 2, 2]},
            scan={"phi_steps": "auto", "osc_range_deg": 5},
        )
    )
    (lattice,) = scene.specimen.lattices
    assert (scene.method, scene.phi_steps, scene.steps, scene.orientations_per_frame) == ("integrated", 1, 2, 1)
    np.testing.assert_array_equal(lattice.mosaic, np.eye(3)[None])
    assert lattice.domains == 1
    assert not lattice.interpolate
    np.testing.assert_allclose(lattice.mosaic_sigma_rad, np.deg2rad(0.2))
    instrument = scene.instrument
    np.testing.assert_allclose(instrument.sources.weights, [0.5, 1.5])
    assert instrument.bandwidth_sigma == 1e-3
    np.testing.assert_allclose(instrument.divergence_sigma_rad, [1e-3, 2e-3])
    # 2 x 40 A, 0.934 * d / 100 A is far from sharp, so spreads are seen whole, though no points stand for them
    assert scene.rocking_width_deg > 2.3548 * 0.2


@pytest.mark.parametrize(("given", "subpixels", "side"), [("auto", None, 1), (3, 3, 3)])
def test_subpixels_are_those_given_or_the_kernels_choice(integrated, given, subpixels, side):
    scene = resolve(integrated(sampling={"oversample": given, "tolerance": 1e-3}))
    assert (scene.instrument.subpixels, scene.instrument.oversample, scene.steps) == (subpixels, side, 1)
    assert scene.instrument.tolerance == 1e-3


def test_phi_steps_that_are_not_taken_are_said_and_those_of_no_choice_not(integrated):
    def said(**scan):
        scene = resolve(
            integrated(scan=scan, crystal={"N_cells": [100] * 3}, structure_factors={"kind": "uniform", "F": 5})
        )
        return notes(scene, load_reflections(scene))

    (line,) = said(phi_steps=20)
    assert line.startswith("scan.phi_steps: 20 steps are not taken")
    assert said(phi_steps=1) == said(phi_steps="auto") == []
