"""The labels of summed frames: whole pixels, each the reflection's that gave most of its photons."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import nbdist
from nbdist.frames.renderer import Renderer
from nbdist.kernels.attribution import Attribution
from nbdist.run.generate import generate
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.tile import Tile

EVERY = {"reflections": True, "spots": True, "spot": True, "bragg": True, "background": True}
COUNTED = {"N_cells": [20, 17, 15], "mosaic_spread_deg": 0.3, "mosaic_domains": 12}


@pytest.fixture(scope="module")
def labelled(small_experiment):
    def make(**sections):
        return small_experiment(
            panel=sections.pop("panel", None),
            **{
                "crystal": {"shape": "gauss", **COUNTED},
                "scan": {"frames": 3, "osc_range_deg": 0.25, "phi_steps": 4},
                "sampling": {"method": "sum", "oversample": 2},
                "background": {"water_um": 0.1},
                "labels": EVERY,
                **sections,
            },
        )

    return make


def rendered(experiment, mode="compiled"):
    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), "cpu", mode)


def labels_of(renderer, frame=0):
    panels = renderer.scene.instrument.panels
    images = [renderer.frame(frame, Tile(number, *panel.region)) for number, panel in enumerate(panels)]
    return renderer.labels(frame, [image.astype(np.float32) for image in images])


@pytest.mark.parametrize("shape", ["gauss", "square", "round", "tophat"])
def test_the_photons_of_the_table_are_those_of_the_image(labelled, shape):
    labels = labels_of(rendered(labelled(crystal={"shape": shape, **COUNTED})), 1)
    spots, bragg, number = labels.spots, labels.bragg[0].astype(np.float64), labels.spot[0]
    assert bragg.sum() * (1 - 1e-3) < spots["photons"].sum() < bragg.sum() * (1 + 1e-6)
    assert (np.diff(spots["reflection"]) > 0).all()
    for row in np.argsort(spots["photons"])[-10:]:
        its = {name: values[row] for name, values in spots.items()}
        assert bragg[number == row + 1].sum() == pytest.approx(its["photons"], rel=0.05)
        assert number[its["peak_slow"], its["peak_fast"]] == row + 1
        assert bragg[its["peak_slow"], its["peak_fast"]] == bragg[number == row + 1].max()
        assert its["first_slow"] <= its["slow"] < its["last_slow"]
        assert its["first_fast"] <= its["fast"] < its["last_fast"]


def test_photons_of_isolated_spots_are_those_of_the_integrated_method(labelled):
    sections = {
        "crystal": {"shape": "gauss", "N_cells": [8, 7, 6], "mosaicity": {"sigma_deg": 0.2, "domains": 20}},
        "scan": {"frames": 1, "osc_range_deg": 0.5, "phi_steps": 20},
        "labels": {"spots": True},
    }
    summed, integrated = (
        labels_of(rendered(labelled(sampling={"method": method, "oversample": oversample}, **sections))).spots
        for method, oversample in (("sum", 6), ("integrated", "auto"))
    )
    _, one, other = np.intersect1d(summed["reflection"], integrated["reflection"], return_indices=True)
    bright = integrated["photons"][other] > np.quantile(integrated["photons"], 0.95)
    some = bright & (integrated["overlap"][other] < 1e-3)
    assert some.sum() > 10
    np.testing.assert_allclose(summed["photons"][one][some], integrated["photons"][other][some], rtol=0.01)
    np.testing.assert_allclose(summed["partiality"][one][some], integrated["partiality"][other][some], rtol=1e-6)
    for name in ("slow", "fast"):
        np.testing.assert_allclose(summed[name][one][some], integrated[name][other][some], atol=0.02)


def two_lattices(**lattice):
    cell = {"cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0], "N_cells": [5, 4, 4]}
    return [
        {**cell, "misset_deg": [14, -31, 52], **lattice},
        {**cell, "misset_deg": [10, -28, 50], "weight": 0.7, **lattice},
    ]


def test_a_pixel_is_the_reflections_that_gave_most_of_its_terms(labelled):
    from nbdist.frames.trace import Choice, trace_pixel

    experiment = labelled(
        crystal=None,
        crystals=two_lattices(shape="square", mosaic_spread_deg=3.0, mosaic_domains=5),
        beam={
            "wavelength_A": 1.0,
            "sources": [{"direction": [0, 0, 1]}, {"direction": [0, 0.01, 1], "wavelength_A": 1.02, "weight": 2.0}],
        },
        scan={"frames": 1, "osc_range_deg": 1.0, "phi_steps": 2},
    )
    renderer = rendered(experiment, "eager")
    reflections = load_reflections(renderer.scene)
    slow, fast = np.array([20, 31, 40]), np.array([15, 60, 33])
    givers = Attribution(renderer.scene, renderer.tables, 0).givers(0, slow, fast)
    several = 0
    for pixel, lattice, miller, share in zip(zip(slow, fast, strict=True), *givers, strict=True):
        terms: Counter[tuple[int, ...]] = Counter()
        for number in (0, 1):
            for source in (0, 1):
                choice = Choice(source=source, subpixels=True, lattice=number)
                trace, index, weight = trace_pixel(renderer, reflections, pixel, 0, choice), None, 0.0
                for line in trace.lines:
                    if line.key == "source_weight":
                        weight = line.values[0]
                    elif line.key == "hkl_rounded":
                        index = (number, *line.values)
                    elif line.key == "term":
                        terms[index] += weight * line.values[0]
        (best, most), *_ = terms.most_common()
        assert (lattice, *miller) == best
        assert share == pytest.approx(most / sum(terms.values()), rel=1e-3)
        several += share < 0.9
    assert several > 0
    labels = labels_of(renderer)
    assert labels.spots["photons"].sum() == pytest.approx(labels.bragg[0].sum(dtype=np.float64), rel=1e-3)
    assert labels.spots["overlap"].max() > 0.3


def test_both_engines_tell_the_same_spots(labelled):
    native, eager = (rendered(labelled(), mode) for mode in ("compiled", "eager"))
    one, other = (labels_of(renderer, 1).spots for renderer in (native, eager))
    np.testing.assert_array_equal(one["reflection"], other["reflection"])
    np.testing.assert_allclose(one["photons"], other["photons"], rtol=1e-4)


def test_the_rows_are_the_same_however_the_run_was_cut(labelled, tmp_path):
    cuts = {"whole.zarr": {}, "cut.zarr": {"tile": (40, 33), "frames_per_shard": 2}}
    for name, cut in cuts.items():
        generate(labelled(), tmp_path / name, serial=True, **cut)
    spots, others = (nbdist.open_spots(tmp_path / name) for name in cuts)
    assert spots.equals(others)
    whole, pieces = (nbdist.open_series(tmp_path / name).spot.values for name in cuts)
    np.testing.assert_array_equal(whole, pieces)
    assert set(spots[spots.partiality > 0.01].reflection) <= set(
        nbdist.open_reflections(tmp_path / "cut.zarr").reflection
    )


def test_masked_pixels_belong_to_no_spot_and_panels_are_told_apart(labelled, tmp_path):
    mask = np.zeros((96, 80), dtype=np.uint8)
    mask[30:60, 20:70] = 1
    np.save(tmp_path / "mask.npy", mask)
    panel = {"spixels": 96, "fpixels": 80, "pixel_size_mm": 0.8, "distance_mm": 100}
    experiment = labelled(
        structure_factors={"kind": "wilson", "d_min_A": 1.2, "seed": 1},
        detector={
            "convention": "xds",
            "panels": [
                {**panel, "mask_file": str(tmp_path / "mask.npy")},
                {
                    **panel,
                    "two_theta_deg": 45.0,
                    "sensor": {"thickness_um": 500, "attenuation_depth_um": 300, "layers": 2},
                },
            ],
        },
    )
    labels = labels_of(rendered(experiment))
    assert not labels.spot[0][mask.astype(bool)].any()
    assert set(labels.spots["panel"]) == {0, 1}
    total = sum(image.sum(dtype=np.float64) for image in labels.bragg)
    assert labels.spots["photons"].sum() == pytest.approx(total, rel=1e-3)
    for panel_number, numbers in enumerate(labels.spot):
        assert (labels.spots["panel"][numbers[numbers > 0] - 1] == panel_number).all()


def test_a_frame_without_photons_has_no_spots(labelled, tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((96, 80), dtype=np.uint8))
    labels = labels_of(rendered(labelled(panel={"mask_file": str(tmp_path / "mask.npy")})))
    assert not labels.spot[0].any()
    assert {len(column) for column in labels.spots.values()} == {0}


def test_shares_of_a_reflection_add_up_to_one(labelled):
    frames = 16
    experiment = labelled(scan={"frames": frames, "osc_range_deg": 0.25, "phi_steps": 4}, labels={"spots": True})
    renderer = rendered(experiment)
    shares: dict[int, list[tuple[int, float]]] = {}
    for frame in range(frames):
        spots = labels_of(renderer, frame).spots
        for reflection, share in zip(spots["reflection"].tolist(), spots["partiality"].tolist(), strict=True):
            shares.setdefault(reflection, []).append((frame, share))
    whole = [sum(share for _, share in its) for its in shares.values() if its[0][0] > 0 and its[-1][0] < frames - 1]
    bright = [share for share in whole if share > 0.5]
    assert len(bright) > 20
    assert np.median(bright) == pytest.approx(1, abs=0.01)  # frames that have little of it have none of its pixels
    assert max(bright) < 1.01
