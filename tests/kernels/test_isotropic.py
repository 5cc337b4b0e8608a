"""A Gaussian crystal of one size in all directions (crystal.size_um): its spots follow the lattice, whichever axes describe it."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.errors import NbdistError
from nbdist.experiment.lattice import dual_vectors
from nbdist.frames.renderer import Renderer
from nbdist.kernels.native.backend import NativeBackend
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

RHOMBOHEDRAL = (np.array([[1, -1, 0], [0, 1, -1], [1, 1, 1]]), (40, 40, 40, 75, 75, 75))
BODY_CENTRED = (np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), (45, 45, 45, *[109.4712206344907] * 3))
"""The axes of a centred cell in those of the primitive one, and the primitive cell."""


def gauss(small_experiment, precision="float64", amplitudes=None, **crystal):
    return small_experiment(
        crystal={"shape": "gauss", **crystal},
        panel={"pixel_size_mm": 0.4},
        structure_factors=amplitudes or {"kind": "wilson", "d_min_A": 4.0, "seed": 3},
        sampling={"precision": precision, "oversample": 1, "interpolate": False},
    )


@pytest.mark.parametrize(
    ("mode", "precision", "rounding"),
    [("eager", "float64", 1e-12), ("compiled", "float64", 1e-12), ("compiled", "float32", 1e-6)],
)
def test_a_cubic_crystal_of_a_size_is_one_of_as_many_cells(small_experiment, make_renderer, mode, precision, rounding):
    cell = [40, 40, 40, 90, 90, 90]
    cells, size = (
        make_renderer(gauss(small_experiment, precision, cell=cell, **size), mode).frame(0)
        for size in ({"N_cells": [12] * 3}, {"size_um": 12 * 40e-4})
    )
    assert cells.max() > 0
    assert np.abs(size - cells).max() <= rounding * cells.max()


def test_compiled_equals_eager_in_a_skewed_cell(small_experiment, make_renderer):
    experiment = gauss(small_experiment, "float32", cell=[40, 45, 50, 75, 105, 110], size_um=0.05, fudge=0.8)
    eager, compiled = (make_renderer(experiment, mode).frame(0) for mode in ("eager", "compiled"))
    assert np.abs(compiled - eager).max() <= 1e-6 * eager.max()


def test_leaving_out_what_is_0_changes_no_bit(small_experiment):
    experiment = gauss(small_experiment, "float32", cell=[40, 45, 50, 65, 110, 115], size_um=0.15)
    scene = resolve(experiment)
    reflections = load_reflections(scene)
    skipped, whole = (
        Renderer(scene, reflections, backend=NativeBackend(scene.instrument, threads=1, skip=skip)).frame(0)
        for skip in (True, False)
    )
    assert 0 < np.count_nonzero(whole) < whole.size / 2
    np.testing.assert_array_equal(skipped, whole)


@pytest.mark.parametrize("lattice", [RHOMBOHEDRAL, BODY_CENTRED], ids=["rhombohedral", "body_centred"])
def test_a_lattice_in_two_settings_gives_one_image(small_experiment, make_renderer, tmp_path, lattice):
    transform, cell = lattice
    primitive = gauss(small_experiment, cell=cell, size_um=0.06)
    scene = resolve(primitive)
    [lattice_numbers], [reflections] = scene.specimen.lattices, load_reflections(scene)
    cells = round(abs(np.linalg.det(transform)))
    # a cell of so many primitive ones scatters as many times their amplitude, and there are as many times fewer of them
    lines = [
        f"{h} {k} {l} {cells * F:.17g}"
        for (h, k, l), F in zip(reflections.indices @ transform.T, reflections.amplitudes, strict=True)
    ]
    (tmp_path / "centred.hkl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    centred = gauss(
        small_experiment,
        amplitudes={"kind": "file", "file": str(tmp_path / "centred.hkl")},
        reciprocal_vectors_per_A=dual_vectors(transform @ lattice_numbers.real_vectors_A).tolist(),
        misset_deg=(0, 0, 0),
        size_um=0.06,
    )
    first, second = (make_renderer(experiment, "compiled").frame(0) for experiment in (primitive, centred))
    assert np.count_nonzero(first > 1e-3 * first.max()) > 10
    # a reciprocal metric of other vectors, and (centred) an extinct reflection that is nearer far from the spots
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-10 * first.max())


@pytest.mark.parametrize(("size", "is_round"), [({"N_cells": [15] * 3}, False), ({"size_um": 0.06}, True)])
def test_spots_of_a_size_are_round_in_reciprocal_space_and_those_of_cells_are_not(small_experiment, size, is_round):
    [lattice] = resolve(gauss(small_experiment, cell=RHOMBOHEDRAL[1], **size)).specimen.lattices
    along_and_across = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]])
    lengths_per_A = np.linalg.norm(along_and_across @ dual_vectors(lattice.real_vectors_A), axis=1)
    radii = np.linalg.norm(along_and_across @ lattice.shape_root.T, axis=1) / lengths_per_A
    assert (np.ptp(radii) < 1e-12 * radii.max()) == is_round
    if is_round:
        assert radii == pytest.approx(600, rel=1e-12)  # r = L |q - G|


@pytest.mark.parametrize(
    ("crystal", "message"),
    [
        ({"size_um": 1.0, "shape": "square"}, "size_um: needs shape gauss; found square"),
        ({"size_um": 1.0, "N_cells": [1, 2, 3]}, "give one of N_cells, size_mm, size_um; found N_cells and size_um"),
        ({"size_um": 1.0, "size_mm": [1, 2, 3]}, "give one of N_cells, size_mm, size_um; found size_mm and size_um"),
    ],
)
def test_a_size_is_refused_in_one_line(small_experiment, crystal, message):
    with pytest.raises(NbdistError, match=message):
        gauss(small_experiment, **crystal)


def test_a_size_follows_into_what_is_chosen_by_it(small_experiment):
    automatic = {"scan": {"osc_range_deg": 2.0, "phi_steps": "auto"}, "sampling": {"oversample": "auto"}}
    cell = [40, 40, 40, 90, 90, 90]
    scenes = [
        resolve(small_experiment(crystal={"shape": "gauss", "cell": cell, **size}, **automatic))
        for size in ({"N_cells": [100] * 3}, {"size_um": 0.4})
    ]
    cells, size = (scene.specimen.lattices[0] for scene in scenes)
    assert size.N_cells == cells.N_cells
    assert size.cells_in_all == pytest.approx(cells.cells_in_all, rel=1e-12)
    assert size.rocking_width_deg == pytest.approx(cells.rocking_width_deg, rel=1e-12)
    assert scenes[0].phi_steps == scenes[1].phi_steps > 1
    assert scenes[0].instrument.oversample == scenes[1].instrument.oversample > 1
