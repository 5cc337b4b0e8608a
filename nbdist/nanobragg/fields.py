"""Which flag sets which field of an experiment, so that an error about the field, or about a file, names the flag."""

from __future__ import annotations

from pathlib import Path

from nbdist.errors import NbdistError
from nbdist.nanobragg.inputs import input_path
from nbdist.nanobragg.words import FlagError, Flags

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
    "beam.sources": "hdivrange -hdivstep -vdivrange -vdivstep -dispersion",
    "beam.source_file": "sourcefile",
    "crystal.cell": "cell",
    "crystal.matrix_file": "mat",
    "crystal.reciprocal_vectors_per_A": "mat -cell",
    "crystal.misset_deg": "misset",
    "crystal.N_cells": "N",
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
    "detector.panels.0.beam_center_mm": "Xbeam -Ybeam",
    "detector.panels.0.near_point_pixels": "ORGX -ORGY",
    "detector.panels.0.two_theta_axis": "twotheta_axis",
    "detector.curved": "curved_det",
    "detector.panels.0.spixels": "detpixels_s",
    "detector.panels.0.fpixels": "detpixels_f",
    "detector.panels.0": "detector_rotx -detector_roty -detector_rotz -twotheta -fdet_vector -sdet_vector -odet_vector -beam_vector",
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


def named_by_flags(error: NbdistError, flags: Flags, folder: Path) -> FlagError:
    """The error with the flag in front that set the field, or named the file, that it is about."""
    message = str(error)
    if isinstance(error, FlagError):
        return error
    fields = sorted((field for field in FIELD_FLAGS if message.startswith(field)), key=len)
    if fields:
        _, _, rest = message.partition(": ")
        rest = rest or message
        for field, flag in FIELD_FLAGS.items():
            rest = rest.replace(field, f"-{flag}") if "." in field else rest
        return FlagError(f"-{FIELD_FLAGS[fields[-1]]}: {rest}")
    for name in FILE_FLAGS:
        if flags.get(name) and str(input_path(name, flags, folder)) in message:
            return FlagError(f"-{name}: {message}")
    return FlagError(message)
