"""The crystal: its cell or orientation matrix, how many cells it has, its shape and its mosaicity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from nbdist.experiment.decay import Decay
from nbdist.experiment.diffuse import Diffuse
from nbdist.experiment.fields import Count, FilePath, Matrix, NotNegative, Positive, Section, Vector
from nbdist.experiment.space_groups import SpaceGroupName
from nbdist.experiment.structure_factors import StructureFactors
from nbdist.experiment.twin import Twin

DEFAULT_MOSAIC_SEED = -12345678
"""nanoBragg's default seed of the mosaic domains."""

LATTICE_FIELDS = ("cell", "matrix_file", "reciprocal_vectors_per_A", "real_vectors_A")
"""Fields that give the lattice, of which a crystal has one, or its amplitudes' file has the cell; `misset_deg` turns any of them."""

Shape = Literal["square", "round", "gauss", "tophat"]


class Mosaicity(Section):
    """Misorientation of a crystal's blocks: rotation vectors, normal about three axes that are fixed to the crystal.

    The axes are x along a, z along c* (that is a x b) and y = z x x. A block is turned before the spindle turns the crystal.
    """

    sigma_deg: NotNegative | tuple[NotNegative, NotNegative, NotNegative] = Field(
        0.0,
        description="rms rotation about x (along a), y and z (along c*), degrees; one number stands for three equal ones",
    )
    domains: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="rotations that stand for the distribution in method sum; 100 when left out"
    )
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of these rotations: another one shifts all of them"
    )

    @property
    def sigmas_deg(self) -> Vector:
        """Root mean square rotation about each axis, degrees."""
        return self.sigma_deg if isinstance(self.sigma_deg, tuple) else (self.sigma_deg,) * 3


class Crystal(Section):
    """One crystal. Give `cell`, `matrix_file`, `reciprocal_vectors_per_A` or `real_vectors_A`; and `N_cells` or a size."""

    cell: tuple[Positive, Positive, Positive, Positive, Positive, Positive] | None = Field(
        None,
        description="a, b, c (Angstrom), alpha, beta, gamma (degrees); an atomic model's or a reflection file's when left out",
    )
    matrix_file: FilePath | None = Field(None, description="MOSFLM A matrix: columns a*, b*, c* times the wavelength")
    reciprocal_vectors_per_A: Matrix | None = Field(
        None, description="rows a*, b*, c* in 1/Angstrom, lab frame at phi 0"
    )
    real_vectors_A: Matrix | None = Field(None, description="rows a, b, c in Angstrom, lab frame at phi 0")
    misset_deg: Vector = Field(
        (0.0, 0.0, 0.0), description="rotations about lab x, then y, then z, of the reciprocal vectors"
    )
    space_group: SpaceGroupName | None = Field(
        None,
        description="Hermann-Mauguin name or number, by which amplitudes are symmetric; their file's, or P 1, when left out",
    )
    twin: tuple[Twin, ...] = Field((), description="domains turned by twin laws; none when left out")
    N_cells: tuple[Count, Count, Count] | None = Field(
        None, description="unit cells along a, b, c; 1, 1, 1 when no size is given"
    )
    size_mm: tuple[Positive, Positive, Positive] | None = Field(
        None, description="instead of N_cells: N = ceil(size / axis)"
    )
    size_um: Positive | None = Field(
        None,
        description="instead of N_cells, for shape gauss: one size in all directions, which keeps the lattice's symmetry",
    )
    shape: Shape = Field("square", description="shape transform: square (brick), round (sphere), gauss, tophat")
    fudge: Positive = Field(1.0, description="scales the radius of round, gauss and tophat spots")
    mosaic_spread_deg: NotNegative = Field(0.0, description="radius of the spherical cap of domain rotations")
    mosaic_domains: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="10 when there is a spread, else 1"
    )
    mosaic_seed: int = Field(
        DEFAULT_MOSAIC_SEED, description="seed of nanoBragg's generator; 42 means nanoBragg's -mosaic_seed 42"
    )
    mosaic_rotations: tuple[Matrix, ...] | None = Field(
        None, min_length=1, description="explicit rotation matrices instead"
    )
    mosaic_rotations_file: FilePath | None = Field(
        None, description="explicit rotation matrices in a .npy file (n, 3, 3)"
    )
    mosaicity: Mosaicity = Field(Mosaicity(), description="normal misorientations, instead of mosaic_spread_deg")
    decay: Decay | None = Field(None, description="fading with dose; none when left out")
    diffuse: Diffuse | None = Field(None, description="scattering of its disorder; none when left out")
    weight: Positive = Field(1.0, description="what its photons are multiplied with, where there are several crystals")
    structure_factors: StructureFactors | None = Field(
        None, description="amplitudes of this crystal; the experiment's when left out"
    )

    @field_validator("cell")
    @classmethod
    def _cell_encloses_a_volume(cls, cell: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if cell is not None:
            from nbdist.experiment.lattice import cell_volume_A3

            cell_volume_A3(cell)
        return cell

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Crystal:
        given = [name for name in LATTICE_FIELDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give exactly one of {', '.join(LATTICE_FIELDS)}; found {' and '.join(given)}")
        sizes = [name for name in ("N_cells", "size_mm", "size_um") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise ValueError(f"give one of N_cells, size_mm, size_um; found {' and '.join(sizes)}")
        if self.size_um is not None and self.shape != "gauss":
            raise ValueError(f"size_um: needs shape gauss; found {self.shape}")
        fractions = sum(twin.fraction for twin in self.twin)
        if fractions >= 1:
            raise ValueError(
                f"twin: fractions should leave some of the crystal as it lies; they add up to {fractions:g}"
            )
        explicit = [self.mosaic_rotations is not None, self.mosaic_rotations_file is not None]
        if all(explicit) or (any(explicit) and (self.mosaic_spread_deg or self.mosaic_domains is not None)):
            raise ValueError(
                "give mosaic_spread_deg with mosaic_domains, or mosaic_rotations, or mosaic_rotations_file"
            )
        counted = self.counted_mosaic_field
        if counted and self.mosaicity != Mosaicity():
            raise ValueError(f"give mosaicity or {counted}, not both")
        return self

    @property
    def has_lattice(self) -> bool:
        """Whether one of its fields gives the lattice."""
        return any(getattr(self, name) is not None for name in LATTICE_FIELDS)

    @property
    def counted_mosaic_field(self) -> str | None:
        """Name of the field that gives it counted mosaic domains, as nanoBragg has them, if one does."""
        return next(
            (
                name
                for name in ("mosaic_spread_deg", "mosaic_domains", "mosaic_rotations", "mosaic_rotations_file")
                if getattr(self, name)
            ),
            None,
        )
