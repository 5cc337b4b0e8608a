"""Where the structure-factor amplitudes come from: a file, one value for all, a random Wilson set, or an atomic model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nbdist.experiment.fields import FilePath, NotNegative, Positive, Section


class FromFile(Section):
    """Amplitudes of a file: MTZ, mmCIF or another CIF, XDS_ASCII.HKL, or text with `h k l F` a line.

    What any but a text holds is merged, and becomes the whole of P 1 by its space group: equivalents have the same F, and so have Friedel
    mates that are not listed. A text is used as it is, without symmetry or mates, unless the crystal has a space group.
    """

    kind: Literal["file"] = Field("file", description="amplitudes of a file")
    file: FilePath
    columns: str | tuple[str, str] | None = Field(
        None,
        description="label of the column of F or I in an MTZ file, item of _refln in a CIF; or two, of hkl and -h-k-l. Left out: the first "
        "that there is of measured F, F(+) with F(-), I, I(+) with I(-), calculated F, calculated F of Friedel pairs, coefficients of a "
        "map",
    )
    default_F: NotNegative = Field(0.0, description="electrons, for a reflection the file does not hold")
    missing: Literal["default_F", "wilson"] = Field(
        "default_F",
        description="what reflections to the detector's corner have that the file does not hold: default_F, or a random amplitude after "
        "Wilson, with <F^2> as the file has it at that resolution",
    )
    missing_seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of the amplitudes of missing: wilson"
    )

    @model_validator(mode="after")
    def _one_rule_for_what_is_missing(self) -> FromFile:
        if self.missing == "wilson" and self.default_F:
            raise ValueError(f"default_F: is 0 with missing: wilson, found {self.default_F:g}")
        return self

    @property
    def asks_for_unlisted(self) -> bool:
        """Whether reflections that the file does not hold may have amplitudes, which then depend on the cell."""
        return self.missing == "wilson" or self.default_F > 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns that are named."""
        return (self.columns,) if isinstance(self.columns, str) else self.columns or ()


class Uniform(Section):
    """The same amplitude for every reflection."""

    kind: Literal["uniform"] = Field("uniform", description="one amplitude")
    F: Positive = Field(description="amplitude, electrons")


class Wilson(Section):
    """Random amplitudes after Wilson, the same for the same seed; Friedel mates are equal, and so are equivalents of the space group.

    <F^2> = epsilon mean_F2 exp(-2 B s^2) with s = sin(theta)/lambda, F^2 distributed exponentially, and as the square of a normal deviate
    where it is centric (A. J. C. Wilson, Acta Cryst. 2 (1949) 318). epsilon is how many operations of the space group, its centring among
    them, leave the reflection as it is: 1 in P 1. What is systematically absent has F = 0. An amplitude follows from the space group, the
    seed, its Miller index, mean_F2 and B alone.
    """

    kind: Literal["wilson"] = Field("wilson", description="random amplitudes")
    d_min_A: Positive = Field(description="amplitudes to this resolution, Angstrom; 0 beyond")
    mean_F2: Positive = Field(1e4, description="electrons^2: <F^2> before the B factor, the sum of f^2 of a cell")
    B_factor_A2: NotNegative = Field(20.0, description="Angstrom^2")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of the amplitudes: another one gives other amplitudes"
    )


class AnomalousScatterer(Section):
    """Anomalous dispersion of an element: two numbers, or a table against photon energy."""

    f_prime_e: float | None = Field(None, description="electrons: f', at every wavelength")
    f_double_prime_e: NotNegative | None = Field(None, description="electrons: f'', at every wavelength")
    file: FilePath | None = Field(
        None, description="instead: a table with lines of E (eV), f', f''; a CHOOCH .efs file, E, f'', f'"
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> AnomalousScatterer:
        numbers = [value is not None for value in (self.f_prime_e, self.f_double_prime_e)]
        if any(numbers) == (self.file is not None) or any(numbers) != all(numbers):
            raise ValueError("give f_prime_e and f_double_prime_e, or file")
        return self


class FromModel(Section):
    """F_calc of an atomic model with bulk solvent: |F_atoms + k_sol exp(-B_sol s^2) F_mask| exp(-B_added s^2), s = sin(theta)/lambda.

    The model gives the cell and the space group; amplitudes are those of P1, on the absolute scale, F(000) among them.
    """

    kind: Literal["model"] = Field("model", description="amplitudes of an atomic model")
    file: FilePath = Field(description="PDB or mmCIF, plain or .gz")
    scattering: Literal["xrays", "electrons"] = Field(
        "xrays",
        description="form factors: of X-rays (IT92), in electrons; or of electrons (C4322), as scattering lengths over the electron "
        "radius r_e, with the relativistic mass at the beam's wavelength",
    )
    d_min_A: Positive | None = Field(
        None, description="amplitudes to this resolution, Angstrom; the detector's when left out"
    )
    B_added_A2: float = Field(0.0, description="Angstrom^2, added to all B factors and to that of the solvent")
    k_sol_e_per_A3: NotNegative = Field(
        0.35, description="electrons/A^3 of the solvent between the molecules; 0 for none, 0.334 for water"
    )
    B_sol_A2: NotNegative = Field(46.0, description="Angstrom^2, of the solvent's boundary")
    anomalous: Literal["none", "mean_wavelength", "each_wavelength"] = Field(
        "mean_wavelength",
        description="f' and f'' (Cromer and Liberman): left out, at the mean wavelength of the sources, or at that of each source",
    )
    anomalous_scatterers: dict[str, AnomalousScatterer] = Field(
        {},
        description="f' and f'' of chemical elements, by their symbols, where measured ones are known, as at an edge",
    )

    @model_validator(mode="after")
    def _dispersion_of_xrays(self) -> FromModel:
        given = self.anomalous_scatterers or self.anomalous == "each_wavelength"
        if self.scattering == "electrons" and given:
            raise ValueError("anomalous dispersion is of X-rays; scattering electrons has none")
        if self.anomalous == "none" and self.anomalous_scatterers:
            raise ValueError("anomalous_scatterers need anomalous mean_wavelength or each_wavelength; found none")
        return self


StructureFactors = Annotated[FromFile | Uniform | Wilson | FromModel, Field(discriminator="kind")]
