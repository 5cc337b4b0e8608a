"""The models of a scene for programs that process its images, in dxtbx's laboratory frame: all that leaves nbdist for them is made here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.detector import Panel as PanelFields
from nbdist.experiment.detector import Sensor
from nbdist.experiment.lattice import axis_rotation, cell_from_real
from nbdist.experiment.space_groups import space_group
from nbdist.formats.models import LARGEST_SLANT, Beam, Crystal, Models, Panel, Scan
from nbdist.formats.models import P1 as HALL_P1
from nbdist.scene.panels import PanelGeometry, unit
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice

Array = NDArray[np.float64]
ALONG = 1e-3
"""Sine of the angle to the beam below which a vector gives no direction across it."""
COMPATIBLE = 1e-3
"""What a cell may differ by, relative, from one of its space group."""
TRAVELS = np.array([0.0, 0.0, -1.0])
"""The way of the beam in dxtbx's frame."""
LARGEST_VALUE = 2**31 - 1
"""No pixel has more counts where they leave nbdist: they are int32 there."""


def laboratory_rotation(scene: Scene) -> Array:
    """The rotation (3, 3) that takes vectors of nbdist's laboratory, whatever its convention, into dxtbx's.

    The beam then travels along -z, and the axis about which the crystals turn forwards lies along x, or has its part across the beam there.
    Where it runs along the beam, x is along the part of the polarization vector.
    """
    beam = scene.instrument.beam_direction
    x = _across(beam, _forward_axis(scene), scene.instrument.polarization_vector)
    return np.stack([x, np.cross(-beam, x), -beam])


def models_of(scene: Scene, frames: range) -> Models:
    """The models of consecutive frames of a scene.

    Of stills the crystals are given as they stand, of a rotation at a phi of 0. An oscillation below 0 is one about the opposite axis:
    dxtbx turns forwards alone.

    Raises
    ------
    ExperimentError
        If a panel is curved, or its axes are not at right angles: the programs have no model of it.
    """
    experiment, instrument, scan = scene.experiment, scene.instrument, scene.experiment.scan
    turn = laboratory_rotation(scene)
    still, sense = scan.osc_range_deg == 0, _sense(scene)
    start_deg, K = scan.frame_start_deg(frames.start), instrument.polarization_factor or 0.0
    at = axis_rotation(scene.spindle_axis, np.deg2rad(start_deg)) if still else np.eye(3)
    detector, shown = experiment.detector, experiment.beam
    beam = Beam(
        travels=TRAVELS,
        wavelength_A=shown.mean_wavelength_A,
        polarization_normal=_normal(TRAVELS, turn @ instrument.polarization_vector),
        polarization_fraction=(1 + K) / 2,
        flux_photons_per_s=shown.flux_photons_per_s,
        size_mm=None if shown.flux_photons_per_s is None else 1e3 * shown.size_m,
    )
    held = min(experiment.saturation_adu - (not experiment.readout.rolls_over), LARGEST_VALUE - 1)
    return Models(
        beam=beam,
        panels=tuple(
            _panel(detector.panel_field(number), number, panel, fields, fields.sensor or detector.sensor, turn)
            for number, (panel, fields) in enumerate(zip(instrument.panels, detector.each_panel, strict=True))
        ),
        axis=turn @ _forward_axis(scene),
        scan=Scan(
            frames.start,
            len(frames),
            sense * start_deg,
            sense * scan.osc_range_deg,
            shown.seconds_a_frame or 0.0,
        ),
        crystals=tuple(
            Crystal(lattice.real_vectors_A @ at.T @ turn.T, _hall(lattice)) for lattice in scene.specimen.lattices
        ),
        trusted=(0, held if experiment.writes_counts else LARGEST_VALUE),
        gain=experiment.readout.adu_per_photon if experiment.writes_counts else 1.0,
        pedestal=experiment.readout.offset_adu if experiment.writes_counts else 0.0,
    )


def _hall(lattice: Lattice) -> str:
    """Hall symbol of the space group of its amplitudes; of P1 where its cell is none of that group, which programs would make it."""
    import gemmi

    found = cell_from_real(lattice.real_vectors_A)
    group = space_group(lattice.space_group, found)
    if not gemmi.UnitCell(*found).is_compatible_with_spacegroup(group, COMPATIBLE):
        return HALL_P1
    return f" {group.hall}"


def _sense(scene: Scene) -> float:
    return -1.0 if scene.experiment.scan.osc_range_deg < 0 else 1.0


def _forward_axis(scene: Scene) -> Array:
    """The axis about which the crystals turn forwards as frames go on."""
    return np.asarray(_sense(scene) * scene.spindle_axis)


def _across(beam: Array, *wanted: Array) -> Array:
    """Unit vector across the beam, along the part of the first vector that has one; of any where none has."""
    parts = (vector - (vector @ beam) * beam for vector in (*wanted, *np.eye(3)))
    return unit(next(part for part in parts if np.linalg.norm(part) > ALONG))


def _normal(beam: Array, polarization: Array) -> Array:
    """Normal of the plane of the beam and its E vector, of the two the one that is along +y rather than -y, or along +x.

    Of any plane with the beam, where the vector lies along it.
    """
    normal = np.cross(beam, _across(beam, polarization))
    return np.asarray(-normal if (normal[1], normal[0]) < (0, 0) else normal) + 0.0  # no -0


def _panel(
    field: str, number: int, panel: PanelGeometry, fields: PanelFields, sensor: Sensor | None, turn: Array
) -> Panel:
    if panel.curved:
        raise ExperimentError(f"{field} is curved, and DIALS has flat panels only")
    found = Panel(
        name=f"panel {number}",
        origin_mm=1e3 * turn @ panel.origin_m,
        fast=turn @ panel.fast,
        slow=turn @ panel.slow,
        shape=panel.shape,
        pixel_mm=1e3 * panel.pixel_m,
        thickness_mm=1e3 * panel.layer_thickness_m * panel.layers,
        attenuation_per_mm=1e-3 * panel.attenuation_per_m,
        gaps=fields.gaps,
        material="" if sensor is None else sensor.material or "",
        usable=panel.usable,
    )
    if found.slant > LARGEST_SLANT:
        angle = np.rad2deg(np.arccos(found.slant))
        raise ExperimentError(f"{field}: fast and slow are {angle:.6g} degrees apart, and DIALS' are 90")
    return found.at_right_angles()
