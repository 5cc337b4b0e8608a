"""nanoBragg's command line as an experiment: what its flags mean together, rule by rule (conventions, pivots, automatic steps).

`words` reads the words and `table` names them; `sweeps` has the rules for steps, `inputs` knows what SMV headers, random orientations and
crystal sizes stand for, and `fields` which flag an error is about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from nbdist.errors import NbdistError
from nbdist.experiment.detector import MOST_PIXELS
from nbdist.experiment.files import validate
from nbdist.experiment.lattice import dual_vectors
from nbdist.experiment.model import Experiment
from nbdist.formats.mosflm_matrix import read_mosflm_matrix
from nbdist.nanobragg.fields import named_by_flags
from nbdist.nanobragg.inputs import (
    DEFAULT_PIXEL_MM,
    cells_of_sizes,
    clipped_sizes,
    header_values,
    input_path,
    random_misset,
)
from nbdist.nanobragg.sweeps import ALONE_MRAD, ALONE_UM, Sweep, flag_sweep, phi_sweep, require_possible, spectrum_sweep
from nbdist.nanobragg.table import TABLE
from nbdist.nanobragg.words import FlagError, Flags, read_words
from nbdist.scene.panels import CONVENTIONS, unit
from nbdist.scene.sources import tilted_directions

INITIAL_TWO_THETA_AXIS = (0.0, 1.0, 0.0)
"""What a custom convention has where -twotheta_axis is not given; its other vectors are mosflm's."""
DEFAULT_SIZE_MM, DEFAULT_DISTANCE_MM = 102.4, 100.0
Section = dict[str, Any]
"""Fields as an experiment file would have them: validation is what says their types."""
TRANSPARENT_UM = 1e30
"""An attenuation depth that lets every photon through."""
NONE_BELOW_0 = (
    *(
        "phistep",
        "phisteps",
        "hdivrange",
        "hdivstep",
        "hdivsteps",
        "vdivrange",
        "vdivstep",
        "vdivsteps",
        "dispersion",
        "dispsteps",
    ),
    *("detector_thick", "thicksteps", "detector_abs", "mosaic", "mosaic_domains", "sample_x", "sample_y", "sample_z"),
    *("dmin", "oversample", "exposure", "beamsize"),
)
"""Where a number below 0 says that nothing is given."""


@dataclass(frozen=True)
class Simulation:
    """What a nanoBragg command line means.

    Attributes
    ----------
    experiment
        What is rendered.
    flags
        The flags, over what the headers of -mask and -img say.
    beam_center_mm, near_point_mm
        nanoBragg's Xbeam, Ybeam and Xclose, Yclose.
    size_mm
        Width and height of the detector; its pixels may fill a little more or less.
    osc_deg
        The range of the rotation as it was given, whatever its steps add up to.
    """

    experiment: Experiment
    flags: Flags
    beam_center_mm: tuple[float, float]
    near_point_mm: tuple[float, float]
    size_mm: tuple[float, float]
    osc_deg: float


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
    return simulation_from_flags(read_words(argv, TABLE), folder or Path.cwd()).experiment


def simulation_from_flags(flags: Flags, folder: Path) -> Simulation:
    """Apply nanoBragg's rules to collected flags.

    Raises
    ------
    FlagError
        Naming the flag, if they make no experiment.
    """
    has_distance = "distance" in flags.values
    flags.values = {**header_values(flags, folder), **flags.values}
    if has_distance and flags.get("close_distance") is not None:
        flags.warnings.append(
            f"the close distance, {flags.get('close_distance'):g} mm, counts; -distance does not, as in nanoBragg"
        )
    for name in NONE_BELOW_0:
        if flags.get(name, 0) < 0:
            flags.warnings.append(f"-{name} {flags.get(name):g}: a number below 0 counts as not given, as in nanoBragg")
    for name in ("distance", "default_F"):
        if flags.get(name, 0.0) < 0:
            flags.warnings.append(f"-{name} {flags.get(name):g} counts without its sign, as in nanoBragg")
    try:
        return _simulation(flags, folder)
    except NbdistError as error:
        raise named_by_flags(error, flags, folder) from None


def _simulation(flags: Flags, folder: Path) -> Simulation:
    get = flags.get
    phi, osc_deg = phi_sweep(flags)
    place = _Place.of(flags)
    content: Section = {
        "beam": _beam(flags, folder),
        "crystal": _crystal(flags, folder),
        "scan": {
            "phi_start_deg": get("phi", 0.0),
            "osc_range_deg": phi.step * phi.steps,
            "phi_steps": phi.steps,
            "phi_rule": "left",
            "spindle_axis": get("spindle_axis") if flags.convention == "custom" else None,
        },
        "detector": _detector(flags, folder, place),
        "structure_factors": _structure_factors(flags, folder),
        "sampling": {
            "oversample": get("oversample", 0) if get("oversample", 0) > 0 else "auto",
            "oversample_thick": get("oversample_thick", False),
            "oversample_polar": get("oversample_polar", False),
            "oversample_omega": get("oversample_omega", False),
            "d_min_A": get("dmin") if get("dmin", 0.0) > 0 else None,
            # nanoBragg decides before it turns the size of a crystal into cells
            "interpolate": get("interpolate", min(get(name, 1) for name in ("Na", "Nb", "Nc")) <= 2),
        },
        "background": {"water_um": get("water", 0.0)},
    }
    _require_a_finite_run(content)
    experiment = validate(content)
    if any(clipped_sizes(flags)[0]):
        experiment = experiment.with_changes(crystal={"N_cells": cells_of_sizes(flags, experiment)})
    return Simulation(experiment, flags, place.beam_center_mm, place.near_point_mm, place.size_mm, osc_deg)


def _require_a_finite_run(content: Section) -> None:
    """Refuse what no machine would finish, before anything is allocated."""
    divergence = content["beam"].get("divergence", {})
    counts = {
        "phisteps": content["scan"]["phi_steps"],
        "mosaic_dom": content["crystal"]["mosaic_domains"] or 1,
        "hdivsteps": divergence.get("horizontal_steps", 1),
        "vdivsteps": divergence.get("vertical_steps", 1),
        "dispsteps": content["beam"].get("dispersion", {}).get("steps", 1),
    }
    require_possible(counts)
    panel = content["detector"]["panels"][0]
    if panel["spixels"] * panel["fpixels"] > MOST_PIXELS:
        raise FlagError(f"-detpixels: {panel['fpixels']} x {panel['spixels']} pixels are more than {MOST_PIXELS}")


def _beam(flags: Flags, folder: Path) -> Section:
    get, custom = flags.get, flags.convention == "custom"
    beam: Section = {
        "wavelength_A": get("lambda", 1.0),
        "polarization_factor": get("polar", 0.0),
        "polarization_vector": get("polar_vector") if custom else None,
        "direction": get("beam_vector") if custom else None,
    }
    if get("flux") and get("exposure", 1.0) > 0 and get("beamsize", 0.1) >= 0:
        beam["flux_photons_per_s"] = get("flux")
        beam["exposure_s"] = get("exposure", 1.0)
        beam["beam_size_mm"] = get("beamsize", 0.1)
    elif get("fluence") is not None:
        beam["fluence_photons_per_m2"] = get("fluence")
    if get("sourcefile"):
        return beam | {"source_file": input_path("sourcefile", flags, folder)}
    horizontal = flag_sweep(flags, "hdivrange", "hdivstep", "hdivsteps", -1.0, ALONE_MRAD)
    vertical = flag_sweep(flags, "vdivrange", "vdivstep", "vdivsteps", -1.0, ALONE_MRAD)
    spectrum = spectrum_sweep(flags)
    if not all(sweep.reaches_its_end for sweep in (horizontal, vertical, spectrum)):
        return beam | {"sources": _sources(flags, horizontal, vertical, spectrum)}
    beam["divergence"] = {
        "horizontal_mrad": horizontal.extent,
        "horizontal_steps": horizontal.steps,
        "vertical_mrad": vertical.extent,
        "vertical_steps": vertical.steps,
        "round": get("round_div", True),
    }
    beam["dispersion"] = {"percent": spectrum.extent, "steps": spectrum.steps}
    return beam


def _sources(flags: Flags, horizontal: Sweep, vertical: Sweep, spectrum: Sweep) -> list[Section]:
    """Sources of a grid whose steps do not end where its range does, one by one."""
    counts = {"hdivsteps": horizontal.steps, "vdivsteps": vertical.steps, "dispsteps": spectrum.steps}
    require_possible(counts)

    def share(tilt: float, sweep: Sweep) -> float:
        return (tilt * tilt - (sweep.step**2 / 4 if sweep.steps % 2 == 0 else 0.0)) / sweep.extent**2

    # where one range is 0, nanoBragg's ellipse cuts nothing
    cut = flags.get("round_div", True) and horizontal.extent > 0 and vertical.extent > 0
    tilts = [
        (1e-3 * h, 1e-3 * v)
        for h, v in product(horizontal.values(), vertical.values())
        if not (cut and 4 * (share(h, horizontal) + share(v, vertical)) > 1.1)
    ]
    if not tilts:
        raise FlagError(
            "-hdivsteps -vdivsteps: the ellipse of -round_div leaves no source of this grid; -square_div keeps all"
        )
    axes, vectors = CONVENTIONS[flags.convention], flags.values if flags.convention == "custom" else {}
    beam, polarization = (
        unit(vectors.get("beam_vector", axes.beam)),
        unit(vectors.get("polar_vector", axes.polarization)),
    )
    return [
        {"direction": tuple(map(float, direction)), "wavelength_A": flags.get("lambda", 1.0) * (1 + 1e-2 * shift)}
        for direction in tilted_directions(beam, polarization, tilts)
        for shift in spectrum.values()
    ]


def _crystal(flags: Flags, folder: Path) -> Section:
    get = flags.get
    spread, domains = max(get("mosaic", 0.0), 0.0), get("mosaic_domains", 0)
    crystal: Section = {
        "misset_deg": random_misset(flags) if get("misset") == "random" else get("misset", (0.0, 0.0, 0.0)),
        "N_cells": tuple(max(1, get(name, 1)) for name in ("Na", "Nb", "Nc")),
        "shape": get("shape", "square"),
        "fudge": get("fudge", 1.0),
        "mosaic_spread_deg": spread,
        "mosaic_domains": domains if spread > 0 and domains > 0 else None,
    }
    if get("mosaic_seed") is not None:
        crystal["mosaic_seed"] = max(get("mosaic_seed"), 1)
    if not (get("cell") or get("mat")):
        raise FlagError("-cell or -mat: one of them is needed")
    cell = _whole_cell(get("cell")) if get("cell") else None
    if not get("mat"):
        crystal["cell"] = cell
    elif cell is None:
        crystal["matrix_file"] = input_path("mat", flags, folder)
    else:
        crystal["reciprocal_vectors_per_A"] = _rescaled_matrix(flags, folder, cell)
    return crystal


def _whole_cell(given: Sequence[float]) -> tuple[float, ...]:
    """Six numbers of a cell of which some may be 0, that is not given."""
    a, b, c, *angles = given
    if a <= 0:
        raise FlagError("-cell: a, b, c (A), alpha, beta, gamma (deg) are expected, found no a above 0")
    return a, b or a, c or a, *(angle or 90.0 for angle in angles)


def _rescaled_matrix(flags: Flags, folder: Path, cell: Sequence[float]) -> list[tuple[float, ...]]:
    """Reciprocal vectors where a matrix and a cell are given: the axes have the matrix's directions and the cell's lengths."""
    a_star, b_star, c_star = read_mosflm_matrix(input_path("mat", flags, folder)).T
    real = np.stack([np.cross(b_star, c_star), np.cross(c_star, a_star), np.cross(a_star, b_star)])
    lengths = np.linalg.norm(real, axis=1)
    if not lengths.all():
        raise FlagError(f"-mat: {input_path('mat', flags, folder)}: the matrix is singular")
    real *= (np.array(cell[:3]) / lengths)[:, None]
    if abs(np.linalg.det(real)) < 1e-9 * np.prod(cell[:3]):
        raise FlagError(f"-mat: {input_path('mat', flags, folder)}: the matrix is singular")
    return [tuple(map(float, row)) for row in dual_vectors(real)]


def _structure_factors(flags: Flags, folder: Path) -> Section:
    default_F = abs(flags.get("default_F", 0.0))
    if flags.get("hkl"):
        return {"kind": "file", "file": input_path("hkl", flags, folder), "default_F": default_F}
    if default_F == 0:
        raise FlagError("-hkl or -default_F: one of them is needed")
    return {"kind": "uniform", "F": default_F}


@dataclass(frozen=True)
class _Place:
    """Size of the detector and where the beam and the near point are on it, lengths in mm.

    `beam_center_mm` and `near_point_mm` are nanoBragg's Xbeam, Ybeam and Xclose, Yclose; `spot_mm` and `foot_mm` are what it makes of them:
    the direct beam and the foot of the perpendicular along fast and slow.
    """

    pixel_mm: float
    pixels: tuple[int, int]
    size_mm: tuple[float, float]
    beam_center_mm: tuple[float, float]
    near_point_mm: tuple[float, float]
    spot_mm: tuple[float, float]
    foot_mm: tuple[float, float]

    @classmethod
    def of(cls, flags: Flags) -> _Place:
        """The place by the rules of the convention of `flags`."""
        get, pixel = flags.get, flags.get("pixel", DEFAULT_PIXEL_MM)
        if pixel <= 0:
            raise FlagError(f"-pixel: expected mm above 0, found {pixel:g}")
        pixels, sizes, foot = [], [], []
        for axis, origin in (("f", get("ORGX")), ("s", get("ORGY"))):
            size = pixel * get(f"detpixels_{axis}", 0) or get(f"detsize_{axis}", DEFAULT_SIZE_MM)
            if not 0 < size / pixel <= MOST_PIXELS:
                raise FlagError(f"-detpixels_{axis} -detsize_{axis}: {size:g} mm of pixels of {pixel:g} mm")
            pixels.append(math.ceil((size / 1000) / (pixel / 1000) - 0.5))
            if pixels[-1] < 1:
                raise FlagError(f"-detsize_{axis}: {size:g} mm is less than half a pixel of {pixel:g} mm")
            sizes.append(size)
            foot.append(size / 2 if origin is None else (origin - 0.5) * pixel)
        fast, slow = sizes
        near = get("Xclose", foot[0]), get("Yclose", foot[1])
        default = {
            "mosflm": ((slow + pixel) / 2, (fast + pixel) / 2),
            "denzo": ((slow + pixel) / 2, (fast + pixel) / 2),
            "adxv": ((fast + pixel) / 2, (slow - pixel) / 2),
        }.get(flags.convention, near)
        x, y = get("Xbeam", default[0]), get("Ybeam", default[1])
        spot = {
            "mosflm": (y + pixel / 2, x + pixel / 2),
            "denzo": (y, x),
            "adxv": (x, slow - y),
        }.get(flags.convention, (x, y))
        return cls(
            pixel,
            (pixels[0], pixels[1]),
            (fast, slow),
            (x, y),
            near,
            spot,
            spot if flags.convention == "custom" else (foot[0], foot[1]),
        )


def _detector(flags: Flags, folder: Path, place: _Place) -> Section:
    get, custom, pixel = flags.get, flags.convention == "custom", place.pixel_mm
    fast, slow = place.pixels
    x, y = place.beam_center_mm
    panel: Section = {
        "spixels": slow,
        "fpixels": fast,
        "pixel_size_mm": pixel,
        # adxv counts y from the other edge: of the size given, not of the pixels that fill it
        "beam_center_mm": (x, y + slow * pixel - place.size_mm[1] if flags.convention == "adxv" else y),
        "near_point_pixels": tuple(foot / pixel + 0.5 for foot in place.foot_mm),
        "rotation_deg": tuple(get(f"detector_rot{axis}", 0.0) for axis in "xyz"),
        "two_theta_deg": get("twotheta", 0.0),
    }
    if custom:
        panel |= {
            "two_theta_axis": get("twotheta_axis", INITIAL_TWO_THETA_AXIS),
            "fast_axis": get("fdet_vector"),
            "slow_axis": get("sdet_vector"),
            # nanoBragg keeps mosflm's normal beside other fast and slow vectors
            "normal_axis": get("odet_vector", CONVENTIONS["custom"].normal),
        }
        if not any(panel["normal_axis"]):
            axes = CONVENTIONS["custom"]
            across = np.cross(unit(get("fdet_vector", axes.fast)), unit(get("sdet_vector", axes.slow)))
            panel["normal_axis"] = tuple(map(float, across))
    if get("close_distance") is not None:
        panel["close_distance_mm"] = get("close_distance")
    else:
        panel["distance_mm"] = abs(get("distance", DEFAULT_DISTANCE_MM))
    detector: Section = {
        "convention": flags.convention,
        "mask_file": input_path("mask", flags, folder) if get("mask") else None,
        "pivot": flags.pivot if custom else None,
        "panels": (panel,),
        "curved": get("curved_det", False),
        "point_pixels": get("point_pixel", False),
        "sensor": _sensor(flags),
    }
    if get("roi") is not None:
        detector["region_of_interest"] = _region(get("roi"), place.pixels)
    return detector


def _sensor(flags: Flags) -> Section | None:
    sweep, depth = flag_sweep(flags, "detector_thick", "", "thicksteps", 0.0, ALONE_UM), flags.get("detector_abs", -1.0)
    if sweep.extent == 0:
        return None
    if depth < 0:
        depth = sweep.extent
    # a depth of 0 is nanoBragg's inf: nothing stops in the sensor
    return {"thickness_um": sweep.extent, "layers": sweep.steps, "attenuation_depth_um": depth or TRANSPARENT_UM}


def _region(roi: tuple[int, int, int, int], pixels: tuple[int, int]) -> Section:
    """nanoBragg's inclusive fmin fmax smin smax, below 0 where open, cut to the detector, as half-open ranges."""
    spans = []
    for first, last, count in zip(roi[::2], roi[1::2], pixels, strict=True):
        spans.append((max(0, first), count if last < 0 else min(count, last + 1)))
        if spans[-1][0] >= spans[-1][1]:
            raise FlagError(f"-roi: {' '.join(map(str, roi))} holds no pixel of the detector")
    return {"fast": spans[0], "slow": spans[1]}
