"""Where the structure-factor amplitudes come from: a file, one value for all, or a random Wilson set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nbdist.experiment.fields import FilePath, NotNegative, Positive, Section


class FromFile(Section):
    """Amplitudes of a text file, `h k l F` a line.

    The list is used as it is, without symmetry or Friedel mates, unless the crystal has a space group: then it becomes the whole of P 1,
    in which equivalents have the same F, and so have the mates that are not listed.
    """

    kind: Literal["file"] = "file"
    file: FilePath
    default_F: NotNegative = Field(0.0, description="electrons, for a reflection the file does not hold")


class Uniform(Section):
    """The same amplitude for every reflection."""

    kind: Literal["uniform"] = "uniform"
    F: Positive = Field(description="electrons")


class Wilson(Section):
    """Random amplitudes after Wilson, the same for the same seed; Friedel mates are equal, and so are equivalents of the space group.

    <F^2> = epsilon mean_F2 exp(-2 B s^2) with s = sin(theta)/lambda, F^2 distributed exponentially, and as the square of a normal deviate
    where it is centric (A. J. C. Wilson, Acta Cryst. 2 (1949) 318). epsilon is how many operations of the space group, its centring among
    them, leave the reflection as it is: 1 in P 1. What is systematically absent has F = 0. An amplitude follows from the space group, the
    seed, its Miller index, mean_F2 and B alone.
    """

    kind: Literal["wilson"] = "wilson"
    d_min_A: Positive = Field(description="amplitudes to this resolution, Angstrom; 0 beyond")
    mean_F2: Positive = Field(1e4, description="electrons^2: <F^2> before the B factor, the sum of f^2 of a cell")
    B_factor_A2: NotNegative = Field(20.0, description="Angstrom^2")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


StructureFactors = Annotated[FromFile | Uniform | Wilson, Field(discriminator="kind")]
