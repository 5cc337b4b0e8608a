"""Lattices add up in a frame, each with its own amplitudes, shape, mosaicity, orientation and weight; an instrument serves them all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import zarr

from nbdist import generate, simulate_frame, verify
from nbdist.errors import ExperimentError
from nbdist.frames.renderer import Renderer
from nbdist.kernels.native.backend import NativeBackend
from nbdist.readout.backgrounds import Backgrounds
from nbdist.scene import resolve
from nbdist.scene.amplitudes import Reflections, load_reflections
from nbdist.store import read_reflections

CELL = [40.0, 45.0, 50.0, 80.0, 95.0, 100.0]
FIRST = {"cell": CELL, "misset_deg": [14, -31, 52], "N_cells": [8, 7, 6]}
SECOND = {
    "cell": [70.0, 70.0, 38.0, 90, 90, 90],
    "misset_deg": [3, 40, 80],
    "N_cells": [5, 5, 9],
    "shape": "gauss",
    "mosaic_spread_deg": 0.4,
    "mosaic_domains": 6,
    "weight": 0.25,
    "structure_factors": {"kind": "uniform", "F": 80.0},
}


def lattices(small_experiment, *crystals, **sections):
    several = {"crystal": None, "crystals": list(crystals)}
    return small_experiment(**several, sampling={"precision": "float64", "oversample": 1}, **sections)


def alone(small_experiment, crystal, **sections):
    return lattices(small_experiment, {**crystal, "weight": 1.0}, **sections)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_an_image_is_the_weighted_sum_of_those_of_its_lattices(small_experiment, mode):
    image = simulate_frame(lattices(small_experiment, FIRST, SECOND), 1, kernel=mode)
    first, second = (simulate_frame(alone(small_experiment, c), 1, kernel=mode) for c in (FIRST, SECOND))
    assert second.max() > 0.1 * first.max(), "both are seen"
    assert np.abs(image - (first + 0.25 * second)).max() <= 1e-12 * image.max()


def test_one_lattice_in_a_list_has_the_bits_of_a_crystal(small_experiment):
    listed = lattices(small_experiment, FIRST)
    only = small_experiment(sampling={"precision": "float64"})
    np.testing.assert_array_equal(simulate_frame(listed, 2), simulate_frame(only, 2))


def test_background_and_steps_are_the_experiments_however_many_lattices(small_experiment):
    water = {"background": {"water_um": 20.0}}
    both = lattices(small_experiment, FIRST, SECOND, **water)
    assert resolve(both).steps == 4 * 6, "phi steps, and the domains of the lattice that has most"
    dark = {"structure_factors": {"kind": "uniform", "F": 1e-30}}
    nothing = lattices(small_experiment, {**FIRST, **dark}, {**SECOND, **dark}, **water)
    one = alone(small_experiment, {**FIRST, **dark}, **water)
    np.testing.assert_allclose(simulate_frame(nothing), simulate_frame(one), rtol=1e-12)


def test_the_trace_of_a_pixel_lists_a_lattice_and_adds_all(small_experiment):
    from nbdist.frames.trace import Choice, trace_pixel

    experiment = lattices(small_experiment, FIRST, SECOND)
    scene = resolve(experiment)
    reflections = load_reflections(scene)
    renderer = Renderer(scene, reflections, mode="eager")
    image = renderer.frame(1)
    pixel = tuple(int(n) for n in np.unravel_index(image.argmax(), image.shape))
    for lattice, domains in ((0, 1), (1, 6)):
        chain = trace_pixel(renderer, reflections, pixel, 1, Choice(lattice=lattice))
        assert chain.value("I_pixel_final") == pytest.approx(image[pixel], rel=1e-13)
        assert sum(line.key == "mosaic_domain" for line in chain.lines) == 4 * domains
        assert any(note.startswith("2 lattices add up") for note in chain.notes)
        axes = [line.values for line in chain.lines if line.key.startswith("rot_")]
        assert np.linalg.norm(axes, axis=1) == pytest.approx((CELL, SECOND["cell"])[lattice][:3])


def test_a_store_keeps_amplitudes_of_each_lattice_and_shared_ones_once(small_experiment, tmp_path):
    experiment = lattices(small_experiment, FIRST, SECOND, {**FIRST, "misset_deg": [0, 0, 0]})
    generate(experiment, tmp_path / "a.zarr", serial=True)
    assert verify(tmp_path / "a.zarr", sample=1).good
    found, expected = read_reflections(tmp_path / "a.zarr"), load_reflections(resolve(experiment))
    assert found[0] is found[2]
    for stored, drawn in zip(found, expected, strict=True):
        np.testing.assert_array_equal(stored.indices, drawn.indices)
        np.testing.assert_array_equal(stored.amplitudes, drawn.amplitudes)
        assert stored.default_F == drawn.default_F
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    assert group["orientation"].metadata.dimension_names == ("frame", "lattice", "axis", "xyz")
    np.testing.assert_array_equal(group["orientation"][1], resolve(experiment).frame_orientations_A(1))
    np.testing.assert_array_equal(group["intensity"][0], simulate_frame(experiment, 0).astype(np.float32))


def test_automatic_sampling_is_that_of_the_most_demanding_lattice(small_experiment):
    large = {**FIRST, "N_cells": [80, 80, 80]}
    automatic = {"scan": {"phi_steps": "auto"}}

    def steps(*crystals):
        experiment = lattices(small_experiment, *crystals, **automatic).with_changes(sampling={"oversample": "auto"})
        scene = resolve(experiment)
        return scene.phi_steps, scene.instrument.oversample

    assert steps(FIRST, large, SECOND) == steps(large)
    assert steps(large) > steps(FIRST)


def test_messages_name_the_crystal(small_experiment):
    with pytest.raises(ExperimentError, match=r"^crystals\.1\.structure_factors\.d_min_A: "):
        load_reflections(
            resolve(
                lattices(small_experiment, FIRST, {**FIRST, "structure_factors": {"kind": "wilson", "d_min_A": 900}})
            )
        )
    flat = [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    with pytest.raises(ExperimentError, match=r"^crystals\.1\.reciprocal_vectors_per_A: .*singular"):
        resolve(lattices(small_experiment, FIRST, {"reciprocal_vectors_per_A": flat}))


def test_a_second_specimen_reuses_the_factors_of_the_instrument(small_experiment):
    class Counting(NativeBackend):
        evaluated = 0

        def factors(self, tile, ray, which, source=0):
            self.evaluated += 1
            return super().factors(tile, ray, which, source)

    detector = {"sensor": {"thickness_um": 450.0, "attenuation_depth_um": 230.0, "layers": 3}}
    same = {"detector": detector, "background": {"water_um": 20.0}}
    first, second = (resolve(alone(small_experiment, c, **same)) for c in (FIRST, SECOND))
    backend = Counting(first.instrument)
    backgrounds = Backgrounds(first.instrument, backend)
    Renderer(first, load_reflections(first), backend=backend, backgrounds=backgrounds).frame(0)
    before = backend.evaluated
    assert before > 0
    image = Renderer(second, load_reflections(second), backend=backend, backgrounds=backgrounds).frame(0)
    assert backend.evaluated == before
    np.testing.assert_array_equal(image, Renderer(second, load_reflections(second)).frame(0))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("crystal", [{}, {"N_cells": [2, 3, 2]}])
def test_amplitudes_may_differ_from_source_to_source(small_experiment, mode, crystal):
    beam = {"dispersion": {"percent": 3.0, "steps": 3}}
    scene = resolve(small_experiment(beam=beam, crystal=crystal, sampling={"precision": "float64"}))
    [reflections] = load_reflections(scene)
    tables = np.stack([reflections.amplitudes, np.roll(reflections.amplitudes, 5)])
    seen = np.array([1, 0, 1])
    several = Reflections(reflections.indices, tables, 0.0, seen)
    image = Renderer(scene, [several], mode=mode).frame(0)
    expected = np.zeros_like(image)
    for source, table in enumerate(seen):
        weights = np.where(np.arange(3) == source, 1.0, 0.0)
        sources = replace(scene.instrument.sources, weights=weights)
        one = replace(scene, instrument=replace(scene.instrument, sources=sources))
        expected += Renderer(one, [Reflections(reflections.indices, tables[table], 0.0)], mode=mode).frame(0)
    assert np.abs(image - expected).max() <= 1e-12 * expected.max()
    plain = Renderer(scene, [reflections], mode=mode).frame(0)
    assert np.abs(image - plain).max() > 0.01 * plain.max()
