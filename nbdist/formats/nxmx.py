"""NXmx: images and what is known of them as NeXus' application definition for macromolecular crystallography has it, in HDF5.

Images lie in data files, `PREFIX_data_000001.h5` and so on, each a dataset `/entry/data/data` of (image, slow, fast) in chunks of an image,
shuffled by bits and packed with LZ4, as a detector of DECTRIS writes them. `PREFIX_master.h5` lists them, as links `data_000001` and as one
virtual dataset `data`, which stores nothing; and it says where everything is. What DIALS and the `nxmx` package read is NXmx' own; XDS
reads by durin or neggia, which go by `/entry/data/data_000001` and by what is in `detectorSpecific`.

The laboratory is McStas': x and z point against those of dxtbx, whose frame `formats.models` has. Panels are modules of one detector: their
pixels are stacked along slow, each panel from the first column on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import require_extra
from nbdist.formats.description import UNKNOWN_POLARIZATION, polarized_as_assumed
from nbdist.formats.image_files import BAD, GAP, Image, ImageSeries, stacked, stacked_shape, unread_notes
from nbdist.formats.models import Array, Models, Panel

if TYPE_CHECKING:
    import h5py

TO_MCSTAS = np.array([-1.0, 1.0, -1.0])
"""What turns a vector of dxtbx's frame into one of McStas'."""
MASTER = "_master.h5"
"""What the name of a master ends with."""
DATA = "/entry/data/data"
VERSIONS = "earliest", "v110"
"""Versions of HDF5 whose files these are: programs are built with old ones; a virtual dataset is of 1.10."""
NO_SENSOR = "Si", 1e-9
"""Material and thickness (metres) of a sensor that is none: DIALS wants both, and shifts nothing by a nanometre."""
MASK_BITS = {GAP: 1 << 0, BAD: 1 << 1}
"""Bits of `pixel_mask`: "bit 0: gap (pixel with no sensor)", "bit 1: dead"."""


@dataclass(frozen=True)
class NXmx:
    """NXmx as a format of image files.

    Attributes
    ----------
    images_per_file
        Images of a data file.
    """

    images_per_file: int = 25
    name = "nxmx"
    real_numbers = True

    def file_name(self, prefix: str, number: int) -> str:
        """Name of a data file."""
        return f"{prefix}_data_{number + 1:06d}.h5"

    def images_name(self, prefix: str) -> str:
        """Name of the master."""
        return f"{prefix}{MASTER}"

    def trusted(self, models: Models) -> tuple[int, int]:
        """All readings that models trust: files hold each unchanged."""
        return models.trusted

    def notes(self, series: ImageSeries) -> list[str]:
        """What DIALS and XDS make of the files that is not as it is.

        Raises
        ------
        MissingExtraError
            If hdf5plugin is not installed.
        """
        require_extra("hdf5", "format nxmx")
        models = series.models
        unread = [f"readings a photon ({models.gain:g})"] if models.gain != 1 else []
        unread += [f"what is read without a photon ({models.pedestal:g})"] if models.pedestal else []
        bare = [panel for panel in models.panels if not panel.corrects_parallax]
        unread += ["that there is no sensor, by whose absorption it divides intensities"] if bare else []
        notes = unread_notes(self.name, unread, self.images_name(series.prefix), series.prefix)
        beam = models.beam
        if not polarized_as_assumed(beam):
            normal = ",".join(f"{value + 0.0:.6g}" for value in beam.polarization_normal.round(9))
            notes.append(
                f"DIALS reads no polarization from NXmx and takes {UNKNOWN_POLARIZATION[1]} along x; this one's: dials.import "
                f"polarization_fraction={beam.polarization_fraction:.6g} polarization_normal={normal}"
            )
        if any(panel.thickness_mm > 0 for panel in bare):
            notes.append(
                "a sensor that counts every photon in every layer has no parallax that DIALS knows: "
                "it is written as none, and spots lie deeper than DIALS takes them to"
            )
        if any(panel.corrects_parallax and not panel.material for panel in models.panels):
            notes.append(
                "a sensor of no named material is written as Si, whose attenuation DIALS looks up; "
                f"{series.prefix}.expt has its own"
            )
        if len({(panel.corrects_parallax, panel.material, panel.thickness_mm) for panel in models.panels}) > 1:
            notes.append("NXmx has one sensor for all panels, and that of the first is written")
        if len(models.panels) > 1:
            notes.append("XDS takes the panels for one that is flat; DIALS reads each where it is")
        if series.dtype != "int32":
            notes.append("XDS reads no real numbers")
        return notes

    def write(self, path: Path, series: ImageSeries, images: range, frames: Iterable[Image]) -> int:
        """Write a data file, which holds all readings."""
        import h5py
        import hdf5plugin

        register_filters()
        shape = stacked_shape([panel.shape for panel in series.models.panels])
        with h5py.File(path, "w", libver=VERSIONS) as file:
            entry = _group(file, "entry", "NXentry")
            data = _group(entry, "data", "NXdata")
            stored = data.create_dataset(
                "data",
                (len(images), *shape),
                series.dtype,
                chunks=(1, *shape),
                **hdf5plugin.Bitshuffle(cname="lz4"),
            )
            stored.attrs["image_nr_low"] = images.start + 1
            stored.attrs["image_nr_high"] = images.stop
            for place, frame in enumerate(frames):
                stored[place] = stacked(frame, shape, series.dtype)
        return 0

    def write_list(self, path: Path, series: ImageSeries, marks: Sequence[NDArray[np.integer[Any]]]) -> None:
        """Write the master."""
        import h5py

        with h5py.File(path, "w", libver=VERSIONS) as file:
            file.attrs["default"] = "entry"
            entry = _group(file, "entry", "NXentry", default="data")
            _say(entry, definition="NXmx", title=series.title, start_time=series.made_at)
            _say(entry, end_time_estimated=series.made_at, program_name=series.made_by)
            entry["definition"].attrs["version"] = "1.0"
            _say(_group(entry, "source", "NXsource"), name="simulation", probe="x-ray")
            self._list_data(entry, series)
            _write_sample(entry, series)
            _write_instrument(entry, series, marks)

    def _list_data(self, entry: h5py.Group, series: ImageSeries) -> None:
        """The links to the data files, and the virtual dataset over them."""
        import h5py

        data = _group(entry, "data", "NXdata", signal="data")
        shape = stacked_shape([panel.shape for panel in series.models.panels])
        layout = h5py.VirtualLayout((series.images, *shape), series.dtype)
        for number, first in enumerate(range(0, series.images, self.images_per_file)):
            last = min(first + self.images_per_file, series.images)
            name = self.file_name(series.prefix, number)
            data[f"data_{number + 1:06d}"] = h5py.ExternalLink(name, DATA)
            layout[first:last] = h5py.VirtualSource(name, DATA, (last - first, *shape), series.dtype)
        data.create_virtual_dataset("data", layout, fillvalue=GAP)


def register_filters() -> None:
    """Let h5py read and write what detectors pack with bitshuffle and LZ4."""
    import hdf5plugin

    # where HDF5_PLUGIN_PATH leads to hdf5plugin's filters, HDF5 would load them itself, without what ties them to h5py's HDF5
    hdf5plugin.register(("bshuf", "lz4"))


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    group.attrs.update(attributes)
    return group


def _say(group: h5py.Group, **fields: Any) -> None:
    """Datasets of a group, by name."""
    for name, value in fields.items():
        group[name] = value


def _measure(group: h5py.Group, units: str, **fields: Any) -> None:
    """Datasets of a group, by name, all in these units."""
    _say(group, **fields)
    for name in fields:
        group[name].attrs["units"] = units


def _axis(
    group: h5py.Group,
    name: str,
    value: Any,
    units: str,
    kind: str,
    vector: Array,
    depends_on: str,
    offset_m: Array | None = None,
) -> None:
    """A transformation: "translation" or "rotation" by a value, along or about a vector of dxtbx's frame."""
    _measure(group, units, **{name: value})
    attributes = {"transformation_type": kind, "vector": TO_MCSTAS * vector, "depends_on": depends_on}
    if offset_m is not None:
        attributes |= {"offset": TO_MCSTAS * offset_m, "offset_units": "m"}
    group[name].attrs.update(attributes)


def _write_sample(entry: h5py.Group, series: ImageSeries) -> None:
    """The sample and the axis that it turns about: omega at the start of each image, and omega_end at its end."""
    models = series.models
    scan = models.scan
    sample = _group(entry, "sample", "NXsample")
    _say(sample, name=series.title or series.prefix, depends_on="/entry/sample/transformations/omega")
    edges = scan.start_deg + scan.osc_deg * np.arange(scan.frames + 1)
    turns = _group(sample, "transformations", "NXtransformations")
    _axis(turns, "omega", edges[:-1], "deg", "rotation", models.axis, ".")
    _measure(turns, "deg", omega_end=edges[1:], omega_increment_set=np.full(scan.frames, scan.osc_deg))
    _measure(turns, "deg", omega_range_average=scan.osc_deg, omega_range_total=scan.osc_deg * scan.frames)
    _group(sample, "goniometer", "NXgoniometer")
    for name in ("omega", "omega_end", "omega_range_average", "omega_range_total"):
        sample[f"goniometer/{name}"] = turns[name]
    beam = _group(sample, "beam", "NXbeam")
    _write_beam(beam, models)


def _write_beam(group: h5py.Group, models: Models) -> None:
    """The beam; its polarization as Stokes' I, Q, U, V, of which Q is along McStas' x and U halfway from there to y."""
    beam = models.beam
    _measure(group, "angstrom", incident_wavelength=beam.wavelength_A)
    along = TO_MCSTAS * np.cross(beam.polarization_normal, beam.travels)
    doubled = 2 * np.arctan2(along[1], along[0])
    degree = 2 * beam.polarization_fraction - 1
    group["incident_polarization_stokes"] = [1.0, degree * np.cos(doubled), degree * np.sin(doubled), 0.0]
    if beam.flux_photons_per_s is not None and beam.size_mm is not None:
        _measure(group, "Hz", total_flux=beam.flux_photons_per_s)
        _measure(group, "m", incident_beam_size=[1e-3 * beam.size_mm] * 2)
        _say(group, profile="rectangular")


def _write_instrument(entry: h5py.Group, series: ImageSeries, marks: Sequence[NDArray[np.integer[Any]]]) -> None:
    models = series.models
    instrument = _group(entry, "instrument", "NXinstrument")
    _say(instrument, name=series.made_by)
    instrument["name"].attrs["short_name"] = series.made_by.partition(" ")[0]
    instrument["beam"] = entry["sample/beam"]
    detector = _group(instrument, "detector", "NXdetector")
    _write_place(detector, models)
    _write_modules(detector, models)
    _write_readings(detector, series)
    _write_specific(detector, series, marks)
    if (
        len({panel.shape[1] for panel in models.panels}) == 1
    ):  # else dxtbx 3.12 fails; masked pixels say by themselves that they are
        _say(detector, pixel_mask=detector["detectorSpecific/pixel_mask"], pixel_mask_applied=True)


def _write_place(detector: h5py.Group, models: Models) -> None:
    """Where the first panel is, in the words that programs without vectors read."""
    first = models.panels[0]
    _say(detector, description="simulated by nbdist", type="Pixel")
    _measure(detector, "m", x_pixel_size=1e-3 * first.pixel_mm, y_pixel_size=1e-3 * first.pixel_mm)
    spot = _spot(models)
    _measure(detector, "pixel", beam_center_x=spot[0], beam_center_y=spot[1])
    _measure(detector, "m", distance=1e-3 * first.distance_mm, detector_distance=1e-3 * first.distance_mm)
    _say(detector, distance_derived=False)


def _spot(models: Models) -> tuple[float, float]:
    """Where the beam meets the panels, pixels along fast and slow of the image: on the one that it hits, or on the first one's plane."""
    hits, above = [], 0
    for panel in models.panels:
        met = panel.met_by(models.beam.travels)
        if met is not None:
            inside = 0 <= met[0] <= panel.shape[1] and 0 <= met[1] <= panel.shape[0]
            hits.append((not inside, met[0], met[1] + above))
        above += panel.shape[0]
    found = min(hits, key=lambda hit: hit[0], default=(True, 0.0, 0.0))
    return found[1], found[2]


def _write_modules(detector: h5py.Group, models: Models) -> None:
    """The panels as modules, each with its corner, its axes, and which pixels of the image are its own."""
    turns, base = _group(detector, "transformations", "NXtransformations"), detector.name
    along_beam = models.beam.travels
    distance_m = 1e-3 * models.panels[0].distance_mm
    _axis(turns, "det_z", distance_m, "m", "translation", along_beam, ".")
    _say(detector, depends_on=f"{base}/transformations/det_z")
    above = 0
    for number, panel in enumerate(models.panels):
        rows, columns = panel.shape
        module = _group(detector, "module" if number == 0 else f"module_{number}", "NXdetector_module")
        _say(module, data_origin=np.array([above, 0]), data_size=np.array([rows, columns]))
        _say(module, data_stride=np.array([1, 1]))
        offset_m = 1e-3 * panel.origin_mm - distance_m * along_beam
        length_m = float(np.linalg.norm(offset_m))
        towards = offset_m / length_m if length_m > 0 else np.array([1.0, 0.0, 0.0])
        _axis(module, "module_offset", length_m, "m", "translation", towards, f"{base}/transformations/det_z")
        for name, axis in (("fast", panel.fast), ("slow", panel.slow)):
            place = f"{module.name}/module_offset"
            _axis(module, f"{name}_pixel_direction", [1e-3 * panel.pixel_mm], "m", "translation", axis, place)
        above += rows


def _write_readings(detector: h5py.Group, series: ImageSeries) -> None:
    """What readings mean: which are trusted, the sensor, and times."""
    models = series.models
    lowest, highest = models.trusted
    material, thickness_m = _sensor(models.panels[0])
    _say(detector, sensor_material=material)
    _measure(detector, "m", sensor_thickness=thickness_m)
    _say(detector, saturation_value=highest, underload_value=lowest, bit_depth_readout=32)
    if models.scan.exposure_s > 0:
        _measure(detector, "s", count_time=models.scan.exposure_s, frame_time=models.scan.exposure_s)


def _sensor(panel: Panel) -> tuple[str, float]:
    """Material and thickness in metres."""
    if not panel.corrects_parallax:
        return NO_SENSOR
    return panel.material or "Si", 1e-3 * panel.thickness_mm


def _write_specific(detector: h5py.Group, series: ImageSeries, marks: Sequence[NDArray[np.integer[Any]]]) -> None:
    """What durin and neggia look for where DECTRIS puts it."""
    specific = _group(detector, "detectorSpecific", "NXcollection")
    shape = slow, fast = stacked_shape([panel.shape for panel in series.models.panels])
    mask, marked = np.zeros(shape, np.uint32), stacked(marks, shape, "int32")
    for mark, bit in MASK_BITS.items():
        mask[marked == mark] = bit
    _say(specific, pixel_mask=mask)
    _say(specific, nimages=np.uint32(series.images), ntrigger=np.uint32(1), bit_depth_image=np.uint32(32))
    _say(specific, x_pixels_in_detector=np.uint32(fast), y_pixels_in_detector=np.uint32(slow))
    _say(specific, countrate_correction_count_cutoff=np.uint32(series.models.trusted[1]))
    for name in ("x_pixel_size", "y_pixel_size", "saturation_value"):
        specific[name] = detector[name]
