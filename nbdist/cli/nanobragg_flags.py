"""nanoBragg's command line as an experiment: what every flag of nanoBragg.c means, rule by rule.

Flags are read left to right and later ones win. `parse_flags` collects them; `FlagReader.experiment` applies the rules that hold
once all are known (conventions, pivots, automatic steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import EV_ANGSTROM
from nbdist.experiment.detector import Panel
from nbdist.experiment.files import validate
from nbdist.experiment.geometry import CONVENTIONS, default_beam_center_mm
from nbdist.experiment.model import Experiment

CONVENTION_FLAGS = ("mosflm", "denzo", "adxv", "xds", "dials")
VECTOR_FLAGS = (
    "fdet_vector",
    "sdet_vector",
    "odet_vector",
    "beam_vector",
    "polar_vector",
    "spindle_axis",
    "twotheta_axis",
)
SHAPES = {
    "square_xtal": "square",
    "round_xtal": "round",
    "gauss_xtal": "gauss",
    "tophat_spots": "tophat",
    "binary_spots": "tophat",
}


class FlagError(ExperimentError):
    """A flag is unknown, lacks its value, or has a value it cannot have; the message names it."""


@dataclass
class Flags:
    """The flags of one command line, collected: values by canonical name, in nanoBragg's units."""

    values: dict[str, Any] = field(default_factory=dict)
    convention: str = "mosflm"
    pivot: str | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """Value of a flag, or `default` where it was not given."""
        return self.values.get(name, default)


# canonical name -> (spellings, number of values, type)
_FLOATS: dict[str, tuple[str, ...]] = {
    "default_F": ("default_F",),
    "fudge": ("fudge",),
    "mosaic": ("mosaic", "mosaici", "mosaic_spread"),
    "fluence": ("fluence",),
    "flux": ("flux",),
    "exposure": ("exposure",),
    "beamsize": ("beamsize",),
    "dispersion": ("dispersion",),
    "hdivstep": ("hdivstep",),
    "vdivstep": ("vdivstep",),
    "hdivrange": ("hdivrange",),
    "vdivrange": ("vdivrange",),
    "pixel": ("pixel",),
    "detector_rotx": ("detector_rotx",),
    "detector_roty": ("detector_roty",),
    "detector_rotz": ("detector_rotz",),
    "phi": ("phi",),
    "osc": ("osc",),
    "phistep": ("phistep",),
    "dmin": ("dmin",),
    "water": ("water",),
    "detector_thick": ("detector_thick",),
}
_COUNTS: dict[str, tuple[str, ...]] = {
    "mosaic_domains": ("mosaic_dom", "mosaic_domains"),
    "dispsteps": ("dispsteps",),
    "hdivsteps": ("hdivsteps",),
    "vdivsteps": ("vdivsteps",),
    "thicksteps": ("detector_thicksteps", "thicksteps"),
    "phisteps": ("phisteps",),
    "oversample": ("oversample",),
    "mosaic_seed": ("mosaic_seed",),
    "misset_seed": ("misset_seed",),
    "Na": ("Na",),
    "Nb": ("Nb",),
    "Nc": ("Nc",),
}
_SWITCHES = ("oversample_thick", "oversample_polar", "oversample_omega", "point_pixel", "curved_det")


class FlagReader:
    """Reads flags one by one into `Flags`; `experiment` turns the collection into an Experiment."""

    def __init__(self) -> None:
        self.flags = Flags()
        self._readers: dict[str, Callable[[str, _Arguments], None]] = {}
        for table, convert in ((_FLOATS, float), (_COUNTS, int)):
            for name, spellings in table.items():
                for spelling in spellings:
                    self._readers[spelling] = self._number(name, convert)
        for name in _SWITCHES:
            self._readers[name] = self._constant(name, True)
        for name in VECTOR_FLAGS:
            self._readers[name] = self._vector
        for name in CONVENTION_FLAGS:
            self._readers[name] = self._convention
        for name, shape in SHAPES.items():
            self._readers[name] = self._constant("shape", shape)
        self._readers |= {
            "hkl": self._text,
            "mat": self._text,
            "sourcefile": self._text,
            "cell": self._numbers(6),
            "misset": self._numbers(3),
            "roi": self._whole(4),
            "N": self._each("Na", "Nb", "Nc", convert=int),
            "samplesize": self._each("sample_x", "sample_y", "sample_z"),
            "xtalsize": self._each("sample_x", "sample_y", "sample_z"),
            "sample_x": self._number("sample_x", float),
            "sample_y": self._number("sample_y", float),
            "sample_z": self._number("sample_z", float),
            "xtal_size_x": self._number("sample_x", float),
            "xtal_size_y": self._number("sample_y", float),
            "xtal_size_z": self._number("sample_z", float),
            "lambda": self._number("lambda", float),
            "wave": self._number("lambda", float),
            "energy": self._energy,
            "polar": self._number("polar", float),
            "nopolar": self._constant("polar", None),
            "divergence": self._each("hdivrange", "vdivrange"),
            "divsteps": self._each("hdivsteps", "vdivsteps", convert=int),
            "round_div": self._constant("round_div", True),
            "square_div": self._constant("round_div", False),
            "detsize": self._each("detsize_f", "detsize_s"),
            "detsize_f": self._number("detsize_f", float),
            "detsize_s": self._number("detsize_s", float),
            "detpixels": self._each("detpixels_f", "detpixels_s", convert=int),
            "detpixels_f": self._number("detpixels_f", int),
            "detpixels_x": self._number("detpixels_f", int),
            "detpixels_s": self._number("detpixels_s", int),
            "detpixels_y": self._number("detpixels_s", int),
            "distance": self._pivoting("distance", "beam"),
            "close_distance": self._pivoting("close_distance", "sample"),
            "Xbeam": self._pivoting("Xbeam", "beam"),
            "Ybeam": self._pivoting("Ybeam", "beam"),
            "Xclose": self._pivoting("Xclose", "sample"),
            "Yclose": self._pivoting("Yclose", "sample"),
            "ORGX": self._pivoting("ORGX", "sample"),
            "ORGY": self._pivoting("ORGY", "sample"),
            "twotheta": self._pivoting("twotheta", "sample"),
            "pivot": self._pivot,
            "pix0_vector": self._pix0,
            "pix0_vector_mm": self._pix0,
            "detector_abs": self._absorption,
            "interpolate": self._constant("interpolate", True),
            "nointerpolate": self._constant("interpolate", False),
        }

    def read(self, argv: Sequence[str]) -> Flags:
        """Read flags (without the program's name).

        Raises
        ------
        FlagError
            Naming the flag that is unknown, incomplete or wrong.
        """
        arguments = _Arguments(argv)
        while (flag := arguments.next_flag()) is not None:
            reader = self._readers.get(flag)
            if reader is None:
                raise FlagError(f"-{flag}: unknown flag")
            reader(flag, arguments)
        return self.flags

    # ---- kinds of flags

    def _number(self, name: str, convert: type[int] | type[float]) -> Callable[[str, _Arguments], None]:
        def read(flag: str, arguments: _Arguments) -> None:
            self.flags.values[name] = arguments.number(flag, convert)

        return read

    def _each(self, *names: str, convert: type[int] | type[float] = float) -> Callable[[str, _Arguments], None]:
        def read(flag: str, arguments: _Arguments) -> None:
            value = arguments.number(flag, convert)
            self.flags.values.update(dict.fromkeys(names, value))

        return read

    def _numbers(self, count: int) -> Callable[[str, _Arguments], None]:
        def read(flag: str, arguments: _Arguments) -> None:
            self.flags.values[flag] = tuple(arguments.number(flag, float) for _ in range(count))

        return read

    def _whole(self, count: int) -> Callable[[str, _Arguments], None]:
        def read(flag: str, arguments: _Arguments) -> None:
            self.flags.values[flag] = tuple(arguments.number(flag, int) for _ in range(count))

        return read

    def _constant(self, name: str, value: Any) -> Callable[[str, _Arguments], None]:
        def read(flag: str, arguments: _Arguments) -> None:
            self.flags.values[name] = value

        return read

    def _text(self, flag: str, arguments: _Arguments) -> None:
        self.flags.values[flag] = arguments.text(flag)

    def _pivoting(self, name: str, pivot: str) -> Callable[[str, _Arguments], None]:
        def read(flag: str, arguments: _Arguments) -> None:
            self.flags.values[name] = arguments.number(flag, float)
            self.flags.pivot = pivot

        return read

    def _pivot(self, flag: str, arguments: _Arguments) -> None:
        value = arguments.text(flag)
        if value not in ("beam", "sample"):
            raise FlagError(f"-pivot: expected beam or sample, found {value}")
        self.flags.pivot = value

    def _vector(self, flag: str, arguments: _Arguments) -> None:
        self.flags.values[flag] = tuple(arguments.number(flag, float) for _ in range(3))
        self.flags.convention = "custom"

    def _pix0(self, flag: str, arguments: _Arguments) -> None:
        # nanoBragg works the origin out from the beam centre; the flag only selects the convention
        for _ in range(3):
            arguments.number(flag, float)
        self.flags.convention = "custom"

    def _convention(self, flag: str, arguments: _Arguments) -> None:
        self.flags.convention = flag

    def _energy(self, flag: str, arguments: _Arguments) -> None:
        energy = arguments.number(flag, float)
        if energy <= 0:
            raise FlagError(f"-energy: expected eV above 0, found {energy:g}")
        self.flags.values["lambda"] = EV_ANGSTROM / energy

    def _absorption(self, flag: str, arguments: _Arguments) -> None:
        value = arguments.text(flag)
        depth = math.inf if value.startswith("inf") else arguments.converted(flag, value, float)
        if depth in (0.0, math.inf):
            self.flags.values["detector_thick"] = 0.0
            self.flags.values.pop("detector_abs", None)
        else:
            self.flags.values["detector_abs"] = depth


class _Arguments:
    """Walks over the command line."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._rest = list(argv)

    def next_flag(self) -> str | None:
        if not self._rest:
            return None
        word = self._rest.pop(0)
        if len(word) < 2 or word[0] != "-" or not word[1].isalpha():
            raise FlagError(f"{word}: expected a flag")
        return word[1:]

    def text(self, flag: str) -> str:
        if not self._rest:
            raise FlagError(f"-{flag}: needs a value")
        return self._rest.pop(0)

    def number(self, flag: str, convert: type[int] | type[float]) -> Any:
        return self.converted(flag, self.text(flag), convert)

    @staticmethod
    def converted(flag: str, word: str, convert: type[int] | type[float]) -> Any:
        kind = "a whole number" if convert is int else "a number"
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (convert is int and value != int(value)):
            raise FlagError(f"-{flag}: expected {kind}, found {word}")
        return convert(value)


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
    return build_experiment(FlagReader().read(argv), folder or Path.cwd())


def build_experiment(flags: Flags, folder: Path) -> Experiment:
    """Apply nanoBragg's rules to collected flags; see `experiment_from_flags`."""
    get = flags.get
    phi_range, phi_steps = _range_and_steps("osc", get("osc"), get("phistep"), get("phisteps"))
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
        "detector": _detector(flags),
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
    return validate(content)


def _file(name: str, folder: Path) -> Path:
    return folder / Path(name).expanduser()


def _range_and_steps(
    name: str, extent: float | None, step: float | None, count: int | None, wide: bool = False
) -> tuple[float, int]:
    """Range and number of steps from what was given of range, step and count (nanoBragg's automatic steps).

    Where a grid includes both ends (`wide`), a count and a step make the range step (count - 1), else step count.
    """
    extent, step, count = extent or None, step or None, count or None
    for what, value in (("range", extent if name != "osc" else None), ("step", step), ("count", count)):
        if value is not None and value < 0:
            raise FlagError(f"-{name}: a {what} of {value:g} is negative")
    if extent is None and step is None:
        return 0.0, count or 1
    if extent is None:
        assert step is not None
        if count is None:
            return step, 2
        return step * (max(count - 1, 1) if wide else count), count
    if count is not None:
        return extent, count
    return extent, 2 if step is None else max(1, math.ceil(abs(extent) / step))


def _beam(flags: Flags, folder: Path) -> dict[str, Any]:
    get = flags.get
    beam: dict[str, Any] = {
        "wavelength_A": get("lambda", 1.0),
        "polarization_factor": get("polar", 0.0),
        "polarization_vector": get("polar_vector"),
        "direction": get("beam_vector"),
    }
    if get("flux"):
        beam["flux_photons_per_s"] = get("flux")
        beam["exposure_s"] = get("exposure", 1.0)
        beam["beam_size_mm"] = get("beamsize", 0.1)
    elif get("fluence") is not None:
        beam["fluence_photons_per_m2"] = get("fluence")
    if get("sourcefile"):
        beam["source_file"] = _file(get("sourcefile"), folder)
        return beam
    horizontal, horizontal_steps = _range_and_steps(
        "hdivrange", get("hdivrange"), get("hdivstep"), get("hdivsteps"), wide=True
    )
    vertical, vertical_steps = _range_and_steps(
        "vdivrange", get("vdivrange"), get("vdivstep"), get("vdivsteps"), wide=True
    )
    percent, steps = _range_and_steps("dispersion", get("dispersion"), None, get("dispsteps"), wide=True)
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
        "misset_deg": get("misset", (0.0, 0.0, 0.0)),
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
        crystal["matrix_file"] = _file(get("mat"), folder)
    elif get("cell"):
        crystal["cell"] = get("cell")
    else:
        raise FlagError("-cell or -mat: one of them is needed")
    sizes = [get(f"sample_{axis}") for axis in "xyz"]
    if any(sizes):
        crystal["size_mm"] = sizes
        if not all(sizes):
            raise FlagError("-sample_x -sample_y -sample_z: all three sizes are needed, above 0")
    else:
        crystal["N_cells"] = tuple(max(1, get(name, 1)) for name in ("Na", "Nb", "Nc"))
    return crystal


def _structure_factors(flags: Flags, folder: Path) -> dict[str, Any]:
    default_F = flags.get("default_F", 0.0)
    if flags.get("hkl"):
        return {"kind": "file", "file": _file(flags.get("hkl"), folder), "default_F": default_F}
    if default_F == 0:
        raise FlagError("-hkl or -default_F: one of them is needed")
    return {"kind": "uniform", "F": default_F}


def _detector(flags: Flags) -> dict[str, Any]:
    get = flags.get
    convention: Any = flags.convention
    pixel = get("pixel", 0.1)
    if pixel <= 0:
        raise FlagError(f"-pixel: expected mm above 0, found {pixel:g}")
    counts = {}
    for axis in "fs":
        count, size = get(f"detpixels_{axis}"), get(f"detsize_{axis}")
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
            f"{axis}_axis": get(f"{letter}det_vector")
            for axis, letter in zip(("fast", "slow", "normal"), "fso", strict=True)
        }
        panel["normal_axis"] = get("odet_vector", CONVENTIONS["custom"].normal)
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
    thickness, layers = _range_and_steps("detector_thick", flags.get("detector_thick"), None, flags.get("thicksteps"))
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
