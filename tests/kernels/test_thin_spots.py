"""Spots thinner than a pixel keep their photons: against every orientation, wavelength or direction by itself, and from size to size."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from nbdist.experiment import Experiment
from nbdist.experiment.lattice import turned
from nbdist.frames.renderer import Renderer
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.mosaic import crystal_axes

Array = NDArray[np.float64]


def renderer_of(experiment: Experiment, mode: str = "compiled") -> Renderer:
    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), mode=mode)


def image_of(experiment: Experiment, mode: str = "compiled") -> Array:
    return np.asarray(renderer_of(experiment, mode).frame(0), dtype=np.float64)


@pytest.fixture(scope="module")
def crystal_of(small_experiment):
    """A crystal of a size in um, in a frame of pixels of 0.8 mm, each several hundred times a sharp spot."""

    def make(size_um: float, pixels: int = 32, osc_range_deg: float = 0.0, sigma_deg=0.0, precision="float64", **beam):
        return small_experiment(
            beam={"polarization_factor": None, **beam},
            crystal={"shape": "gauss", "size_um": size_um, "mosaicity": {"sigma_deg": sigma_deg}},
            scan={"frames": 1, "osc_range_deg": osc_range_deg},
            detector={"panels": [{"spixels": pixels, "fpixels": pixels, "pixel_size_mm": 0.8, "distance_mm": 100}]},
            sampling={"method": "integrated", "oversample": "auto", "oversample_omega": True, "precision": precision},
        )

    return make


class Spread(NamedTuple):
    """Crystals and beams without any spread that an experiment is the mean of, n of them: `weights` have the sum 1."""

    turns_rad: Array  # (n, 3)
    beams: Array  # (n, 3), unit vectors
    wavelengths_A: Array  # (n,)
    weights: Array  # (n,)


def spread_of(renderer: Renderer, phi: float, step: float, reach: float) -> Spread:
    """Normal turns about the first mosaic axis, wavelengths, or turns of the beam about its first axis; one of them is spread.

    They move reflections of |G| up to `reach` by steps of `step` at most, 1/Angstrom, from the Ewald sphere.
    """
    scene, instrument = renderer.scene, renderer.scene.instrument
    lattice, wavelength_A = scene.specimen.lattices[0], float(instrument.sources.wavelengths_A[0])
    moved = {
        "turn": (lattice.mosaic_sigma_rad[0], reach),
        "tilt": (instrument.divergence_sigma_rad[0], reach),
        "band": (instrument.bandwidth_sigma, wavelength_A * reach**2 / 2),
    }
    ((kind, sigma, by),) = ((name, sigma, by) for name, (sigma, by) in moved.items() if sigma > 0)
    x = np.linspace(-6, 6, 2 + math.ceil(12 * sigma * by / (step)))
    weights = np.exp(-x * x / 2)
    one = {name: (sigma * x if name == kind else np.zeros(len(x)))[:, None] for name in moved}
    axis = turned(crystal_axes(lattice.real_vectors_A)[0], phi * scene.spindle_axis)
    beam = turned(instrument.sources.directions[0], one["tilt"] * renderer.diffraction.divergence_axes[0])
    return Spread(one["turn"] * axis, beam, wavelength_A * (1 + one["band"][:, 0]), weights / weights.sum())


def mean_of_gaussian(ends: Array) -> Array:
    """The mean of exp(-x^2 / 2) along lines from x to x, (n, m) of the ends (n, m + 1) of m of them."""
    near = np.clip(ends, -8, 8)
    below = np.sqrt(np.pi / 2) * np.sign(near)
    some = np.abs(near) < 8
    below[some] *= [math.erf(x) for x in np.abs(near[some]) / np.sqrt(2)]
    length = np.diff(ends, axis=1)
    short = np.abs(length) < 1e-3
    return np.where(
        short,
        np.exp(-0.5 * ((ends[:, 1:] + ends[:, :-1]) / 2) ** 2),
        np.diff(below, axis=1) / np.where(short, 1, length),
    )


def photons_one_by_one(experiment: Experiment, step: float | None = None, pieces: int = 1) -> float:
    """Photons on the panel of a crystal as long as it is wide: of each crystal and beam a sharp spot where its ray meets the panel.

    The Ewald sphere is flat over so small a spot: |F N|^2 exp(-|q - G|^2 / (2 s^2)) is 2 pi s^2 exp(-e^2 / (2 s^2)) in all on it, e the
    distance of G, and a solid angle is wavelength^2 times an area. In each of some pieces of the frame e changes in proportion to phi.
    """
    renderer = renderer_of(experiment)
    scene, scan, its = renderer.scene, experiment.scan, renderer.diffraction.lists[0]
    sharp = math.sqrt(renderer.diffraction.spreads[0].shape[0, 0])
    phi = np.radians(np.linspace(scan.phi_start_deg, scan.phi_start_deg + scan.osc_range_deg, pieces + 1))
    panel = scene.instrument.panels[0]
    corner = panel.origin_m / np.linalg.norm(panel.origin_m) - panel.beam  # over the wavelength: the panel's reach
    reach = 1.1 * float(np.linalg.norm(corner) / scene.instrument.sources.wavelengths_A[0])
    spread = spread_of(renderer, phi[0], step or sharp, reach)
    inward = spread.beams / spread.wavelengths_A[:, None]
    vectors = turned(its.vectors, phi[0] * scene.spindle_axis)
    some = np.linspace(0, len(inward) - 1, 13).astype(
        int
    )  # of them; between two of these e bends by less than 0.001 |G|
    length = np.linalg.norm(vectors, axis=1)
    near = np.stack(
        [
            np.linalg.norm(
                turned(turned(vectors, spread.turns_rad[n]), (angle - phi[0]) * scene.spindle_axis) + inward[n], axis=1
            )
            - 1 / spread.wavelengths_A[n]
            for n in some
            for angle in phi[[0, -1]]
        ]
    )
    slack = 0.001 * length + 8 * sharp
    total = 0.0
    for number in np.flatnonzero((length < reach) & (near.min(axis=0) < slack) & (near.max(axis=0) > -slack)):
        crystals = turned(vectors[number], spread.turns_rad)
        rays = [turned(crystals, (angle - phi[0]) * scene.spindle_axis) + inward for angle in phi]
        errors = np.stack([np.linalg.norm(ray, axis=1) - 1 / spread.wavelengths_A for ray in rays], axis=1) / sharp
        lit = np.flatnonzero((errors.min(axis=1) < 8) & (errors.max(axis=1) > -8))
        each = mean_of_gaussian(errors[lit]) * (spread.weights * spread.wavelengths_A**2)[lit, None] / pieces
        for piece in range(pieces):
            ray = rays[piece][lit] + rays[piece + 1][lit]
            place = panel.coordinates(ray / np.linalg.norm(ray, axis=1)[:, None])
            inside = ((place > 0) & (place < panel.shape)).all(axis=1)
            total += its.amplitudes[0, number] ** 2 * float(each[inside, piece].sum())
    lattice, instrument = scene.specimen.lattices[0], scene.instrument
    scale = instrument.photons_per_electron2 * lattice.cells_in_all**2
    return total * scale * 2 * math.pi * sharp**2


@pytest.mark.parametrize(
    ("size_um", "pixels", "spread"),
    [
        (2.0, 32, {"sigma_deg": [0.4, 0.0, 0.0]}),
        (10.0, 32, {"sigma_deg": [0.4, 0.0, 0.0]}),
        (2.0, 32, {"divergence_sigma_mrad": [2.0, 0.0]}),
        (20.0, 32, {"divergence_sigma_mrad": [2.0, 0.0]}),
        # few reflections are near enough to the sphere, and of many the sphere is off by as much as the shape: 0.67 of size^3 from 2 to 50
        (2.0, 64, {"bandwidth_sigma": 0.002}),
        (50.0, 64, {"bandwidth_sigma": 0.002}),
    ],
)
def test_a_still_has_the_photons_of_every_crystal_and_beam_by_itself(crystal_of, size_um, pixels, spread):
    experiment = crystal_of(size_um, pixels, **spread)
    # measured: 1.2e-4 (bandwidth, 2 um)
    assert image_of(experiment).sum() == pytest.approx(photons_one_by_one(experiment), rel=2.5e-4)


def test_a_frame_has_the_photons_of_every_crystal_by_itself(crystal_of):
    experiment = crystal_of(2.0, osc_range_deg=0.5, sigma_deg=[0.4, 0.0, 0.0])
    # measured: 2.7e-4; where the panel ends, crystals are a step of 0.002 degrees apart
    assert image_of(experiment).sum() == pytest.approx(photons_one_by_one(experiment, pieces=4), rel=5e-4)


@pytest.mark.parametrize(
    ("small_um", "large_um", "spread", "within"),  # measured: 6e-5, 9e-4, 7e-5, 1.0e-5, 4e-4
    [
        (2.0, 300.0, {"sigma_deg": 0.4}, 5e-4),
        (2.0, 50.0, {"divergence_sigma_mrad": [2.0, 2.0]}, 2e-3),
        (5.0, 50.0, {"divergence_sigma_mrad": [2.0, 2.0], "osc_range_deg": 0.01}, 5e-4),
        (50.0, 300.0, {"sigma_deg": [0.4, 0.0, 0.0]}, 1e-4),
        (20.0, 300.0, {"sigma_deg": [0.4, 0.0, 0.0], "osc_range_deg": 0.5}, 6e-4),
    ],
)
def test_photons_are_as_many_as_cells_where_the_shape_is_small(crystal_of, small_um, large_um, spread, within):
    small, large = (
        image_of(crystal_of(size, 64, precision="float32", **spread)).sum() / size**3 for size in (small_um, large_um)
    )
    assert large == pytest.approx(small, rel=within)


def test_subpixels_add_up_to_what_is_integrated_along_lines(crystal_of):
    """A spread of 2 mrad is a quarter of a pixel: 16 points along a pixel's side sample it."""
    experiment = crystal_of(2.0, divergence_sigma_mrad=[2.0, 2.0])
    points = image_of(experiment.with_changes(sampling={"oversample": 16}))
    assert image_of(experiment).sum() == pytest.approx(points.sum(), rel=1e-3)  # measured: 3e-5


@pytest.mark.parametrize("spread", [{"sigma_deg": 0.4}, {"divergence_sigma_mrad": [2.0, 2.0]}])
def test_single_precision_has_the_digits_of_thin_spots(crystal_of, spread):
    single, double = (image_of(crystal_of(50.0, precision=precision, **spread)) for precision in ("float32", "float64"))
    assert np.abs(single - double).max() <= 2e-5 * double.max()  # measured: 1.0e-5


@pytest.mark.parametrize(
    ("size_um", "spread"),
    [
        (2.0, {"divergence_sigma_mrad": [2.0, 2.0]}),
        (2.0, {"divergence_sigma_mrad": [2.0, 2.0], "osc_range_deg": 0.01}),
        (20.0, {"sigma_deg": [0.4, 0.0, 0.0]}),
        (2.0, {"sigma_deg": [0.4, 0.0, 0.0], "osc_range_deg": 0.5}),
    ],
)
def test_the_two_engines_agree_on_thin_spots(crystal_of, size_um, spread):
    experiment = crystal_of(size_um, **spread)
    compiled, eager = image_of(experiment), image_of(experiment, "eager")
    assert np.abs(compiled - eager).max() <= 5e-5 * eager.max()  # measured: 1.8e-5


def test_that_torch_has_too_few_points_is_said_once(crystal_of, caplog):
    pytest.importorskip("torch")
    from nbdist.kernels.torch_spots import _warn_of_few_points

    _warn_of_few_points.cache_clear()
    image_of(crystal_of(2.0, 16, sigma_deg=0.4), "eager")
    assert not caplog.messages
    thin = renderer_of(crystal_of(20.0, 16, sigma_deg=0.4), "eager")
    thin.frame(0), thin.frame(0)
    (said,) = caplog.messages
    assert said.startswith("spots are long and hundreds of times thinner than a pixel")
