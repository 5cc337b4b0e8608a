"""The numbers of what scatters beside the crystal: molecules in the beam, air along it, rings of powder, a level and an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.background import Air, Amorphous, Powder
from nbdist.experiment.model import Experiment
from nbdist.experiment.powder_lines import POWDER_LINES
from nbdist.formats.stol import read_stol
from nbdist.formats.text import said_of
from nbdist.scene.arrays import load_array, load_smv
from nbdist.scene.rocking import FWHM_OF_DEVIATION

Array = NDArray[np.float64]

AVOGADRO = 6.02214179e23
BOLTZMANN_J_PER_K = 1.380649e-23
WATER_F, WATER_G_PER_MOL, WATER_G_PER_M3 = 2.57, 18.0, 1e6
"""Electrons of a water molecule at all angles, and the density of water: nanoBragg's values."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Values against sin(theta)/lambda (n,) in 1/Angstrom, float64: linear in between, held at its ends."""

    stol_per_A: Array
    values: Array

    def at(self, stol_per_A: Array) -> Array:
        """Values at sin(theta)/lambda of any shape."""
        if len(self.values) == 1:
            return np.full(stol_per_A.shape, self.values[0])
        return np.interp(stol_per_A, self.stol_per_A, self.values)

    @classmethod
    def flat(cls, value: float) -> Curve:
        """A curve with the same value everywhere."""
        return cls(np.zeros(1), np.array([value]))


@dataclass(frozen=True, eq=False)
class Scatterer:
    """Molecules without order at the sample's place.

    Attributes
    ----------
    molecules
        How many are in the beam, which has the fluence everywhere among them.
    F
        Of one of them, electrons.
    incoherent
        Its incoherent scattering function, electrons; None where Compton scattering is left out.
    """

    molecules: float
    F: Curve
    incoherent: Curve | None = None

    @property
    def isotropic(self) -> bool:
        """Whether it has one F at every angle, and no Compton scattering."""
        return len(self.F.values) == 1 and self.incoherent is None


@dataclass(frozen=True)
class AirPath:
    """Air that the beam goes through.

    Attributes
    ----------
    before_m, after_m
        From where to where, from the sample, metres; None for up to the detector.
    molecules_per_m
        In the beam's cross-section.
    """

    before_m: float
    after_m: float | None
    molecules_per_m: float


@dataclass(frozen=True, eq=False)
class PowderRings:
    """Rings of a powder; arrays (rings,).

    Attributes
    ----------
    d_A
        Spacings.
    photons
        Of the whole ring, all azimuths, unpolarised.
    sigma_rad, d_spread
        Root mean square width in two theta, and of the spacing relative to it.
    texture, seed
        Root mean square of the logarithm of what multiplies a ring along its azimuth, and which.
    """

    d_A: Array
    photons: Array
    sigma_rad: float
    d_spread: float
    texture: float
    seed: int


@dataclass(frozen=True, eq=False)
class Background:
    """All that scatters beside the crystal, and what lies under the image besides.

    Attributes
    ----------
    materials, air, powders
        What scatters, in proportion to the fluence.
    level_photons
        Photons a pixel.
    images
        Photons a pixel of each panel, float32 (slow, fast); empty without a file.
    """

    materials: tuple[Scatterer, ...]
    air: AirPath | None
    powders: tuple[PowderRings, ...]
    level_photons: float
    images: tuple[NDArray[np.float32], ...]

    @property
    def scatters(self) -> bool:
        """Whether any of the background grows with the fluence."""
        return bool(self.materials or self.air or self.powders)

    @property
    def steady(self) -> bool:
        """Whether any of the background does not grow with the fluence."""
        return bool(self.level_photons or self.images)

    @property
    def any(self) -> bool:
        """Whether there is any background."""
        return self.scatters or self.steady


def make_background(experiment: Experiment, usable: Sequence[NDArray[np.bool_]]) -> Background:
    """Work out the numbers of the background, reading its files.

    Parameters
    ----------
    usable
        Pixels of each panel (slow, fast) that are rendered; whatever an image holds in others is taken as 0.

    Raises
    ------
    ExperimentError, FileFormatError
        If a file cannot be read, an image has another shape than the detector, or the beam's width is wanted and nowhere given.
    """
    given = experiment.background
    materials = []
    if given.water_um:
        molecules = (1e-6 * given.water_um) ** 3 * WATER_G_PER_M3 * AVOGADRO / WATER_G_PER_MOL
        materials.append(Scatterer(molecules, Curve.flat(WATER_F)))
    for number, material in enumerate(given.amorphous):
        width_m = _beam_width_m(experiment, material.width_um, f"background.amorphous.{number}")
        materials.append(_material(material, width_m, f"background.amorphous.{number}"))
    air = None
    if given.air is not None:
        air = _air(experiment, given.air, _beam_width_m(experiment, given.air.width_um, "background.air"))
    images = () if given.image_file is None else _images(given.image_file, usable)
    return Background(tuple(materials), air, tuple(map(_rings, given.powder)), given.level_photons, images)


def _beam_width_m(experiment: Experiment, width_um: float | None, field: str) -> float:
    if width_um is not None:
        return 1e-6 * width_um
    if experiment.beam.flux_photons_per_s is None:
        raise ExperimentError(
            f"{field}.width_um: is required where the beam has no flux_photons_per_s, which gives it one"
        )
    return experiment.beam.size_m


def _material(given: Amorphous, width_m: float, field: str) -> Scatterer:
    volume_m3 = width_m**2 * 1e-6 * given.thickness_um
    molecules = volume_m3 * 1e6 * given.density_g_per_cm3 * AVOGADRO / given.molecular_weight_g_per_mol
    with said_of(f"{field}.f_file"):
        F = Curve(*read_stol(given.f_file, "amplitude curve"))
    if given.compton_file is None:
        return Scatterer(molecules, F)
    with said_of(f"{field}.compton_file"):
        return Scatterer(molecules, F, Curve(*read_stol(given.compton_file, "incoherent scattering function")))


def _air(experiment: Experiment, given: Air, width_m: float) -> AirPath:
    """Air as an ideal gas: P/(k T) molecules a volume."""
    stop, after_mm = experiment.shadows.beam_stop, given.after_mm
    if after_mm is None and stop is not None:
        after_mm = stop.distance_mm
    density_per_m3 = 1e3 * given.pressure_kPa / (BOLTZMANN_J_PER_K * given.temperature_K)
    after_m = None if after_mm is None else 1e-3 * after_mm
    return AirPath(1e-3 * given.before_mm, after_m, density_per_m3 * width_m**2)


def _rings(given: Powder) -> PowderRings:
    """Photons of a whole ring go as m |F|^2 / sin(theta), as m |F|^2 d: a powder's grains are lit by solid angle (Debye-Scherrer)."""
    if given.preset is not None:
        d_A, strength = np.array(POWDER_LINES[given.preset]).T
        photons = strength * d_A
    else:
        assert given.rings is not None, "an experiment is validated"
        d_A, photons = np.array([(ring.d_A, ring.intensity) for ring in given.rings]).T
    return PowderRings(
        d_A=d_A,
        photons=given.photons * photons / photons.max(),
        sigma_rad=float(np.deg2rad(given.width_deg)) / FWHM_OF_DEVIATION,
        d_spread=given.d_spread,
        texture=given.texture,
        seed=given.texture_seed,
    )


def _images(path: Path, usable: Sequence[NDArray[np.bool_]]) -> tuple[NDArray[np.float32], ...]:
    field, shapes = "background.image_file", [pixels.shape for pixels in usable]
    image = load_smv(path, field)
    found = load_array(path, field) if image is None else image
    if len(set(shapes)) > 1:
        raise ExperimentError(f"{field}: the panels differ in size, which no image does")
    wanted = shapes[0] if len(shapes) == 1 else (len(shapes), *shapes[0])
    if found.shape != wanted or found.dtype.kind not in "fiu":
        axes = "slow, fast" if len(shapes) == 1 else "panel, slow, fast"
        raise ExperimentError(
            f"{field}: {path} holds {found.dtype} {found.shape}, expected numbers of shape {wanted} ({axes})"
        )
    images = np.where(np.stack(usable), found.reshape(len(shapes), *shapes[0]), 0).astype(np.float32)
    if not (np.isfinite(images) & (images >= 0)).all():
        raise ExperimentError(f"{field}: {path} has pixels of less than 0 photons, or of no number; mask them")
    return tuple(images)
