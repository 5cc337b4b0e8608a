"""Amplitudes of a model at the wavelength of each source: an image is the weighted sum of those of its wavelengths."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from atomic_models import write_model

from nbdist import generate, simulate_frame
from nbdist.kernels.prediction import series_reflections
from nbdist.scene import resolve
from nbdist.scene.amplitudes import MOST_TABLES, load_reflections
from nbdist.scene.sources import Sources
from nbdist.store import read_reflections

BELOW_A, ABOVE_A = 0.9810, 0.9770
"""Either side of selenium's K edge, where Cromer and Liberman's f'' is 0.52 and 3.8 electrons."""
CRYSTAL = {"misset_deg": [14, -31, 52], "N_cells": [12, 12, 12], "shape": "gauss"}


def beam(*sources):
    listed = [{"direction": [0, 0, 1], "wavelength_A": wavelength, "weight": weight} for wavelength, weight in sources]
    return {"wavelength_A": 0.979, "fluence_photons_per_m2": 1e24, "sources": listed}


@pytest.fixture
def of_model(small_experiment, tmp_path):
    path = write_model(tmp_path / "a.pdb")

    def make(method, anomalous, *sources):
        model = {"kind": "model", "file": str(path), "anomalous": anomalous, "k_sol_e_per_A3": 0}
        return small_experiment(
            beam=beam(*sources),
            crystal=None,
            crystals=[CRYSTAL],
            structure_factors=model,
            sampling={"method": method, "precision": "float64", "oversample": 2},
            scan={"frames": 1, "osc_range_deg": 2.0, "phi_steps": 1 if method == "integrated" else 8},
        )

    return make


@pytest.mark.parametrize("method", ["sum", "integrated"])
def test_an_image_of_two_wavelengths_is_the_weighted_sum_of_theirs(of_model, method):
    sources = (BELOW_A, 1.0), (ABOVE_A, 3.0)
    both = simulate_frame(of_model(method, "each_wavelength", *sources))
    parts = [simulate_frame(of_model(method, "mean_wavelength", (wavelength, 1.0))) for wavelength, _ in sources]
    assert np.abs(both - (0.25 * parts[0] + 0.75 * parts[1])).max() < 2e-4 * both.max()
    at_mean = simulate_frame(of_model(method, "mean_wavelength", *sources))
    assert np.abs(both - at_mean).max() > 5e-3 * both.max(), "f' and f'' at the mean are others"


def test_labels_have_the_weighted_mean_of_the_squares(of_model):
    sources = (BELOW_A, 1.0), (ABOVE_A, 3.0)
    scene = resolve(of_model("integrated", "each_wavelength", *sources))
    [its] = load_reflections(scene)
    rows = series_reflections(scene, [its])
    place = {tuple(hkl): number for number, hkl in enumerate(its.indices.tolist())}
    listed = [place[hkl] for hkl in zip(rows["h"].tolist(), rows["k"].tolist(), rows["l"].tolist(), strict=True)]
    above, below = its.amplitudes[:, listed]
    assert len(listed) > 10
    np.testing.assert_allclose(rows["F2"], 0.25 * below**2 + 0.75 * above**2, rtol=1e-12)


def test_a_store_keeps_the_amplitudes_of_each_wavelength_and_renders_with_them(of_model, tmp_path):
    experiment = of_model("sum", "each_wavelength", (ABOVE_A, 1.0), (BELOW_A, 1.0), (ABOVE_A, 1.0))
    generate(experiment, tmp_path / "a.zarr", serial=True)
    [stored], [made] = read_reflections(tmp_path / "a.zarr"), load_reflections(resolve(experiment))
    np.testing.assert_array_equal(stored.indices, made.indices)
    np.testing.assert_array_equal(stored.amplitudes, made.amplitudes)
    assert stored.table_of_source.tolist() == made.table_of_source.tolist() == [0, 1, 0]
    assert stored.amplitudes.shape == (2, len(made.indices)), (
        "sources of equal wavelengths share a table, the shortest first"
    )
    group = zarr.open_group(str(tmp_path / "a.zarr/reflections"), mode="r")
    count = len(made.indices)
    assert (group["hkl"].shape[0], group["F"].shape[0]) == (count, 2 * count), "indices are there once"
    assert [entry["amplitudes"] for entry in group.attrs["sets"]] == [[0, count], [count, 2 * count]]
    assert [entry["reflections"] for entry in group.attrs["sets"]] == [[0, count]] * 2


def test_a_store_that_has_its_indices_once_a_wavelength_is_read_as_before(of_model, tmp_path):
    experiment = of_model("sum", "each_wavelength", (ABOVE_A, 1.0), (BELOW_A, 1.0))
    generate(experiment, tmp_path / "a.zarr", serial=True)
    [made] = load_reflections(resolve(experiment))
    group = zarr.open_group(str(tmp_path / "a.zarr/reflections"))
    count, sets = len(made.indices), []
    for number, entry in enumerate(group.attrs["sets"]):
        del entry["amplitudes"]
        sets.append(entry | {"reflections": [number * count, (number + 1) * count]})
    del group["hkl"]
    group.create_array("hkl", data=np.concatenate([made.indices] * 2))
    group.attrs["sets"] = sets
    root = json.loads((tmp_path / "a.zarr/zarr.json").read_text())
    del root["consolidated_metadata"]
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(root))
    [stored] = read_reflections(tmp_path / "a.zarr")
    np.testing.assert_array_equal(stored.indices, made.indices)
    np.testing.assert_array_equal(stored.amplitudes, made.amplitudes)


def test_many_wavelengths_share_tables_of_equal_stretches_of_energy():
    wavelengths_A = np.linspace(0.95, 1.05, 101)
    weights = np.linspace(0, 2, 101)
    sources = Sources(np.tile([0.0, 0, 1], (101, 1)), wavelengths_A, weights)
    nodes_A, node = sources.wavelength_nodes(MOST_TABLES)
    assert node.tolist() == sorted(node)
    assert set(node) == set(range(MOST_TABLES))
    for number, node_A in enumerate(nodes_A):
        energies = 1 / wavelengths_A[node == number]
        assert np.ptp(energies) <= (1 / 0.95 - 1 / 1.05) / MOST_TABLES + 1e-12
        assert node_A == pytest.approx(
            np.average(wavelengths_A[node == number], weights=weights[node == number] + 1e-12)
        )
    few_A, number = sources.wavelength_nodes(101)
    np.testing.assert_array_equal(few_A[number], wavelengths_A)
    assert Sources(np.zeros((3, 3)), np.full(3, 1.1), np.ones(3)).wavelength_nodes(MOST_TABLES)[1] is None
