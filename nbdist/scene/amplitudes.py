"""The reflections an experiment names, read from a file, drawn or worked out of a model; the whole of P1 that follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import Cell, cell_from_real, dual_vectors, reciprocal_from_cell
from nbdist.experiment.structure_factors import FromFile, FromModel, Uniform, Wilson
from nbdist.formats.atomic_model import read_atomic_model
from nbdist.formats.hkl import read_hkl
from nbdist.random_words import RandomWords, uniforms
from nbdist.scene.model_amplitudes import described, model_amplitudes
from nbdist.scene.scene import BEYOND_THE_DETECTOR, Scene
from nbdist.scene.specimen import Lattice
from nbdist.scene.symmetry import P1_SYMMETRY, AmplitudeBox, Symmetry, are_alike, half_sphere

LARGEST_WILSON_SET = 50_000_000
MOST_TABLES = 16
"""Wavelengths at which a model has amplitudes, at most."""
INDEX_BIAS = 2**32
"""Added to a Miller index to make it a word of a counter, which has no sign."""


class Reflections(NamedTuple):
    """Miller indices (n, 3), amplitudes float64 in electrons, and the amplitude of all others.

    Without reflections (n = 0) every one has `default_F`. The amplitudes are those of all sources (n,), or of several tables (tables, n);
    `table_of_source` then says which of them each source sees, int64 (sources,). `filled` says of the whole of P1 that a file's symmetry
    gives which of them the file does not hold (n,). `notes` are what happened to them on the way that whoever renders them should know,
    and `origin` says in words what they were made of, where there is more to say than the experiment does.
    """

    indices: NDArray[np.integer[Any]]
    amplitudes: NDArray[np.float64]
    default_F: float
    table_of_source: NDArray[np.int64] | None = None
    filled: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    origin: str = ""


def distinct(reflections: Sequence[Reflections]) -> list[Reflections]:
    """The amplitudes of all lattices, those that several share once."""
    return list({id(its): its for its in reflections}.values())


def load_reflections(scene: Scene) -> tuple[Reflections, ...]:
    """Read or draw the reflections of each lattice; lattices with the same amplitudes share one object.

    Raises
    ------
    FileFormatError
        If the file is missing or malformed (with its line).
    ExperimentError
        If a Wilson set or the grid of a model would be absurdly large, the cell is not one of the space group, or equivalent reflections
        have other amplitudes.
    """
    loaded: dict[str, Reflections] = {}
    found = []
    for lattice in scene.specimen.lattices:
        reciprocal = dual_vectors(lattice.real_vectors_A)
        source = lattice.structure_factors
        follows_cell = isinstance(source, Wilson | FromModel)
        drawn_for = np.round(reciprocal @ reciprocal.T, 15).tolist() if follows_cell else None  # turned alike
        key = f"{source.model_dump_json()} {lattice.space_group} {drawn_for}"
        if key not in loaded:
            loaded[key] = _load(lattice, reciprocal, scene)
        found.append(loaded[key])
    return tuple(found)


def _load(lattice: Lattice, reciprocal_per_A: NDArray[np.float64], scene: Scene) -> Reflections:
    source = lattice.structure_factors
    if isinstance(source, Uniform):
        return Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0), source.F)
    if isinstance(source, FromFile):
        return _from_file(lattice, source)
    if isinstance(source, FromModel):
        return _of_model(lattice, source, reciprocal_per_A, scene)
    try:
        indices, amplitudes = wilson_amplitudes(reciprocal_per_A, source, lattice.symmetry)
    except ExperimentError as error:
        raise ExperimentError(f"{lattice.amplitudes_field}.{error}") from None
    return Reflections(indices, amplitudes, 0.0)


def _from_file(lattice: Lattice, source: FromFile) -> Reflections:
    indices, amplitudes = read_hkl(source.file)
    if lattice.stated_space_group is None:
        return Reflections(indices, amplitudes, source.default_F)
    field = f"{lattice.amplitudes_field}.file: {source.file}"
    absent = lattice.symmetry.absent(indices) & (amplitudes != 0)
    said = []
    if absent.any():
        said.append(
            f"{field}: {absent.sum():,} of its {len(indices):,} reflections are systematically absent in {lattice.space_group}, and "
            f"have F = 0 (the largest that it lists is {amplitudes[absent].max():.4g})"
        )
    try:
        box = AmplitudeBox(lattice.symmetry, indices)
        box.put(indices, amplitudes)
    except ExperimentError as error:
        raise ExperimentError(f"{field}: {error}") from None
    whole, amplitudes, filled = box.listed()
    return Reflections(whole, amplitudes, source.default_F, filled=filled, notes=tuple(said))


def _of_model(lattice: Lattice, source: FromModel, reciprocal_per_A: NDArray[np.float64], scene: Scene) -> Reflections:
    """F_calc at the wavelengths that are asked for, to the finest spacing that the lattice and the sources show on the detector."""
    model, sources = read_atomic_model(source.file), scene.instrument.sources
    wavelengths_A, table_of_source = np.array([sources.mean[1]]), None
    if source.anomalous == "each_wavelength":
        wavelengths_A, table_of_source = sources.wavelength_nodes(MOST_TABLES)
    d_min_A = source.d_min_A
    if d_min_A is None:
        shortest = float(sources.wavelengths_A.min()) / scene.experiment.beam.mean_wavelength_A
        # the same indices have other spacings in the model's cell, where the crystal's is another
        own = reciprocal_from_cell(model.cell)
        ratio = np.linalg.eigvals(np.linalg.solve(reciprocal_per_A @ reciprocal_per_A.T, own @ own.T)).real.max()
        d_min_A = BEYOND_THE_DETECTOR * scene.finest_A * min(1.0, shortest) / math.sqrt(ratio)
    its = model_amplitudes(model, source, d_min_A, wavelengths_A.tolist(), lattice.amplitudes_field)
    amplitudes = its.amplitudes[0] if table_of_source is None else its.amplitudes
    said = []
    field = f"{lattice.amplitudes_field}.file: {source.file}"
    if model.models > 1:
        said.append(f"{field} holds {model.models} models; the amplitudes are those of the first one")
    found, model_cell = cell_from_real(lattice.real_vectors_A), Cell(*model.cell)
    if not are_alike(found, model_cell):
        said.append(
            f"{field} has a cell of {model_cell}, {lattice.field} one of {found}: its atoms keep their fractional coordinates"
        )
    if source.anomalous == "each_wavelength" and table_of_source is None:
        said.append(
            f"{lattice.amplitudes_field}.anomalous: each_wavelength, but all sources have one wavelength; beam.dispersion, sources, "
            "source_file, or for method sum bandwidth_sigma give more"
        )
    if source.scattering == "electrons" and scene.experiment.beam.polarization_factor is not None:
        said.append("beam.polarization_factor: electrons have no polarization correction; null leaves it out")
    return Reflections(
        its.indices, amplitudes, 0.0, table_of_source, notes=tuple(said), origin=described(model, source, its)
    )


def wilson_amplitudes(
    reciprocal_per_A: NDArray[np.float64], wilson: Wilson, symmetry: Symmetry = P1_SYMMETRY
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Draw Wilson amplitudes with equal Friedel mates and the symmetry of a space group; F(000) is 0.

    Parameters
    ----------
    reciprocal_per_A
        Rows a*, b*, c* (3, 3).
    wilson
        Resolution, mean, B factor and seed.
    symmetry
        P 1 when left out.

    Returns
    -------
    indices int32 (n, 3), amplitudes float64 (n,) in electrons: F^2 is a deviate of `wilson_deviates` times mean_F2 exp(-2 B s^2),
    s = sin(theta)/lambda; absent reflections are left out.
    """
    unique, deviates = wilson_deviates(reciprocal_per_A, wilson.d_min_A, wilson.seed, symmetry)
    s_squared = ((unique @ reciprocal_per_A) ** 2).sum(axis=1) / 4
    box = AmplitudeBox(symmetry, unique)
    box.fill(unique, np.sqrt(deviates * wilson.mean_F2 * np.exp(-2 * wilson.B_factor_A2 * s_squared)))
    indices, amplitudes, _ = box.listed()
    return indices, amplitudes


def wilson_deviates(
    reciprocal_per_A: NDArray[np.float64], d_min_A: float, seed: int, symmetry: Symmetry
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw F^2 over the sum of f^2 of reflections within a resolution, one of each set of equivalents and mates.

    It is -epsilon ln(u), whose mean is epsilon; of a centric reflection -2 epsilon ln(u) cos^2(2 pi v), which is epsilon times the square
    of a normal deviate (A. J. C. Wilson, Acta Cryst. 2 (1949) 318). u and v are the uniform deviates of the first two random words of the
    key (seed, 0) and the counter (l, k, h, 0), each index plus 2^32 (see `random_words`), where hkl is the last of the equivalents and
    mates in the order of h, k, l.

    Returns
    -------
    indices int64 (n, 3) in that order, without those that are absent, and the deviates float64 (n,).

    Raises
    ------
    ExperimentError
        If there are none, or too many.
    """
    limits = np.floor(np.linalg.norm(dual_vectors(reciprocal_per_A), axis=1) / d_min_A)
    if np.prod(2 * limits + 1) > LARGEST_WILSON_SET:
        raise ExperimentError(f"d_min_A: {d_min_A} A gives more than {LARGEST_WILSON_SET} reflections")
    words = RandomWords((seed, 0))
    kept, drawn = [], []
    for indices in half_sphere(reciprocal_per_A, d_min_A):
        unique = indices[symmetry.represents(indices)]
        random = np.empty((len(unique), 2), dtype=np.uint64)
        for start, stop in pairwise([*np.flatnonzero(np.diff(unique[:, 1], prepend=np.inf)).tolist(), len(unique)]):
            h, k, l = unique[start].tolist()
            counted = unique[start:stop, 2] - l
            blocks = words.blocks((l + INDEX_BIAS, k + INDEX_BIAS, h + INDEX_BIAS, 0), int(counted[-1]) + 1)
            random[start:stop] = blocks[counted, :2]
        kept.append(unique)
        drawn.append(random)
    half, uniform = np.concatenate(kept), uniforms(np.concatenate(drawn))
    if not len(half):
        raise ExperimentError(f"d_min_A: no reflection of this cell lies within {d_min_A} A")
    present = ~symmetry.absent(half)
    half, uniform = half[present], uniform[present]
    deviates = -np.log(uniform[:, 0])
    centric = symmetry.centric(half)
    deviates[centric] *= 2 * np.cos(2 * np.pi * uniform[centric, 1]) ** 2
    return half, deviates * symmetry.epsilon(half)
