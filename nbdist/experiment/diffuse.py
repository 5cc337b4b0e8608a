"""Disorder of a crystal, whose scattering lies between and under its Bragg peaks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nbdist.experiment.fields import NotNegative, Positive, Section, Vector


class Diffuse(Section):
    """Displacements of what is in the cells, normal with an rms along three axes that are fixed to the crystal.

    The axes are those of `mosaicity`: x along a, z along c* (that is a x b) and y = z x x. Bragg peaks stay as the amplitudes make them.
    """

    kind: Literal["correlated", "rigid_body"] = Field(
        description="correlated: displacements alike over a length, as in a liquid: a halo about each reflection; "
        "rigid_body: each cell's contents displaced as a whole, without regard to the others"
    )
    sigma_A: NotNegative | tuple[NotNegative, NotNegative, NotNegative] = Field(
        description="rms displacement along x, y and z, Angstrom; one number stands for three equal ones"
    )
    correlation_length_A: Positive | tuple[Positive, Positive, Positive] | None = Field(
        None, description="kind correlated: distance along x, y and z over which the correlation falls to 1/e, Angstrom"
    )

    @model_validator(mode="after")
    def _length_where_there_is_correlation(self) -> Diffuse:
        if (self.correlation_length_A is not None) != (self.kind == "correlated"):
            found = "none" if self.correlation_length_A is None else self.correlation_length_A
            raise ValueError(f"correlation_length_A: kind correlated needs one, rigid_body has none; found {found}")
        return self

    @property
    def sigmas_A(self) -> Vector:
        """Root mean square displacement along each axis, Angstrom."""
        return self.sigma_A if isinstance(self.sigma_A, tuple) else (self.sigma_A,) * 3

    @property
    def correlation_lengths_A(self) -> Vector | None:
        """Correlation length along each axis, Angstrom; None where nothing is correlated."""
        length = self.correlation_length_A
        return length if length is None or isinstance(length, tuple) else (length,) * 3
