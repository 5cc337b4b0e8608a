"""Reads geometry, crystal and scan of XDS' files: XPARM.XDS, GXPARM.XDS, XDS.INP, and the headers of INTEGRATE.HKL and its like.

All are taken as XDS' keywords, and what a file does not say is taken from the next one. In XDS' own words (xds_parameters, xds_files):
pixels are counted from 1, so that the first one's centre is at 1; STARTING_ANGLE is the spindle angle "at the beginning" of STARTING_FRAME;
UNIT_CELL_A-AXIS and its like are those "of the unrotated crystal", at a spindle angle of 0. A point IX, IY of the detector lies at
(IX - ORGX) QX along its x axis, (IY - ORGY) QY along its y axis and DETECTOR_DISTANCE along x cross y. A segment's axes are given in the
detector's system (x, y, x cross y), where its points are at (IX - SEGMENT_ORGX) QX, (IY - SEGMENT_ORGY) QY, SEGMENT_DISTANCE along them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nbdist.errors import FileFormatError
from nbdist.formats.description import Description, all_usable, square_side, unit_vector
from nbdist.formats.models import P1, Array, Beam, Crystal, Models, Panel, Scan
from nbdist.formats.text import read_text, user_path

WHAT = "XDS file"
KEYWORD = re.compile(r"([A-Z][A-Z0-9_.\-/']*)\s*=")
HEADER_END = "!END_OF_HEADER"
HEADER_BYTES = 2**16
"""Within which the header of a file of reflections ends."""
CELL_AXES = ("UNIT_CELL_A-AXIS", "UNIT_CELL_B-AXIS", "UNIT_CELL_C-AXIS")
OLD_LINES = (
    (("STARTING_FRAME", 1), ("STARTING_ANGLE", 1), ("OSCILLATION_RANGE", 1), ("ROTATION_AXIS", 3)),
    (("X-RAY_WAVELENGTH", 1), ("INCIDENT_BEAM_DIRECTION", 3)),
    (("NX", 1), ("NY", 1), ("QX", 1), ("QY", 1)),
    (("DETECTOR_DISTANCE", 1), ("ORGX", 1), ("ORGY", 1)),
    (("DIRECTION_OF_DETECTOR_X-AXIS", 3),),
    (("DIRECTION_OF_DETECTOR_Y-AXIS", 3),),
    (("", 3),),
    (("SPACE_GROUP_NUMBER", 1), ("UNIT_CELL_CONSTANTS", 6)),
    *(((axis, 3),) for axis in CELL_AXES),
)
"""What the lines of an XPARM.XDS without a title hold, as XDS wrote it before 2010."""
LINES = (
    *OLD_LINES[:2],
    OLD_LINES[7],
    *OLD_LINES[8:],
    (("", 1), *OLD_LINES[2]),
    (("ORGX", 1), ("ORGY", 1), ("DETECTOR_DISTANCE", 1)),
    *OLD_LINES[4:7],
)
"""The same below the title XPARM.XDS; what follows is two lines a segment."""
SEGMENT_LINES = (
    (("", 1), ("SEGMENT", 4)),
    (
        ("SEGMENT_ORGX", 1),
        ("SEGMENT_ORGY", 1),
        ("SEGMENT_DISTANCE", 1),
        ("DIRECTION_OF_SEGMENT_X-AXIS", 3),
        ("DIRECTION_OF_SEGMENT_Y-AXIS", 3),
    ),
)
OF_A_SPACE_GROUP = ("SPACE_GROUP_NUMBER", "UNIT_CELL_CONSTANTS")
NO_SPACE_GROUP = re.compile(r"\s*\+?0+\s*")
"""Of a crystal that is not known: XDS then looks at no cell, and templates of XDS.INP have one all the same."""
SEGMENT_NUMBERS = {name: count for line in SEGMENT_LINES for name, count in line if name}
NOT_CARRIED = ("UNTRUSTED_ELLIPSE", "UNTRUSTED_QUADRILATERAL", "X-GEO_CORR", "Y-GEO_CORR", "ROFF", "TOFF")


def read_xds(paths: Sequence[Path]) -> Description:
    """Read an experiment from files of XDS, in their frame.

    Parameters
    ----------
    paths
        One or several of the kinds above, the ones that count more first: GXPARM.XDS, then XDS.INP for the number of images, sensor and
        masks, then INTEGRATE.HKL for the mosaicity.

    Raises
    ------
    FileFormatError
        If a file is none of XDS', a parameter that is needed is in none of them, or one is malformed.
    """
    given = _Parameters(paths)
    remarks: list[str] = []
    models = Models(
        beam=_beam(given, remarks),
        panels=tuple(_panels(given)),
        axis=given.direction("ROTATION_AXIS"),
        scan=_scan(given, remarks),
        crystals=tuple(_crystals(given)),
        trusted=(0, round(given.number("OVERLOAD", 0.0))),
    )
    for name in NOT_CARRIED:
        if name in given.found:
            remarks.append(f"{name} is not carried over")
    mosaicity = given.number("REFLECTING_RANGE_E.S.D.") if "REFLECTING_RANGE_E.S.D." in given.found else None
    cell = given.numbers("UNIT_CELL_CONSTANTS", 6) if "UNIT_CELL_CONSTANTS" in given.found else None
    return Description(
        frame="xds",
        models=models,
        mosaicities_deg=(mosaicity,) * len(models.crystals),
        cell=None if cell is None or not cell.all() else tuple(cell.tolist()),
        hall=_hall(given),
        mosaicity_deg=mosaicity,
        remarks=tuple(remarks),
    )


class _Parameters:
    """Values of XDS' keywords, of each the lines of the first file that has it, and where they stand."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.names = ", ".join(str(path) for path in paths)
        self.found: dict[str, list[str]] = {}
        self.source: dict[str, Path] = {}
        for path in paths:
            its: dict[str, list[str]] = {}
            for name, value in _keywords(path):
                its.setdefault(name, []).append(value)
            if not its:
                raise FileFormatError(f"{WHAT} {path}: holds no parameter of XDS")
            if NO_SPACE_GROUP.fullmatch(its.get("SPACE_GROUP_NUMBER", [""])[-1]):
                its = {name: lines for name, lines in its.items() if name not in OF_A_SPACE_GROUP}
            if "SEGMENT" not in self.found and "ORGX" in self.found:  # the detector is that of the file before
                its = {name: lines for name, lines in its.items() if name not in SEGMENT_NUMBERS}
            for name in its.keys() - self.found.keys():
                self.found[name], self.source[name] = its[name], path

    def wrong(self, name: str, what: str) -> FileFormatError:
        return FileFormatError(f"{WHAT} {self.source.get(name, self.names)}: {name}= {what}")

    def each(self, name: str, count: int) -> list[Array]:
        """Numbers of each time that a keyword is given."""
        return [self._numbers(name, value, count) for value in self.found.get(name, [])]

    def numbers(self, name: str, count: int, default: Sequence[float] | None = None) -> Array:
        """Numbers of a keyword, the last time that it is given."""
        if name in self.found:
            return self._numbers(name, self.found[name][-1], count)
        if default is None:
            raise FileFormatError(f"{WHAT} {self.names}: {name}= is needed, and not there")
        return np.array(default, dtype=np.float64)

    def number(self, name: str, default: float | None = None) -> float:
        return float(self.numbers(name, 1, None if default is None else (default,))[0])

    def direction(self, name: str, default: Sequence[float] | None = None) -> Array:
        try:
            return unit_vector(self.numbers(name, 3, default))
        except ValueError as error:
            raise self.wrong(name, str(error)) from None

    def _numbers(self, name: str, value: str, count: int) -> Array:
        try:
            found = np.array([float(word) for word in value.split()[:count]])
        except ValueError:
            found = np.empty(0)
        if len(found) != count or not np.isfinite(found).all():
            raise self.wrong(name, f"should be {count} numbers, found '{value.strip()[:60]}'")
        return found


def _keywords(path: Path) -> Iterator[tuple[str, str]]:
    """Keywords of a file with their values, in their order."""
    text = _text(path)
    lines = text.splitlines()
    if lines and lines[0].startswith("XPARM.XDS"):
        yield from _by_lines(path, lines[1:])
    elif HEADER_END in text:
        for line in text.partition(HEADER_END)[0].splitlines():
            yield from _of_line(line.removeprefix("!"))
    elif len(text.split()) == sum(count for line in OLD_LINES for _, count in line) and "=" not in text:
        yield from _by_layout(path, lines, OLD_LINES, 1)
    else:
        for line in lines:
            yield from _of_line(line.partition("!")[0])


def _text(path: Path) -> str:
    """A file's text; of reflections the header, which is all that is read of them."""
    try:
        with user_path(path).open("rb") as stream:
            start = stream.read(HEADER_BYTES)
    except OSError:
        start = b""
    if HEADER_END.encode() in start and b"\0" not in start:
        return start.decode("utf-8", errors="replace")
    return read_text(path, WHAT)


def _of_line(line: str) -> Iterator[tuple[str, str]]:
    places = [*KEYWORD.finditer(line)]
    for number, place in enumerate(places):
        end = places[number + 1].start() if number + 1 < len(places) else len(line)
        yield place[1], line[place.end() : end]


def _by_lines(path: Path, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Keywords of the lines of an XPARM.XDS below its title, with their values."""
    fixed, segments = lines[: len(LINES)], [line for line in lines[len(LINES) :] if line.strip()]
    yield from _by_layout(path, fixed, LINES, 2)
    if len(segments) > 2:  # a single one is the detector
        if len(segments) % 2:
            raise FileFormatError(f"{WHAT} {path}: a segment should have two lines, the last one has one")
        yield from _by_layout(path, segments, SEGMENT_LINES * (len(segments) // 2), len(LINES) + 2)


Layout = Sequence[Sequence[tuple[str, int]]]


def _by_layout(path: Path, lines: Sequence[str], layout: Layout, first: int) -> Iterator[tuple[str, str]]:
    for number, names in enumerate(layout):
        words = lines[number].split() if number < len(lines) else []
        wanted = sum(count for _, count in names)
        if len(words) < wanted:
            raise FileFormatError(
                f"{WHAT} {path}, line {first + number}: expected {wanted} numbers, found {len(words)}"
            )
        for name, count in names:
            if name:
                yield name, " ".join(words[:count])
            words = words[count:]


def _beam(given: _Parameters, remarks: list[str]) -> Beam:
    if "FRACTION_OF_POLARIZATION" not in given.found:
        remarks.append("beam.polarization_factor: FRACTION_OF_POLARIZATION= is not there; XDS takes 0.5, which is none")
    fraction = given.number("FRACTION_OF_POLARIZATION", 0.5)
    if not 0 <= fraction <= 1:
        raise given.wrong("FRACTION_OF_POLARIZATION", f"should be between 0 and 1, found {fraction:g}")
    travels = given.direction("INCIDENT_BEAM_DIRECTION")
    normal = given.direction("POLARIZATION_PLANE_NORMAL", (0, 1, 0))
    if np.linalg.norm(np.cross(normal, travels)) < 1e-3:
        raise given.wrong("POLARIZATION_PLANE_NORMAL", "is along the beam, which no plane of its E vector is")
    return Beam(travels, given.number("X-RAY_WAVELENGTH"), normal, fraction)


def _scan(given: _Parameters, remarks: list[str]) -> Scan:
    osc_deg, start_deg = given.number("OSCILLATION_RANGE"), given.number("STARTING_ANGLE", 0.0)
    if "DATA_RANGE" in given.found:
        first, last = (round(number) for number in given.numbers("DATA_RANGE", 2))
        if last < first:
            raise given.wrong("DATA_RANGE", f"should rise, found {first} to {last}")
    else:
        first = last = round(given.number("STARTING_FRAME", 1.0))
        remarks.append("scan.frames: DATA_RANGE= is not there; name XDS.INP, too, or put the number of images")
    started = round(given.number("STARTING_FRAME", float(first)))
    return Scan(first - 1, last - first + 1, start_deg + (first - started) * osc_deg, osc_deg)


def _panels(given: _Parameters) -> Iterator[Panel]:
    columns, rows = (round(given.number(name)) for name in ("NX", "NY"))
    if columns < 1 or rows < 1:
        raise given.wrong("NX", f"and NY= should be above 0, found {columns} and {rows}")
    try:
        pixel_mm = square_side(given.number("QX"), given.number("QY"))
    except ValueError as error:
        raise given.wrong("QX", f"and QY= {error}") from None
    x, y = (given.direction(f"DIRECTION_OF_DETECTOR_{axis}-AXIS") for axis in "XY")
    detector = np.stack([x, y, np.cross(x, y)])
    org = np.array([*(given.number(f"ORG{axis}") * pixel_mm for axis in "XY"), -given.number("DETECTOR_DISTANCE")])
    segments = given.each("SEGMENT", SEGMENT_NUMBERS["SEGMENT"]) or [np.array([1, columns, 1, rows])]
    fields = {name: given.each(name, count) for name, count in SEGMENT_NUMBERS.items() if name != "SEGMENT"}
    for name, values in fields.items():
        if "SEGMENT" in given.found and len(values) != len(segments):
            raise given.wrong(name, f"is given {len(values)} times, for {len(segments)} segments")
    thickness_mm, silicon = given.number("SENSOR_THICKNESS", 0.0), given.number("SILICON", -1.0)
    for number, segment in enumerate(segments):
        first_x, last_x, first_y, last_y = (round(pixel) for pixel in segment)
        shape = (last_y - first_y + 1, last_x - first_x + 1)
        if min(shape) < 1:
            raise given.wrong("SEGMENT", f"holds no pixel: {first_x} {last_x} {first_y} {last_y}")
        axes, place = np.eye(3), np.zeros(3)  # of the segment in the detector's system; and its origin, from its own
        if "SEGMENT" in given.found:
            try:
                fast, slow = (unit_vector(fields[f"DIRECTION_OF_SEGMENT_{axis}-AXIS"][number]) for axis in "XY")
            except ValueError as error:
                raise given.wrong("DIRECTION_OF_SEGMENT_X-AXIS", f"or Y-AXIS= {error}") from None
            axes = np.stack([fast, slow, np.cross(fast, slow)])
            orgs = (fields[f"SEGMENT_ORG{axis}"][number][0] * pixel_mm for axis in "XY")
            place = np.array([*orgs, -fields["SEGMENT_DISTANCE"][number][0]])
        # the first pixel's centre is at first_x, first_y, its outer corner half a pixel before
        corner = np.array([(first_x - 0.5) * pixel_mm, (first_y - 0.5) * pixel_mm, 0.0])
        yield Panel(
            name=f"segment {number + 1}",
            origin_mm=((corner - place) @ axes - org) @ detector,
            fast=axes[0] @ detector,
            slow=axes[1] @ detector,
            shape=shape,
            pixel_mm=pixel_mm,
            thickness_mm=thickness_mm,
            attenuation_per_mm=max(silicon, 0.0),
            gaps=tuple(_gaps(given, first_x, first_y, shape)),
            material="Si" if thickness_mm > 0 else "",
            usable=all_usable(shape),
        )


def _gaps(
    given: _Parameters, first_x: int, first_y: int, shape: tuple[int, int]
) -> Iterator[tuple[int, int, int, int]]:
    """Untrusted rectangles as they lie on a segment: pixels between their edges, which are not untrusted themselves."""
    rows, columns = shape
    for rectangle in given.each("UNTRUSTED_RECTANGLE", 4):
        x0, x1, y0, y1 = (round(edge) for edge in rectangle)
        fast0, fast1 = max(0, x0 + 1 - first_x), min(columns, x1 - first_x)
        slow0, slow1 = max(0, y0 + 1 - first_y), min(rows, y1 - first_y)
        if fast0 < fast1 and slow0 < slow1:
            yield fast0, fast1, slow0, slow1


def _hall(given: _Parameters) -> str:
    """Hall symbol of the space group's number."""
    import gemmi

    number = round(given.number("SPACE_GROUP_NUMBER", 0.0))
    group = gemmi.find_spacegroup_by_number(number) if 1 <= number <= 230 else None
    return P1 if group is None else group.hall


def _crystals(given: _Parameters) -> Iterator[Crystal]:
    if any(axis in given.found for axis in CELL_AXES):
        vectors = np.stack([given.numbers(axis, 3) for axis in CELL_AXES])
        if np.linalg.det(vectors) == 0:
            raise given.wrong(CELL_AXES[0], "and the others enclose no volume")
        yield Crystal(vectors, _hall(given))
