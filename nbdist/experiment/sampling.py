"""How finely a pixel is sampled, and the photon noise."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nbdist.experiment.fields import Positive, Section

MOST_OVERSAMPLE = 100_000
"""Subpixels along a side beyond which a number in a wrong unit is more likely than a wish."""

Method = Literal["sum", "integrated"]


class Sampling(Section):
    """Method, subpixels, corrections, resolution limit, interpolation and precision."""

    method: Method = Field(
        "sum",
        description="sum: over phi steps, mosaic domains and sources that are counted, as nanoBragg; integrated: what that sum converges "
        "to, for crystals of shape gauss",
    )
    tolerance: Annotated[float, Field(gt=0, lt=0.1)] = Field(
        1e-4,
        description="tolerance of an integrated spot, relative to its peak: where it is cut off, and how many subpixels it takes",
    )
    oversample: Annotated[int, Field(ge=1, le=MOST_OVERSAMPLE)] | Literal["auto"] = Field(
        "auto",
        description="subpixels along each side of a pixel; auto: three over a spot (integrated: as each reflection needs)",
    )
    oversample_thick: bool = Field(False, description="absorption at every subpixel; false: at the first of each layer")
    oversample_polar: bool = Field(
        False, description="polarization for every subpixel, layer and source; false: at the first"
    )
    oversample_omega: bool = Field(False, description="solid angle at every subpixel and layer; false: at the first")
    d_min_A: Positive | None = Field(None, description="leave out scattering beyond this resolution, Angstrom")
    interpolate: bool | Literal["auto"] = Field(
        "auto",
        description="tricubic interpolation of amplitudes between reflections; auto: when a crystal axis has 2 cells or fewer",
    )
    precision: Literal["float32", "float64"] = Field("float32", description="precision of the sum over orientations")

    @property
    def integrated(self) -> bool:
        """Whether phi, mosaicity, spectrum and divergence are integrated over, a reflection at a time."""
        method: Method = self.method
        return method == "integrated"


class Noise(Section):
    """What the detector reads, besides the expected photons."""

    photon_noise: bool = Field(False, description="write `counts`: Poisson deviates of the expected photons")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="seed of the deviates: frames of another seed have others"
    )
