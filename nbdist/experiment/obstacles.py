"""What stands in the way of the photons: the crystal and its capillary absorb some, beam stop and pin throw shadows."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from nbdist.experiment.fields import NotNegative, Pair, Positive, Section

Transmission = Annotated[float, Field(ge=0, le=1, description="share of the photons that pass")]
MOST_ATTENUATION_LENGTHS = 5.0
"""Of a crystal's radius: the sum that stands for its volume is good to 0.3 % up to there."""
Direction = Annotated[
    float, Field(description="degrees about the beam, from the spindle axis towards beam x spindle axis")
]


class AbsorbingCrystal(Section):
    """The crystal's own absorption, the mean over its volume, bathed in the beam."""

    shape: Literal["sphere", "cylinder"] = Field("sphere", description="a cylinder is long, and its axis the spindle")
    attenuation_length_um: Positive = Field(description="path in which 1/e of the photons are left")
    size_um: Positive = Field(description="diameter; ten attenuation lengths at most")

    @field_validator("size_um")
    @classmethod
    def _some_come_through(cls, size_um: float, its: ValidationInfo) -> float:
        lengths = size_um / 2 / its.data.get("attenuation_length_um", math.inf)
        if lengths > MOST_ATTENUATION_LENGTHS:
            raise ValueError(
                f"a radius of {lengths:.4g} attenuation lengths, and {MOST_ATTENUATION_LENGTHS:g} is the most"
            )
        return size_um


class Capillary(Section):
    """A tube about the sample, whose axis is the spindle; the sample is on its axis."""

    inner_radius_um: Positive = Field(description="radius from the axis to the wall")
    wall_um: Positive = Field(description="thickness of the wall")
    attenuation_length_um: Positive = Field(description="path in the wall after which 1/e of the photons are left")
    contents_attenuation_length_um: Positive | None = Field(
        None, description="path in what fills it after which 1/e of the photons are left; null for nothing that absorbs"
    )


class Absorption(Section):
    """Absorption of what the crystal and everything at its place scatters; a smooth factor."""

    crystal: AbsorbingCrystal | None = None
    capillary: Capillary | None = None


class Holder(Section):
    """A strip that holds the beam stop, from its middle outwards, in its plane."""

    width_mm: Positive = Field(description="width of the strip")
    direction_deg: Direction = Field(0.0)
    transmission: Transmission = Field(0.0)


class BeamStop(Section):
    """A disc or a rectangle in a plane across the beam, behind the sample."""

    size_mm: Positive | tuple[Positive, Positive] = Field(
        description="diameter of a disc; two numbers are the sides of a rectangle, along the spindle axis and across it"
    )
    distance_mm: Positive = Field(description="distance of its plane from the sample along the beam")
    center_mm: Pair = Field((0.0, 0.0), description="offset along the spindle axis, and along beam x spindle axis")
    transmission: Transmission = Field(0.0)
    edge_mm: NotNegative = Field(0.0, description="width of the penumbra, in its plane")
    holder: Holder | None = None


class Pin(Section):
    """The goniometer's pin: a strip or a wedge in a plane across the beam, that begins at a distance from it and goes on outwards."""

    distance_mm: Positive = Field(description="distance of its plane from the sample along the beam")
    start_mm: NotNegative = Field(description="distance of its tip from the beam, in that plane")
    width_mm: Positive = Field(description="width at its tip")
    wedge_deg: Annotated[float, Field(ge=0, lt=180)] = Field(0.0, description="angle between its sides")
    direction_deg: Direction = Field(0.0)
    transmission: Transmission = Field(0.0)
    edge_mm: NotNegative = Field(0.0, description="width of the penumbra, in its plane")


class Shadows(Section):
    """What lies between sample and detector. Rays are drawn from the sample."""

    beam_stop: BeamStop | None = None
    pin: Pin | None = None

    @property
    def any(self) -> bool:
        """Whether anything throws a shadow."""
        return self.beam_stop is not None or self.pin is not None
