"""Twin laws make lattices of a crystal, whose photons add up by their fractions and whose reflections the labels tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist import simulate_frame
from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import cell_from_real, dual_vectors
from nbdist.experiment.twin import Twin, law_rows
from nbdist.kernels.prediction import series_reflections
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

TETRAGONAL = {"cell": (40.0, 40.0, 30.0, 90, 90, 90), "misset_deg": (14, -31, 52), "space_group": "P 41"}
LAW = {"law": "k,h,-l", "fraction": 0.3}


def crystal(small_experiment, twin=(LAW,), **fields):
    return small_experiment(crystal={**TETRAGONAL, **fields, "twin": list(twin)}, sampling={"precision": "float64"})


@pytest.mark.parametrize(
    ("law", "rows", "written"),
    [
        ("k,h,-l", [[0, 1, 0], [1, 0, 0], [0, 0, -1]], "k,h,-l"),
        (" -H - K , k, -l", [[-1, -1, 0], [0, 1, 0], [0, 0, -1]], "-h-k,k,-l"),
        ("h,-k,-h-l", [[1, 0, 0], [0, -1, 0], [-1, 0, -1]], "h,-k,-h-l"),
        ("h+2k,k,l", [[1, 2, 0], [0, 1, 0], [0, 0, 1]], "h+2k,k,l"),
        ("1/2*h+1/2*k,3/2*h-1/2*k,-l", [[0.5, 0.5, 0], [1.5, -0.5, 0], [0, 0, -1]], "1/2h+1/2k,3/2h-1/2k,-l"),
        ("h/2+k/2, 3/2h-k/2, -l", [[0.5, 0.5, 0], [1.5, -0.5, 0], [0, 0, -1]], "1/2h+1/2k,3/2h-1/2k,-l"),
    ],
)
def test_a_law_is_an_operation_on_h_k_l(law, rows, written):
    assert [list(row) for row in law_rows(law)] == rows
    assert Twin(law=law, fraction=0.1).law == written


@pytest.mark.parametrize(
    ("law", "wanted"),
    [
        ("k,h,l", "'k,h,l' is -1"),
        ("h,k,l", "leaves all as it is"),
        ("h,k", "three sums"),
        ("x,y,z", "three sums"),
        ("h/2,k,l", "'h/2,k,l' is 1/2"),
        ("h/0,k,l", "no division by 0"),
        ("-h,-k,-l", "is -1: it inverts the crystal. Twins by inversion are not made"),
        ("hk,k,l", "three sums"),
        ("2h,k,l", "'2h,k,l' is 2"),
        ("", "three sums"),
    ],
)
def test_what_is_no_law_is_refused(small_experiment, law, wanted):
    with pytest.raises(ExperimentError, match=rf"^crystal\.twin\.0\.law: .*{wanted}"):
        crystal(small_experiment, [{"law": law, "fraction": 0.2}])


def test_a_law_of_fractions_turns_an_orthohexagonal_lattice_onto_itself(small_experiment):
    cell = (20.0, 20.0 * np.sqrt(3), 30.0, 90, 90, 90)
    law = {"law": "1/2*h+1/2*k,3/2*h-1/2*k,-l", "fraction": 0.3}
    own, turned = resolve(crystal(small_experiment, [law], cell=cell, space_group="C 2 2 2")).specimen.lattices
    assert turned.twin.obliquity_deg < 1e-6
    law_of = np.array(law_rows(law["law"]))
    np.testing.assert_allclose(turned.real_vectors_A, law_of @ own.real_vectors_A, atol=1e-9)


def test_fractions_leave_some_of_the_crystal_as_it_lies(small_experiment):
    with pytest.raises(ExperimentError, match=r"twin: fractions .* add up to 1$"):
        crystal(small_experiment, [LAW, {"law": "-h,-k,l", "fraction": 0.7}])


def test_reflections_of_a_merohedral_twin_lie_on_each_other_by_its_law(small_experiment):
    own, turned = resolve(crystal(small_experiment)).specimen.lattices
    hkl = np.array([[1, 2, 3], [4, -1, 0], [0, 0, 5]])
    lies_on = hkl @ np.array(law_rows("k,h,-l")).T
    assert lies_on.tolist() == [[2, 1, -3], [-1, 4, 0], [0, 0, -5]]
    places = [indices @ dual_vectors(its.real_vectors_A) for its, indices in ((own, hkl), (turned, lies_on))]
    np.testing.assert_allclose(*places, atol=1e-15)
    assert (own.weight, turned.weight) == pytest.approx((0.7, 0.3), rel=1e-15)
    assert turned.twin.obliquity_deg == pytest.approx(0, abs=1e-10)
    assert (own.field, turned.field) == ("crystal", "crystal.twin.0")


@pytest.mark.parametrize("name", ["sum", "integrated"])
def test_photons_add_by_the_fractions_of_the_domains(small_experiment, name):
    method = {"sampling": {"method": name, "precision": "float64"}}
    twinned = crystal(small_experiment, shape="gauss").with_changes(**method)
    single = crystal(small_experiment, (), shape="gauss").with_changes(**method)
    vectors = dual_vectors(resolve(twinned).specimen.lattices[1].real_vectors_A).tolist()
    other = small_experiment(
        crystal={"reciprocal_vectors_per_A": vectors, "misset_deg": (0, 0, 0), "shape": "gauss", "space_group": "P 41"},
        **method,
    )
    expected = 0.7 * simulate_frame(single, 1) + 0.3 * simulate_frame(other, 1)
    image = simulate_frame(twinned, 1)
    assert np.abs(image - simulate_frame(single, 1)).max() > 0.1 * image.max()
    np.testing.assert_allclose(image, expected, atol=1e-7 * image.max())


def test_amplitudes_are_those_of_the_crystal_once(small_experiment):
    own, turned = load_reflections(resolve(crystal(small_experiment)))
    assert turned is own


def test_a_pseudomerohedral_twin_keeps_its_cell_and_says_its_obliquity(small_experiment):
    cell = (40.0, 50.0, 60.0, 90, 91.0, 90)
    experiment = crystal(small_experiment, [{"law": "h,-k,-l", "fraction": 0.4}], cell=cell, space_group="P 21")
    own, turned = resolve(experiment).specimen.lattices
    assert cell_from_real(turned.real_vectors_A) == pytest.approx(cell, rel=1e-12)
    assert np.linalg.det(turned.real_vectors_A) > 0
    # the axis a is the law's, and a* the normal: beta - 90 apart
    assert turned.twin.obliquity_deg == pytest.approx(1.0, abs=1e-10)
    hkl = np.array([[3, 4, 0], [0, 0, 6]])
    near = [hkl @ dual_vectors(own.real_vectors_A), hkl * [1, -1, -1] @ dual_vectors(turned.real_vectors_A)]
    apart = np.linalg.norm(near[0] - near[1], axis=1) / np.linalg.norm(near[0], axis=1)
    assert 0.001 < apart.max() < np.deg2rad(1.0)


@pytest.mark.parametrize(
    ("cell", "law"),
    [((40.0, 50.0, 60.0, 90, 95.0, 90), "h,-k,-l"), ((40.0, 43.0, 60.0, 90, 90, 90), "k,h,-l"), ((40,) * 3 + (90,) * 3, "h+k,k,l")],
)  # fmt: skip
def test_a_law_that_does_not_keep_the_lattice_is_refused_with_its_obliquity(small_experiment, cell, law):
    with pytest.raises(
        ExperimentError, match=r"^crystal\.twin\.0\.law: .* change by [\d.]+ % .* obliquity is [\d.e-]+ degrees"
    ):
        resolve(crystal(small_experiment, [{"law": law, "fraction": 0.4}], cell=cell, space_group=None))


def test_a_law_that_is_a_symmetry_is_refused(small_experiment):
    for law in ("-h,-k,l", "-k,h,l"):
        with pytest.raises(
            ExperimentError, match=r"^crystal\.twin\.0\.law: .* is a symmetry of P 41, which makes no twin"
        ):
            load_reflections(resolve(crystal(small_experiment, [{"law": law, "fraction": 0.4}])))


def test_the_table_of_reflections_tells_the_domains_apart(small_experiment):
    scene = resolve(crystal(small_experiment, N_cells=(7, 7, 6)))
    rows = series_reflections(scene, load_reflections(scene))
    listed = zip(*(rows[name].tolist() for name in ("lattice", "h", "k", "l", "F")), strict=True)
    own, turned = {}, {}
    for lattice, *hkl, F in listed:
        (turned if lattice else own)[tuple(hkl)] = F
    assert len(own) > 50
    assert {(k, h, -l) for h, k, l in own} == set(turned)
    assert any(turned[k, h, -l] != F for (h, k, l), F in own.items())
    assert scene.frame_orientations_A(0).shape == (2, 3, 3)
