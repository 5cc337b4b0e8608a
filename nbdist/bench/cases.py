"""The benchmark's cases, each said in nanoBragg's own flags, so that a nanoBragg can render the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nbdist.experiment import Experiment
from nbdist.nanobragg.flags import experiment_from_flags
from nbdist.scene import Tile

FRAMES = 30
"""Frames of the series."""
DETECTOR: dict[str, str] = {
    "spindle_axis": "-1 0 0",
    "Xbeam": "217.742295",
    "Ybeam": "213.907080",
    "distance": "231.274660",
    "pixel": "0.172",
    "detpixels_x": "2463",
    "detpixels_y": "2527",
    "odet_vector": "-0.000088 0.004914 -0.999988",
    "sdet_vector": "-0.005998 -0.999970 -0.004913",
    "fdet_vector": "0.999982 -0.005998 -0.000118",
    "pix0_vector_mm": "-216.336293 215.205512 -230.200866",
    "beam_vector": "0.00051387949 0.0 -0.99999986",
}
LYSOZYME: dict[str, str] = {
    **DETECTOR,
    "oversample": "1",
    "exposure": "1",
    "flux": "1e18",
    "beamsize": "1.0",
    "lambda": "0.976800",
    "Na": "36",
    "Nb": "47",
    "Nc": "29",
    "osc": "0.1",
    "phi": "0",
    "phisteps": "10",
}
SHARP: dict[str, str] = {
    "cell": "61 72 83 80 95 100",
    "misset": "11 42 73",
    "N": "1000",
    "lambda": "0.31",
    "distance": "250",
    "pixel": "0.1",
    "detpixels": "512",
    "oversample": "1",
    "phisteps": "1",
    "osc": "0",
    "phi": "0",
    "fluence": "1e24",
}
CELL = {"cell": "27.3 32.0 34.3 88.5 108.5 111.9", "misset": "15 40 -70"}
"""Stands for the orientation matrix where the reference data are not there."""


@dataclass(frozen=True)
class Case:
    """A case of the benchmark: what is rendered, in nanoBragg's flags.

    Attributes
    ----------
    name
        As printed.
    flags
        nanoBragg's flags, by name; a flag without a value has the empty string.
    switches
        More flags, that take no value.
    tile
        What is rendered.
    """

    name: str
    flags: dict[str, str]
    switches: tuple[str, ...]
    tile: Tile

    @property
    def words(self) -> list[str]:
        """The flags as an argument list, without the tile."""
        words = [f"-{switch}" for switch in self.switches]
        for flag, value in self.flags.items():
            words += [f"-{flag}", *value.split()]
        return words

    @property
    def words_of_the_tile(self) -> list[str]:
        """The flags with nanoBragg's -roi (fast, then slow; the last pixel included)."""
        _, slow0, slow1, fast0, fast1 = self.tile
        return [*self.words, "-roi", *map(str, (fast0, fast1 - 1, slow0, slow1 - 1))]

    def experiment(self, folder: Path, precision: str) -> Experiment:
        """The experiment that the flags mean; `folder` holds the input files."""
        return experiment_from_flags(self.words, folder).with_changes(sampling={"precision": precision})


def cases(group: str, folder: Path) -> list[Case]:
    """The cases of a group ("reference", "mosaic", "sources", "sharp", "shapes", "spots"); `folder` is from `input_folder`."""
    crystal = {"mat": "A.mat", "hkl": "scaled.hkl"} if (folder / "A.mat").exists() else {**CELL, "hkl": "scaled.hkl"}
    base = {**LYSOZYME, **crystal}
    switches = ("nonoise", "nointerpolate")
    frame, middle = Tile(0, 0, 2527, 0, 2463), Tile(0, 1000, 1512, 1000, 1512)

    def case(name: str, tile: Tile, more: dict[str, str], own_switches: tuple[str, ...] = switches) -> Case:
        return Case(name, {**base, **more}, own_switches, tile)

    few_pixels = Tile(0, 1000, 1032, 1000, 1032)
    return {
        "reference": [case("reference", frame, {})],
        "mosaic": [
            case("mosaic_100", middle, {"mosaic": "0.5", "mosaic_dom": "100"}),
            case("mosaic_20000", few_pixels, {"mosaic": "0.5", "mosaic_dom": "20000"}),
        ],
        "sources": [case("sources_9", Tile(0, 800, 1824, 800, 1824), {"dispersion": "2", "dispsteps": "9"})],
        "sharp": [Case("sharp_N_1000", {**SHARP, "hkl": "scaled.hkl"}, switches, Tile(0, 0, 512, 0, 512))],
        "shapes": [
            case("round", middle, {}, (*switches, "round_xtal")),
            case("interpolated", middle, {}, ("nonoise", "interpolate")),
            case("subpixels_2x2", middle, {"oversample": "2"}),
            case(
                "thick_4_layers",
                middle,
                {"detector_abs": "230", "detector_thick": "450", "detector_thicksteps": "4"},
                (*switches, "oversample_thick"),
            ),
        ],
        "spots": [
            case("reference_gauss", frame, {}, (*switches, "gauss_xtal")),
            case("reference_tophat", frame, {}, (*switches, "binary_spots")),
        ],
    }[group]


def input_folder(scratch: Path) -> tuple[Path, str]:
    """A folder with the amplitudes (and the matrix) of the cases, and one line that says what they are.

    The lysozyme data of $NBDIST_REFERENCE_DATA where they can be had, else random amplitudes in a cell like lysozyme's.
    """
    named = os.environ.get("NBDIST_REFERENCE_DATA")
    folder = Path(named).absolute() / "lysozyme_p1" if named else None
    if folder is not None and (folder / "scaled.hkl").is_file() and (folder / "A.mat").is_file():
        return folder, "triclinic lysozyme, measured amplitudes"
    from nbdist.experiment import validate
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    panel = {"spixels": 8, "fpixels": 8, "pixel_size_mm": 1.0, "distance_mm": 100.0}
    random = validate(
        {
            "beam": {"wavelength_A": 0.9768},
            "crystal": {"cell": [float(x) for x in CELL["cell"].split()], "N_cells": [10, 10, 10]},
            "scan": {"frames": 1, "osc_range_deg": 0.1},
            "detector": {"convention": "xds", "panels": [panel]},
            "structure_factors": {"kind": "wilson", "d_min_A": 1.1},
        }
    )
    (reflections,) = load_reflections(resolve(random))
    with (scratch / "scaled.hkl").open("w", encoding="utf-8") as file:
        for (h, k, l), F in zip(reflections.indices, reflections.amplitudes, strict=True):
            file.write(f"{h} {k} {l} {F:.2f}\n")
    return (
        scratch,
        "random amplitudes in a cell like triclinic lysozyme's (set NBDIST_REFERENCE_DATA for the measured ones)",
    )
