"""What scatters beside the crystal: materials without order, the air, rings of powder, a level and an image."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from nbdist.experiment.fields import FilePath, NotNegative, Positive, Section
from nbdist.experiment.powder_lines import POWDER_LINES, Preset

BeamWidth = Annotated[
    Positive | None,
    Field(description="side of the square beam, micrometres; beam.beam_size_mm when left out, where there is a flux"),
]


class Amorphous(Section):
    """A material without order in the beam: a slab that the beam crosses."""

    f_file: FilePath = Field(
        description="sin(theta)/lambda (1/A) and F (electrons a molecule) a line, as nanoBragg's .stol files"
    )
    compton_file: FilePath | None = Field(
        None,
        description="sin(theta)/lambda (1/A) and the incoherent scattering function S (electrons a molecule) a line",
    )
    thickness_um: Positive = Field(description="thickness of the slab along the beam")
    width_um: BeamWidth = None
    density_g_per_cm3: Positive = Field(description="density of the material")
    molecular_weight_g_per_mol: Positive = Field(description="weight of the molecule whose F the file holds")


class Air(Section):
    """Air along the beam: nitrogen, oxygen and argon, each point of the path seen under its own angle and distance."""

    before_mm: NotNegative = Field(0.0, description="path of the beam through air, from the collimator to the sample")
    after_mm: NotNegative | None = Field(
        None,
        description="path through air from the sample to the beam's end: the beam stop when left out, or the detector where there is none",
    )
    width_um: BeamWidth = None
    pressure_kPa: Positive = Field(
        101.325, description="pressure of the air, which says with the temperature how many molecules there are"
    )
    temperature_K: Positive = Field(295.0, description="temperature of the air")


class Ring(Section):
    """One ring of a powder."""

    d_A: Positive = Field(description="spacing, Angstrom")
    intensity: Positive = Field(description="photons of the whole ring, relative to the other rings")


class Powder(Section):
    """Rings of a powder: a known one, or a list of your own."""

    preset: Preset | None = Field(None, description="hexagonal ice, sodium chloride, or silver behenate; or give rings")
    rings: tuple[Ring, ...] | None = Field(None, min_length=1)
    photons: Positive = Field(
        description="photons of the strongest ring in a frame, over all azimuths, before polarization, absorption and shadows"
    )
    width_deg: Positive = Field(0.1, description="full width at half maximum in two theta, the same for all rings")
    d_spread: Annotated[float, Field(ge=0, le=0.1)] = Field(
        0.0, description="rms spread of the spacing relative to it: widens rings with the angle"
    )

    texture: Annotated[float, Field(ge=0, le=3)] = Field(
        0.0, description="rms of the logarithm of what multiplies a ring along its azimuth; 0 is an even ring"
    )
    texture_seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of the texture: another one gives another texture"
    )

    @model_validator(mode="after")
    def _preset_or_rings(self) -> Powder:
        if (self.preset is None) == (self.rings is None):
            raise ValueError("give preset or rings" if self.preset is None else "give preset or rings, not both")
        return self


class Background(Section):
    """Scattering added to the crystal's, the same in all frames."""

    water_um: NotNegative = Field(0.0, description="side of a cube of amorphous water, micrometres")
    amorphous: tuple[Amorphous, ...] = Field((), description="other materials without order")
    air: Air | None = None
    powder: tuple[Powder, ...] = ()
    level_photons: NotNegative = Field(
        0.0, description="photons a pixel, everywhere alike; nothing absorbs or shadows it"
    )
    image_file: FilePath | None = Field(
        None,
        description="photons a pixel: .npy (slow, fast), or (panel, slow, fast) of panels of one size; or an SMV image of the only panel",
    )

    def published(self) -> dict[str, Any]:
        """Tables that presets of powders stand for, as JSON has them: an experiment with the same fields differs where they do."""
        return {its.preset: list(map(list, POWDER_LINES[its.preset])) for its in self.powder if its.preset}
