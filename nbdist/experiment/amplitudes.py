"""The reflections an experiment names: read from its file, or drawn from Wilson's distribution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import dual_vectors
from nbdist.experiment.resolved import ResolvedExperiment
from nbdist.experiment.structure_factors import FromFile, Uniform, Wilson
from nbdist.formats.hkl import read_hkl

LARGEST_WILSON_SET = 50_000_000


class Reflections(NamedTuple):
    """Miller indices int64 (n, 3), amplitudes float64 (n,) in electrons, and the amplitude of all others.

    Without reflections (n = 0) every one has `default_F`.
    """

    indices: NDArray[np.int64]
    amplitudes: NDArray[np.float64]
    default_F: float


def load_reflections(resolved: ResolvedExperiment) -> Reflections:
    """Read or draw the reflections of an experiment.

    Raises
    ------
    FileFormatError
        If the file is missing or malformed (with its line).
    ExperimentError
        If a Wilson set would be absurdly large.
    """
    source = resolved.experiment.structure_factors
    if isinstance(source, FromFile):
        indices, amplitudes = read_hkl(source.file)
        return Reflections(indices, amplitudes, source.default_F)
    if isinstance(source, Uniform):
        return Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0), source.F)
    indices, amplitudes = wilson_amplitudes(dual_vectors(resolved.real_vectors_A), source)
    return Reflections(indices, amplitudes, 0.0)


def wilson_amplitudes(
    reciprocal_per_A: NDArray[np.float64], wilson: Wilson
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw acentric Wilson amplitudes with equal Friedel mates; F(000) is 0.

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
        raise ExperimentError(
            f"structure_factors.d_min_A: {wilson.d_min_A} A gives more than {LARGEST_WILSON_SET} reflections"
        )
    grids = np.meshgrid(*(np.arange(-limit, limit + 1) for limit in limits), indexing="ij")
    indices = np.stack([grid.ravel() for grid in grids], axis=1)
    # the first half of the box is the second half's Friedel mates in reverse order; 000 stands in the middle
    half = indices[: len(indices) // 2]
    s_squared = ((half @ reciprocal_per_A) ** 2).sum(axis=1) / 4
    # one deviate for every index of the box: amplitudes do not move when the resolution cut excludes others
    intensity = np.random.default_rng(wilson.seed).exponential(size=len(half)) * wilson.mean_F2
    amplitudes = np.sqrt(intensity * np.exp(-2 * wilson.B_factor_A2 * s_squared))
    inside = 4 * s_squared <= 1 / wilson.d_min_A**2
    if not inside.any():
        raise ExperimentError(f"structure_factors.d_min_A: no reflection of this cell lies within {wilson.d_min_A} A")
    kept, values = half[inside], amplitudes[inside]
    return np.concatenate([kept, -kept[::-1]]).astype(np.int64), np.concatenate([values, values[::-1]])
