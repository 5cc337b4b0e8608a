"""The detector: panels in the convention of a data-processing program, sensor, mask, and the region that is rendered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from nbdist.experiment.fields import Count, Direction, FilePath, Pair, Positive, Section, Vector

Convention = Literal["mosflm", "denzo", "adxv", "xds", "dials", "custom"]
Pivot = Literal["beam", "sample"]


MOST_PIXELS = 2**28
"""Pixels of the largest image that is rendered."""


class Sensor(Section):
    """A thick sensor, modelled as layers."""

    thickness_um: Positive
    attenuation_depth_um: Positive | None = Field(
        description="depth in which 1/e of the photons are left; null counts every photon once in every layer, as nanoBragg does"
    )
    layers: Count = Field(description="layers that stand for the thickness")


class Panel(Section):
    """A flat rectangle of square pixels."""

    spixels: Count = Field(1024, description="pixels along slow")
    fpixels: Count = Field(1024, description="pixels along fast")
    pixel_size_mm: Positive = 0.1
    distance_mm: Positive | None = Field(
        None, description="sample to detector along the beam; 100 when neither distance is given"
    )
    close_distance_mm: Positive | None = Field(None, description="sample to the detector plane along its normal")
    beam_center_mm: Pair | None = Field(None, description="Xbeam, Ybeam of the convention; the middle when left out")
    near_point_pixels: Pair | None = Field(
        None, description="ORGX, ORGY: foot of the perpendicular from the sample, first pixel = 1"
    )
    rotation_deg: Vector = Field((0.0, 0.0, 0.0), description="detector rotations about lab x, then y, then z")
    two_theta_deg: float = Field(0.0, description="swing about two_theta_axis, after rotation_deg")
    two_theta_axis: Direction | None = Field(None, description="the convention's when left out")
    fast_axis: Direction | None = Field(None, description="the convention's when left out")
    slow_axis: Direction | None = Field(None, description="the convention's when left out")
    normal_axis: Direction | None = Field(
        None, description="away from the sample; worked out from fast and slow unless it is a unit vector"
    )
    origin_mm: Vector | None = Field(
        None, description="lab position of the first pixel's outer corner; overrides centres and distances"
    )
    sensor: Sensor | None = Field(None, description="the detector's when left out")
    mask_file: FilePath | None = Field(
        None,
        description="dead pixels of this panel, (spixels, fpixels), as in the detector's mask_file; either makes one dead",
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Panel:
        if self.distance_mm is not None and self.close_distance_mm is not None:
            raise ValueError("give distance_mm or close_distance_mm, not both")
        return self


class Region(Section):
    """Pixels to render, half-open ranges: `slow: [0, 100]` is rows 0 to 99."""

    slow: tuple[Annotated[int, Field(ge=0)], Count]
    fast: tuple[Annotated[int, Field(ge=0)], Count]

    @field_validator("slow", "fast")
    @classmethod
    def _not_empty(cls, span: tuple[int, int]) -> tuple[int, int]:
        if span[0] >= span[1]:
            raise ValueError(f"[{span[0]}, {span[1]}] holds no pixel; the first number must be below the second")
        return span


class Detector(Section):
    """One or more panels, each with its own size, pixel, place and mask."""

    convention: Convention = Field(
        "mosflm", description="axes and the meaning of beam_center_mm; custom when axes are given"
    )
    pivot: Pivot | None = Field(
        None, description="what stays put when the detector is rotated; the convention's when left out"
    )
    panels: tuple[Panel, ...] = Field((Panel(),), min_length=1)
    sensor: Sensor | None = Field(None, description="of every panel that has none of its own")
    curved: bool = Field(
        False, description="panels wrapped around the sample, every pixel at `distance`; they may not be tilted"
    )
    point_pixels: bool = Field(False, description="solid angle 1/R^2, without pixel area and obliquity")
    mask_file: FilePath | None = Field(
        None,
        description=".npy (slow, fast), or (panel, slow, fast) of panels of one size: anything but 0 is a dead pixel; "
        "or an SMV image where 0 is one (nanoBragg)",
    )
    region_of_interest: Region | None = Field(
        None, description="render these pixels of the only panel; the others are 0"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Detector:
        axes = ("fast_axis", "slow_axis", "normal_axis", "two_theta_axis")
        if self.convention != "custom":
            for number, panel in enumerate(self.panels):
                named = [axis for axis in axes[:3] if getattr(panel, axis) is not None]
                if named:
                    raise ValueError(f"panels.{number}.{named[0]} needs convention: custom; found {self.convention}")
        pixels = sum(panel.spixels * panel.fpixels for panel in self.panels)
        if pixels > MOST_PIXELS:
            shape = f"{self.panels[0].spixels} x {self.panels[0].fpixels}" if len(self.panels) == 1 else f"{pixels}"
            raise ValueError(
                f"{shape} pixels{' (slow x fast)' if len(self.panels) == 1 else ''} are more than {MOST_PIXELS}"
            )
        region, only = self.region_of_interest, self.panels[0]
        if region is not None and len(self.panels) > 1:
            raise ValueError(
                f"region_of_interest is of a detector of one panel, found {len(self.panels)}; mask the others with mask_file"
            )
        if region is not None and (region.slow[1] > only.spixels or region.fast[1] > only.fpixels):
            raise ValueError(
                f"region_of_interest slow {list(region.slow)} fast {list(region.fast)} lies outside the detector "
                f"of {only.spixels} x {only.fpixels} pixels (slow x fast)"
            )
        return self

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each panel."""
        return tuple((panel.spixels, panel.fpixels) for panel in self.panels)
