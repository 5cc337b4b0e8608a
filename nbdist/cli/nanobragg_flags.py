"""nanoBragg's command line as an experiment: what its flags mean together, rule by rule (conventions, pivots, automatic steps).

`nanobragg_words` reads the words and `nanobragg_table` names them; `nanobragg_inputs` knows what SMV headers, random orientations and
crystal sizes stand for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbdist.cli.nanobragg_inputs import clipped_sizes, header_values, input_path, random_misset
from nbdist.cli.nanobragg_table import TABLE
from nbdist.cli.nanobragg_words import FlagError, Flags, read_words
from nbdist.errors import NbdistError
from nbdist.experiment.detector import MOST_PIXELS, Panel
from nbdist.experiment.files import validate
from nbdist.experiment.geometry import CONVENTIONS, default_beam_center_mm
from nbdist.experiment.model import Experiment

__all__ = ["FlagError", "Flags", "build_experiment", "experiment_from_flags", "named_by_flags"]


MOST_ORIENTATIONS = 10**7
"""Phi steps x mosaic domains x sources of the largest image that is tried."""
FIELD_FLAGS = {
    "beam.wavelength_A": "lambda",
    "beam.fluence_photons_per_m2": "fluence",
    "beam.flux_photons_per_s": "flux",
    "beam.exposure_s": "exposure",
    "beam.beam_size_mm": "beamsize",
    "beam.polarization_factor": "polar",
    "beam.polarization_vector": "polar_vector",
    "beam.direction": "beam_vector",
    "beam.divergence.horizontal": "hdivrange",
    "beam.divergence.vertical": "vdivrange",
    "beam.dispersion": "dispersion",
    "beam.source_file": "sourcefile",
    "crystal.cell": "cell",
    "crystal.matrix_file": "mat",
    "crystal.misset_deg": "misset",
    "crystal.N_cells": "N",
    "crystal.size_mm": "samplesize",
    "crystal.fudge": "fudge",
    "crystal.mosaic_spread_deg": "mosaic",
    "crystal.mosaic_domains": "mosaic_dom",
    "crystal.mosaic_seed": "mosaic_seed",
    "crystal": "cell",
    "scan.phi_start_deg": "phi",
    "scan.osc_range_deg": "osc",
    "scan.phi_steps": "phisteps",
    "scan.spindle_axis": "spindle_axis",
    "detector.panels.0.distance_mm": "distance",
    "detector.panels.0.close_distance_mm": "close_distance",
    "detector.panels.0.pixel_size_mm": "pixel",
    "detector.panels.0.spixels": "detpixels_s",
    "detector.panels.0.fpixels": "detpixels_f",
    "detector.panels.0": "detector_rotx -detector_roty -detector_rotz -fdet_vector -sdet_vector -odet_vector -beam_vector",
    "detector.sensor.thickness_um": "detector_thick",
    "detector.sensor.attenuation_depth_um": "detector_abs",
    "detector.sensor": "detector_thicksteps",
    "detector.mask_file": "mask",
    "detector.region_of_interest": "roi",
    "structure_factors.F": "default_F",
    "structure_factors.default_F": "default_F",
    "structure_factors": "hkl",
    "sampling.oversample": "oversample",
    "sampling.d_min_A": "dmin",
    "background.water_um": "water",
}
"""Fields of an experiment and the flags that set them: the longest match names an error's flag."""
FILE_FLAGS = ("hkl", "mat", "sourcefile", "mask", "img")


def experiment_from_flags(argv: Sequence[str], folder: Path | None = None) -> Experiment:
    """Return the experiment that a nanoBragg command line describes.

    Parameters
    ----------
    argv
        The flags, without the program's name.
    folder
        Relative file names are relative to it; the working folder when left out.

    Raises
    ------
    FlagError
        Naming the flag.
    ExperimentError
        If the flags together make no experiment.
    """
    return build_experiment(read_words(argv, TABLE), folder or Path.cwd())


def named_by_flags(error: NbdistError, flags: Flags, folder: Path) -> FlagError:
    """The error with the flag in front that set the field, or named the file, that it is about."""
    message = str(error)
    if isinstance(error, FlagError):
        return error
    fields = sorted((field for field in FIELD_FLAGS if message.startswith(field)), key=len)
    if fields:
        _, _, rest = message.partition(": ")
        return FlagError(f"-{FIELD_FLAGS[fields[-1]]}: {rest or message}")
    for name in FILE_FLAGS:
        if flags.get(name) and str(folder / Path(flags.get(name)).expanduser()) in message:
            return FlagError(f"-{name}: {message}")
    return FlagError(message)


def build_experiment(flags: Flags, folder: Path) -> Experiment:
    """Apply nanoBragg's rules to collected flags; see `experiment_from_flags`."""
    flags = Flags({**header_values(flags, folder), **flags.values}, flags.convention, flags.pivot)
    try:
        experiment = validate(_content(flags, folder))
        return _with_partial_sizes(experiment, flags)
    except NbdistError as error:
        raise named_by_flags(error, flags, folder) from None


def _content(flags: Flags, folder: Path) -> dict[str, Any]:
    get = flags.get
    phi_range, phi_steps = _range_and_steps(flags, "osc", "phistep", "phisteps")
    spindle = get("spindle_axis")
    content: dict[str, Any] = {
        "beam": _beam(flags, folder),
        "crystal": _crystal(flags, folder),
        "scan": {
            "phi_start_deg": get("phi", 0.0),
            "osc_range_deg": phi_range,
            "phi_steps": phi_steps,
            "phi_rule": "left",
            "spindle_axis": spindle,
        },
        "detector": _detector(flags, folder),
        "structure_factors": _structure_factors(flags, folder),
        "sampling": {
            "oversample": get("oversample", 0) if get("oversample", 0) > 0 else "auto",
            "oversample_thick": get("oversample_thick", False),
            "oversample_polar": get("oversample_polar", False),
            "oversample_omega": get("oversample_omega", False),
            "d_min_A": get("dmin", 0.0) or None,
            "interpolate": get("interpolate", "auto"),
        },
        "background": {"water_um": get("water", 0.0)},
    }
    _require_possible(content)
    return content


def _require_possible(content: dict[str, Any]) -> None:
    """Refuse what no machine would finish, before anything is allocated."""
    divergence = content["beam"].get("divergence", {})
    counts = {
        "phisteps": content["scan"]["phi_steps"],
        "mosaic_dom": content["crystal"]["mosaic_domains"] or 1,
        "hdivsteps": divergence.get("horizontal_steps", 1),
        "vdivsteps": divergence.get("vertical_steps", 1),
        "dispsteps": content["beam"].get("dispersion", {}).get("steps", 1),
    }
    if math.prod(counts.values()) > MOST_ORIENTATIONS:
        found = " ".join(f"-{name} {count}" for name, count in counts.items() if count > 1)
        raise FlagError(f"{found}: more than {MOST_ORIENTATIONS} orientations a pixel")
    panel = content["detector"]["panels"][0]
    if panel["spixels"] * panel["fpixels"] > MOST_PIXELS:
        raise FlagError(f"-detpixels: {panel['fpixels']} x {panel['spixels']} pixels are more than {MOST_PIXELS}")


def _with_partial_sizes(experiment: Experiment, flags: Flags) -> Experiment:
    """Cells along the axes whose size is given, where not all three are."""
    sizes, _ = clipped_sizes(flags)
    if all(sizes) or not any(sizes):
        return experiment
    import numpy as np

    from nbdist.experiment.resolved import resolve

    axes_A = np.linalg.norm(resolve(experiment).real_vectors_A, axis=1)
    given = experiment.crystal.N_cells or (1, 1, 1)
    cells = [
        max(1, math.ceil(1e7 * size / axis)) if size else count
        for size, axis, count in zip(sizes, axes_A, given, strict=True)
    ]
    return experiment.with_changes(crystal={"N_cells": cells})


def _range_and_steps(
    flags: Flags, extent_flag: str, step_flag: str | None, count_flag: str, wide: bool = False
) -> tuple[float, int]:
    """Range and number of steps from what was given of range, step and count (nanoBragg's automatic steps).

    Where a grid includes both ends (`wide`), a count and a step make the range step (count - 1), else step count.
    """
    given = {name: flags.get(name) or None for name in (extent_flag, step_flag, count_flag) if name is not None}
    for name, value in given.items():
        if value is not None and value < 0 and name != "osc":
            raise FlagError(f"-{name}: expected 0 or more, found {value:g}")
    extent, step, count = given[extent_flag], given.get(step_flag or ""), given[count_flag]
    if extent is None and step is None:
        return 0.0, count or 1
    if extent is None:
        assert step is not None
        if count is None:
            return step, 2
        return step * (max(count - 1, 1) if wide else count), count
    if count is not None:
        return extent, count
    if step is not None and abs(extent) / step > MOST_ORIENTATIONS:
        raise FlagError(f"-{step_flag}: {step:g} is too small for -{extent_flag} {extent:g}")
    return extent, 2 if step is None else max(1, math.ceil(abs(extent) / step))


def _beam(flags: Flags, folder: Path) -> dict[str, Any]:
    get = flags.get
    beam: dict[str, Any] = {
        "wavelength_A": get("lambda", 1.0),
        "polarization_factor": get("polar", 0.0),
        "polarization_vector": get("polar_vector"),
        "direction": get("beam_vector"),
    }
    if get("flux") and get("exposure", 1.0) > 0:
        beam["flux_photons_per_s"] = get("flux")
        beam["exposure_s"] = get("exposure", 1.0)
        beam["beam_size_mm"] = get("beamsize", 0.1)
    elif get("fluence") is not None:
        beam["fluence_photons_per_m2"] = get("fluence")
    if get("sourcefile"):
        beam["source_file"] = input_path("sourcefile", flags, folder)
        return beam
    horizontal, horizontal_steps = _range_and_steps(flags, "hdivrange", "hdivstep", "hdivsteps", wide=True)
    vertical, vertical_steps = _range_and_steps(flags, "vdivrange", "vdivstep", "vdivsteps", wide=True)
    percent, steps = _range_and_steps(flags, "dispersion", None, "dispsteps", wide=True)
    # a grid without extent is nanoBragg's single step, whatever its count
    beam["divergence"] = {
        "horizontal_mrad": horizontal,
        "horizontal_steps": horizontal_steps if horizontal else 1,
        "vertical_mrad": vertical,
        "vertical_steps": vertical_steps if vertical else 1,
        "round": get("round_div", True),
    }
    beam["dispersion"] = {"percent": percent, "steps": steps if percent else 1}
    return beam


def _crystal(flags: Flags, folder: Path) -> dict[str, Any]:
    get = flags.get
    crystal: dict[str, Any] = {
        "misset_deg": random_misset(flags) if get("misset") == "random" else get("misset", (0.0, 0.0, 0.0)),
        "shape": get("shape", "square"),
        "fudge": get("fudge", 1.0),
        "mosaic_spread_deg": get("mosaic", 0.0),
        "mosaic_domains": get("mosaic_domains") or None,
    }
    if crystal["mosaic_spread_deg"] == 0:
        crystal["mosaic_domains"] = None
    if get("mosaic_seed") is not None:
        crystal["mosaic_seed"] = get("mosaic_seed")
    if get("mat"):
        crystal["matrix_file"] = input_path("mat", flags, folder)
    elif get("cell"):
        crystal["cell"] = get("cell")
    else:
        raise FlagError("-cell or -mat: one of them is needed")
    if get("mosaic_domains", 0) < 0:
        raise FlagError(f"-mosaic_dom: expected 0 or more, found {get('mosaic_domains')}")
    sizes, _ = clipped_sizes(flags)
    if all(sizes):
        crystal["size_mm"] = sizes
    else:
        crystal["N_cells"] = tuple(max(1, get(name, 1)) for name in ("Na", "Nb", "Nc"))
    return crystal


def _structure_factors(flags: Flags, folder: Path) -> dict[str, Any]:
    default_F = flags.get("default_F", 0.0)
    if flags.get("hkl"):
        return {"kind": "file", "file": input_path("hkl", flags, folder), "default_F": default_F}
    if default_F == 0:
        raise FlagError("-hkl or -default_F: one of them is needed")
    return {"kind": "uniform", "F": default_F}


def _detector(flags: Flags, folder: Path) -> dict[str, Any]:
    get = flags.get
    convention: Any = flags.convention
    pixel = get("pixel", 0.1)
    if pixel <= 0:
        raise FlagError(f"-pixel: expected mm above 0, found {pixel:g}")
    counts = {}
    for axis in "fs":
        count, size = get(f"detpixels_{axis}"), get(f"detsize_{axis}")
        if size is not None and not 0 < size / pixel <= MOST_PIXELS:
            raise FlagError(f"-detsize_{axis}: {size:g} mm of {pixel:g} mm pixels")
        counts[axis] = count if count is not None else (math.ceil(size / pixel - 0.5) if size is not None else 1024)
        if counts[axis] < 1:
            raise FlagError(f"-detpixels_{axis}: expected at least 1 pixel, found {counts[axis]}")
    panel: dict[str, Any] = {
        "spixels": counts["s"],
        "fpixels": counts["f"],
        "pixel_size_mm": pixel,
        "rotation_deg": tuple(get(f"detector_rot{axis}", 0.0) for axis in "xyz"),
        "two_theta_deg": get("twotheta", 0.0),
        "two_theta_axis": get("twotheta_axis"),
    }
    if get("close_distance") is not None:
        panel["close_distance_mm"] = get("close_distance")
    else:
        panel["distance_mm"] = get("distance", 100.0)
    bare = Panel.model_construct(spixels=counts["s"], fpixels=counts["f"], pixel_size_mm=pixel)
    center = default_beam_center_mm(convention, bare)
    if convention == "custom":
        panel |= {
            "fast_axis": get("fdet_vector"),
            "slow_axis": get("sdet_vector"),
            # nanoBragg keeps mosflm's normal beside other fast and slow vectors
            "normal_axis": get("odet_vector", CONVENTIONS["custom"].normal),
        }
        center = (
            _first(get("Xclose"), _near(get("ORGX"), pixel), center[0]),
            _first(get("Yclose"), _near(get("ORGY"), pixel), center[1]),
        )
    panel["beam_center_mm"] = (get("Xbeam", center[0]), get("Ybeam", center[1]))
    if convention in ("xds", "dials"):
        middle = (counts["f"] / 2 + 0.5, counts["s"] / 2 + 0.5)
        panel["near_point_pixels"] = (get("ORGX", middle[0]), get("ORGY", middle[1]))
    detector: dict[str, Any] = {
        "convention": convention,
        "mask_file": input_path("mask", flags, folder) if get("mask") else None,
        # a named convention brings its own pivot, whatever the flags said
        "pivot": flags.pivot if convention == "custom" else None,
        "panels": (panel,),
        "curved": get("curved_det", False),
        "point_pixels": get("point_pixel", False),
        "sensor": _sensor(flags),
    }
    if get("roi") is not None:
        detector["region_of_interest"] = _region(get("roi"), counts)
    return detector


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _near(origin_pixels: float | None, pixel: float) -> float | None:
    return None if origin_pixels is None else (origin_pixels - 0.5) * pixel


def _sensor(flags: Flags) -> dict[str, Any] | None:
    thickness, layers = _range_and_steps(flags, "detector_thick", None, "thicksteps")
    if thickness == 0:
        return None
    return {"thickness_um": thickness, "layers": layers, "attenuation_depth_um": flags.get("detector_abs")}


def _region(roi: tuple[int, int, int, int], counts: dict[str, int]) -> dict[str, Any]:
    """nanoBragg's inclusive fmin fmax smin smax, cut to the detector, as half-open ranges."""
    fast = (max(0, roi[0]), min(counts["f"], roi[1] + 1))
    slow = (max(0, roi[2]), min(counts["s"], roi[3] + 1))
    if fast[0] >= fast[1] or slow[0] >= slow[1]:
        raise FlagError(f"-roi: {' '.join(map(str, roi))} holds no pixel of the detector")
    return {"fast": fast, "slow": slow}
