"""The beam: wavelength, fluence, polarization, and its spread in direction and wavelength."""

from __future__ import annotations

import contextlib
import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nbdist.experiment.fields import Count, Direction, FilePath, NotNegative, Pair, Positive, Section

EV_ANGSTROM = 12398.42
"""Photon energy (eV) times wavelength (Angstrom), the value nanoBragg uses."""

DEFAULT_FLUENCE_PHOTONS_PER_M2 = 1.259320152862271e29
"""nanoBragg's default: with it, one electron scatters one photon into one steradian (1/r_e^2)."""

SPECTRUM = ("dispersion", "sources", "source_file", "bandwidth_sigma")
"""Fields of the beam that give it other wavelengths than its own."""


class Divergence(Section):
    """A grid of beam directions, as nanoBragg builds it."""

    horizontal_mrad: NotNegative = Field(0.0, description="full width along the polarization vector")
    horizontal_steps: Count = Field(1, description="directions over that width")
    vertical_mrad: NotNegative = Field(0.0, description="full width across it")
    vertical_steps: Count = Field(1, description="directions over that width")
    round: bool = Field(True, description="keep the directions inside the ellipse; false keeps the whole rectangle")


class Dispersion(Section):
    """A flat spectrum: equally spaced wavelengths over `percent` of the mean."""

    percent: float = Field(
        0.0, ge=0, lt=200, description="full width of the spectrum, in percent of the mean wavelength"
    )
    steps: Count = Field(1, description="wavelengths over that width")


class Source(Section):
    """One direction and wavelength of the beam."""

    direction: Direction = Field(description="the way the photons travel, lab frame")
    wavelength_A: Positive | None = Field(None, description="Angstrom; the beam's wavelength when left out")
    weight: NotNegative = Field(1.0, description="relative; weights are normalised to mean 1")


class Flicker(Section):
    """Relative changes of the fluence from frame to frame: normal, but never below none at all."""

    sigma: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="rms of the fluence from frame to frame, relative to its mean"
    )
    spectrum: Literal["white", "pink"] = Field(
        "white", description="white: every frame by itself; pink: slow changes as well, of power 1/f"
    )
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of the flicker and of exposure_jitter_sigma"
    )


class Beam(Section):
    """The incident beam. Give `wavelength_A` or `energy_eV`, and a fluence or a flux with exposure and beam size."""

    wavelength_A: Positive | None = Field(None, description="Angstrom; 1.0 when neither it nor energy_eV is given")
    energy_eV: Positive | None = Field(None, description="energy of a photon, instead of wavelength_A")
    fluence_photons_per_m2: Positive | None = Field(
        None, description="photons/m^2; nanoBragg's default when no flux is given"
    )
    flux_photons_per_s: Positive | None = Field(
        None, description="photons a second; with exposure_s and beam_size_mm: fluence = flux exposure / size^2"
    )
    exposure_s: Positive | None = Field(None, description="seconds a frame; 1.0 when a flux is given")
    beam_size_mm: Positive | None = Field(None, description="side of the square beam; 0.1 when a flux is given")
    flicker: Flicker = Flicker()
    exposure_jitter_sigma: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="rms of a normal error of each frame's exposure, relative to it"
    )
    polarization_factor: float | None = Field(
        0.0,
        ge=-1,
        le=1,
        description="Kahn factor K: 0 is unpolarised, 1 fully polarised; null leaves the correction out",
    )
    polarization_vector: Direction | None = Field(None, description="E vector; the detector convention's when left out")
    direction: Direction | None = Field(
        None, description="the way the beam travels; the detector convention's when left out"
    )
    divergence: Divergence = Divergence()
    dispersion: Dispersion = Dispersion()
    sources: tuple[Source, ...] | None = Field(
        None, min_length=1, description="explicit sources instead of the two grids"
    )
    source_file: FilePath | None = Field(
        None, description="nanoBragg source file: x y z weight wavelength (metres) a line"
    )
    bandwidth_sigma: Annotated[float, Field(ge=0, le=0.1)] = Field(
        0.0, description="rms of a normal spectrum, relative to the wavelength: of every source"
    )
    divergence_sigma_mrad: NotNegative | tuple[NotNegative, NotNegative] = Field(
        0.0,
        description="rms of a normal divergence, milliradians: of every source, along the polarization vector (a rotation about "
        "beam x polarization) and across it (about polarization); one number stands for both",
    )
    spread_sources: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None,
        description="sources that stand for bandwidth_sigma and divergence_sigma_mrad in method sum, for each other source; "
        "100 when left out",
    )
    spread_seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of these sources: another one shifts all of them"
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Beam:
        if self.wavelength_A is not None and self.energy_eV is not None:
            raise ValueError("give wavelength_A or energy_eV, not both")
        if self.fluence_photons_per_m2 is not None and self.flux_photons_per_s is not None:
            raise ValueError("give fluence_photons_per_m2 or flux_photons_per_s, not both")
        if self.flux_photons_per_s is None and not (self.exposure_s is None and self.beam_size_mm is None):
            raise ValueError("exposure_s and beam_size_mm need flux_photons_per_s")
        if self.sources is not None and self.source_file is not None:
            raise ValueError("give sources or source_file, not both")
        grids: list[Any] = [self.divergence != Divergence(), self.dispersion != Dispersion()]
        if any(grids) and (self.sources is not None or self.source_file is not None):
            raise ValueError("an explicit source list replaces divergence and dispersion; give one or the other")
        if self.sources is not None and not any(source.weight > 0 for source in self.sources):
            raise ValueError("at least one source needs a weight above 0")
        with contextlib.suppress(ZeroDivisionError, OverflowError):
            if 0 < self.fluence < math.inf:
                return self
        raise ValueError("flux_photons_per_s exposure_s / beam_size_mm^2 is not a number of photons")

    @property
    def steady(self) -> bool:
        """Whether all frames have the same fluence."""
        return self.flicker.sigma == 0 and self.exposure_jitter_sigma == 0

    @property
    def divergence_sigmas_mrad(self) -> Pair:
        """Root mean square divergence along the polarization vector and across it, milliradians."""
        given = self.divergence_sigma_mrad
        return given if isinstance(given, tuple) else (given, given)

    @property
    def mean_wavelength_A(self) -> float:
        """Wavelength of the beam's centre, Angstrom."""
        if self.energy_eV is not None:
            return EV_ANGSTROM / self.energy_eV
        return 1.0 if self.wavelength_A is None else self.wavelength_A

    @property
    def size_m(self) -> float:
        """Side of the square beam of a flux, metres."""
        return 1e-3 * (0.1 if self.beam_size_mm is None else self.beam_size_mm)

    @property
    def seconds_a_frame(self) -> float | None:
        """Time in which the photons of a frame come; None where a fluence is given, which has none."""
        if self.flux_photons_per_s is None:
            return None
        return 1.0 if self.exposure_s is None else self.exposure_s

    @property
    def fluence(self) -> float:
        """Photons per square metre on the crystal in one frame."""
        exposure_s = self.seconds_a_frame
        if self.flux_photons_per_s is not None and exposure_s is not None:
            return self.flux_photons_per_s * exposure_s / (self.size_m * self.size_m)
        if self.fluence_photons_per_m2 is not None:
            return self.fluence_photons_per_m2
        return DEFAULT_FLUENCE_PHOTONS_PER_M2
