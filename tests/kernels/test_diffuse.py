"""Diffuse scattering: the halos of reflections in closed form, the kernels against the formula, and a frame's mean."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from nbdist.experiment.crystal import Shape
from nbdist.experiment.lattice import reciprocal_from_cell
from nbdist.kernels.diffuse import Exposed, Halos, halo, halo_sum
from nbdist.scene import resolve
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.amplitudes import Reflections, load_reflections
from nbdist.scene.diffuse import Nodes, disorder_of, mean_nodes
from nbdist.scene.spots import peak_integral
from nbdist.scene.tile import Tile

torch = pytest.importorskip("torch")

from nbdist.kernels.native.backend import NativeBackend  # noqa: E402
from nbdist.kernels.reference.amplitudes import on_device  # noqa: E402
from nbdist.kernels.reference.diffuse import HaloTensors, diffuse_intensity, diffuse_sum, displaced  # noqa: E402
from nbdist.kernels.torch_backend import TorchBackend  # noqa: E402

CELL = (40, 50, 60, 80, 95, 110)
CORRELATED = {"kind": "correlated", "sigma_A": (0.4, 0.3, 0.5), "correlation_length_A": (30.0, 20.0, 25.0)}
RIGID = {"kind": "rigid_body", "sigma_A": 0.4}
WIDTHS = pytest.mark.parametrize(
    "width",
    [np.eye(3) * 0.4, np.eye(3) * 3.0, np.eye(3) * 40.0, np.array([[3, 0.3, 0.2], [0, 1, 0.4], [0, 0, 0.8]])],
    ids=["within_a_cell", "a_cell", "many_cells", "anisotropic"],
)


def crystal(small_experiment, diffuse=CORRELATED, misset_deg=(10, 20, 30), **sections):
    """An experiment of one crystal with disorder, a few pixels and reflections."""
    return small_experiment(
        **sections,
        crystal={"cell": CELL, "misset_deg": misset_deg, "N_cells": [5, 4, 3], "diffuse": diffuse},
        structure_factors={"kind": "wilson", "d_min_A": 2.5, "mean_F2": 1e4, "B_factor_A2": 10.0, "seed": 3},
    )


def tensors(halos):
    """Halos as the reference takes them."""
    [table] = on_device(halos.table, torch.device("cpu"))
    far = None if halos.far is None else on_device(replace(halos.table, values=halos.far), torch.device("cpu"))[0]
    width = halos.disorder.halo
    return HaloTensors(
        torch.as_tensor(halos.disorder.displacement),
        None if width is None else torch.as_tensor(width),
        torch.as_tensor(halos.between),
        torch.as_tensor(halos.correction),
        table,
        far,
    )


@WIDTHS
def test_a_halo_gives_one_in_all_over_a_cell_of_reciprocal_space(width):
    # over spheres |P dh| = r: 4 pi r^2 dr / |P|, with r = tan(angle)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    angle = np.pi / 4 * (nodes + 1)
    places = np.linalg.solve(width, np.array([0.6, 0, 0.8]))[None] * np.tan(angle)[:, None]
    shells = 4 * np.pi * np.tan(angle) ** 2 / np.cos(angle) ** 2 / np.linalg.det(width)
    assert np.pi / 4 * weights @ (halo(places, width) * shells) == pytest.approx(1, rel=1e-12)


@WIDTHS
def test_halos_of_all_reflections_have_a_mean_of_one_and_the_peaks_of_those_about_them(width):
    middle = (np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) + 0.5) / 8
    if width[0, 0] < 10:  # narrower halos fall between these points
        # the mean of midpoints is that of the waves of the direct lattice that fit eight times: exp(-|R| / gamma)
        least = np.linalg.norm(2 * np.pi * 8 * np.linalg.inv(width), axis=0).min()
        assert halo_sum(middle, width).mean() == pytest.approx(1, abs=40 * np.exp(-least) + 1e-12)
    places = np.array([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    reach = 20
    near = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    brute = np.array([halo(place - near, width).sum() for place in places])
    # what is farther: an integral over 1/r^4, of all that is beyond the box and a part of its corners
    beyond = 4 / np.pi * np.linalg.norm(np.linalg.inv(width), 2) / reach
    found = halo_sum(places, width)
    assert (found > brute).all()
    assert (found - brute < beyond).all()


def test_the_profile_through_a_reflection_is_the_square_of_a_lorentzian(small_experiment):
    scene = resolve(crystal(small_experiment, {**CORRELATED, "sigma_A": 0.3, "correlation_length_A": 800.0}))
    disorder = scene.specimen.lattices[0].disorder
    reciprocal = reciprocal_from_cell(CELL)
    steps = np.linspace(-0.004, 0.004, 41)  # 1/Angstrom along a*
    along = steps / np.linalg.norm(reciprocal[0])
    index = np.array([4, 1, 2]) + along[:, None] * np.array([1, 0, 0])
    F = 100.0
    reflections = Reflections(np.array([[4, 1, 2]]), np.array([F]), 0.0)
    found = diffuse_intensity(
        torch.as_tensor(index.T), tensors(Halos.of(disorder, AmplitudeTable.of(reflections)))
    ).numpy()
    q2 = np.square(index @ reciprocal).sum(axis=1)
    exponent = 4 * np.pi**2 * q2 * 0.3**2
    volume = abs(np.linalg.det(reciprocal))
    expected = F**2 * np.exp(-exponent) * exponent * 8 * np.pi * 800.0**3 * volume
    expected = expected / (1 + (2 * np.pi * 800.0 * steps) ** 2) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_three_equal_lengths_and_displacements_are_one(small_experiment):
    once = {"kind": "correlated", "sigma_A": 0.4, "correlation_length_A": 25.0}
    thrice = {"kind": "correlated", "sigma_A": (0.4,) * 3, "correlation_length_A": (25.0,) * 3}
    one, three = (resolve(crystal(small_experiment, its)).specimen.lattices[0].disorder for its in (once, thrice))
    np.testing.assert_array_equal(one.displacement, three.displacement)
    np.testing.assert_array_equal(one.halo, three.halo)
    # and whatever the axes, |P dh| = 2 pi gamma |dq|
    dq = np.array([1.0, 2.0, -3.0]) @ reciprocal_from_cell(CELL)
    assert np.linalg.norm(one.halo @ [1.0, 2.0, -3.0]) == pytest.approx(2 * np.pi * 25 * np.linalg.norm(dq), rel=1e-13)


@pytest.mark.parametrize("default_F", [0.0, 60.0])
@pytest.mark.parametrize("length_A", [3.0, 20.0, 150.0])
def test_far_reflections_are_interpolated_to_two_percent_of_the_formula(small_experiment, default_F, length_A):
    scene = resolve(crystal(small_experiment, {**CORRELATED, "correlation_length_A": length_A}))
    disorder, random = scene.specimen.lattices[0].disorder, np.random.RandomState(1)
    miller = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    F = 100 * np.sqrt(random.exponential(size=len(miller)))
    index = random.uniform(-4, 4, (3, 200))
    halos = Halos.of(disorder, AmplitudeTable.of(Reflections(miller, F, default_F)))
    found = diffuse_intensity(torch.as_tensor(index), tensors(halos)).numpy()
    matrices = torch.as_tensor(disorder.displacement), torch.as_tensor(disorder.halo)
    expected = diffuse_sum(*map(torch.as_tensor, (index, miller.astype(float), F)), *matrices).numpy()
    unlisted = halo_sum(index.T % 1, disorder.halo)
    unlisted = unlisted - np.array([halo(place - miller, disorder.halo).sum() for place in index.T])
    expected += default_F**2 * unlisted * displaced(torch.as_tensor(index), matrices[0], correlated=True).numpy()
    assert np.sqrt(np.square(found - expected).mean()) < 0.02 * expected.mean()
    assert found.mean() == pytest.approx(expected.mean(), rel=0.01)


def test_without_regard_to_others_bragg_peaks_lose_what_is_scattered_diffusely(small_experiment):
    # equal F: a peak loses F^2 (1 - exp(-2W)) with its own W, each point of its cell of reciprocal space gains that with W of its own
    scene = resolve(crystal(small_experiment, {"kind": "rigid_body", "sigma_A": 0.05}))
    disorder = scene.specimen.lattices[0].disorder
    halos = Halos.of(disorder, AmplitudeTable.of(Reflections(np.zeros((0, 3), dtype=int), np.zeros(0), 50.0)))
    nodes, weights = np.polynomial.legendre.leggauss(6)
    place = np.stack(np.meshgrid(*[nodes / 2] * 3, indexing="ij")).reshape(3, -1)
    weight = np.einsum("i,j,k->ijk", *[weights / 2] * 3).ravel()
    reflection = np.array([[6.0], [-3.0], [5.0]])
    gained = weight @ diffuse_intensity(torch.as_tensor(reflection + place), tensors(halos)).numpy()
    q, covariance = reflection[:, 0] @ reciprocal_from_cell(CELL), 0.05**2
    twice_W = 4 * np.pi**2 * covariance * (q @ q)
    lost = 50.0**2 * (1 - np.exp(-twice_W))
    # the mean of q^2 over a cell is that of its middle plus sum |a*|^2 / 12
    spread = 4 * np.pi**2 * covariance * np.square(reciprocal_from_cell(CELL)).sum() / 12
    assert gained == pytest.approx(lost + 50.0**2 * np.exp(-twice_W) * spread, rel=1e-4)
    # the halos of correlated displacements hold the first order of it
    assert lost == pytest.approx(50.0**2 * np.exp(-twice_W) * twice_W, rel=twice_W)


@pytest.mark.parametrize("shape", get_args(Shape))
def test_a_shape_has_as_many_cells_as_its_peak_holds(shape):
    # F_latt^2 of one cell along a radius r = |N dh|, as the physics notes have it; beyond r = 100 a sphere has 3e-3
    r = np.linspace(0, 100, 100_001)[1:]
    if shape == "square":
        h = (np.arange(4096) + 0.5) / 4096  # over a whole cell of reciprocal space
        total = (np.mean((np.sin(np.pi * 7 * h) / np.sin(np.pi * h)) ** 2) / 7) ** 3
    else:
        x = np.pi * r
        squared = {
            "round": (0.723601254558268 * 3 * (np.sin(x) / x - np.cos(x)) / x**2) ** 2,
            "gauss": np.exp(-2 * r**2 / 0.63),
            "tophat": (r**2 < 0.3969).astype(float),
        }[shape]
        total = np.sum(4 * np.pi * r**2 * squared) * 1e-3
    assert peak_integral(shape, 1.0) == pytest.approx(total, rel=4e-3)


def test_the_formula_has_the_gradients_of_its_parameters(small_experiment):
    disorder = resolve(crystal(small_experiment)).specimen.lattices[0].disorder
    random = np.random.RandomState(0)
    arguments = [random.uniform(-1, 1, (3, 2)), random.uniform(10, 20, 8), disorder.displacement, disorder.halo]
    index, F, displacement, width = (torch.tensor(its, requires_grad=True) for its in arguments)
    miller = torch.as_tensor(np.stack(np.meshgrid(*[[0.0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3))
    assert torch.autograd.gradcheck(lambda *its: diffuse_sum(its[0], miller, *its[1:]), (index, F, displacement, width))
    table = AmplitudeTable.of(Reflections(miller.numpy().astype(int), F.detach().numpy(), 5.0))
    its = tensors(Halos.of(disorder, table))
    assert torch.autograd.gradcheck(
        lambda place, moved: diffuse_intensity(place, its._replace(displacement=moved)), (index, displacement)
    )


def exposed(backend, scene, precision="float64", nodes=None):
    """The first lattice in three orientations, as a backend takes it."""
    lattice, [reflections] = scene.specimen.lattices[0], load_reflections(scene)
    halos = Halos.of(lattice.disorder, AmplitudeTable.of(reflections, precision))
    if nodes is None:
        nodes = Nodes(*np.array([[0.2, 0.5, 0.9], [0.3, 0.3, 0.4], [0.2, 0.5, 0.9], [0.8, 0.5, 0.1], [0.3, 0.3, 0.4]]))
    real = np.stack([lattice.real_vectors_A @ turn.T for turn in scene.phi_rotations(0)[:3]])
    return [Exposed(backend.prepare_diffuse(halos), 2.0, real[: len(nodes.phi)], nodes)]


@pytest.mark.parametrize("diffuse", [CORRELATED, RIGID], ids=["correlated", "rigid_body"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_native_is_the_reference(small_experiment, diffuse, precision, tolerance):
    scene = resolve(
        crystal(
            small_experiment,
            diffuse,
            panel={"spixels": 48, "fpixels": 70, "pixel_size_mm": 1.2},
            sampling={"precision": precision, "d_min_A": 2.6},
            detector={"sensor": {"thickness_um": 300, "attenuation_depth_um": 250, "layers": 2}},
        )
    )
    spixels, fpixels = scene.instrument.shapes[0]
    tile = Tile(0, 3, spixels - 2, 1, fpixels)
    expected, found = (
        backend.diffuse(tile, exposed(backend, scene, kept))
        for backend, kept in (
            (TorchBackend(scene.instrument, "cpu", compiled=False), "float64"),
            (NativeBackend(scene.instrument, threads=1), precision),
        )
    )
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.max())
    near = mean_nodes(
        replace(scene.specimen.lattices[0].disorder, fineness=10.0), scene.instrument.panels[0], 1.0, 2.0, 0.5
    )
    assert near.beside, "it takes neighbours' middles, also beyond the edges"
    beside = [
        backend.diffuse(tile, exposed(backend, scene, kept, near))
        for backend, kept in (
            (TorchBackend(scene.instrument, "cpu", compiled=False), "float64"),
            (NativeBackend(scene.instrument, threads=1), precision),
        )
    ]
    np.testing.assert_allclose(beside[1], beside[0], rtol=0, atol=tolerance * beside[0].max())
    inner = Tile(0, 10, 25, 7, 37)
    native = NativeBackend(scene.instrument, threads=1)
    part = native.diffuse(inner, exposed(native, scene, precision))
    np.testing.assert_array_equal(part, found[7:22, 6:36])


@pytest.mark.parametrize(("length_A", "counted"), [(20.0, (1, 5)), (60.0, (2, 9)), (200.0, (2, 36))])
def test_the_nodes_of_a_frame_give_the_mean_of_many(small_experiment, length_A, counted):
    diffuse = {**CORRELATED, "correlation_length_A": length_A}
    changes = {"panel": {"pixel_size_mm": 0.15}, "scan": {"osc_range_deg": 0.15}, "sampling": {"precision": "float64"}}
    scene = resolve(crystal(small_experiment, diffuse, **changes))
    lattice, [reflections] = scene.specimen.lattices[0], load_reflections(scene)
    backend, panel = NativeBackend(scene.instrument, threads=1), scene.instrument.panels[0]
    prepared = backend.prepare_diffuse(Halos.of(lattice.disorder, AmplitudeTable.of(reflections)))
    chosen = mean_nodes(lattice.disorder, panel, 1.0, scene.finest_A, 0.15)
    finer = replace(lattice.disorder, fineness=4 * lattice.disorder.fineness)
    many = mean_nodes(finer, panel, 1.0, scene.finest_A, 0.15)
    assert (len(chosen.phi), len(chosen.weight)) == counted
    assert len(many.phi) * len(many.weight) > 3 * np.prod(counted)
    images = []
    for nodes in (chosen, many):
        axis = scene.spindle_axis
        turns = [lattice.real_vectors_A @ turn_of(axis, 0.15 * phi).T for phi in nodes.phi]
        its = Exposed(prepared, 1.0, np.array(turns), nodes)
        images.append(backend.diffuse(Tile(0, 0, 24, 0, 24), [its]))
    apart = np.abs(images[0] - images[1]) / images[1].max()
    assert np.quantile(apart, 0.95) < 1e-3
    assert apart.max() < 5e-3, (
        "where a pixel has two cells of reciprocal space: halos from far away are interpolated in each"
    )


def turn_of(axis, degrees):
    """Rodrigues' formula, written once more."""
    angle, K = np.deg2rad(degrees), np.cross(np.eye(3), -np.asarray(axis))
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


@pytest.mark.parametrize(("fineness", "places"), [(0.1, 1), (20.0, 5), (200.0, 25)])
def test_nodes_that_stand_for_a_pixel_have_its_mean_and_variance(small_experiment, fineness, places):
    scene = resolve(crystal(small_experiment))
    disorder = replace(scene.specimen.lattices[0].disorder, fineness=fineness)
    nodes = mean_nodes(disorder, scene.instrument.panels[0], 1.0, 2.0, 0.5)
    assert len(nodes.weight) == places
    for place, weight in (
        (nodes.phi, nodes.phi_weight),
        (nodes.slow, nodes.weight),
        (nodes.fast, nodes.weight),
    ):
        assert weight.sum() == pytest.approx(1)
        assert weight @ place == pytest.approx(0.5)
        assert weight @ (place - 0.5) ** 2 == pytest.approx(1 / 12 if len(weight) > 1 else 0)


def test_no_displacement_scatters_nothing(small_experiment):
    for diffuse in (CORRELATED, RIGID):
        experiment = crystal(small_experiment, {**diffuse, "sigma_A": 0.0})
        scene = resolve(experiment)
        backend = NativeBackend(scene.instrument, threads=1)
        assert not backend.diffuse(Tile(0, 0, 8, 0, 8), exposed(backend, scene, "float32")).any()


def test_disorder_is_that_of_the_crystal_whatever_its_orientation(small_experiment):
    one, other = (crystal(small_experiment, misset_deg=misset) for misset in ([0, 0, 0], [40, -20, 100]))
    numbers = [
        disorder_of(its.each_crystal["crystal"], resolve(its).specimen.lattices[0].real_vectors_A, 60.0)
        for its in (one, other)
    ]
    np.testing.assert_allclose(numbers[0].halo, numbers[1].halo, rtol=0, atol=1e-11)
    np.testing.assert_allclose(numbers[0].displacement, numbers[1].displacement, rtol=0, atol=1e-13)
