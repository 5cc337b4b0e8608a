"""What follows from an experiment, in numbers: what `nbdist check --json` prints of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbdist.scene import Lattice, Scene
    from nbdist.scene.amplitudes import Reflections
    from nbdist.scene.completeness import Completeness


def scene_numbers(
    scene: Scene, reflections: Sequence[Reflections], held: Mapping[str, Completeness]
) -> dict[str, object]:
    """An experiment's numbers by section; those that need reflections with how complete the lists are, by the field of the crystal."""
    experiment, instrument = scene.experiment, scene.instrument
    beam, scan, sampling = experiment.beam, experiment.scan, experiment.sampling
    integrated = scene.method == "integrated"
    return {
        "fingerprint": experiment.fingerprint,
        "beam": {
            "wavelength_A": beam.mean_wavelength_A,
            "fluence_photons_per_m2": beam.fluence,
            "sources": len(instrument.sources),
            "bandwidth_sigma": beam.bandwidth_sigma,
            "divergence_sigmas_mrad": beam.divergence_sigmas_mrad,
            "polarization_factor": beam.polarization_factor,
            "direction": instrument.beam_direction,
        },
        "crystals": [
            {"field": lattice.field, **_lattice_numbers(lattice), **_listed(its, held.get(lattice.field))}
            for lattice, its in zip(scene.specimen.lattices, reflections, strict=True)
        ],
        "scan": {
            "frames": scan.frames,
            "osc_range_deg": scan.osc_range_deg,
            "phi_start_deg": scan.phi_start_deg,
            "phi_end_deg": scan.frame_start_deg(scan.frames),
            "phi_steps": None if integrated else scene.phi_steps,
            "least_rocking_width_deg": scene.rocking_width_deg,
            "spindle_axis": scene.spindle_axis,
        },
        "detector": {"name": experiment.detector.name, "panels": _panels(scene)},
        "sampling": {
            "method": scene.method,
            "precision": sampling.precision,
            "oversample": None if integrated and sampling.oversample == "auto" else instrument.oversample,
            "mosaic_domains": scene.specimen.domains,
            "steps": scene.steps,
            "tolerance": sampling.tolerance if integrated else None,
        },
    }


def _lattice_numbers(lattice: Lattice) -> dict[str, object]:
    import numpy as np

    from nbdist.experiment.lattice import cell_from_real

    twin = lattice.twin
    return {
        "weight": lattice.weight,
        "twin": None
        if twin is None
        else {"law": twin.law, "fraction": twin.fraction, "obliquity_deg": twin.obliquity_deg},
        "cell_A_deg": cell_from_real(lattice.real_vectors_A),
        "space_group": lattice.space_group,
        "volume_A3": abs(np.linalg.det(lattice.real_vectors_A)),
        "N_cells": None if lattice.size_A is not None else lattice.N_cells,
        "cells": lattice.cells_in_all,
        "shape": lattice.shape,
        "mosaic_sigmas_deg": np.rad2deg(lattice.mosaic_sigma_rad),
    }


def _listed(reflections: Reflections, held: Completeness | None) -> dict[str, object]:
    return {
        "reflections": len(reflections.indices),
        "default_F_electrons": reflections.default_F,
        "amplitudes_of": reflections.origin,
        "completeness": None if held is None else held.share,
        "reflections_to_the_corner": None if held is None else held.there,
    }


def _panels(scene: Scene) -> list[dict[str, object]]:
    from nbdist.run.described import RESOLUTION_POINTS
    from nbdist.scene.rocking import panel_resolutions_A

    found: list[dict[str, object]] = []
    for panel, (slow, fast) in zip(scene.instrument.panels, scene.instrument.shapes, strict=True):
        edge_A, finest_A = panel_resolutions_A(panel, scene.experiment.beam.mean_wavelength_A, RESOLUTION_POINTS)
        found.append(
            {
                "slow_pixels": slow,
                "fast_pixels": fast,
                "usable_pixels": int(panel.usable.sum()),
                "distance_mm": 1e3 * panel.distance_m,
                "pivot": panel.pivot,
                "origin_mm": 1e3 * panel.origin_m,
                "fast_axis": panel.fast,
                "slow_axis": panel.slow,
                "resolution_at_nearest_edge_A": edge_A,
                "finest_resolution_A": finest_A,
            }
        )
    return found
