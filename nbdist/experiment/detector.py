"""The detector: panels in the convention of a data-processing program, sensor, mask, and the region that is rendered."""

from __future__ import annotations

from itertools import cycle, pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from nbdist.experiment.fields import Count, Direction, FilePath, Pair, Positive, Section, Vector
from nbdist.experiment.materials import ATTENUATION, Material
from nbdist.experiment.named_detectors import NAMED_DETECTORS, NamedDetector, named_detector

Convention = Literal["mosflm", "denzo", "adxv", "xds", "dials", "dxtbx", "custom"]
Pivot = Literal["beam", "sample"]

OF_A_NAMED_PANEL = ("distance_mm", "beam_center_mm", "near_point_pixels", "two_theta_deg")
"""Fields of a panel that a detector by name has of its own."""
MOST_PIXELS = 2**28
"""Pixels of the largest image that is rendered."""


def _depth_or_material(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a sensor ask for the one or the other."""
    schema["required"].remove("attenuation_depth_um")
    schema["anyOf"] = [  # a file that nbdist writes has both, one of them null
        {"required": ["attenuation_depth_um"]},
        {"required": ["material"]},
    ]


class Sensor(Section):
    """A thick sensor, modelled as layers. Give `attenuation_depth_um` or `material`."""

    model_config = ConfigDict(json_schema_extra=_depth_or_material)

    thickness_um: Positive = Field(description="thickness along the normal of the panel")
    material: Material | None = Field(
        None, description="attenuates as its table says at the beam's wavelength, from 1 to 200 keV"
    )
    attenuation_depth_um: Positive | None = Field(
        description="depth in which 1/e of the photons are left; null counts every photon once in every layer, as nanoBragg does"
    )
    layers: Count = Field(description="layers that stand for the thickness")

    @model_validator(mode="before")
    @classmethod
    def _depth_of_a_material(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("material") is not None:
            if given.get("attenuation_depth_um") is not None:
                raise ValueError("give attenuation_depth_um or material, not both")
            return {**given, "attenuation_depth_um": None}
        return given


Gaps = Annotated[int, Field(ge=0)] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Modules(Section):
    """A grid of modules on a panel. Pixels between modules are gaps: dead, as those of a mask are."""

    spixels: Count = Field(description="pixels of a module along slow")
    fpixels: Count = Field(description="pixels of a module along fast")
    slow_gap_pixels: Gaps = Field(
        0,
        description="pixels along slow between a module and the next; several numbers are taken in turn, again and again",
    )
    fast_gap_pixels: Gaps = Field(
        0,
        description="pixels along fast between a module and the next; several numbers are taken in turn, again and again",
    )

    def slow_spans(self, spixels: int) -> list[tuple[int, int]]:
        """First row of each module and the row after its last, on a panel of so many rows."""
        return _spans(spixels, self.spixels, self.slow_gap_pixels)

    def fast_spans(self, fpixels: int) -> list[tuple[int, int]]:
        """First column of each module and the column after its last, on a panel of so many columns."""
        return _spans(fpixels, self.fpixels, self.fast_gap_pixels)


def _spans(pixels: int, size: int, gaps: int | tuple[int, ...]) -> list[tuple[int, int]]:
    spans, first = [], 0
    for gap in cycle((gaps,) if isinstance(gaps, int) else gaps):
        spans.append((first, first + size))
        if first + size >= pixels:
            break
        first += size + gap
    return spans


Rectangle = tuple[Annotated[int, Field(ge=0)], Count, Annotated[int, Field(ge=0)], Count]
"""First and last (exclusive) pixel along fast, then along slow."""


class Panel(Section):
    """A flat rectangle of square pixels."""

    spixels: Count = Field(1024, description="pixels along slow")
    fpixels: Count = Field(1024, description="pixels along fast")
    pixel_size_mm: Positive = Field(0.1, description="side of a pixel")
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
    two_theta_axis: Direction | None = Field(None, description="axis of two_theta_deg; the convention's when left out")
    fast_axis: Direction | None = Field(None, description="direction along a row; the convention's when left out")
    slow_axis: Direction | None = Field(None, description="direction along a column; the convention's when left out")
    normal_axis: Direction | None = Field(
        None, description="away from the sample; worked out from fast and slow unless it is a unit vector"
    )
    origin_mm: Vector | None = Field(
        None, description="lab position of the first pixel's outer corner; overrides centres and distances"
    )
    sensor: Sensor | None = Field(None, description="sensor of this panel; the detector's when left out")
    mask_file: FilePath | None = Field(
        None,
        description="dead pixels of this panel, (spixels, fpixels), as in the detector's mask_file; either makes one dead",
    )
    modules: Modules | None = Field(None, description="what it is made of, where there are gaps")
    dead_rectangles_pixels: tuple[Rectangle, ...] = Field(
        (), description="dead pixels besides: first and last (exclusive) along fast, then along slow, of each rectangle"
    )

    @property
    def gaps(self) -> tuple[Rectangle, ...]:
        """Its rectangles of dead pixels, between its modules and besides: fast and slow, last ones exclusive."""
        return (*self._between_modules, *self.dead_rectangles_pixels)

    @property
    def _between_modules(self) -> tuple[Rectangle, ...]:
        if self.modules is None:
            return ()
        rows, columns = self.modules.slow_spans(self.spixels), self.modules.fast_spans(self.fpixels)
        across = ((0, self.fpixels, end, start) for (_, end), (start, _) in pairwise(rows) if start > end)
        along = ((end, start, 0, self.spixels) for (_, end), (start, _) in pairwise(columns) if start > end)
        return (*across, *along)

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Panel:
        if self.distance_mm is not None and self.close_distance_mm is not None:
            raise ValueError("give distance_mm or close_distance_mm, not both")
        if self.modules is not None and max(self.spixels, self.fpixels) <= MOST_PIXELS:
            for field, spans in (
                ("spixels", self.modules.slow_spans(self.spixels)),
                ("fpixels", self.modules.fast_spans(self.fpixels)),
            ):
                if spans[-1][1] != getattr(self, field):
                    size = getattr(self.modules, field)
                    raise ValueError(
                        f"{field} {getattr(self, field)} is no whole number of modules of {size} with their gaps: "
                        f"{len(spans)} are {spans[-1][1]}"
                    )
        for rectangle in self.dead_rectangles_pixels:
            fast0, fast1, slow0, slow1 = rectangle
            if not (fast0 < fast1 <= self.fpixels and slow0 < slow1 <= self.spixels):
                raise ValueError(
                    f"dead_rectangles_pixels: {list(rectangle)} (fast, fast, slow, slow) holds no pixel or lies outside the panel "
                    f"of {self.spixels} x {self.fpixels} pixels (slow x fast)"
                )
        return self


class Region(Section):
    """Pixels to render, half-open ranges: `slow: [0, 100]` is rows 0 to 99."""

    slow: tuple[Annotated[int, Field(ge=0)], Count] = Field(description="first row, and the one after the last")
    fast: tuple[Annotated[int, Field(ge=0)], Count] = Field(description="first column, and the one after the last")

    @field_validator("slow", "fast")
    @classmethod
    def _not_empty(cls, span: tuple[int, int]) -> tuple[int, int]:
        if span[0] >= span[1]:
            raise ValueError(f"[{span[0]}, {span[1]}] holds no pixel; the first number must be below the second")
        return span


def _its_name(name: str) -> str:
    return named_detector(name).name


class Detector(Section):
    """One or more panels, each with its own size, pixel, place and mask; or a detector by name, at its place."""

    name: Annotated[str, AfterValidator(_its_name)] | None = Field(
        None,
        description="a detector whose pixels, modules, sensor and saturation are published, instead of panels; "
        "`nbdist detectors` lists them",
        examples=list(NAMED_DETECTORS),
    )
    distance_mm: Positive | None = Field(
        None, description="sample to detector along the beam of a detector by name, as a panel's"
    )
    beam_center_mm: Pair | None = Field(
        None, description="Xbeam, Ybeam of the convention of a detector by name, as a panel's"
    )
    near_point_pixels: Pair | None = Field(None, description="ORGX, ORGY of a detector by name, as a panel's")
    two_theta_deg: float = Field(
        0.0, description="swing about the convention's axis of a detector by name, as a panel's"
    )
    binning: Count | None = Field(
        None, description="pixels of a CCD by name along a side that are read as one; its usual ones when left out"
    )
    convention: Convention = Field(
        "mosflm", description="axes and the meaning of beam_center_mm; custom when axes are given"
    )
    pivot: Pivot | None = Field(
        None, description="what stays put when the detector is rotated; the convention's when left out"
    )
    panels: tuple[Panel, ...] = Field((Panel(),), min_length=1)
    sensor: Sensor | None = Field(None, description="sensor of every panel that has none of its own")
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
    def _named_or_of_panels(self) -> Detector:
        if self.name is None:
            placed = [field for field in (*OF_A_NAMED_PANEL, "binning") if getattr(self, field)]
            if placed:
                raise ValueError(f"{placed[0]} is of a detector by name; give name, or panels that have it")
            return self
        if self.panels != (Panel(),):
            raise ValueError("give name or panels, not both")
        its = NAMED_DETECTORS[self.name]
        if self.binning is not None and self.binning not in its.binnings:
            allowed = ", ".join(map(str, its.binnings))
            raise ValueError(f"binning: {its.name} reads {allowed} pixels along a side as one, found {self.binning}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Detector:
        axes = ("fast_axis", "slow_axis", "normal_axis", "two_theta_axis")
        if self.convention != "custom":
            for number, panel in enumerate(self.each_panel):
                named = [axis for axis in axes[:3] if getattr(panel, axis) is not None]
                if named:
                    raise ValueError(f"panels.{number}.{named[0]} needs convention: custom; found {self.convention}")
        pixels = sum(slow * fast for slow, fast in self.shapes)
        if pixels > MOST_PIXELS:
            shape = f"{self.panels[0].spixels} x {self.panels[0].fpixels}" if len(self.panels) == 1 else f"{pixels}"
            raise ValueError(
                f"{shape} pixels{' (slow x fast)' if len(self.panels) == 1 else ''} are more than {MOST_PIXELS}"
            )
        region, only = self.region_of_interest, self.each_panel[0]
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
    def named(self) -> NamedDetector | None:
        """What is published of it, if it has a name."""
        return None if self.name is None else NAMED_DETECTORS[self.name]

    @property
    def each_panel(self) -> tuple[Panel, ...]:
        """Its panels: those given, or the one of a detector by name."""
        its = self.named
        if its is None:
            return self.panels
        binning = self.binning or its.binning
        spixels, fpixels = its.binned_shape(binning)
        return (
            Panel(
                spixels=spixels,
                fpixels=fpixels,
                pixel_size_mm=its.pixel_mm * binning,
                modules=published_modules(its),
                sensor=None if self.sensor is not None else _sensor(its),
                **{field: getattr(self, field) for field in OF_A_NAMED_PANEL},
            ),
        )

    def panel_field(self, number: int) -> str:
        """Where in the experiment a panel is: a detector by name has no `panels`."""
        return "detector" if self.name is not None else f"detector.panels.{number}"

    def published(self) -> dict[str, Any]:
        """What follows from published tables, as JSON has it: an experiment with the same fields differs where it does."""
        panels = self.each_panel
        found: dict[str, Any] = {}
        if self.named is not None:
            found["panel"], found["saturation"] = panels[0].content(), self.named.saturation
        sensors = (self.sensor, *(panel.sensor for panel in panels))
        for material in sorted({sensor.material for sensor in sensors if sensor and sensor.material}):
            table = ATTENUATION[material]
            found[material] = [table.density_g_per_cm3, *map(list, table.coefficients_cm2_per_g)]
        return found

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each panel."""
        return tuple((panel.spixels, panel.fpixels) for panel in self.each_panel)


def _sensor(its: NamedDetector) -> Sensor | None:
    if its.material is None or its.thickness_um is None:
        return None
    return Sensor.model_validate({"thickness_um": its.thickness_um, "material": its.material, "layers": its.layers})


def published_modules(its: NamedDetector) -> Modules | None:
    """The modules of a detector that has more than one; one whose sensor is split counts as two."""
    (slow_gap, fast_gap), (spixels, fpixels) = its.gaps, its.module
    if its.split_sensor:
        half, split = (fpixels - its.split_sensor) // 2, its.split_sensor
        return Modules(spixels=spixels, fpixels=half, slow_gap_pixels=slow_gap, fast_gap_pixels=(split, fast_gap))
    if its.grid == (1, 1):
        return None
    return Modules(spixels=spixels, fpixels=fpixels, slow_gap_pixels=slow_gap, fast_gap_pixels=fast_gap)
