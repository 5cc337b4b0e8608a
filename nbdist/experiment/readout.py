"""The response of the detector: what becomes of the photons that fall on it, stage by stage, until a whole number is read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nbdist.experiment.fields import FilePath, NotNegative, Positive, Section

Integers = Literal["int32", "uint16", "uint32"]
LARGEST_READING: dict[Integers, int] = {"int32": 2**31 - 1, "uint16": 2**16 - 3, "uint32": 2**32 - 3}
"""The largest number that is a reading: of the unsigned types the two above it mark gaps and bad pixels, as -1 and -2 do of int32."""

UpToHalf = Annotated[float, Field(ge=0, le=0.5)]
SPREAD_BY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gaussian": (("fwhm_mm",), ("reach_mm",)),
    "fibre": (("fwhm_mm",), ("reach_mm",)),
    "moffat": (("fwhm_mm", "beta"), ("reach_mm",)),
    "image": (("file", "pixel_size_mm"), ()),
}
"""Fields of each kind of point spread: those that it needs, and those that it may have."""


class PointSpread(Section):
    """The light of a photon, over the pixels around the one that it fell on."""

    kind: Literal["gaussian", "fibre", "moffat", "image"] = Field(
        description="fibre: g/(2 pi (g^2 + r^2)^(3/2)), of CCDs behind tapers of fibres; moffat: (1 + r^2/a^2)^-beta; image: of a file"
    )
    fwhm_mm: Positive | None = Field(None, description="full width at half maximum; a fibre's is 1.5328 g")
    beta: Annotated[float, Field(gt=1, le=100)] | None = Field(None, description="exponent of moffat; 1.5 is a fibre")
    reach_mm: Positive | None = Field(
        None,
        description="light that falls further along fast or slow is lost; when left out, what holds all light but 1e-6 (gaussian) or 3e-3",
    )
    file: FilePath | None = Field(
        None,
        description="image of the spread: .npy (slow, fast), odd numbers of pixels around the photon's; its sum is made 1",
    )
    pixel_size_mm: Positive | None = Field(None, description="side of a pixel of the file")

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> PointSpread:
        needed, possible = SPREAD_BY[self.kind]
        given = {name for name in ("fwhm_mm", "beta", "reach_mm", "file", "pixel_size_mm") if getattr(self, name)}
        for name in needed:
            if name not in given:
                raise ValueError(f"{name} is required where kind is {self.kind}")
        for name in sorted(given - {*needed, *possible}):
            raise ValueError(
                f"{name} has no meaning where kind is {self.kind}, which has {', '.join(needed + possible)}"
            )
        return self


class Readout(Section):
    """What the detector makes of its photons. Any field of it asks for `counts`."""

    charge_sharing_fraction: Annotated[float, Field(ge=0, le=0.75)] = Field(
        0.0, description="share of a pixel's photons that its eight neighbours count, four of them by their edges"
    )
    dead_time_ns: NotNegative = Field(
        0.0,
        description="time after a photon in which a pixel counts no other; needs flux_photons_per_s, of photons even over the exposure",
    )
    paralysable: bool = Field(False, description="whether photons within the dead time make it last longer")
    point_spread: PointSpread | None = None
    electrons_per_photon: Positive = Field(1.0, description="mean charge that a photon frees")
    calibration_sigma: UpToHalf = Field(
        0.0, description="rms of what the gain of a pixel differs from the mean, relative; the same in all frames"
    )
    read_noise_electrons: NotNegative = Field(0.0, description="rms of the noise of reading a pixel in a frame")
    adu_per_electron: Positive = Field(1.0, description="gain of the amplifier")
    offset_adu: NotNegative = Field(0.0, description="what is read without a photon; a reading below 0 is 0")
    dead_pixel_fraction: UpToHalf = Field(0.0, description="share of the pixels that read 0")
    hot_pixel_fraction: UpToHalf = Field(0.0, description="share of the pixels that read hot_pixel_adu too much")
    hot_pixel_adu: NotNegative = Field(1000.0, description="what a hot pixel reads too much")
    bad_pixels_marked: bool = Field(True, description="dead and hot pixels hold -2 instead; false: what they read")
    saturation_adu: Annotated[int, Field(ge=1)] | None = Field(
        None, description="largest reading; that of a detector by name when left out, or else the largest of integers"
    )
    rolls_over: bool = Field(False, description="readings past saturation_adu begin at 0 again; false: they are held")
    integers: Integers = Field(
        "int32",
        description="type of counts; gaps and masked pixels are -1, bad ones -2, of unsigned types the same bits",
    )

    @model_validator(mode="after")
    def _possible(self) -> Readout:
        largest = LARGEST_READING[self.integers]
        if self.saturation_adu is not None and self.saturation_adu > largest:
            raise ValueError(f"saturation_adu: {self.saturation_adu} is more than {self.integers} can hold, {largest}")
        if self.rolls_over and self.saturation_adu is None:
            raise ValueError("rolls_over needs saturation_adu, the reading after which 0 comes again")
        if self.paralysable and not self.dead_time_ns:
            raise ValueError("paralysable needs dead_time_ns")
        if "hot_pixel_adu" in self.content() and not self.hot_pixel_fraction:
            raise ValueError("hot_pixel_adu needs hot_pixel_fraction")
        if self.dead_pixel_fraction + self.hot_pixel_fraction > 0.5:
            raise ValueError("dead_pixel_fraction and hot_pixel_fraction: more than half of the pixels would be bad")
        return self

    @property
    def adu_per_photon(self) -> float:
        """Mean reading of a photon, without the offset."""
        gain: float = self.electrons_per_photon * self.adu_per_electron
        return gain
