"""Reads the geometry of an NXmx master file: detector, beam and rotation of a measured or simulated series, but no pixel of it.

NeXus' words (NXtransformations, NXdetector_module) place a detector by chains of axes in McStas' frame, where the beam travels along z; a
rotation by half a turn about y makes that dxtbx's. A file without them, as detectors write by themselves, has a beam centre and a distance:
then fast is along x, slow along -y, and the spindle along x, as dxtbx has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError, require_extra
from nbdist.formats.description import (
    MATERIALS,
    UNKNOWN_POLARIZATION,
    Description,
    all_usable,
    polarization_remark,
    square_side,
    unit_vector,
    upright_panel,
)
from nbdist.formats.models import Array, Beam, Models, Panel, Scan
from nbdist.formats.nxmx import register_filters
from nbdist.formats.text import damage_named
from nbdist.formats.transformations import Axis, placed, scan_axis
from nbdist.formats.units import ANGLES_RAD, ENERGIES_EV, LENGTHS_MM, RATES_PER_S, TIMES_S, WAVELENGTHS_A, scale_of

if TYPE_CHECKING:
    import h5py

WHAT = "NXmx file"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
OF_MCSTAS = np.array([-1.0, 1.0, -1.0])
EV_ANGSTROM = 12398.4198
"""Photon energy (eV) times wavelength (Angstrom) as CODATA has it and files mean it; experiments take nanoBragg's, with two digits less."""
DATA_SETS = re.compile(r"data(_\d+)?")
MASKS = re.compile(r"pixel_mask(_\d+)?")
PLACES_OF_MASKS = ("", "threshold_1_channel", "detectorSpecific", "detectorSpecific/threshold_1_channel")
"""Groups within a detector's that may have masks, the ones that count more first."""
HIGHEST_READINGS = (
    "saturation_value",
    "detectorSpecific/countrate_correction_count_cutoff",
    "detectorSpecific/detectorModule_000/countrate_correction_count_cutoff",
)
LONGEST_CHAIN = 64
UNKNOWN_FRAMES = "scan.frames: not told, and the images are not there; put their number"


def read_nxmx(path: Path) -> Description:
    """Read an NXmx master file, in dxtbx's frame.

    Raises
    ------
    FileFormatError
        If it cannot be read, or what places detector, beam or axis is not there or malformed.
    MissingExtraError
        If hdf5plugin is not installed.
    """
    require_extra("hdf5", "reading NXmx files")
    import h5py

    register_filters()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{WHAT} {path} cannot be read: {error}") from None
    with file, damage_named(path, WHAT):
        return _Master(path, file).description()


class _Master:
    """An open master file."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self.file = path, file
        self.entry = self.of_class(file, "NXentry", "entry")
        self.instrument = self.of_class(self.entry, "NXinstrument", "instrument")
        self.detector = self.of_class(self.instrument, "NXdetector", "detector")
        self.remarks: list[str] = []
        self.stored = self._stored()

    def description(self) -> Description:
        chain = self._sample_chain()
        beam, panels = self._beam(), tuple(self._panels())
        scan, axis = self._scan(chain)
        readings = (self.known(self.detector, name) for name in HIGHEST_READINGS)
        highest = next((reading for reading in readings if reading is not None), 0.0)
        return Description(
            frame="dxtbx",
            models=Models(
                beam=beam,
                panels=panels,
                axis=axis,
                scan=scan,
                crystals=(),
                trusted=(round(self.known(self.detector, "underload_value") or 0.0), round(highest)),
            ),
            remarks=tuple(self.remarks),
        )

    def wrong(self, place: str, what: str) -> FileFormatError:
        return FileFormatError(f"{WHAT} {self.path}: {place} {what}")

    def of_class(self, group: h5py.Group, nx_class: str, usual: str) -> h5py.Group:
        """The group of a class, by its usual name where there is one of that."""
        found = self.groups(group, nx_class)
        named = group.get(usual)
        if hasattr(named, "keys"):
            return named
        if not found:
            if nx_class == "NXinstrument" and "data" in group:
                raise self.wrong(group.name, "has images and no instrument: a data file; name its master file")
            raise self.wrong(group.name.rstrip("/") + f"/{usual}", f"({nx_class}) is not there")
        return found[0]

    def groups(self, group: h5py.Group, nx_class: str) -> list[h5py.Group]:
        """The groups of a class within another, by their names; what links lead to and is not there is none."""
        members = [group.get(name) for name in group]
        return [member for member in members if member is not None and _text(member.attrs.get("NX_class")) == nx_class]

    def values(self, group: h5py.Group, name: str, scale: Mapping[str, float] | None = None) -> Array | None:
        """Numbers of a dataset as a row, in the units that the scale has; the first of them where it names none."""
        dataset = group.get(name)
        if dataset is None or not hasattr(dataset, "shape"):
            return None
        found = self._array(dataset)
        if scale is None:
            return found
        try:
            return found * scale_of(_text(dataset.attrs.get("units")) or next(iter(scale)), scale)
        except ValueError as error:
            raise self.wrong(dataset.name, str(error)) from None

    def _array(self, dataset: h5py.Dataset) -> Array:
        try:
            found = np.asarray(dataset[()], dtype=np.float64).ravel()
        except (TypeError, ValueError, OSError):
            found = np.empty(0)
        if not len(found) or not np.isfinite(found).all():
            raise self.wrong(dataset.name, "should be numbers")
        return found

    def found(self, group: h5py.Group, name: str, scale: Mapping[str, float] | None = None) -> float | None:
        """The first number of a dataset, or None where it is not there."""
        values = self.values(group, name, scale)
        return None if values is None else float(values[0])

    def known(self, group: h5py.Group, name: str, scale: Mapping[str, float] | None = None) -> float | None:
        """The first number of a dataset that places nothing: None, and a remark, where it cannot be read."""
        try:
            return self.found(group, name, scale)
        except FileFormatError as error:
            self.remarks.append(f"{str(error).removeprefix(f'{WHAT} {self.path}: ')}; it is left out")
            return None

    def number(self, group: h5py.Group, name: str, scale: Mapping[str, float] | None = None) -> float:
        """The first number of a dataset that must be there."""
        number = self.found(group, name, scale)
        if number is None:
            raise self.wrong(f"{group.name}/{name}", "is not there")
        return number

    def axis(self, group: h5py.Group, name: str) -> Axis:
        """A transformation, in dxtbx's frame; where its dataset is another file's, its ends may be in either."""
        dataset = group[name]
        turns = _text(dataset.attrs.get("transformation_type")) == "rotation"
        scale = ANGLES_RAD if turns else LENGTHS_MM
        settings, ends = self.values(group, name, scale), self.values(group, f"{name}_end", scale)
        if settings is None:
            raise self.wrong(dataset.name, "should be a transformation")
        if ends is None:
            ends = self.values(dataset.parent, dataset.name.rpartition("/")[2] + "_end", scale)
        steps = np.diff(settings) if ends is None or len(ends) != len(settings) else ends - settings
        width = float(np.median(steps)) if len(steps) else 0.0
        try:
            given = np.asarray(dataset.attrs.get("vector"), dtype=np.float64)
            # a translation by nothing may be along nothing
            still = not turns and not settings.any()
            vector = np.array([1.0, 0.0, 0.0]) if still else OF_MCSTAS * unit_vector(given)
            offset = OF_MCSTAS * np.broadcast_to(np.asarray(dataset.attrs.get("offset", 0.0), dtype=np.float64), 3)
        except (TypeError, ValueError):
            raise self.wrong(dataset.name, "should have a vector of three numbers, and an offset of three") from None
        if offset.any():  # one of nothing may be in any units
            units = _text(dataset.attrs.get("offset_units")) or ("" if turns else _text(dataset.attrs.get("units")))
            try:
                offset = offset * scale_of(units or "m", LENGTHS_MM)
            except ValueError as error:
                raise self.wrong(f"{dataset.name}@offset_units", str(error)) from None
        return Axis(turns, vector, offset, settings, width)

    def chain(self, group: h5py.Group, depends_on: str) -> list[Axis]:
        """The axes that a dependency goes through, the first one first.

        A dataset behind an external link names what it depends on by a place of its own file, or of the one that links to it.
        """
        axes: list[Axis] = []
        places = [group]
        while depends_on not in ("", "."):
            where = _placed_at(places, self.file, depends_on)
            if where is None or len(axes) > LONGEST_CHAIN:
                raise self.wrong(depends_on, f"on which {places[0].name} depends, is no axis")
            axes.append(self.axis(*where))
            dataset = where[0][where[1]]
            depends_on, places = _text(dataset.attrs.get("depends_on")), [dataset.parent, where[0]]
        return axes

    def _beam(self) -> Beam:
        groups = [group for group in (self.instrument.get("beam"), self.entry.get("sample/beam")) if group is not None]
        found = [self.values(group, "incident_wavelength", WAVELENGTHS_A) for group in groups]
        wavelengths = next((values for values in found if values is not None), None)
        if wavelengths is None:
            energy_eV = self.found(self.detector, "detectorSpecific/photon_energy", ENERGIES_EV)
            if not energy_eV:
                raise self.wrong(f"{self.instrument.name}/beam/incident_wavelength", "is not there")
            wavelengths = np.array([EV_ANGSTROM / energy_eV])
        if len(wavelengths) > 1:
            self.remarks.append(f"beam.wavelength_A: the first of {len(wavelengths)} is taken")
        if not wavelengths[0] > 0:
            raise self.wrong("incident_wavelength", f"should be above 0, found {wavelengths[0]:g}")
        normal, fraction = UNKNOWN_POLARIZATION
        stokes = next(
            (s for group in groups if (s := self.values(group, "incident_polarization_stokes")) is not None), None
        )
        if stokes is not None and len(stokes) >= 3 and stokes[0] > 0:
            angle = np.arctan2(stokes[2], stokes[1]) / 2  # from McStas' x, which is -x here
            normal = (float(np.sin(angle)), float(np.cos(angle)), 0.0)
            fraction = (1 + min(1.0, float(np.hypot(stokes[1], stokes[2]) / stokes[0]))) / 2
        else:
            self.remarks.append(polarization_remark())
        flux = next((flux for group in groups if (flux := self.known(group, "total_flux", RATES_PER_S))), None)
        size_mm = next((size for group in groups if (size := self._beam_size(group)) is not None), None)
        return Beam(np.array([0.0, 0.0, -1.0]), float(wavelengths[0]), np.array(normal), fraction, flux, size_mm)

    def _beam_size(self, group: h5py.Group) -> float | None:
        """Side of a square of the beam's size, in millimetres."""
        try:
            sizes = self.values(group, "incident_beam_size", LENGTHS_MM)
        except FileFormatError:
            return None
        if sizes is None or not (sizes > 0).all():
            return None
        if abs(sizes[0] - sizes[-1]) > 1e-6 * sizes[0]:
            self.remarks.append(
                f"beam.beam_size_mm: of a square as large as the beam's {sizes[0]:g} x {sizes[-1]:g} mm"
            )
        return float(f"{np.sqrt(sizes[0] * sizes[-1]):.12g}")

    def _sample_chain(self) -> list[Axis]:
        """What carries the sample; of a file that does not say so, the axis that detectors write."""
        sample = self.entry.get("sample")
        if sample is None:
            return []
        if "depends_on" in sample:
            return self.chain(sample, _text(sample["depends_on"][()]))
        omega = sample.get("transformations/omega")
        return [] if omega is None or "vector" not in omega.attrs else self.chain(sample, "transformations/omega")

    def _stored(self) -> tuple[int, ...]:
        """Number of images and the shape of each, as the data sets have them; nothing where none is there."""
        data = self.entry.get("data")
        names = [name for name in data if DATA_SETS.fullmatch(name)] if hasattr(data, "keys") else []
        found = {name: data[name].shape for name in sorted(names) if hasattr(data.get(name), "shape")}
        shapes = [shape for shape in found.values() if len(shape) > 2]
        if "data" in found and len(found["data"]) > 2:
            return tuple(found["data"])
        gone = [name for name in names if name not in found and name != "data"]
        if gone and shapes:
            self.remarks.append(f"scan.frames: {self.entry.name}/data/{gone[0]} leads to a file that is not there")
        return (0 if gone else sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else ()

    def _images(self) -> int:
        """How many there are: those stored, or else what the detector was asked for."""
        if self.stored and self.stored[0]:
            return self.stored[0]
        images, triggers = (self.known(self.detector, f"detectorSpecific/{name}") for name in ("nimages", "ntrigger"))
        return round((images or 0.0) * (triggers or 1.0))

    def _scan(self, chain: list[Axis]) -> tuple[Scan, Array]:
        """The scan and the axis, of the sample's chain or of what a detector writes without one."""
        names = ("frame_time", "count_time")
        exposure_s = next((time for name in names if (time := self.known(self.detector, name, TIMES_S))), 0.0)
        found, images = scan_axis(chain), self._images()
        if found is not None:
            axis, vector = found
            frames = max(len(axis.settings), images if len(axis.settings) == 1 else 1)
            if not images and len(axis.settings) == 1:
                self.remarks.append(UNKNOWN_FRAMES)
            if self.stored and self.stored[0] not in (0, frames):
                self.remarks.append(
                    f"scan.frames: {frames} settings of the axis are taken; {self.stored[0]} images are stored"
                )
            return Scan(0, frames, *_start_and_width_deg(axis.settings[0], axis.width), exposure_s), vector
        goniometer = self.entry.get("sample/goniometer")
        self.remarks.append("scan.spindle_axis: the file has none; x of dxtbx's frame is taken, as dxtbx does")
        start, width = 0.0, 0.0
        if goniometer is not None:
            settings = self.values(goniometer, "omega", ANGLES_RAD)
            if settings is not None:
                start, width = settings[0], float(np.median(np.diff(settings))) if len(settings) > 1 else 0.0
            names = ("omega_range_average", "omega_increment")
            width = next((turn for name in names if (turn := self.found(goniometer, name, ANGLES_RAD))), width)
        if not images:
            self.remarks.append(UNKNOWN_FRAMES)
        return Scan(0, max(images, 1), *_start_and_width_deg(start, width), exposure_s), np.array([1.0, 0.0, 0.0])

    def _panels(self) -> Iterator[Panel]:
        modules = self.groups(self.detector, "NXdetector_module")
        if modules and "fast_pixel_direction" in modules[0]:
            found = sorted(((*self._pixels(module), module) for module in modules), key=lambda each: each[0])
            panels, places = [self._module(module, shape) for _, shape, module in found], [each[0] for each in found]
        else:
            panels, places = [self._upright()], [(0, 0)]
        thickness_mm = self.known(self.detector, "sensor_thickness", LENGTHS_MM) or 0.0
        said = self.detector.get("sensor_material")
        material = "" if said is None else _text(said[()])
        usable = self._usable(places, [panel.shape for panel in panels])
        for panel, pixels in zip(panels, usable, strict=True):
            yield panel._replace(
                thickness_mm=thickness_mm, material=MATERIALS.get(material.lower(), material), usable=pixels
            )

    def _mask(self) -> h5py.Dataset | None:
        """Which pixels are masked, of the whole image; a remark where it is in a file that is not there."""
        for place in PLACES_OF_MASKS:
            group = self.detector.get(place) if place else self.detector
            names = sorted(name for name in group if MASKS.fullmatch(name)) if hasattr(group, "keys") else []
            for name in names:
                found = group.get(name)
                if found is None:
                    self.remarks.append(
                        f"detector: {group.name}/{name} leads to a file that is not there; it is left out"
                    )
                elif hasattr(found, "shape") and found.size:
                    return found
        return None

    def _usable(self, places: Sequence[tuple[int, ...]], shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.bool_]]:
        """Pixels of each panel that are not masked; all of them, and a remark, where the mask is none of this image."""
        everything = [all_usable(shape) for shape in shapes]
        dataset = self._mask()
        if dataset is None:
            return everything
        try:
            mask, image = np.asarray(dataset[()]) != 0, self.stored[1:]
        except OSError:
            self.remarks.append(f"detector: {dataset.name} cannot be read; it is left out")
            return everything
        if not any(any(place[:-2]) for place in places):  # modules of one plane
            places = [place[-2:] for place in places]
        while mask.ndim > len(places[0]) and len(mask) == 1:
            mask = mask[0]
        slices = [
            tuple(map(_from_there_on, place, (*(len(place) - 2) * [1], *shape)))
            for place, shape in zip(places, shapes, strict=True)
        ]
        if mask.ndim == len(places[0]) and (len(image) != mask.ndim or image == mask.shape):
            usable = [~mask[part] for part in slices]
            if all(part.size == shape[0] * shape[1] for part, shape in zip(usable, shapes, strict=True)):
                return [part.reshape(shape) for part, shape in zip(usable, shapes, strict=True)]
        wanted = " x ".join(map(str, image or shapes[0]))
        self.remarks.append(
            f"detector: {dataset.name} has {' x '.join(map(str, dataset.shape))} pixels, which is no mask of {wanted}; it is left out"
        )
        return everything

    def _pixels(self, module: h5py.Group) -> tuple[tuple[int, ...], tuple[int, int]]:
        """Where a module begins in the image, and its rows and columns."""
        size, origin = self.values(module, "data_size"), self.values(module, "data_origin")
        if size is None or len(size) < 2:
            raise self.wrong(f"{module.name}/data_size", "should be two numbers, slow and fast")
        begins = (0, 0) if origin is None or len(origin) < 2 else tuple(round(first) for first in origin.tolist())
        rows, columns = round(size[-2]), round(size[-1])
        if len(self.stored) == 3 and not self._holds(begins, rows, columns) and self._holds(begins, columns, rows):
            self.remarks.append(
                f"{module.name}/data_size is fast, slow where the images are {self.stored[1]} rows of {self.stored[2]}; it is turned around"
            )
            rows, columns = columns, rows
        return begins, (rows, columns)

    def _holds(self, begins: tuple[int, ...], rows: int, columns: int) -> bool:
        """Whether so many pixels from there on are within the images that are stored."""
        return begins[-2] + rows <= self.stored[1] and begins[-1] + columns <= self.stored[2]

    def _module(self, module: h5py.Group, shape: tuple[int, int]) -> Panel:
        axes, turns, places = [], [], []
        for name in ("fast_pixel_direction", "slow_pixel_direction"):
            dataset = module.get(name)
            if dataset is None:
                raise self.wrong(f"{module.name}/{name}", "is not there")
            axes.append(self.axis(module, name))
            turn, place = placed(self.chain(module, _text(dataset.attrs.get("depends_on"))))
            turns.append(turn)
            places.append(place)
        try:
            pixel_mm = square_side(*(float(axis.settings[0]) for axis in axes))
        except ValueError as error:
            raise self.wrong(f"{module.name}/fast_pixel_direction", f"and slow_pixel_direction {error}") from None
        panel = upright_panel(shape, pixel_mm, 0.0, (0.0, 0.0), module.name.rpartition("/")[2])
        fast, slow = (turn @ axis.vector for turn, axis in zip(turns, axes, strict=True))
        return panel._replace(origin_mm=places[0], fast=fast, slow=slow)

    def _upright(self) -> Panel:
        """A detector that is given by a distance and a beam centre."""
        detector = self.detector
        try:
            sides = (self.number(detector, f"{axis}_pixel_size", LENGTHS_MM) for axis in "xy")
            pixel_mm = square_side(*sides)
        except ValueError as error:
            raise self.wrong(f"{detector.name}/x_pixel_size", f"and y_pixel_size {error}") from None
        distance_mm = self.found(detector, "detector_distance", LENGTHS_MM)
        if distance_mm is None:
            distance_mm = self.number(detector, "distance", LENGTHS_MM)
        if len(self.stored) == 3:
            rows, columns = self.stored[1:]
        else:
            pixels = (self.number(detector, f"detectorSpecific/{axis}_pixels_in_detector") for axis in "yx")
            rows, columns = map(round, pixels)
        self.remarks.append(
            "detector: the file has a distance and a beam centre alone; it stands at right angles to the beam"
        )
        fast, slow = (self.number(detector, f"beam_center_{axis}") * pixel_mm for axis in "xy")
        return upright_panel((rows, columns), pixel_mm, distance_mm, (fast, slow))


def _start_and_width_deg(start_rad: float, width_rad: float) -> tuple[float, float]:
    """Without what the units add in the last digit of the one, and the difference of two settings in the last digits of the other."""
    return float(f"{np.rad2deg(start_rad):.15g}"), float(f"{np.rad2deg(width_rad):.10g}")


def _from_there_on(first: int, count: int) -> slice:
    return slice(first, first + count)


def _placed_at(places: Sequence[h5py.Group], file: h5py.File, path: str) -> tuple[h5py.Group, str] | None:
    """The group of a dataset and its name there: the first that there is, from these groups or the roots of their files, then of a file."""
    starts = [*(place.file for place in places), file] if path.startswith("/") else places
    holder, _, name = path.rpartition("/")
    for start in starts:
        group = start.get(holder) if holder else start
        if hasattr(group, "keys") and hasattr(group.get(name), "shape"):
            return group, name
    return None


def _text(value: Any) -> str:
    """Text of an attribute or a dataset, however it is stored."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)
