"""Reads the geometry of an NXmx master file: detector, beam and rotation of a measured or simulated series, but no pixel of it.

NeXus' words (NXtransformations, NXdetector_module) place a detector by chains of axes in McStas' frame, where the beam travels along z; a
rotation by half a turn about y makes that dxtbx's. A file without them, as detectors write by themselves, has a beam centre and a distance:
then fast is along x, slow along -y, and the spindle along x, as dxtbx has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError, require_extra
from nbdist.formats.description import (
    MATERIALS,
    UNKNOWN_POLARIZATION,
    Description,
    polarization_remark,
    square_side,
    unit_vector,
    upright_panel,
)
from nbdist.formats.models import Array, Beam, Models, Panel, Scan
from nbdist.formats.transformations import Axis, placed, scan_axis

if TYPE_CHECKING:
    import h5py

WHAT = "NXmx file"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
OF_MCSTAS = np.array([-1.0, 1.0, -1.0])
EV_ANGSTROM = 12398.4198
LENGTHS_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "micron": 1e-3, "µm": 1e-3, "nm": 1e-6}
ANGLES_RAD = dict.fromkeys(("deg", "degree", "degrees"), np.pi / 180) | dict.fromkeys(("rad", "radian", "radians"), 1.0)
WAVELENGTHS_A = {"angstrom": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10}
LONGEST_CHAIN = 64
NO_SENSOR_MM = 1e-3
"""Thickness of what stands for no sensor, where one must be given."""


def read_nxmx(path: Path) -> Description:
    """Read an NXmx master file, in dxtbx's frame.

    Raises
    ------
    FileFormatError
        If it cannot be read, or what places detector, beam or axis is not there or malformed.
    MissingExtraError
        If h5py is not installed.
    """
    require_extra("hdf5", "reading NXmx files")
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{WHAT} {path} cannot be read: {error}") from None
    with file:
        return _Master(path, file).description()


class _Master:
    """An open master file."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self.file = path, file
        self.entry = self.of_class(file, "NXentry", "entry")
        self.instrument = self.of_class(self.entry, "NXinstrument", "instrument")
        self.detector = self.of_class(self.instrument, "NXdetector", "detector")
        self.remarks: list[str] = []

    def description(self) -> Description:
        chain = self._sample_chain()
        beam, panels = self._beam(), tuple(self._panels())
        scan, axis = self._scan(chain)
        names = ("saturation_value", "detectorSpecific/countrate_correction_count_cutoff")
        highest = next((highest for name in names if (highest := self.found(self.detector, name)) is not None), 0.0)
        return Description(
            frame="dxtbx",
            models=Models(
                beam=beam,
                panels=panels,
                axis=axis,
                scan=scan,
                crystals=(),
                trusted=(round(self.found(self.detector, "underload_value") or 0.0), round(highest)),
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
            raise self.wrong(group.name.rstrip("/") + f"/{usual}", f"({nx_class}) is not there")
        return found[0]

    def groups(self, group: h5py.Group, nx_class: str) -> list[h5py.Group]:
        """The groups of a class within another, by their names; what links lead to and is not there is none."""
        members = [group.get(name) for name in group]
        return [member for member in members if member is not None and _text(member.attrs.get("NX_class")) == nx_class]

    def values(self, group: h5py.Group, name: str, scale: dict[str, float] | None = None) -> Array | None:
        """Numbers of a dataset as a row, in the units that the scale has; the first of them where it names none."""
        dataset = group.get(name)
        if dataset is None or not hasattr(dataset, "shape"):
            return None
        found = self._array(dataset)
        if scale is None:
            return found
        units = _text(dataset.attrs.get("units")) or next(iter(scale))
        if units not in scale and units.lower() not in scale:
            raise self.wrong(dataset.name, f"has units {units}, not one of {', '.join(scale)}")
        return found * (scale[units] if units in scale else scale[units.lower()])

    def _array(self, dataset: h5py.Dataset) -> Array:
        try:
            found = np.asarray(dataset[()], dtype=np.float64).ravel()
        except (TypeError, ValueError, OSError):
            found = np.empty(0)
        if not len(found) or not np.isfinite(found).all():
            raise self.wrong(dataset.name, "should be numbers")
        return found

    def found(self, group: h5py.Group, name: str, scale: dict[str, float] | None = None) -> float | None:
        """The first number of a dataset, or None where it is not there."""
        values = self.values(group, name, scale)
        return None if values is None else float(values[0])

    def number(self, group: h5py.Group, name: str, scale: dict[str, float] | None = None) -> float:
        """The first number of a dataset that must be there."""
        number = self.found(group, name, scale)
        if number is None:
            raise self.wrong(f"{group.name}/{name}", "is not there")
        return number

    def axis(self, dataset: h5py.Dataset) -> Axis:
        """A transformation, in dxtbx's frame."""
        turns = _text(dataset.attrs.get("transformation_type")) == "rotation"
        parent, _, name = dataset.name.rpartition("/")
        scale = ANGLES_RAD if turns else LENGTHS_MM
        settings = self.values(self.file[parent or "/"], name, scale)
        if settings is None:
            raise self.wrong(dataset.name, "should be a transformation")
        ends = self.values(self.file[parent or "/"], f"{name}_end", scale)
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
        units = _text(dataset.attrs.get("offset_units")) or ("m" if turns else _text(dataset.attrs.get("units")) or "m")
        return Axis(turns, vector, offset * LENGTHS_MM.get(units, 1e3), settings, width)

    def chain(self, group: h5py.Group, depends_on: str) -> list[Axis]:
        """The axes that a dependency goes through, the first one first."""
        axes: list[Axis] = []
        place = group
        while depends_on not in ("", "."):
            dataset = place.get(depends_on) if not depends_on.startswith("/") else self.file.get(depends_on)
            if dataset is None or not hasattr(dataset, "shape") or len(axes) > LONGEST_CHAIN:
                raise self.wrong(depends_on, f"on which {place.name} depends, is no axis")
            axes.append(self.axis(dataset))
            depends_on, place = _text(dataset.attrs.get("depends_on")), dataset.parent
        return axes

    def _beam(self) -> Beam:
        groups = [group for group in (self.instrument.get("beam"), self.entry.get("sample/beam")) if group is not None]
        found = [self.values(group, "incident_wavelength", WAVELENGTHS_A) for group in groups]
        wavelengths = next((values for values in found if values is not None), None)
        if wavelengths is None:
            energy_eV = self.found(self.detector, "detectorSpecific/photon_energy")
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
        flux = next((flux for group in groups if (flux := self.found(group, "total_flux"))), None)
        return Beam(np.array([0.0, 0.0, -1.0]), float(wavelengths[0]), np.array(normal), fraction, flux)

    def _sample_chain(self) -> list[Axis]:
        """What carries the sample; of a file that does not say so, the axis that detectors write."""
        sample = self.entry.get("sample")
        if sample is None:
            return []
        if "depends_on" in sample:
            return self.chain(sample, _text(sample["depends_on"][()]))
        omega = sample.get("transformations/omega")
        return [] if omega is None or "vector" not in omega.attrs else self.chain(sample, omega.name)

    def _images(self) -> int:
        specific = self.detector.get("detectorSpecific")
        if specific is None:
            return 0
        return round((self.found(specific, "nimages") or 0.0) * (self.found(specific, "ntrigger") or 1.0))

    def _scan(self, chain: list[Axis]) -> tuple[Scan, Array]:
        """The scan and the axis, of the sample's chain or of what a detector writes without one."""
        names, scale = ("frame_time", "count_time"), {"s": 1.0, "ms": 1e-3, "us": 1e-6}
        exposure_s = next((time for name in names if (time := self.found(self.detector, name, scale))), 0.0)
        found, images = scan_axis(chain), self._images()
        if found is not None:
            axis, vector = found
            frames = max(len(axis.settings), images if len(axis.settings) == 1 else 1)
            start_deg, osc_deg = np.rad2deg([axis.settings[0], axis.width]).tolist()
            return Scan(0, frames, start_deg, osc_deg, exposure_s), vector
        goniometer = self.entry.get("sample/goniometer")
        self.remarks.append("scan.spindle_axis: the file has none; x of dxtbx's frame is taken, as dxtbx does")
        start, width = 0.0, 0.0
        if goniometer is not None:
            start = self.found(goniometer, "omega", ANGLES_RAD) or 0.0
            names = ("omega_range_average", "omega_increment")
            width = next((turn for name in names if (turn := self.found(goniometer, name, ANGLES_RAD))), 0.0)
        start_deg, osc_deg = np.rad2deg([start, width]).tolist()
        return Scan(0, max(images, 1), start_deg, osc_deg, exposure_s), np.array([1.0, 0.0, 0.0])

    def _panels(self) -> Iterator[Panel]:
        mask, modules = self._mask(), self.groups(self.detector, "NXdetector_module")
        if modules and "fast_pixel_direction" in modules[0]:
            panels = [self._module(module, mask) for module in sorted(modules, key=self._corner)]
        else:
            panels = [self._upright(mask)]
        thickness_mm = self.found(self.detector, "sensor_thickness", LENGTHS_MM) or 0.0
        said = self.detector.get("sensor_material")
        material = "" if said is None else _text(said[()])
        if thickness_mm <= NO_SENSOR_MM:
            thickness_mm = 0.0
        for panel in panels:
            yield panel._replace(thickness_mm=thickness_mm, material=MATERIALS.get(material.lower(), material))

    def _mask(self) -> NDArray[np.bool_] | None:
        """Pixels that are masked, of the whole image."""
        for name in ("pixel_mask", "detectorSpecific/pixel_mask"):
            found = self.detector.get(name)
            if found is not None and len(found.shape) == 2 and found.size:
                return np.asarray(found[()] != 0)
        return None

    def _corner(self, module: h5py.Group) -> tuple[int, int]:
        """First row and column of a module in the image."""
        origin = self.values(module, "data_origin")
        return (0, 0) if origin is None or len(origin) < 2 else (round(origin[-2]), round(origin[-1]))

    def _module(self, module: h5py.Group, mask: NDArray[np.bool_] | None) -> Panel:
        axes, turns, places = [], [], []
        for name in ("fast_pixel_direction", "slow_pixel_direction"):
            dataset = module.get(name)
            if dataset is None:
                raise self.wrong(f"{module.name}/{name}", "is not there")
            axes.append(self.axis(dataset))
            turn, place = placed(self.chain(module, _text(dataset.attrs.get("depends_on"))))
            turns.append(turn)
            places.append(place)
        try:
            pixel_mm = square_side(*(float(axis.settings[0]) for axis in axes))
        except ValueError as error:
            raise self.wrong(f"{module.name}/fast_pixel_direction", f"and slow_pixel_direction {error}") from None
        size = self.values(module, "data_size")
        if size is None or len(size) < 2:
            raise self.wrong(f"{module.name}/data_size", "should be two numbers, slow and fast")
        shape = (round(size[-2]), round(size[-1]))
        row, column = self._corner(module)
        panel = upright_panel(shape, pixel_mm, 0.0, (0.0, 0.0), module.name.rpartition("/")[2])
        fast, slow = (turn @ axis.vector for turn, axis in zip(turns, axes, strict=True))
        usable = self._usable(mask, row, column, shape)
        return panel._replace(origin_mm=places[0], fast=fast, slow=slow, usable=usable)

    def _usable(
        self, mask: NDArray[np.bool_] | None, row: int, column: int, shape: tuple[int, int]
    ) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(shape, dtype=bool)
        usable = ~mask[row : row + shape[0], column : column + shape[1]]
        if usable.shape != shape:
            raise self.wrong(
                f"{self.detector.name}/pixel_mask", f"has shape {mask.shape}, which holds no module of {shape}"
            )
        return usable

    def _upright(self, mask: NDArray[np.bool_] | None) -> Panel:
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
        columns, rows = (round(self.number(detector, f"detectorSpecific/{axis}_pixels_in_detector")) for axis in "xy")
        self.remarks.append(
            "detector: the file has a distance and a beam centre alone; it stands at right angles to the beam"
        )
        fast, slow = (self.number(detector, f"beam_center_{axis}") * pixel_mm for axis in "xy")
        panel = upright_panel((rows, columns), pixel_mm, distance_mm, (fast, slow))
        return panel._replace(usable=self._usable(mask, 0, 0, (rows, columns)))


def _text(value: Any) -> str:
    """Text of an attribute or a dataset, however it is stored."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)
