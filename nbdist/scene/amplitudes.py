"""The reflections an experiment names: read from its file, or drawn from Wilson's distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import dual_vectors
from nbdist.experiment.structure_factors import FromFile, StructureFactors, Uniform, Wilson
from nbdist.formats.hkl import read_hkl
from nbdist.random_words import RandomWords, uniforms
from nbdist.scene.scene import Scene

LARGEST_WILSON_SET = 50_000_000
INDEX_BIAS = 2**32
"""Added to a Miller index to make it a word of a counter, which has no sign."""


class Reflections(NamedTuple):
    """Miller indices int64 (n, 3), amplitudes float64 in electrons, and the amplitude of all others.

    Without reflections (n = 0) every one has `default_F`. The amplitudes are those of all sources (n,), or of several tables (tables, n);
    `table_of_source` then says which of them each source sees, int64 (sources,).
    """

    indices: NDArray[np.int64]
    amplitudes: NDArray[np.float64]
    default_F: float
    table_of_source: NDArray[np.int64] | None = None


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
        If a Wilson set would be absurdly large.
    """
    loaded: dict[str, Reflections] = {}
    found = []
    for lattice in scene.specimen.lattices:
        reciprocal = dual_vectors(lattice.real_vectors_A)
        source = lattice.structure_factors
        drawn_for = (
            np.round(reciprocal @ reciprocal.T, 15).tolist() if isinstance(source, Wilson) else None
        )  # turned alike
        key = f"{source.model_dump_json()} {drawn_for}"
        if key not in loaded:
            loaded[key] = _load(source, reciprocal, lattice.amplitudes_field)
        found.append(loaded[key])
    return tuple(found)


def _load(source: StructureFactors, reciprocal_per_A: NDArray[np.float64], field: str) -> Reflections:
    if isinstance(source, FromFile):
        indices, amplitudes = read_hkl(source.file)
        return Reflections(indices, amplitudes, source.default_F)
    if isinstance(source, Uniform):
        return Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0), source.F)
    try:
        indices, amplitudes = wilson_amplitudes(reciprocal_per_A, source)
    except ExperimentError as error:
        raise ExperimentError(f"{field}.{error}") from None
    return Reflections(indices, amplitudes, 0.0)


def wilson_amplitudes(
    reciprocal_per_A: NDArray[np.float64], wilson: Wilson
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw acentric Wilson amplitudes with equal Friedel mates; F(000) is 0.

    F^2 = -ln(u) <F^2>, u the uniform deviate of the first random word of the key (seed, 0) and the counter (l, k, h, 0), each index plus
    2^32 (see `random_words`), where hkl is that one of the mates whose first index that is not 0 is positive.

    Parameters
    ----------
    reciprocal_per_A
        Rows a*, b*, c* (3, 3).
    wilson
        Resolution, mean, B factor and seed.

    Returns
    -------
    indices int64 (n, 3), amplitudes float64 (n,) in electrons: <F^2> = mean_F2 exp(-2 B s^2), s = sin(theta)/lambda.
    """
    limits = np.floor(np.linalg.norm(dual_vectors(reciprocal_per_A), axis=1) / wilson.d_min_A).astype(int)
    if int(np.prod((2 * limits + 1).astype(object))) > LARGEST_WILSON_SET:
        raise ExperimentError(f"d_min_A: {wilson.d_min_A} A gives more than {LARGEST_WILSON_SET} reflections")
    words, (h_limit, k_limit, l_limit) = RandomWords((wilson.seed, 0)), map(int, limits)
    k, l = np.arange(-k_limit, k_limit + 1), np.arange(-l_limit, l_limit + 1)
    plane = k[:, None, None] * reciprocal_per_A[1] + l[:, None] * reciprocal_per_A[2]
    kept, drawn = [], []
    for h in range(h_limit + 1):
        inside = ((h * reciprocal_per_A[0] + plane) ** 2).sum(axis=-1) <= 1 / wilson.d_min_A**2
        if h == 0:  # half a plane, and half a row of it: the others are Friedel mates
            inside[:k_limit] = False
            inside[k_limit, : l_limit + 1] = False
        firsts, lasts = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
        random = np.zeros(inside.shape, dtype=np.uint64)
        for row in np.flatnonzero(inside.any(axis=1)).tolist():
            first, last = int(firsts[row]), int(lasts[row])
            counter = (first - l_limit + INDEX_BIAS, row - k_limit + INDEX_BIAS, h + INDEX_BIAS, 0)
            random[row, first:last] = words.blocks(counter, last - first)[:, 0]
        rows, columns = np.nonzero(inside)
        kept.append(np.stack([np.full(len(rows), h), k[rows], l[columns]], axis=1))
        drawn.append(random[inside])
    half, uniform = np.concatenate(kept), uniforms(np.concatenate(drawn))
    if not len(half):
        raise ExperimentError(f"d_min_A: no reflection of this cell lies within {wilson.d_min_A} A")
    s_squared = ((half @ reciprocal_per_A) ** 2).sum(axis=1) / 4
    values = np.sqrt(-np.log(uniform) * wilson.mean_F2 * np.exp(-2 * wilson.B_factor_A2 * s_squared))
    return np.concatenate([-half[::-1], half]), np.concatenate([values[::-1], values])
