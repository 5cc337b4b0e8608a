"""Experiments out of the files of other programs: a commented experiment file of what a `Description` says.

Vectors stay in the frame of the program that wrote the file; numbers are written so that they are read back to the last bit. What no file
says (how strong the beam is, how large the crystal, and amplitudes where none are given) has the values of `nbdist init`, and a comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nbdist.errors import NbdistError
from nbdist.experiment.detector import Convention, published_modules
from nbdist.experiment.lattice import Cell, cell_from_real
from nbdist.experiment.materials import ATTENUATION
from nbdist.experiment.named_detectors import NAMED_DETECTORS
from nbdist.experiment.readout import LARGEST_READING
from nbdist.experiment.space_groups import may_be
from nbdist.formats.description import Description, Frame
from nbdist.formats.models import P1, Array, Crystal, Models, Panel

AXES: dict[Frame, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "dxtbx": ((1, 0, 0), (0, -1, 0)),
    "xds": ((1, 0, 0), (0, 1, 0)),
}
"""Fast and slow of the convention of a frame; a detector with others is in convention custom."""
LYSOZYME_CELL = (79.1, 79.1, 37.9, 90.0, 90.0, 90.0)
GUESSED_MOSAICITY_DEG = 0.1
GUESSED_SIZE_UM = 1.0
"""Side of a block; its spots are no wider than a mosaicity of 0.01 degrees makes them, at 2 Angstrom."""
GUESSED_FLUENCE = 2.7e25
GUESSED_BEAM_MM, GUESSED_EXPOSURE_S = 0.1, 1.0
GUESSED_WILSON = {"mean_F2": 2.0e5, "B_factor_A2": 20.0, "seed": 1}
OTHER_SETTING, OTHER_SETTING_DEG = 0.05, 5.0
"""Between the cells of a crystal and of its amplitudes, above which these have other indices: share of an axis, and degrees."""
PIXEL_TOLERANCE_MM = 1e-6
"""Between the pixels of a detector and of one by name, within which they are the same."""
SENSOR_LAYER_PIXELS = 2
"""Thickness of a layer of the sensor at most, as of detectors by name: a ray at 45 degrees moves by so many pixels in one."""
THINNEST_SENSOR_UM = 1.0
"""At this thickness or below, a sensor stands for none in a format that must have one, as NXmx."""

_Commented = tuple[tuple[str, ...], dict[str, Any]]
"""The comments above a section, and the section by its name."""


@dataclass(frozen=True, eq=False)
class Draft:
    """An experiment file in the making.

    Attributes
    ----------
    sections
        Sections with their fields, each with the comments above it.
    remarks
        What was not carried over, and what had to be assumed.
    masks
        Dead pixels, bool, by the name of the file beside the experiment that is to hold them: (slow, fast) of a panel, or of panels of one
        size (panel, slow, fast).
    """

    sections: tuple[_Commented, ...]
    remarks: tuple[str, ...]
    masks: dict[str, NDArray[np.bool_]]

    @property
    def content(self) -> dict[str, Any]:
        """Sections by name, as an experiment file has them."""
        return {name: fields for _, section in self.sections for name, fields in section.items()}

    def yaml(self, source: str) -> str:
        """The file; `source` says of what it was made."""
        notes = [f"# Made from {source}. Units are in the field names; `nbdist init` shows all fields."]
        notes += [f"# note: {remark}" for remark in self.remarks]
        parts = ["\n".join(notes)]
        for comments, section in self.sections:
            text = yaml.safe_dump(section, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
            parts.append("".join(f"# {comment}\n" for comment in comments) + text.rstrip())
        return "\n\n".join(parts) + "\n"


def draft(
    description: Description,
    *,
    reflections: str | None = None,
    space_group: str | None = None,
    cell: tuple[float, ...] | None = None,
    stem: str = "",
) -> Draft:
    """An experiment file of a description.

    Parameters
    ----------
    reflections
        File of amplitudes, as the experiment file is to name it; a random set stands for them where there is none.
    space_group
        The one that this file names. It is left to the file: models of a crystal often have that of its lattice.
    cell
        Of the crystal, Angstrom and degrees, where the description has no orientation.
    stem
        Beginning of the names of masks.
    """
    remarks = list(description.remarks)
    crystals = [*_crystals(description, cell, space_group, remarks)]
    models = description.models
    sections = (
        _beam(models, remarks),
        _lattices(crystals),
        _scan(models),
        _detector(description, stem, remarks),
        _structure_factors(models, reflections, remarks),
        ((), {"sampling": {"method": "integrated"}}),
        *_readout(models),
    )
    return Draft(sections, tuple(remarks), _masks(models.panels, stem))


def remarks_of_cells(crystals: Sequence[Crystal], cell: Sequence[float], file: str) -> list[str]:
    """Which crystals have another cell than a file of amplitudes, though one so near that their indices are the same.

    Parameters
    ----------
    cell
        Of the amplitudes, Angstrom and degrees.
    file
        Name of theirs.

    Raises
    ------
    NbdistError
        If a cell is so far off that the crystal is indexed in another way: its reflections would have the amplitudes of others.
    """
    theirs, remarks = Cell(*cell), []
    for found in (cell_from_real(crystal.real_vectors_A) for crystal in crystals):
        if theirs.is_meant_by(found):
            continue
        remark = f"--reflections: {file} is of a cell of {theirs}, a crystal of one of {found}"
        axes, angles_deg = theirs.apart_from(found)
        if axes > OTHER_SETTING or angles_deg > OTHER_SETTING_DEG:
            raise NbdistError(f"{remark}; index one as the other is (dials.reindex)")
        remarks.append(remark)
    return list(dict.fromkeys(remarks))


def _beam(models: Models, remarks: list[str]) -> _Commented:
    beam = models.beam
    fields: dict[str, Any] = {
        "wavelength_A": beam.wavelength_A,
        "direction": _numbers(beam.travels),
        "polarization_factor": min(1.0, max(-1.0, 2 * beam.polarization_fraction - 1)),
        "polarization_vector": _numbers(np.cross(beam.polarization_normal, beam.travels)),
    }
    comments = [
        f"polarization_factor is 2 x {beam.polarization_fraction:g} - 1, of the fraction in the plane of its vector"
    ]
    if beam.flux_photons_per_s:
        fields["flux_photons_per_s"] = beam.flux_photons_per_s
        fields["exposure_s"] = models.scan.exposure_s or GUESSED_EXPOSURE_S
        fields["beam_size_mm"] = beam.size_mm or GUESSED_BEAM_MM
        for field, known in (("exposure_s", models.scan.exposure_s), ("beam_size_mm", beam.size_mm)):
            if not known:
                remarks.append(f"beam.{field}: not known; {fields[field]:g} is a guess, which scales the images")
    else:
        fields["fluence_photons_per_m2"] = GUESSED_FLUENCE
        remarks.append(
            f"beam.fluence_photons_per_m2: not known; {GUESSED_FLUENCE:g} is a guess, which scales the images"
        )
    return tuple(comments), {"beam": fields}


def _crystals(
    description: Description, cell: tuple[float, ...] | None, of_amplitudes: str | None, remarks: list[str]
) -> Iterator[dict[str, Any]]:
    """Fields of each crystal; one in the usual setting where no orientation is known."""
    crystals = description.models.crystals
    sizes_um = description.sizes_um or (None,) * len(crystals)
    known: list[tuple[dict[str, Any], str | None, float | None, float | None]] = [
        ({"real_vectors_A": [_numbers(row) for row in crystal.real_vectors_A]}, crystal.hall, mosaicity_deg, size_um)
        for crystal, mosaicity_deg, size_um in zip(crystals, description.mosaicities_deg, sizes_um, strict=True)
    ]
    if known and cell is not None:
        remarks.append("--cell is left out: the file has a crystal")
    if not known:
        given = cell or description.cell
        if given is None:
            remarks.append(
                "crystal: THE FILE HAS NONE; a cell of lysozyme stands in its place: put cell (or --cell) and misset_deg of yours"
            )
        else:
            remarks.append("crystal.misset_deg: the orientation is not known; 0 0 0 is no better than another")
        fields = {"cell": [*map(float, given or LYSOZYME_CELL)], "misset_deg": [0.0, 0.0, 0.0]}
        known = [(fields, description.hall, description.mosaicity_deg, None)]
    if any(mosaicity_deg is None for *_, mosaicity_deg, _ in known):
        remarks.append(f"crystal.mosaicity: not known; {GUESSED_MOSAICITY_DEG} degrees is a guess")
    if any(size_um is None for *_, size_um in known):
        remarks.append(
            f"crystal.size_um, of a block: not known; {GUESSED_SIZE_UM:g} um is a guess, which widens no spot by as much as the mosaicity"
        )
    for fields, hall, mosaicity_deg, size_um in known:
        sigma_deg = GUESSED_MOSAICITY_DEG if mosaicity_deg is None else mosaicity_deg
        group = None if hall is None or hall.strip() == P1.strip() else _space_group(hall, remarks)
        if (
            group is not None
            and of_amplitudes is not None
            and (group == of_amplitudes or not may_be(of_amplitudes, group))
        ):
            remark = f"crystal.space_group: that of the reflections is taken, {of_amplitudes}; the models say {group}"
            if group != of_amplitudes and remark not in remarks:
                remarks.append(remark)
            group = None
        yield {
            **fields,
            **({} if group is None else {"space_group": group}),
            "size_um": size_um or GUESSED_SIZE_UM,
            "shape": "gauss",
            "mosaicity": {"sigma_deg": sigma_deg},
        }


def _space_group(hall: str, remarks: list[str]) -> str | None:
    """Hermann-Mauguin symbol of a space group by its Hall symbol."""
    import gemmi

    try:
        group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
    except (RuntimeError, ValueError):
        group = None
    if group is None:
        remarks.append(
            f"crystal.space_group: of the Hall symbol '{hall}' there is none in gemmi's table; P 1 stands in its place"
        )
        return None
    return group.xhm()


def _lattices(crystals: list[dict[str, Any]]) -> _Commented:
    comments = [
        "mosaicity: sigma_deg is sigma_M of Kabsch's profiles, the rms rotation of blocks about any axis",
        "size_um: of a block, which widens spots by as little as it is large",
    ]
    if "real_vectors_A" in crystals[0]:
        comments.insert(0, "real_vectors_A: rows a, b, c at phi 0")
    return tuple(comments), {"crystal": crystals[0]} if len(crystals) == 1 else {"crystals": crystals}


def _scan(models: Models) -> _Commented:
    scan = models.scan
    fields = {
        "frames": scan.frames,
        "phi_start_deg": scan.start_deg,
        "osc_range_deg": scan.osc_deg,
        "spindle_axis": _numbers(models.axis),
    }
    return (f"frame 0 is image {scan.first_frame + 1}",), {"scan": fields}


def _detector(description: Description, stem: str, remarks: list[str]) -> _Commented:
    panels, axes = [panel.at_right_angles() for panel in description.models.panels], AXES[description.frame]
    usual = all(np.array_equal(panel.fast, axes[0]) and np.array_equal(panel.slow, axes[1]) for panel in panels)
    convention: Convention = description.frame if usual else "custom"
    sensors = [_sensor(panel, remarks) for panel in panels]
    alike = all(sensor == sensors[0] for sensor in sensors)
    fields: dict[str, Any] = {"convention": convention}
    if alike and sensors[0] is not None:
        fields["sensor"] = sensors[0]
    masks = _masks(panels, stem)
    if _mask_name(stem) in masks:
        fields["mask_file"] = _mask_name(stem)
    fields["panels"] = [
        {
            "spixels": panel.shape[0],
            "fpixels": panel.shape[1],
            "pixel_size_mm": panel.pixel_mm,
            "origin_mm": _numbers(panel.origin_mm),
            **({} if usual else {"fast_axis": _numbers(panel.fast), "slow_axis": _numbers(panel.slow)}),
            **({} if alike or sensor is None else {"sensor": sensor}),
            **(
                {"dead_rectangles_pixels": [list(gap) for gap in panel.gaps]}
                if panel.gaps
                else _modules(panel, remarks)
            ),
            **({"mask_file": of_a_panel} if (of_a_panel := _mask_name(stem, number)) in masks else {}),
        }
        for number, (panel, sensor) in enumerate(zip(panels, sensors, strict=True))
    ]
    program = {"dxtbx": "DIALS (dxtbx)", "xds": "XDS, as its files have it"}[description.frame]
    return (f"the frame of {program}; origin_mm: outer corner of the first pixel",), {"detector": fields}


def _modules(panel: Panel, remarks: list[str]) -> dict[str, Any]:
    """The modules of a detector by name of just this size, where nothing is known of gaps; none where such detectors differ in them."""
    if not panel.usable.all():
        return {}
    alike = [
        its
        for its in NAMED_DETECTORS.values()
        if its.shape == panel.shape and abs(its.pixel_mm * its.binning - panel.pixel_mm) < PIXEL_TOLERANCE_MM
    ]
    found = [modules.content() for its in alike if (modules := published_modules(its)) is not None]
    if not found or len(found) < len(alike) or any(modules != found[0] for modules in found):
        return {}
    remarks.append(f"detector.panels: no gaps are told; those of {alike[0].name} are taken, which has this size")
    return {"modules": found[0]}


def _masks(panels: Sequence[Panel], stem: str) -> dict[str, NDArray[np.bool_]]:
    """Dead pixels by the names of files: one of all panels where they are of one size."""
    if len({panel.shape for panel in panels}) > 1:
        return {
            _mask_name(stem, number): ~panel.usable for number, panel in enumerate(panels) if not panel.usable.all()
        }
    dead = np.stack([~panel.usable for panel in panels])
    return {_mask_name(stem): dead if len(panels) > 1 else dead[0]} if dead.any() else {}


def _mask_name(stem: str, number: int | None = None) -> str:
    """Name of the file with the mask of a panel by its number, or of all."""
    return f"{stem}.mask.npy" if number is None else f"{stem}.panel{number}.mask.npy"


def _sensor(panel: Panel, remarks: list[str]) -> dict[str, Any] | None:
    thickness_um = 1e3 * panel.thickness_mm
    if thickness_um <= 0:
        return None
    remark = None
    fields: dict[str, Any] = {"thickness_um": thickness_um}
    if thickness_um <= THINNEST_SENSOR_UM:
        remark = f"detector.sensor: {thickness_um:g} um are left out: so thin a one stands for none, and every photon is counted"
    elif panel.attenuation_per_mm > 0:
        fields["attenuation_depth_um"] = 1e3 / panel.attenuation_per_mm
    elif panel.material in ATTENUATION:
        fields["material"] = panel.material
    else:
        remark = (
            f"detector.sensor: {panel.thickness_mm:g} mm of {panel.material or 'a material that is not named'} are left out: "
            f"how they attenuate is not known; material may be {', '.join(ATTENUATION)}"
        )
    if remark is not None:
        if remark not in remarks:
            remarks.append(remark)
        return None
    return {**fields, "layers": max(1, int(np.ceil(panel.thickness_mm / (SENSOR_LAYER_PIXELS * panel.pixel_mm))))}


def _structure_factors(models: Models, reflections: str | None, remarks: list[str]) -> _Commented:
    if reflections is not None:
        return (), {"structure_factors": {"kind": "file", "file": reflections}}
    remarks.append("structure_factors: none are given; a random set stands in their place (--reflections FILE)")
    return (), {"structure_factors": {"kind": "wilson", "d_min_A": _finest_A(models), **GUESSED_WILSON}}


def _finest_A(models: Models) -> float:
    """Resolution of the furthest corner of the detector, rounded down to 0.01 Angstrom."""
    finest = np.inf
    for panel in models.panels:
        for slow, fast in ((0, 0), (0, 1), (1, 0), (1, 1)):
            place = panel.origin_mm + panel.pixel_mm * (
                fast * panel.shape[1] * panel.fast + slow * panel.shape[0] * panel.slow
            )
            across = np.linalg.norm(place / np.linalg.norm(place) - models.beam.travels)
            finest = min(finest, models.beam.wavelength_A / max(float(across), 1e-9))
    return max(0.01, float(np.floor(100 * finest)) / 100)


def _readout(models: Models) -> Iterator[_Commented]:
    yield (), {"noise": {"photon_noise": True, "seed": 1}}
    fields: dict[str, Any] = {}
    if models.gain != 1:
        fields["electrons_per_photon"] = models.gain
    if models.pedestal > 0:
        fields["offset_adu"] = models.pedestal
    highest = models.trusted[1]
    if 0 < highest < LARGEST_READING["int32"] - 1:
        fields["saturation_adu"] = highest + 1
    if fields:
        yield (f"readings up to {highest} are trusted",) if "saturation_adu" in fields else (), {"readout": fields}


def _numbers(vector: Array) -> list[float]:
    return [float(number) + 0.0 for number in vector]  # a 0 below 0 is one
