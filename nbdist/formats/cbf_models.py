"""Reads the header of a CBF image: the axes of imgCIF where it has them, else the lines of a miniCBF.

A miniCBF has a distance and a beam centre: a detector at right angles to the beam, fast along x and slow along -y, and a spindle along x.
Both are taken as dxtbx takes them, in its frame, which is imgCIF's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbdist.errors import FileFormatError
from nbdist.formats.description import (
    MATERIALS,
    Description,
    angles_left_out,
    assumed_beam,
    one_panel,
    polarization_remark,
    spindle_remark,
    square_side,
    unit_vector,
    upright_panel,
)
from nbdist.formats.models import Array, Beam, Panel, Scan
from nbdist.formats.transformations import Axis, placed

HEADER_BYTES = 2**18
"""Within which the pixels begin."""
PIXELS = re.compile(r"^\s*_array_data\.data\s", re.MULTILINE)
NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"


def read_cbf(path: Path) -> Description:
    """Read the header of a CBF image of one panel.

    Raises
    ------
    FileFormatError
        If it cannot be read, or does not say where the detector is.
    """
    with path.open("rb") as stream:
        return _Cbf(path, stream.read(HEADER_BYTES)).description()


class _Cbf:
    """The text of a CBF before its pixels."""

    def __init__(self, path: Path, start: bytes) -> None:
        self.path = path
        self.text = start.decode("latin-1").replace("\r\n", "\n")
        self.before_pixels = PIXELS.split(self.text)[0]

    def wrong(self, what: str) -> FileFormatError:
        return FileFormatError(f"CBF image {self.path}: {what}")

    def description(self) -> Description:
        return _ImgCif(self).description() if "_axis." in self.before_pixels else self._mini()

    def found(self, name: str, pattern: str) -> re.Match[str] | None:
        """A line of the miniCBF, "# Name value unit"."""
        return re.search(rf"^#\s*{name}[\s:=]+{pattern}", self.text, re.MULTILINE)

    def number(self, name: str, default: float | None = None) -> float:
        match = self.found(name, NUMBER)
        if match is not None:
            return float(match[1])
        if default is None:
            raise self.wrong(f"its header has no line '# {name} NUMBER'")
        return default

    def shape(self) -> tuple[int, int]:
        sizes = [re.search(rf"X-Binary-Size-{which}-Dimension:\s*(\d+)", self.text) for which in ("Second", "Fastest")]
        if sizes[0] is None or sizes[1] is None:
            raise self.wrong("X-Binary-Size-Fastest-Dimension and -Second-Dimension are not there")
        return int(sizes[0][1]), int(sizes[1][1])

    def sensor(self, panel: Panel) -> Panel:
        match = re.search(rf"^#\s*(Silicon|CdTe)\s+sensor,\s*thickness\s+{NUMBER}", self.text, re.MULTILINE)
        if match is None:
            return panel
        return panel._replace(thickness_mm=1e3 * float(match[2]), material=MATERIALS[match[1].lower()])

    def _mini(self) -> Description:
        size = self.found("Pixel_size", rf"{NUMBER}\s*m?\s*x\s*{NUMBER}")
        spot = self.found("Beam_xy", rf"\(?\s*{NUMBER}\s*,?\s*{NUMBER}")
        if size is None or spot is None:
            raise self.wrong(f"its header has no line '# {'Beam_xy' if size else 'Pixel_size'} ...'")
        try:
            pixel_mm = square_side(1e3 * float(size[1]), 1e3 * float(size[2]))
        except ValueError as error:
            raise self.wrong(f"Pixel_size {error}") from None
        start_deg = self.number("Start_angle", 0.0)
        axes = ("Omega", "Phi", "Kappa", "Chi")
        angles = {name: match[1] for name in axes if (match := self.found(name, NUMBER)) is not None}
        remarks = [polarization_remark(), spindle_remark(), *angles_left_out(angles, start_deg)]
        swing = self.number("Detector_2theta", 0.0)
        if swing:
            remarks.append(
                f"Detector_2theta {swing:g} degrees is left out, as dxtbx does: about which axis is not said"
            )
        centre = (float(spot[1]) * pixel_mm, float(spot[2]) * pixel_mm)
        panel = upright_panel(self.shape(), pixel_mm, 1e3 * self.number("Detector_distance"), centre)
        return one_panel(
            assumed_beam(self.number("Wavelength"), self.number("Flux", 0.0)),
            self.sensor(panel),
            np.array([1.0, 0.0, 0.0]),
            Scan(
                0,
                1,
                start_deg,
                self.number("Angle_increment", 0.0),
                self.number("Exposure_period", 0.0),
            ),
            (0, round(self.number("Count_cutoff", 0.0))),
            remarks,
        )


class _CifAxis(NamedTuple):
    """An axis as an image sets it, the name of the one below, and what it belongs to."""

    axis: Axis
    below: str
    equipment: str


class _Side(NamedTuple):
    """A direction of a panel's pixels: how many, the axis along which they lie, where the first one begins, and their step (mm)."""

    pixels: int
    axis: str
    start_mm: float
    step_mm: float


class _ImgCif:
    """The categories of imgCIF: axes, each with its vector and what it depends on, and where an image sets them."""

    def __init__(self, cbf: _Cbf) -> None:
        import gemmi

        self.cbf = cbf
        try:
            self.block = gemmi.cif.read_string(cbf.before_pixels).sole_block()
        except (RuntimeError, ValueError) as error:
            raise cbf.wrong(f"its categories cannot be read: {' '.join(str(error).split())}") from None
        self.axes = self._axes()

    def rows(self, category: str, *names: str) -> Iterator[tuple[str, ...]]:
        """Values of items of a category, a row each; one that is not known is an empty text."""
        columns = [[*self.block.find_values(f"_{category}.{name}")] for name in names]
        longest = max(map(len, columns), default=0)
        padded = [column if len(column) == longest else [""] * longest for column in columns]
        for row in zip(*padded, strict=True):
            yield tuple("" if value in ("?", ".") else value.strip("'\"") for value in row)

    def number(self, text: str, what: str) -> float:
        try:
            number = float(text) if text else 0.0
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.cbf.wrong(f"{what} should be a number, found '{text}'")
        return number

    def first_number(self, category: str, name: str, default: float | None = None) -> float:
        given = next((row[0] for row in self.rows(category, name) if row[0]), None)
        if given is None and default is None:
            raise self.cbf.wrong(f"_{category}.{name} is not there")
        return float(default or 0.0) if given is None else self.number(given, f"_{category}.{name}")

    def description(self) -> Description:
        remarks: list[str] = []
        source = next((each.axis for each in self.axes.values() if each.equipment == "source"), None)
        travels = np.array([0.0, 0.0, -1.0]) if source is None else -source.vector
        beam = self._beam(travels, remarks)
        scan, axis = self._scan(remarks)
        overload = self.first_number("array_intensities", "overload", 0.0)
        return one_panel(beam, self.cbf.sensor(self._panel()), axis, scan, (0, round(overload)), remarks)

    def _axes(self) -> dict[str, _CifAxis]:
        settings = {
            name: (self.number(angle, name), self.number(away, name))
            for name, angle, away in self.rows("diffrn_scan_frame_axis", "axis_id", "angle", "displacement")
        }
        widths = {
            name: self.number(turn, name) for name, turn in self.rows("diffrn_scan_axis", "axis_id", "angle_increment")
        }
        places = [f"{what}[{number}]" for what in ("vector", "offset") for number in (1, 2, 3)]
        found = {}
        for name, kind, equipment, below, *numbers in self.rows(
            "axis", "id", "type", "equipment", "depends_on", *places
        ):
            values = np.array([self.number(number, f"_axis {name}") for number in numbers])
            (angle, away), turns = settings.get(name, (0.0, 0.0)), kind.lower() == "rotation"
            try:
                vector = unit_vector(values[:3])
            except ValueError as error:
                raise self.cbf.wrong(f"the vector of _axis {name} {error}") from None
            setting = np.array([np.deg2rad(angle) if turns else away])
            width = float(np.deg2rad(widths.get(name, 0.0))) if turns else 0.0
            found[name] = _CifAxis(Axis(turns, vector, values[3:], setting, width), below, equipment.lower())
        return found

    def _chain(self, name: str) -> dict[str, Axis]:
        """The axes that one goes through, itself first."""
        chain: dict[str, Axis] = {}
        while name:
            if name not in self.axes or name in chain:
                raise self.cbf.wrong(f"_axis has no {name}, on which another one depends, or they depend on each other")
            chain[name], name, _ = self.axes[name]
        return chain

    def _sides(self) -> tuple[_Side, _Side]:
        names = ("axis_set_id", "axis_id", "displacement", "displacement_increment")
        sets = {axis_set: rest for axis_set, *rest in self.rows("array_structure_list_axis", *names)}
        found = {}
        for pixels, order, axis_set in self.rows("array_structure_list", "dimension", "precedence", "axis_set_id"):
            if order in found:
                raise self.cbf.wrong("holds several panels, which dials.import and from-dials read")
            if axis_set not in sets:
                raise self.cbf.wrong(f"_array_structure_list_axis has no {axis_set or 'axis_set_id'}")
            axis, start, step = sets[axis_set]
            found[order] = _Side(
                round(self.number(pixels, "dimension")), axis, self.number(start, axis), self.number(step, axis)
            )
        if set(found) != {"1", "2"}:
            raise self.cbf.wrong("_array_structure_list.precedence should be 1 and 2")
        return found["1"], found["2"]

    def _panel(self) -> Panel:
        fast, slow = sides = self._sides()
        try:
            pixel_mm = square_side(abs(fast.step_mm), abs(slow.step_mm))
        except ValueError as error:
            raise self.cbf.wrong(f"_array_structure_list_axis.displacement_increment {error}") from None
        chains = [self._chain(side.axis) for side in sides]
        directions = []
        for side, chain in zip(sides, chains, strict=True):
            own, *below = chain.values()
            directions.append(np.sign(side.step_mm) * placed(below)[0] @ own.vector)
        # of the two axes one is carried by the other, and its chain goes through both
        starts = {side.axis: np.array([side.start_mm]) for side in sides}
        through_both = max(chains, key=len)
        origin = placed(
            [axis._replace(settings=starts.get(name, axis.settings)) for name, axis in through_both.items()]
        )[1]
        panel = upright_panel((slow.pixels, fast.pixels), pixel_mm, 0.0, (0.0, 0.0))
        return panel._replace(origin_mm=origin, fast=directions[0], slow=directions[1])

    def _beam(self, travels: Array, remarks: list[str]) -> Beam:
        """The beam; the ratio is taken for a fraction, as dxtbx takes it."""
        beam = assumed_beam(self.first_number("diffrn_radiation_wavelength", "wavelength"))._replace(travels=travels)
        if not any(row[0] for row in self.rows("diffrn_radiation", "polarizn_source_ratio")):
            remarks.append(polarization_remark())
            return beam
        angle = np.deg2rad(self.first_number("diffrn_radiation", "polarizn_source_norm", 0.0))
        normal = np.array([np.sin(angle), np.cos(angle), 0.0])
        fraction = self.first_number("diffrn_radiation", "polarizn_source_ratio")
        return beam._replace(polarization_normal=normal, polarization_fraction=min(1.0, max(0.0, fraction)))

    def _scan(self, remarks: list[str]) -> tuple[Scan, Array]:
        exposure_s = self.first_number("diffrn_scan_frame", "integration_time", 0.0)
        turning = {
            name: each.axis for name, each in self.axes.items() if each.equipment == "goniometer" and each.axis.turns
        }
        name = next((name for name, axis in turning.items() if axis.width), next(iter(turning), None))
        if name is None:
            remarks.append("scan.spindle_axis: the file has none; x of dxtbx's frame is taken")
            return Scan(0, 1, 0.0, 0.0, exposure_s), np.array([1.0, 0.0, 0.0])
        axis, *below = self._chain(name).values()
        start_deg, osc_deg = np.rad2deg([axis.settings[0], axis.width]).tolist()
        return Scan(0, 1, start_deg, osc_deg, exposure_s), placed(below)[0] @ axis.vector
