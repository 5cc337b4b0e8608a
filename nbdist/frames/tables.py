"""Columns of the tables that a store holds: spots of each frame and reflections of a series, and what a data set has of its samples.

Pixel coordinates are those of a panel: a pixel's centre is at + 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
"""Rows of a table by column, each (row,)."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, NumPy dtype ("str" for text), units of measure, and what it is."""

    name: str
    dtype: str
    units: str
    long_name: str


SPOT_COLUMNS = (
    Column("reflection", "int64", "", "which reflection of the series it is a part of"),
    Column("panel", "int16", "", "panel of the detector"),
    Column(
        "photons",
        "float64",
        "photon",
        "expected photons of the reflection in this frame; of a sum, those of the pixels that it gave most to",
    ),
    Column("partiality", "float32", "", "share of all photons of the reflection that this frame has"),
    Column("slow", "float32", "pixel", "centroid of its photons along slow"),
    Column("fast", "float32", "pixel", "centroid of its photons along fast"),
    Column("extent_slow2", "float32", "pixel^2", "second moment about the centroid along slow"),
    Column("extent_fast2", "float32", "pixel^2", "second moment about the centroid along fast"),
    Column("extent_slow_fast", "float32", "pixel^2", "mixed second moment about the centroid"),
    Column("first_slow", "int16", "pixel", "first row of its bounding box"),
    Column("last_slow", "int16", "pixel", "row after the last of its bounding box"),
    Column("first_fast", "int16", "pixel", "first column of its bounding box"),
    Column("last_fast", "int16", "pixel", "column after the last of its bounding box"),
    Column("peak_slow", "int16", "pixel", "row of its brightest pixel"),
    Column("peak_fast", "int16", "pixel", "column of its brightest pixel"),
    Column("background", "float32", "photon", "photons of the background under it"),
    Column("signal_over_noise", "float32", "", "photons over the deviation that counting them has"),
    Column("overlap", "float32", "", "largest share of a pixel's Bragg photons that other reflections gave"),
)
REFLECTION_COLUMNS = (
    Column("reflection", "int64", "", "identity in the series, ascending"),
    Column("lattice", "int16", "", "lattice of the specimen"),
    Column("h", "int32", "", "Miller index h"),
    Column("k", "int32", "", "Miller index k"),
    Column("l", "int32", "", "Miller index l"),
    Column("d_A", "float32", "angstrom", "spacing"),
    Column("F", "float64", "electron", "structure-factor amplitude"),
    Column("F2", "float64", "electron^2", "its square"),
    Column("phi_deg", "float64", "degree", "rotation at which it crosses the Ewald sphere"),
    Column("frame", "float64", "", "the same in frames from the start of the series; frame n goes from n to n + 1"),
    Column("panel", "int16", "", "panel that it meets; -1 for none"),
    Column("slow", "float64", "pixel", "where it meets the panel along slow"),
    Column("fast", "float64", "pixel", "where it meets the panel along fast"),
    Column("two_theta_deg", "float32", "degree", "scattering angle"),
    Column("lorentz", "float32", "", "Lorentz factor"),
    Column("polarization", "float32", "", "polarization factor"),
    Column(
        "photons",
        "float64",
        "photon",
        "expected photons in all, at the mean fluence; NaN where it grazes the Ewald sphere, and of a still",
    ),
    Column("rocking_width_deg", "float32", "degree", "rotation over which it crosses the Ewald sphere"),
    Column("first_frame", "int32", "", "first frame that has a part of it"),
    Column("last_frame", "int32", "", "last frame that has a part of it"),
    Column("whole", "bool", "", "whether the frames of the series have all of it"),
    Column("masked", "bool", "", "whether a masked pixel or the edge of a panel touches it"),
)
SAMPLE_COLUMNS = (
    Column("split", "str", "", "train, validation or test"),
    Column("crystal", "str", "", "which of the crystals of the recipe it is: all samples of one are in one split"),
    Column("lattices", "int64", "", "lattices of the specimen"),
)
READOUT_COLUMNS = (
    Column("saturation_adu", "int64", "ADU", "largest reading"),
    Column("adu_per_photon", "float64", "ADU", "what a photon adds to the reading, on average"),
    Column("offset_adu", "float64", "ADU", "reading of a pixel without photons"),
)
FRAME_COLUMNS = (
    Column("phi_start_deg", "float64", "degree", "rotation at its start"),
    Column("phi_end_deg", "float64", "degree", "rotation at its end"),
    Column("fluence_factor", "float64", "1", "fluence of the frame, relative to that of the experiment"),
    Column("photons", "float64", "photon", "expected photons of all pixels"),
    Column(
        "d_min_A", "float64", "angstrom", "finest spacing of a spot whose signal over noise is at least 3; NaN for none"
    ),
)
EDGE_NAMES = tuple(f"{edge}_{axis}" for edge in "abc" for axis in "xyz")
CELL_NAMES = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
QUATERNION_NAMES = tuple(f"q_{part}" for part in "wxyz")
LATTICE_COLUMNS = (
    Column("lattice", "int16", "", "lattice of the specimen, from 0"),
    *(
        Column(name, "float64", "angstrom", f"{name[-1]} of the edge {name[0]} in the laboratory")
        for name in EDGE_NAMES
    ),
    *(
        Column(name, "float64", "angstrom" if name.endswith("A") else "degree", f"{name.partition('_')[0]} of its cell")
        for name in CELL_NAMES
    ),
    Column("space_group", "str", "", "its space group"),
    Column("weight", "float64", "", "what its photons are multiplied with"),
    *(
        Column(name, "float64", "", f"{name[-1]} of the smallest rotation from the standard setting of its cell")
        for name in QUATERNION_NAMES
    ),
    Column("dose_MGy", "float64", "MGy", "dose that it has had; 0 where it does not decay"),
    Column("B_factor_A2", "float64", "angstrom^2", "growth of its B factor with dose"),
)
SAMPLE_SPOT_COLUMNS = (
    Column("reflection", "int64", "", "which crossing of its sample it is a part of"),
    *(column for column in REFLECTION_COLUMNS if column.name in ("lattice", "h", "k", "l", "d_A")),
    *SPOT_COLUMNS[1:],
)
