"""The physics functions are differentiable: a photon count knows how it changes with cell, orientation, beam and distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbdist.kernels.reference.factors import FactorChoice, pixel_factors
from nbdist.kernels.reference.integrated import SpotVariables, mean_intensity, spot_model
from nbdist.kernels.reference.orientation_sum import orientation_part, orientation_sum, pixel_part
from nbdist.kernels.reference.pixels import directions, positions, scattering_vectors
from nbdist.kernels.torch_scene import TorchInstrument
from nbdist.scene import Tile
from nbdist.scene.instrument import Factor

# gauss is smooth everywhere; a brick's gradient is right too, but its finite differences need steps below a fringe
SHAPES = ["gauss", "square"]


def turned(vectors, angles_rad):
    """Vectors (3, 3), row by row, rotated about x, y, then z."""
    one, zero = torch.ones_like(angles_rad[0]), torch.zeros_like(angles_rad[0])
    (cx, cy, cz), (sx, sy, sz) = torch.cos(angles_rad), torch.sin(angles_rad)
    about_x = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx]).reshape(3, 3)
    about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy]).reshape(3, 3)
    about_z = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one]).reshape(3, 3)
    return vectors @ (about_z @ about_y @ about_x).T


def cell_vectors(cell):
    """Rows a, b, c of a cell (lengths in Angstrom, angles in degrees), a along x, b in the x-y plane."""
    a, b, c = cell[:3]
    cos_alpha, cos_beta, cos_gamma = torch.cos(torch.deg2rad(cell[3:]))
    sin_gamma = torch.sqrt(1 - cos_gamma**2)
    zero = torch.zeros_like(a)
    along_y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    rows = [[a, zero, zero], [b * cos_gamma, b * sin_gamma, zero]]
    rows.append([c * cos_beta, c * along_y, c * torch.sqrt(1 - cos_beta**2 - along_y**2)])
    return torch.stack([torch.stack(row) for row in rows])


@pytest.fixture(params=SHAPES)
def scene(request, small_experiment, make_renderer):
    experiment = small_experiment(
        panel={"spixels": 6, "fpixels": 5, "pixel_size_mm": 4.0, "distance_mm": 90},
        crystal={"shape": request.param, "N_cells": [3, 4, 2]},
        structure_factors={"kind": "uniform", "F": 10.0},
        sampling={"precision": "float64", "interpolate": False},
    )
    renderer = make_renderer(experiment)
    instrument = TorchInstrument(renderer.scene.instrument)
    return renderer, instrument, instrument.lattice(renderer.scene.specimen.lattices[0], renderer.tables[0])


def partial_of(instrument, lattice, cell, rotation, wavelength, distance, N_cells):
    """Un-normalised partial intensity (P,) of a still; `rotation` turns the crystal beyond where its cell puts it."""
    panel = instrument.panels[0]._replace(
        origin=torch.cat([instrument.panels[0].origin[:2], distance[None]]),
        close_distance=distance,
        curvature=distance,
    )
    slow, fast = (grid.reshape(-1) + 0.5 for grid in np.mgrid[0:6, 0:5])
    slow, fast = torch.from_numpy(slow), torch.from_numpy(fast)
    incident = instrument.sources[0][0]
    depth = torch.zeros((), dtype=torch.float64)
    real = turned(cell_vectors(cell), rotation)
    towards, _ = directions(positions(slow[:1], fast[:1], depth, panel, curved=False))
    # any reference gives the same index: it is not a variable
    q_reference = scattering_vectors(towards, incident, wavelength)[:, 0].detach()
    reference = real.detach()
    pixels = pixel_part(
        slow, fast, depth, panel, incident, wavelength, q_reference, reference, curved=False, dtype=torch.float64
    )
    orientations = orientation_part(real[None], reference, q_reference, torch.float64)
    intensity = orientation_sum(pixels, orientations, N_cells, lattice.fudge, lattice.tables[0], lattice.variant)
    choice = FactorChoice(int(Factor.OMEGA | Factor.POLAR), curved=False, point_pixels=False)
    omega, polar, _, _ = pixel_factors(slow, fast, panel, incident, wavelength, instrument.sensors[0][0], choice)
    return intensity * omega * polar


def test_gradients_are_those_of_finite_differences(scene):
    _, instrument, lattice = scene
    numbers = (
        [40.0, 45.0, 50.0, 80.0, 95.0, 100.0],
        [0.2, -0.5, 0.9],
        1.0,
        0.09,
        [3.0, 4.0, 2.0],
    )
    inputs = tuple(torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers)
    scale = float(partial_of(instrument, lattice, *inputs).detach().max())

    def relative(*arguments):
        return partial_of(instrument, lattice, *arguments) / scale

    if lattice.variant.shape == "square":  # N is whole: it is not a variable
        inputs = (*inputs[:4], inputs[4].detach())
    assert torch.autograd.gradcheck(relative, inputs, eps=1e-7, atol=1e-5, rtol=1e-4)


def test_the_differentiated_function_is_the_one_that_renders(scene):
    renderer, instrument, lattice = scene
    [group] = list(renderer.scene.orientation_groups(renderer.scene.specimen.lattices[0], 0, 0, 1))
    real = torch.from_numpy(group.real[0])
    lengths = real.norm(dim=1)
    cosines = [float(real[i] @ real[j] / lengths[i] / lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    cell = torch.cat([lengths, torch.rad2deg(torch.arccos(torch.tensor(cosines, dtype=torch.float64)))])
    upright = cell_vectors(cell)
    rotation = (torch.linalg.inv(upright) @ real).T  # upright @ rotation.T = real
    angles = torch.stack(
        [
            torch.atan2(rotation[2, 1], rotation[2, 2]),
            torch.asin(-rotation[2, 0]),
            torch.atan2(rotation[1, 0], rotation[0, 0]),
        ]
    )
    panel = instrument.panels[0]
    values = partial_of(
        instrument,
        lattice,
        cell,
        angles,
        instrument.sources[0][1],
        panel.close_distance,
        lattice.cells.to(torch.float64),
    )
    expected = torch.from_numpy(renderer.partial(Tile(0, 0, 6, 0, 5), 0, 0, 1).reshape(-1))
    torch.testing.assert_close(values, expected, rtol=1e-8, atol=1e-10 * float(expected.max()))


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def mean_of(spots, cell, rotation, mosaicity, N_cells, wavelength, distance):
    """Mean over phi, mosaicity, spectrum and divergence of some spots (R,) in the middle of two pixels near each, (R, 2)."""
    hkl, pixels = spots
    axes = turned(cell_vectors(cell), rotation)
    reciprocal = torch.linalg.inv(axes).T
    G = hkl @ reciprocal
    shape = reciprocal.T @ torch.diag(0.63 / (4 * N_cells**2)) @ reciprocal
    one, beam = torch.ones(()), torch.tensor([0.0, 0.0, 1.0])
    x, z = axes[0] / axes[0].norm(), reciprocal[2] / reciprocal[2].norm()
    variables = SpotVariables(
        variance=torch.cat([mosaicity**2, torch.stack([1e-3 * one, 5e-4 * one, 2e-4 * one]) ** 2]),
        axes=torch.stack([x, torch.linalg.cross(z, x), z]).expand(len(hkl), 3, 3),
        spindle=torch.tensor([1.0, 0.0, 0.0]),
        tilts=torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]) / wavelength,
        beam=beam / wavelength,
        low=-0.01 * torch.ones(len(hkl)),
        high=0.005 * torch.ones(len(hkl)),
    )
    at = torch.cat([pixels, distance.expand(*pixels.shape[:2], 1)], dim=2)
    q = (at / at.norm(dim=2, keepdim=True) - beam) / wavelength
    return mean_intensity(spot_model(G, shape.expand(len(hkl), 3, 3), variables), q - G[:, None])


def test_gradients_of_the_integrated_method_are_those_of_finite_differences(double_by_default):
    numbers = (
        [40.0, 45.0, 50.0, 80.0, 95.0, 100.0],
        [0.2, -0.5, 0.9],
        [0.004, 0.006, 0.005],
        [12.0, 15.0, 10.0],
        1.0,
        0.09,
    )
    cell, rotation, mosaicity, N_cells, wavelength, distance = (torch.tensor(number) for number in numbers)
    # the three whose reciprocal lattice points lie nearest to the Ewald sphere
    grid = torch.arange(-6.0, 7.0)
    hkl = torch.cartesian_prod(grid, grid, grid)
    G = hkl @ torch.linalg.inv(turned(cell_vectors(cell), rotation)).T
    beam = torch.tensor([0.0, 0.0, 1.0])
    length = (beam / wavelength + G).norm(dim=1)
    off = (length - 1 / wavelength).abs() + (G.norm(dim=1) < 0.05)
    near = off.argsort()[:3]
    towards = beam / wavelength + G[near]
    middle = towards[:, :2] / towards[:, 2:] * distance
    pixels = torch.stack([middle, middle + 0.0001], dim=1)
    inputs = (cell, rotation, mosaicity, N_cells, wavelength, distance)
    values = mean_of((hkl[near], pixels), *inputs)
    assert values.min() > 1e-3, "in the spots"
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *arguments: mean_of((hkl[near], pixels), *arguments), inputs, eps=1e-7, atol=1e-5, rtol=1e-4
    )
