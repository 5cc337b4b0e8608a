"""Master files of NXmx, as detectors write them."""

from __future__ import annotations

import h5py
import numpy as np

DETECTOR = "/entry/instrument/detector"
TURNS = "/entry/sample/transformations"


def eiger(path, **changes):
    """A master file as a detector writes it, with neither axes nor modules."""
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry/instrument/detector")
        file["entry"].attrs["NX_class"] = np.bytes_("NXentry")
        file["entry/instrument"].attrs["NX_class"] = np.bytes_("NXinstrument")
        detector.attrs["NX_class"] = np.bytes_("NXdetector")
        values = {
            "beam_center_x": (20.5, "pixel"),
            "beam_center_y": (12.25, "pixel"),
            "detector_distance": (0.15, "m"),
            "x_pixel_size": (7.5e-5, "m"),
            "y_pixel_size": (7.5e-5, "m"),
            "sensor_thickness": (4.5e-4, "m"),
            "frame_time": (0.01, "s"),
            "detectorSpecific/x_pixels_in_detector": (40, None),
            "detectorSpecific/y_pixels_in_detector": (30, None),
            "detectorSpecific/nimages": (100, None),
            "detectorSpecific/ntrigger": (2, None),
            "detectorSpecific/countrate_correction_count_cutoff": (30000, None),
            **changes,
        }
        for name, (value, units) in values.items():
            if value is not None:
                detector[name] = value
                if units is not None:
                    detector[name].attrs["units"] = np.bytes_(units)
        detector["sensor_material"] = np.bytes_("Si")
        mask = np.zeros((30, 40), dtype=np.uint32)
        mask[10:12] = 1
        detector["detectorSpecific/pixel_mask"] = mask
        file["entry/instrument/beam/incident_wavelength"] = 0.9
        file["entry/instrument/beam/incident_wavelength"].attrs["units"] = np.bytes_("angstrom")
        file["entry/sample/goniometer/omega"] = 30 + 0.1 * np.arange(200)
        file["entry/sample/goniometer/omega_range_average"] = 0.1
    return path


def write_axis(file, name, value, units, kind, vector, depends_on, **more):
    file[name] = value
    attributes = {"units": units, "transformation_type": kind, "vector": vector, "depends_on": depends_on}
    file[name].attrs.update({**attributes, **more})


def eiger_with_modules(path, **changes):
    """The same with its axes: a detector of two modules, one above the other, and omega on chi."""
    eiger(path, **{"beam_center_x": (None, None), **changes})
    with h5py.File(path, "a") as file:
        transformations = f"{DETECTOR}/transformations"
        write_axis(file, f"{transformations}/two_theta", [90.0], "deg", "rotation", [0.0, 1.0, 0.0], ".")
        write_axis(file, f"{transformations}/det_z", 0.2, "m", "translation", [0.0, 0.0, 1.0], "two_theta")
        for number, rows in enumerate((10, 20)):
            place = f"{DETECTOR}/module_{number}"
            module = file.create_group(place)
            module.attrs["NX_class"] = "NXdetector_module"
            module["data_origin"], module["data_size"] = [10 * number, 0], [rows, 40]
            write_axis(
                file,
                f"{place}/module_offset",
                0.0,
                "mm",
                "translation",
                [0.0, 0.0, 0.0],
                f"{transformations}/det_z",
                offset=[5.0, 3.0 - number, 0.0],
                offset_units="mm",
            )
            for name, vector in (("fast", [-1.0, 0.0, 0.0]), ("slow", [0.0, -1.0, 0.0])):
                write_axis(
                    file,
                    f"{place}/{name}_pixel_direction",
                    7.5e-5,
                    "m",
                    "translation",
                    vector,
                    f"{place}/module_offset",
                )
        file["entry/sample/depends_on"] = f"{TURNS}/phi"
        write_axis(file, f"{TURNS}/phi", 20.0, "deg", "rotation", [-1.0, 0.0, 0.0], f"{TURNS}/omega")
        omega = 30 + 0.5 * np.arange(8)
        write_axis(file, f"{TURNS}/omega", omega, "deg", "rotation", [0.0, 0.0, 1.0], f"{TURNS}/chi")
        write_axis(file, f"{TURNS}/chi", 90.0, "deg", "rotation", [0.0, 1.0, 0.0], ".")
        file[f"{TURNS}/omega_end"] = omega + 0.4
        file[f"{TURNS}/omega_end"].attrs["units"] = "deg"
        file["entry/instrument/beam/incident_polarization_stokes"] = [1.0, 0.0, 0.8, 0.0]
    return path
