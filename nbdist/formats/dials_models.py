"""Reads DIALS' models of an experiment, `.expt`: the way back from `dials_experiments`, of what any program of DIALS writes.

A crystal's vectors are those at a rotation of 0 before the goniometer: at phi it is at S R(phi) F A, with the fixed rotation F and the
setting rotation S. So the spindle is S times the rotation axis, and the vectors at phi 0 are S F A. Of several axes, those before the one
that turns are F, those after it S (dxtbx, multi_axis_goniometer.h). Without a goniometer, a scan or an oscillation it is a still, and the
vectors are A, whatever else of these there is. A panel is given in the frame of its group, and that in its own.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nbdist.errors import FileFormatError
from nbdist.formats.description import UNKNOWN_POLARIZATION, Description, all_usable, rotation, square_side, unit_vector
from nbdist.formats.models import P1, Array, Beam, Crystal, Models, Panel, Scan
from nbdist.formats.text import parsed_json, read_text

WHAT = "DIALS' models"
SHARED = ("beam", "detector", "goniometer", "scan", "imageset")
"""Models that the crystals of one exposure have in common."""
IMAGE_FILES = ("mask", "gain", "pedestal", "dx", "dy")
"""Fields of an imageset that name files of DIALS with a value a pixel."""
NO_GAIN = (("gain", "pedestal"), (1.0, 0.0))
"""Fields of a panel, and what they are where it has none."""
NARROWEST_DEG = 1e-7
"""Oscillation below which dxtbx has a still."""


def read_dials_models(path: Path, experiment: int | None = None) -> Description:
    """Read an `.expt` file, in dxtbx's frame.

    Parameters
    ----------
    experiment
        Which of several sweeps or stills: the number, from 0, of any experiment of it. Experiments that share all models but the crystal
        are lattices of one.

    Raises
    ------
    FileFormatError
        If the file is no list of experiments, holds several sweeps of which none is chosen, or a model is missing or malformed.
    """
    if path.suffix == ".refl":
        raise FileFormatError(f"{WHAT} {path}: is a table of reflections; name the models beside it, {path.stem}.expt")
    text = read_text(path, WHAT)
    try:
        content = parsed_json(text)
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith("{"):
            raise FileFormatError(
                f"{WHAT} {path}: is no list of experiments (.expt, which is JSON); from-xds reads files of XDS, from-image those of images"
            ) from None
        raise FileFormatError(f"{WHAT} {path}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise FileFormatError(f"{WHAT} {path}: {error}") from None
    everything = _Model(path, "", content)
    if not isinstance(content, dict) or content.get("__id__") != "ExperimentList":
        raise FileFormatError(f"{WHAT} {path}: is no list of experiments (__id__: ExperimentList)")
    chosen = _chosen(everything, experiment)
    remarks: list[str] = []
    shared = {name: everything.referred(chosen[0], name) for name in SHARED}
    beam, detector = shared["beam"], shared["detector"]
    if beam is None or detector is None or not detector.content.get("panels"):
        raise everything.wrong("experiment", f"has no {'beam' if beam is None else 'panel'}")
    setting, fixed, axis = _goniometer(shared["goniometer"], remarks)
    scan, turn = _scan(shared["scan"]), setting @ fixed
    if shared["goniometer"] is None or abs(scan.osc_deg) < NARROWEST_DEG:
        if scan.start_deg or scan.osc_deg or not np.array_equal(turn, np.eye(3)):
            remarks.append(
                "a still: its crystals are as they are given, whatever its scan and goniometer say, as DIALS has it"
            )
        scan, turn = scan._replace(start_deg=0.0, osc_deg=0.0), np.eye(3)
    for name in IMAGE_FILES:
        if shared["imageset"] is not None and shared["imageset"].has(name):
            remarks.append(f"imageset.{name} {shared['imageset'].content[name]} is not carried over")
    crystals, mosaicities, sizes = [], [], []
    for each in chosen:
        crystal = everything.referred(each, "crystal")
        if crystal is not None:
            crystals.append(_crystal(crystal, turn, remarks))
            mosaicities.append(_mosaicity(crystal, everything.referred(each, "profile"), remarks))
            sizes.append(1e-4 * crystal.above_0("ML_domain_size_ang") or None)
    panels = [*detector.each("panels")]
    readings = [(*panel.numbers("trusted_range", 2, (0, 0)), *map(panel.number, *NO_GAIN)) for panel in panels]
    if len(set(readings)) > 1:
        remarks.append("trusted_range, gain or pedestal of the panels differ; those of the first one are taken for all")
    lowest, highest, gain, pedestal = readings[0]
    return Description(
        frame="dxtbx",
        models=Models(
            beam=_beam(beam, remarks),
            panels=tuple(_panels(detector, panels)),
            axis=unit_vector(setting @ axis),
            scan=scan,
            crystals=tuple(crystals),
            trusted=(math.ceil(lowest), math.floor(highest)),
            gain=gain or 1.0,
            pedestal=pedestal,
        ),
        mosaicities_deg=tuple(mosaicities),
        sizes_um=tuple(sizes),
        remarks=tuple(dict.fromkeys(remarks)),
    )


class _Model:
    """A JSON object with its place in the file, for what is said where it is wrong."""

    def __init__(self, path: Path, place: str, content: Any) -> None:
        self.path, self.place, self.content = path, place, content
        if not isinstance(content, dict):
            raise self.wrong("", f"should be an object, found {json.dumps(content)[:40]}")

    def wrong(self, name: str, what: str) -> FileFormatError:
        place = ".".join(part for part in (self.place, name) if part)
        return FileFormatError(f"{WHAT} {self.path}: {place or 'the document'} {what}")

    def each(self, name: str) -> Iterator[_Model]:
        found = self.content.get(name, [])
        if not isinstance(found, list):
            raise self.wrong(name, "should be a list")
        for number, item in enumerate(found):
            yield _Model(self.path, f"{self.place}.{name}.{number}".lstrip("."), item)

    def referred(self, experiment: _Model, name: str) -> _Model | None:
        """The model that an experiment names by its number, if it does."""
        number, models = experiment.content.get(name), [*self.each(name)]
        if number is None:
            return None
        if not isinstance(number, int) or not 0 <= number < len(models):
            raise experiment.wrong(name, f"should be one of {len(models)} models, found {number}")
        return models[number]

    def has(self, name: str) -> bool:
        return self.content.get(name) is not None

    def numbers(self, name: str, count: int, default: Sequence[float] | None = None) -> Array:
        value = self.content.get(name, default)
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (count,) or not np.isfinite(array).all():
            raise self.wrong(name, f"should be {count} numbers, found {json.dumps(value)[:60]}")
        return array

    def unit(self, name: str, default: Sequence[float] | None = None) -> Array:
        try:
            return unit_vector(self.numbers(name, 3, default))
        except ValueError as error:
            raise self.wrong(name, str(error)) from None

    def matrix(self, name: str) -> Array:
        return self.numbers(name, 9, np.eye(3).ravel().tolist()).reshape(3, 3)

    def number(self, name: str, default: float | None = None) -> float:
        value = self.content.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.wrong(name, f"should be a number, found {json.dumps(value)[:60]}")
        return float(value)

    def above_0(self, name: str) -> float:
        """A number that means something above 0; 0 where it is not there or below."""
        return max(0.0, self.number(name)) if self.has(name) else 0.0


def _chosen(everything: _Model, experiment: int | None) -> list[_Model]:
    """The experiments that share all models but the crystal: the only such, or those of the one that is named."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    experiments = [*everything.each("experiment")]
    for number, each in enumerate(experiments):
        groups[tuple(str(each.content.get(name)) for name in SHARED)].append(number)
    if not experiments:
        raise everything.wrong("experiment", "is empty")
    if experiment is None and len(groups) > 1:
        firsts = [numbers[0] for numbers in groups.values()]
        shown = ", ".join(map(str, firsts[:8])) + (" ..." if len(firsts) > 8 else "")
        raise everything.wrong(
            "experiment", f"has {len(groups)} sweeps or stills; choose one by its experiment: {shown}"
        )
    if experiment is not None and not 0 <= experiment < len(experiments):
        raise everything.wrong("experiment", f"has {len(experiments)} of them, from 0; {experiment} is none")
    wanted = experiment or 0
    return [experiments[number] for numbers in groups.values() if wanted in numbers for number in numbers]


def _beam(model: _Model, remarks: list[str]) -> Beam:
    if model.has("wavelength_range"):
        raise model.wrong("wavelength_range", "is of a polychromatic beam, whose spectrum the file does not hold")
    if model.content.get("probe", "x-ray") != "x-ray":
        remarks.append(
            f"beam.probe {model.content['probe']} is left out; of electrons, structure_factors say scattering: electrons"
        )
    if model.has("s0_at_scan_points"):
        remarks.append("the beam moves during the scan; its mean direction is taken")
    for name in ("divergence", "sigma_divergence"):
        if model.number(name, 0.0):
            remarks.append(
                f"beam.{name} {model.number(name):g} degrees is left out: it is the width of spots, which has other causes, too"
            )
    if model.number("transmission", 1.0) != 1:
        remarks.append(f"beam.transmission {model.number('transmission'):g} is left out: a flux is that on the crystal")
    return Beam(
        travels=-model.unit("direction"),
        wavelength_A=model.number("wavelength"),
        polarization_normal=model.unit("polarization_normal", UNKNOWN_POLARIZATION[0]),
        polarization_fraction=model.number("polarization_fraction", UNKNOWN_POLARIZATION[1]),
        flux_photons_per_s=model.number("flux", 0.0) or None,
    )


def _goniometer(model: _Model | None, remarks: list[str]) -> tuple[Array, Array, Array]:
    """Setting rotation, fixed rotation, and the axis between them."""
    if model is None:
        return np.eye(3), np.eye(3), np.array([1.0, 0.0, 0.0])
    if model.has("setting_rotation_at_scan_points"):
        remarks.append("the goniometer's setting changes during the scan; its mean is taken")
    if not model.has("axes"):
        return model.matrix("setting_rotation"), model.matrix("fixed_rotation"), model.unit("rotation_axis")
    axes, scan_axis = model.content["axes"], int(model.number("scan_axis"))
    if not isinstance(axes, list) or not 0 <= scan_axis < len(axes):
        raise model.wrong("scan_axis", f"should be one of the axes, found {scan_axis}")
    angles = np.deg2rad(model.numbers("angles", len(axes)))
    named = [_Model(model.path, f"{model.place}.axes", {str(number): axis}) for number, axis in enumerate(axes)]
    units = [each.unit(str(number)) for number, each in enumerate(named)]
    setting, fixed = np.eye(3), np.eye(3)
    for number, (axis, angle) in enumerate(zip(units, angles, strict=True)):
        if number < scan_axis:
            fixed = rotation(axis, angle) @ fixed
        elif number > scan_axis:
            setting = rotation(axis, angle) @ setting
    return setting, fixed, units[scan_axis]


def _scan(model: _Model | None) -> Scan:
    """The scan, of older files, and of newer ones, which have a property an image; a still where there is none."""
    if model is None:
        return Scan(0, 1, 0.0, 0.0)
    first, last = (int(number) for number in model.numbers("image_range", 2))
    if last < first:
        raise model.wrong("image_range", f"should rise, found {first} to {last}")
    properties = _Model(model.path, f"{model.place}.properties", model.content.get("properties", model.content))
    start, width = 0.0, 0.0
    if not model.has("properties"):
        start, width = model.numbers("oscillation", 2)
    elif properties.has("oscillation"):
        starts = properties.numbers("oscillation", last - first + 1)
        start, turns = starts[0], np.diff(starts)
        width = turns.mean() if len(turns) else properties.numbers("oscillation_width", 1)[0]
    exposures = properties.content.get("exposure_time") or [0.0]
    if isinstance(exposures, list):
        exposure_s = properties.numbers("exposure_time", len(exposures), exposures)[0]
    else:
        exposure_s = properties.number("exposure_time")
    return Scan(first - 1, last - first + 1, float(start), float(width), float(exposure_s))


def _panels(detector: _Model, panels: Sequence[_Model]) -> Iterator[Panel]:
    frames: dict[int, tuple[Array, Array]] = {}
    if detector.has("hierarchy"):
        _place(_Model(detector.path, f"{detector.place}.hierarchy", detector.content["hierarchy"]), _LAB, frames)
    for number, panel in enumerate(panels):
        axes, origin = _within(frames.get(number, _LAB), panel)
        try:
            side = square_side(*panel.numbers("pixel_size", 2))
        except ValueError as error:
            raise panel.wrong("pixel_size", str(error)) from None
        fpixels, spixels = (int(pixels) for pixels in panel.numbers("image_size", 2))
        yield Panel(
            name=str(panel.content.get("name") or f"panel {number}"),
            origin_mm=origin,
            fast=axes[:, 0],
            slow=axes[:, 1],
            shape=(spixels, fpixels),
            pixel_mm=float(side),
            thickness_mm=panel.number("thickness", 0.0),
            attenuation_per_mm=panel.number("mu", 0.0),
            gaps=tuple(_gaps(panel, fpixels, spixels)),
            material=str(panel.content.get("material") or ""),
            usable=all_usable((spixels, fpixels)),
        )


_LAB = (np.eye(3), np.zeros(3))


def _gaps(panel: _Model, fpixels: int, spixels: int) -> Iterator[tuple[int, int, int, int]]:
    """Its masked rectangles, as far as they lie within the panel."""
    rectangles = panel.content.get("mask") or []
    if not isinstance(rectangles, list):
        raise panel.wrong("mask", "should be a list of rectangles")
    for number, its in enumerate(rectangles):
        rectangle = _Model(panel.path, f"{panel.place}.mask", {str(number): its})
        fast0, slow0, fast1, slow1 = (int(pixel) for pixel in rectangle.numbers(str(number), 4))
        fast0, fast1 = max(fast0, 0), min(fast1, fpixels)
        slow0, slow1 = max(slow0, 0), min(slow1, spixels)
        if fast0 < fast1 and slow0 < slow1:
            yield fast0, fast1, slow0, slow1


def _within(group: tuple[Array, Array], model: _Model) -> tuple[Array, Array]:
    """Axes (columns fast, slow, normal) and origin in the laboratory, of a frame given within a group's."""
    fast, slow = model.unit("fast_axis"), model.unit("slow_axis")
    axes, origin = group
    return axes @ np.stack([fast, slow, np.cross(fast, slow)], axis=1), origin + axes @ model.numbers("origin", 3)


def _place(node: _Model, group: tuple[Array, Array], frames: dict[int, tuple[Array, Array]]) -> None:
    """Find the frame of the group of each panel below a node."""
    own = _within(group, node) if node.has("origin") else group
    for child in node.each("children"):
        if child.has("panel"):
            frames[int(child.number("panel"))] = own
        else:
            _place(child, own, frames)


def _crystal(crystal: _Model, turn: Array, remarks: list[str]) -> Crystal:
    axes = np.stack([crystal.numbers(f"real_space_{axis}", 3) for axis in "abc"])
    points = crystal.content.get("A_at_scan_points")
    if points:
        first = _Model(crystal.path, f"{crystal.place}.A_at_scan_points", {"0": points[0]})
        axes = np.asarray(np.linalg.inv(first.numbers("0", 9).reshape(3, 3)), dtype=np.float64)
        remarks.append("the crystal changes during the scan; its cell and orientation at the start are taken")
    return Crystal(axes @ turn.T, str(crystal.content.get("space_group_hall_symbol") or P1))


def _mosaicity(crystal: _Model, profile: _Model | None, remarks: list[str]) -> float | None:
    """The width of its reflections in rotation, rms in degrees: sigma_M of W. Kabsch, Acta Cryst. D66 (2010) 133.

    Of a still the half-width of N. K. Sauter et al., Acta Cryst. D70 (2014) 3299, is taken for that of a flat distribution. A width of 0
    or below is one that no program has set.
    """
    if profile is not None and isinstance(profile.content.get("sigma_m"), list):
        values = profile.numbers("sigma_m", len(profile.content["sigma_m"]))
        if len(values) and (mean_deg := float(np.mean(values))) > 0:
            remarks.append("sigma_m changes during the scan; its mean is taken")
            return mean_deg
    elif profile is not None and (sigma_deg := profile.above_0("sigma_m")):
        return sigma_deg
    half_deg = crystal.above_0("ML_half_mosaicity_deg")
    if half_deg:
        remarks.append(
            f"crystal.mosaicity: sigma_deg is ML_half_mosaicity_deg / sqrt(3), of a flat distribution {half_deg:g} degrees to either side"
        )
        return half_deg / math.sqrt(3)
    return crystal.above_0("mosaicity") or None
