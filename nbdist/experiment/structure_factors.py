"""Where the structure-factor amplitudes come from: a file, one value for all, or a random Wilson set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nbdist.experiment.fields import FilePath, NotNegative, Positive, Section


class FromFile(Section):
    """Amplitudes of a text file, `h k l F` a line; the list is used as it is, without symmetry or Friedel mates."""

    kind: Literal["file"] = "file"
    file: FilePath
    default_F: NotNegative = Field(0.0, description="electrons, for a reflection the file does not hold")


class Uniform(Section):
    """The same amplitude for every reflection."""

    kind: Literal["uniform"] = "uniform"
    F: Positive = Field(description="electrons")


class Wilson(Section):
    """Random acentric amplitudes after Wilson, the same for the same seed; Friedel mates are equal.

    <F^2> = mean_F2 exp(-2 B s^2) with s = sin(theta)/lambda, and F^2 distributed exponentially (A. J. C. Wilson,
    Acta Cryst. 2 (1949) 318). An amplitude follows from the seed, its Miller index, mean_F2 and B alone.
    """

    kind: Literal["wilson"] = "wilson"
    d_min_A: Positive = Field(description="amplitudes to this resolution, Angstrom; 0 beyond")
    mean_F2: Positive = Field(1e4, description="electrons^2: <F^2> before the B factor")
    B_factor_A2: NotNegative = Field(20.0, description="Angstrom^2")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


StructureFactors = Annotated[FromFile | Uniform | Wilson, Field(discriminator="kind")]
