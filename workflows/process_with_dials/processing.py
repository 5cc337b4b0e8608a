"""Images of nbdist processed by DIALS, and what it found beside the truth: shared by the scripts and the tests."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import fabio
import gemmi
import hdf5plugin
import msgpack
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
INDEXED, INTEGRATED = 1 << 2, 1 << 8 | 1 << 9
"""Flags of DIALS' reflections: indexed; integrated by summation or by profile fitting."""
TYPES = {"vec3<double>": "f8", "double": "f8", "cctbx::miller::index<>": "i4", "int": "i4", "std::size_t": "u8"}
QUICK_INDEX = "max_refine=5", "reflections_per_degree=30", "n_macro_cycles=3"
"""Options of dials.index that save most of its time, of a lattice that is easy to find."""
WHOLE = 0.99
"""Share of a reflection's photons that the frames hold from which it counts as recorded whole."""
PEAK_COUNTS = 12.0
"""Counts above which a pixel is of a peak to ImageD11."""
SAME_LENGTH = 0.01
"""Relative difference of two axes below which one may be the other under another name."""


def missing() -> str:
    """Why nothing can be processed here; empty where it can be."""
    return "" if shutil.which("dials.import") else "DIALS is not installed"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run(folder: Path, *command: str | Path) -> str:
    """Run a command in a folder and return what it printed.

    Raises
    ------
    RuntimeError
        With the end of what it printed, if it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if str(command[0]).startswith("dials."):
        # the HDF5 of Debian has no bitshuffle, and looks for it where it is told
        environment["HDF5_PLUGIN_PATH"] = hdf5plugin.PLUGINS_PATH
    ended = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, env=environment)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return ended.stdout


def process(
    folder: Path,
    images: Sequence[str | Path],
    *,
    importing: Sequence[str | Path] = (),
    d_min_A: float,
    scaling: Sequence[str] = (),
    last: str = "dials.merge",
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Process images with DIALS, from dials.import to dials.merge, on one core.

    Parameters
    ----------
    folder
        Where DIALS writes its files; it is made.
    importing
        Options of dials.import.
    d_min_A
        Where amplitudes end: nothing is integrated beyond.
    scaling
        Options of dials.scale.
    last
        The program after which to stop.
    report
        Called with a line after each program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps: Sequence[tuple[str | Path, ...]] = (
        ("dials.import", *images, *importing),
        ("dials.find_spots", "imported.expt", "nproc=1"),
        ("dials.index", "imported.expt", "strong.refl", *QUICK_INDEX),
        ("dials.refine", "indexed.expt", "indexed.refl"),
        ("dials.integrate", "refined.expt", "refined.refl", "nproc=1", f"prediction.d_min={d_min_A}"),
        ("dials.symmetry", "integrated.expt", "integrated.refl"),
        ("dials.scale", "symmetrized.expt", "symmetrized.refl", "nproc=1", *scaling),
        ("dials.merge", "scaled.expt", "scaled.refl"),
    )
    for step in steps:
        begun = time.monotonic()
        run(folder, *step)
        report(f"{folder.name}: {step[0]}, {time.monotonic() - begun:.0f} s")
        if step[0] == last:
            return


@dataclass(frozen=True)
class Reflections:
    """A table of DIALS' reflections: its columns by name, one row a reflection."""

    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def read(cls, path: Path) -> Reflections:
        """The columns of numbers of a `.refl` file."""
        content = msgpack.unpackb(path.read_bytes(), strict_map_key=False)[2]
        columns = {}
        for name, (kind, (_, values)) in content["data"].items():
            if kind in TYPES:
                columns[name] = np.frombuffer(values, TYPES[kind]).reshape(content["nrows"], -1).squeeze(axis=None)
        return cls(columns)

    def flagged(self, bits: int) -> NDArray[np.bool_]:
        """Whether reflections have one of the flags."""
        return self.columns["flags"] & np.uint64(bits) != 0


@dataclass(frozen=True)
class Models:
    """What an `.expt` file says of its first experiment, in dxtbx's frame.

    Attributes
    ----------
    axes_A
        Rows a, b, c (3, 3) at a rotation of 0.
    origin_mm
        Corner of the first pixel of the first panel.
    """

    axes_A: Array
    origin_mm: Array
    space_group: gemmi.SpaceGroup

    @classmethod
    def read(cls, path: Path) -> Models:
        """Read an `.expt` file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        crystal = content["crystal"][0]
        hall = crystal["space_group_hall_symbol"].strip()
        return cls(
            axes_A=np.array([crystal[f"real_space_{axis}"] for axis in "abc"]),
            origin_mm=np.array(content["detector"][0]["panels"][0]["origin"]),
            space_group=gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall)),
        )


def renamed(axes_A: Array, like: Array) -> Iterator[Array]:
    """The axes (rows) of a cell with right angles in every order and sense that makes a right-handed cell of the lengths of another."""
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            other = np.array(signs)[:, None] * axes_A[[*order]]
            lengths = np.linalg.norm(other, axis=1) / np.linalg.norm(like, axis=1)
            if np.linalg.det(other) > 0 and np.all(np.abs(lengths - 1) < SAME_LENGTH):
                yield other


def angle_between_deg(one: Array, other: Array) -> float:
    """Angle of the rotation that takes the axes (rows) of one lattice best to those of another, degrees."""
    left, _, right = np.linalg.svd(one.T @ other)
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    return float(np.rad2deg(2 * np.arcsin(np.linalg.norm(turn - np.eye(3)) / np.sqrt(8))))


def misorientation_deg(found: Array, true: Array) -> tuple[float, float]:
    """Least angle between two lattices with right angles, and the largest relative error of a cell length, for the same names of axes."""
    return min(
        (angle_between_deg(found, axes), float(np.abs(np.linalg.norm(found, axis=1) / lengths - 1).max()))
        for axes in renamed(true, found)
        if (lengths := np.linalg.norm(axes, axis=1)).all()
    )


@dataclass(frozen=True)
class Agreement:
    """Amplitudes beside the true ones, after one scale: sum |k F - F_true| / sum F_true, and the correlation."""

    R: float
    correlation: float
    reflections: int


def agreement(F: Array, true: Array) -> Agreement:
    """How well amplitudes (n,) agree with true ones (n,), of which some may be NaN."""
    known = np.isfinite(F) & np.isfinite(true)
    F, true = F[known], true[known]
    k = (F @ true) / (F @ F)
    R = float(np.abs(k * F - true).sum() / true.sum())
    return Agreement(R, float(np.corrcoef(F, true)[0, 1]), len(F))


def table_of(hkl: NDArray[np.int32], values: Array, space_group: gemmi.SpaceGroup) -> dict[tuple[int, ...], float]:
    """Values by the index (n, 3) in the asymmetric unit that they are equivalent to, Friedel mates together."""
    asu, operations = gemmi.ReciprocalAsu(space_group), space_group.operations()
    return {
        tuple(asu.to_asu(index, operations)[0]): float(value) for index, value in zip(hkl.tolist(), values, strict=True)
    }


def merged_against(mtz_file: Path, true: Mapping[tuple[int, ...], float]) -> Agreement:
    """The column F of dials.merge beside true amplitudes, by index in the asymmetric unit."""
    mtz = gemmi.read_mtz_file(str(mtz_file))
    hkl, F = mtz.make_miller_array(), np.array(mtz.column_with_label("F").array, dtype=np.float64)
    asu, operations = gemmi.ReciprocalAsu(mtz.spacegroup), mtz.spacegroup.operations()
    known = [true.get(tuple(asu.to_asu(index, operations)[0]), np.nan) for index in hkl.tolist()]
    return agreement(F, np.array(known))


def centroid_errors(integrated: Path, truth: Path, photons: float) -> Array:
    """Differences (n, 3) of observed places, fast and slow pixel and frame, from the truth's, of reflections of more photons than so many.

    Both tables are of the same models: a reflection is found by its index and by the frame at which it is predicted.
    """
    found, true = (Reflections.read(path).columns for path in (integrated, truth))
    rows = {(*index, round(frame)): row for row, (index, frame) in enumerate(_crossings(true))}
    pairs = [(row, rows.get((*index, round(frame)))) for row, (index, frame) in enumerate(_crossings(found))]
    ours, theirs = np.array([(row, match) for row, match in pairs if match is not None]).T
    whole = (found["flags"][ours] & np.uint64(INTEGRATED) != 0) & (true["partiality"][theirs] > WHOLE)
    bright = whole & (true["intensity.sum.value"][theirs] > photons)
    return np.asarray(found["xyzobs.px.value"][ours[bright]] - true["xyzobs.px.value"][theirs[bright]])


def _crossings(columns: Mapping[str, NDArray[Any]]) -> Iterator[tuple[list[int], float]]:
    return zip(columns["miller_index"].tolist(), columns["xyzcal.px"][:, 2].tolist(), strict=True)


@dataclass(frozen=True)
class Found:
    """What DIALS found of a series, beside the truth."""

    indexed: float
    misorientation_deg: float
    cell_error: float
    origin_error_um: float
    space_group: str
    amplitudes: Agreement


def indexed_by_imaged11(images: Sequence[Path], cell: Sequence[float], models: Path) -> tuple[float, Array]:
    """Index images (CBF) with ImageD11: the share of its peaks that it indexes, and axes a, b, c (rows) in dxtbx's frame.

    ImageD11's x runs along the beam and its z along the spindle. It is told of the detector what an `.expt` file says, and the cell.
    """
    from ImageD11 import columnfile, indexing, labelimage, parameters

    indexing.loglevel = 3  # else it prints what it does of each ring

    content = json.loads(models.read_text(encoding="utf-8"))
    panel, scan = content["detector"][0]["panels"][0], content["scan"][0]
    start, turn = scan["oscillation"][0], scan["oscillation"][1] - scan["oscillation"][0]
    x, y, z = panel["origin"]
    size = 1e3 * panel["pixel_size"][0]
    peaks_file = images[0].parent / "peaks.flt"
    with peaks_file.open("w") as written:
        search = labelimage.labelimage(fabio.open(images[0]).data.shape, fileout=written, sptfile=io.StringIO())
        for number, image in enumerate(images):
            search.peaksearch(np.maximum(fabio.open(image).data, 0), PEAK_COUNTS, start + turn * (number + 0.5))
            search.mergelast()
        search.finalise()
    peaks = columnfile.columnfile(str(peaks_file))
    peaks.filter(peaks.Number_of_pixels > 3)
    names = [f"cell_{name}" for name in ("_a", "_b", "_c", "alpha", "beta", "gamma")]
    peaks.parameters = parameters.parameters(
        **dict(zip(names, cell, strict=True)) | {"cell_lattice_[P,A,B,C,I,F,R]": "P"},
        **dict.fromkeys(("tilt_x", "tilt_y", "tilt_z", "t_x", "t_y", "t_z", "wedge", "chi"), 0.0),
        **{"o11": 0, "o12": 1, "o21": -1, "o22": 0},
        distance=-1e3 * z,
        y_center=-1e3 * x / size - 0.5,
        z_center=1e3 * y / size - 0.5,
        y_size=size,
        z_size=size,
        wavelength=content["beam"][0]["wavelength"],
        omegasign=1.0,
        fit_tolerance=0.05,
    )
    peaks.updateGeometry()
    indexer = indexing.indexer_from_colfile(
        peaks, hkl_tol=0.05, minpks=peaks.nrows // 2, ds_tol=0.002, cosine_tol=0.002, max_grains=1
    )
    indexer.assigntorings()
    for ring in range(2, 20):
        indexer.ring_1, indexer.ring_2 = ring, ring + 1
        indexer.find()
        indexer.scorethem()
        if indexer.ubis:
            refined = np.asarray(indexer.refine(indexer.ubis[0]))
            return indexer.scores[0] / peaks.nrows, np.stack([refined[:, 2], refined[:, 1], -refined[:, 0]], axis=1)
    raise RuntimeError(f"ImageD11 indexes nothing of {peaks.nrows} peaks")


def compare(folder: Path, truth: Path, true: Mapping[tuple[int, ...], float]) -> Found:
    """Compare what DIALS left in a folder with the models of a `.expt` file, and with true amplitudes."""
    refined, models = Models.read(folder / "refined.expt"), Models.read(truth)
    angle, cell_error = misorientation_deg(refined.axes_A, models.axes_A)
    return Found(
        indexed=float(Reflections.read(folder / "indexed.refl").flagged(INDEXED).mean()),
        misorientation_deg=angle,
        cell_error=cell_error,
        origin_error_um=float(1e3 * np.linalg.norm(refined.origin_mm - models.origin_mm)),
        space_group=Models.read(folder / "scaled.expt").space_group.hm,
        amplitudes=merged_against(folder / "merged.mtz", true),
    )
