"""The reflections an experiment names, read from a file, drawn or worked out of a model; the whole of P1 that follows from them."""

from __future__ import annotations

import bisect
import functools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import Cell, cell_from_real, dual_vectors, reciprocal_from_cell
from nbdist.experiment.space_groups import may_be
from nbdist.experiment.structure_factors import FromFile, FromModel, StructureFactors, Uniform, Wilson
from nbdist.experiment.twin import law_rows
from nbdist.formats.atomic_model import AtomicModel, read_atomic_model
from nbdist.formats.hkl import read_hkl
from nbdist.formats.merged import form_of, read_merged
from nbdist.formats.text import said_of
from nbdist.random_words import RandomWords, uniforms
from nbdist.scene.model_amplitudes import EDGE_EV, at_an_edge, described, model_amplitudes
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice
from nbdist.scene.symmetry import P1_SYMMETRY, AmplitudeBox, Symmetry, half_sphere

LARGEST_WILSON_SET = 50_000_000
MOST_TABLES = 16
"""Wavelengths at which a model has amplitudes, at most."""
MOST_SHELLS, REFLECTIONS_PER_SHELL = 30, 100
"""Shells of resolution in which the mean of a list is taken, at most, and the least that each has."""
RUNGS_A = tuple(
    0.1 * octave * part for octave in (1, 2, 4, 8, 16, 32, 64, 128) for part in (1.0, 1.1892, 1.4142, 1.6818)
)
"""Resolutions to which amplitudes are made that several scenes share, Angstrom: four an octave."""
KEPT_AMPLITUDE_BYTES = 256 * 2**20
"""Amplitudes of several crystals that a process keeps, at most."""
Array = NDArray[np.float64]
INDEX_BIAS = 2**32
"""Added to a Miller index to make it a word of a counter, which has no sign."""


class Reflections(NamedTuple):
    """Miller indices (n, 3), amplitudes float64 in electrons, and the amplitude of all others.

    Without reflections (n = 0) every one has `default_F`. The amplitudes are those of all sources (n,), or of several tables (tables, n);
    `table_of_source` then says which of them each source sees, int64 (sources,). `filled` says of the whole of P1 that a file's symmetry
    gives which of them the file does not hold (n,). `cell` is the file's, if it has one. `notes` are what happened to them on the way that
    whoever renders them should know, and `origin` says in words what they were made of, where the experiment does not.
    """

    indices: NDArray[np.integer[Any]]
    amplitudes: Array
    default_F: float
    table_of_source: NDArray[np.int64] | None = None
    filled: NDArray[np.bool_] | None = None
    cell: Cell | None = None
    notes: tuple[str, ...] = ()
    origin: str = ""

    @property
    def nbytes(self) -> int:
        """Size of its arrays."""
        filled = 0 if self.filled is None else self.filled.nbytes
        return self.indices.nbytes + self.amplitudes.nbytes + filled


class AmplitudeCache:
    """Amplitudes of crystals by what they were made of, as far as they fit a number of bytes: those that were asked for last.

    What is kept must not depend on which scene asked for it first. So a lattice stands for all of its cell, however it is turned, and
    where the resolution counts, the next finer one of `RUNGS_A` stands for that of the scene. Threads share it; one makes what another
    waits for.
    """

    def __init__(self, most_bytes: int = KEPT_AMPLITUDE_BYTES) -> None:
        self._most_bytes, self._kept_bytes = most_bytes, 0
        self._kept: OrderedDict[str, Reflections] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: str, make: Callable[[], Reflections]) -> Reflections:
        """The amplitudes of a key, made where they are not kept."""
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                found = make()
                self._kept_bytes += found.nbytes
            self._kept[key] = found
            while self._kept_bytes > self._most_bytes and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
            return found


def distinct(reflections: Sequence[Reflections]) -> list[Reflections]:
    """The amplitudes of all lattices, those that several share once."""
    return list({id(its): its for its in reflections}.values())


def rounded_metric(reciprocal_per_A: Array) -> Array:
    """The metric of rows a*, b*, c*, of which lattices that differ in nothing but a turn have the same one."""
    return np.asarray(np.round(reciprocal_per_A @ reciprocal_per_A.T, 15) + 0.0)  # -0 becomes 0


def load_reflections(scene: Scene, cache: AmplitudeCache | None = None) -> tuple[Reflections, ...]:
    """Read or draw the reflections of each lattice; lattices with the same amplitudes share one object.

    Parameters
    ----------
    cache
        Keeps those of one scene for the next, whose crystal may be the same; of this scene alone where left out.

    Raises
    ------
    FileFormatError
        If the file is missing or malformed (with its line).
    ExperimentError
        If a Wilson set or the grid of a model would be absurdly large, the cell is not one of the space group, equivalent reflections have
        other amplitudes, or a twin law is a symmetry.
    """
    loaded: dict[str, Reflections] = {}
    found: list[Reflections] = []
    for lattice in scene.specimen.lattices:
        if lattice.twin is not None:
            if lattice.symmetry.has(np.array(law_rows(lattice.twin.law)).T):
                raise ExperimentError(
                    f"{lattice.field}.law: {lattice.twin.law} is a symmetry of {lattice.space_group}, which makes no twin"
                )
            found.append(found[-1])  # its crystal's, or those of another domain of that
            continue
        reciprocal = dual_vectors(lattice.real_vectors_A)
        source = lattice.structure_factors
        of_cell = isinstance(source, Wilson | FromModel) or (isinstance(source, FromFile) and source.asks_for_unlisted)
        metric = rounded_metric(reciprocal)
        unstated = isinstance(source, FromFile) and lattice.stated_space_group is None  # a text is used as it is then
        key = f"{source.model_dump_json()} {unstated} {lattice.space_group} {metric.tolist() if of_cell else None}"
        if key not in loaded:
            if cache is None:
                loaded[key] = _load(lattice, reciprocal, scene, scene.finest_A)
            else:
                loaded[key] = cache.of(
                    f"{key} {_decided_beside(lattice, scene)}",
                    functools.partial(_load_of_metric, lattice, metric, scene),
                )
        found.append(loaded[key])
    return tuple(found)


def follows_instrument(source: StructureFactors) -> bool:
    """Whether the amplitudes of one crystal differ with the instrument: with how far its detector reaches, or with its wavelengths."""
    if isinstance(source, FromModel):
        return source.d_min_A is None or source.anomalous != "none"
    return isinstance(source, FromFile) and source.asks_for_unlisted


def _decided_beside(lattice: Lattice, scene: Scene) -> str:
    """What of a scene decides the amplitudes of a lattice, besides its cell."""
    source, sources, decide = lattice.structure_factors, scene.instrument.sources, list[object]()
    if isinstance(source, FromModel):
        if source.d_min_A is None:
            decide += [scene.reach, _rung_A(scene.finest_A)]
        if source.anomalous != "none":
            decide += [sources.wavelengths_A.tolist(), sources.weights.tolist()]
    if isinstance(source, FromFile) and source.asks_for_unlisted:
        decide += [scene.shortest, _rung_A(scene.finest_A)]
    return str(decide)


def _rung_A(finest_A: float) -> float:
    return RUNGS_A[max(0, bisect.bisect_right(RUNGS_A, finest_A) - 1)]


def _load_of_metric(lattice: Lattice, metric: Array, scene: Scene) -> Reflections:
    """The amplitudes of any lattice with this reciprocal metric."""
    reciprocal = np.asarray(np.linalg.cholesky(metric), dtype=np.float64)
    standing = replace(lattice, real_vectors_A=dual_vectors(reciprocal))
    return _load(standing, reciprocal, scene, _rung_A(scene.finest_A))


def _load(lattice: Lattice, reciprocal_per_A: Array, scene: Scene, finest_A: float) -> Reflections:
    source = lattice.structure_factors
    if isinstance(source, Uniform):
        return Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0), source.F)
    if isinstance(source, FromModel):
        with said_of(f"{lattice.amplitudes_field}.file"):
            model = read_atomic_model(source.file, cell_from_real(lattice.real_vectors_A), lattice.space_group)
        return _of_model(lattice, source, model, reciprocal_per_A, scene, finest_A)
    try:
        if isinstance(source, FromFile):
            return _from_file(lattice, source, reciprocal_per_A, scene.shortest * finest_A)
        indices, amplitudes = wilson_amplitudes(reciprocal_per_A, source, lattice.symmetry)
    except ExperimentError as error:
        raise ExperimentError(f"{lattice.amplitudes_field}.{error}") from None
    return Reflections(indices, amplitudes, 0.0)


def _from_file(lattice: Lattice, source: FromFile, reciprocal_per_A: Array, finest_A: float) -> Reflections:
    """The whole of P 1 of what a file holds; of a text without a space group, the list as it is."""
    symmetry, field = lattice.symmetry, f"file: {source.file}"
    file, said = _file_list(lattice, source), []
    if file.as_it_is:
        return Reflections(file.indices, file.amplitudes, source.default_F)
    absent = symmetry.absent(file.indices) & (file.amplitudes != 0)
    if absent.any():
        said.append(
            f"{lattice.amplitudes_field}.{field}: {absent.sum():,} of its {len(absent):,} reflections are systematically absent in "
            f"{symmetry.name}, and have F = 0 (the largest that it lists is {file.amplitudes[absent].max():.4g})"
        )
    said += [f"{lattice.amplitudes_field}.{field}: {note}" for note in file.notes]
    unlisted, others = _unlisted(symmetry, source, file, reciprocal_per_A, finest_A)
    try:
        box = AmplitudeBox(symmetry, file.indices, unlisted)
        box.put(file.indices, file.amplitudes)
    except ExperimentError as error:
        raise ExperimentError(f"{field}: {error}") from None
    box.fill(unlisted, others)
    indices, amplitudes, filled = box.listed()
    return Reflections(indices, amplitudes, source.default_F, None, filled, file.cell, tuple(said), file.origin)


class _FileList(NamedTuple):
    """Reflections as a file lists them, and what is said of it."""

    indices: NDArray[np.integer[Any]]
    amplitudes: Array
    as_it_is: bool
    notes: tuple[str, ...] = ()
    cell: Cell | None = None
    origin: str = ""


def _file_list(lattice: Lattice, source: FromFile) -> _FileList:
    with said_of(f"{lattice.amplitudes_field}.file"):
        form = form_of(source.file)
    if form == "text":
        if source.labels:
            raise ExperimentError(f"columns: {source.file} is text with h k l F a line, which has none to name")
        as_it_is = lattice.stated_space_group is None and source.missing == "default_F"
        with said_of(f"{lattice.amplitudes_field}.file"):
            return _FileList(*read_hkl(source.file), as_it_is)
    with said_of(f"{lattice.amplitudes_field}.file"):
        merged = read_merged(source.file, source.labels)
    if merged.crystal.space_group is not None and not may_be(merged.crystal.space_group, lattice.space_group):
        raise ExperimentError(
            f"file: {source.file} is of {merged.crystal.space_group}, and {lattice.field}.space_group is {lattice.space_group}; "
            "leave that out"
        )
    cell = None if merged.crystal.cell is None else Cell(*merged.crystal.cell)
    indices, values = merged.indices, merged.amplitudes
    if len(values) == 2:  # a centric reflection is its own mate
        values[1, lattice.symmetry.centric(indices) & np.isfinite(values[0])] = np.nan
        indices, values = np.concatenate([indices, -indices]), values.reshape(1, -1)
    there = np.isfinite(values[0])
    block = f"block {merged.block} of " if merged.block else ""
    taken = f"{' and '.join(merged.columns)} of {block}{source.file.name}"
    origin = taken + (f"; there are also {', '.join(merged.others)}" if merged.others else "")
    return _FileList(indices[there], values[0, there], False, merged.notes, cell, origin)


def _unlisted(
    symmetry: Symmetry, source: FromFile, file: _FileList, reciprocal_per_A: Array, finest_A: float
) -> tuple[NDArray[np.integer[Any]], Array]:
    """Reflections to the detector's corner, one of each set, with what they have where the file does not hold them."""
    if source.missing == "wilson":
        try:
            unique, deviates = wilson_deviates(reciprocal_per_A, finest_A, source.missing_seed, symmetry)
        except ExperimentError as error:
            raise ExperimentError(f"missing: wilson to the detector's corner: {error}") from None
        mean = _mean_F2(symmetry, file, reciprocal_per_A)
        return unique, np.sqrt(deviates * mean(((unique @ reciprocal_per_A) ** 2).sum(axis=1)))
    if source.default_F and not symmetry.trivial:  # which stands for no absent one
        unlisted = np.concatenate([half[symmetry.absent(half)] for half in half_sphere(reciprocal_per_A, finest_A)])
        return unlisted, np.zeros(len(unlisted))
    return np.zeros((0, 3), dtype=np.int64), np.zeros(0)


def _mean_F2(symmetry: Symmetry, file: _FileList, reciprocal_per_A: Array) -> Callable[[Array], Array]:
    """<F^2/epsilon> of a list as a function of 1/d^2.

    It is the mean of shells of as many reflections each, its logarithm interpolated between their middles; beyond the last, it falls off as
    the straight line does that fits the outer half of them best, or stays where that would rise.
    """
    present = ~symmetry.absent(file.indices) & file.indices.any(axis=1)
    indices, F2 = file.indices[present], file.amplitudes[present] ** 2
    if not F2.any():
        raise ExperimentError("missing: wilson takes <F^2> from the file, whose amplitudes are all 0")
    per_A2 = ((indices @ reciprocal_per_A) ** 2).sum(axis=1)
    order = np.argsort(per_A2, kind="stable")
    shells = np.array_split(order, min(MOST_SHELLS, max(1, len(order) // REFLECTIONS_PER_SHELL)))
    E2 = F2 / symmetry.epsilon(indices)
    middles, means = (np.array([values[shell].mean() for shell in shells]) for values in (per_A2, E2))
    middles, logs = middles[means > 0], np.log(means[means > 0])
    outer = slice(len(logs) // 2, None)
    slope = min(0.0, np.polyfit(middles[outer], logs[outer], 1)[0]) if len(logs[outer]) > 1 else 0.0

    def mean(at_per_A2: Array) -> Array:
        beyond = np.maximum(at_per_A2 - middles[-1], 0)
        return np.asarray(np.exp(np.interp(at_per_A2, middles, logs) + slope * beyond))

    return mean


def _of_model(
    lattice: Lattice, source: FromModel, model: AtomicModel, reciprocal_per_A: Array, scene: Scene, finest_A: float
) -> Reflections:
    """F_calc at the wavelengths that are asked for, to the finest spacing that the lattice and the sources show on the detector."""
    sources = scene.instrument.sources
    wavelengths_A, table_of_source = np.array([sources.mean[1]]), None
    if source.anomalous == "each_wavelength":
        wavelengths_A, table_of_source = sources.wavelength_nodes(MOST_TABLES)
    d_min_A = source.d_min_A
    if d_min_A is None:
        # the same indices have other spacings in the model's cell, where the crystal's is another
        own = reciprocal_from_cell(model.cell)
        ratio = np.linalg.eigvals(np.linalg.solve(reciprocal_per_A @ reciprocal_per_A.T, own @ own.T)).real.max()
        d_min_A = scene.reach * finest_A / math.sqrt(ratio)
    its = model_amplitudes(model, source, d_min_A, wavelengths_A.tolist(), lattice.amplitudes_field)
    amplitudes = its.amplitudes[0] if table_of_source is None else its.amplitudes
    return Reflections(
        its.indices,
        amplitudes,
        0.0,
        table_of_source,
        notes=tuple(_of_model_notes(lattice, source, model, its.wavelengths_A, scene)),
        origin=described(model, source, its),
    )


def _of_model_notes(
    lattice: Lattice, source: FromModel, model: AtomicModel, wavelengths_A: Sequence[float], scene: Scene
) -> Iterator[str]:
    """What of a model is probably not meant."""
    field, cell, models_cell = lattice.amplitudes_field, cell_from_real(lattice.real_vectors_A), Cell(*model.cell)
    if model.models > 1:
        yield f"{field}.file: {source.file} holds {model.models} models; the amplitudes are those of the first one"
    if model.unknown:
        yield f"{field}.file: {source.file} has {model.unknown:,} atoms of an unknown element (X), which are left out"
    if not model.packed:
        yield (
            f"{field}.file: {source.file} has no cell; its atoms lie in that of {lattice.field} with the coordinates that they have, as an "
            f"asymmetric unit of {lattice.space_group}"
        )
    elif not models_cell.is_meant_by(cell):
        yield (
            f"{field}.file: {source.file} has a cell of {models_cell}, {lattice.field} one of {cell}: its atoms keep their fractional "
            "coordinates"
        )
    if source.anomalous == "each_wavelength" and len(wavelengths_A) == 1:
        yield (
            f"{field}.anomalous: each_wavelength, but all sources have one wavelength; beam.dispersion, sources, source_file, or for "
            "method sum bandwidth_sigma give more"
        )
    for name, energy in at_an_edge(model, source, wavelengths_A).items():
        yield (
            f"{field}.anomalous: {name} has an edge within {EDGE_EV:g} eV of {energy:.6g} eV, where calculated f' and f'' are no "
            "crystal's; anomalous_scatterers takes measured ones"
        )
    if source.scattering == "electrons" and scene.experiment.beam.polarization_factor is not None:
        yield "beam.polarization_factor: electrons have no polarization correction; null leaves it out"


def wilson_amplitudes(
    reciprocal_per_A: Array, wilson: Wilson, symmetry: Symmetry = P1_SYMMETRY
) -> tuple[NDArray[np.int32], Array]:
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
    try:
        unique, deviates = wilson_deviates(reciprocal_per_A, wilson.d_min_A, wilson.seed, symmetry)
    except ExperimentError as error:
        raise ExperimentError(f"d_min_A: {error}") from None
    s_squared = ((unique @ reciprocal_per_A) ** 2).sum(axis=1) / 4
    box = AmplitudeBox(symmetry, unique)
    box.fill(unique, np.sqrt(deviates * wilson.mean_F2 * np.exp(-2 * wilson.B_factor_A2 * s_squared)))
    indices, amplitudes, _ = box.listed()
    return indices, amplitudes


def wilson_deviates(
    reciprocal_per_A: Array, d_min_A: float, seed: int, symmetry: Symmetry
) -> tuple[NDArray[np.int64], Array]:
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
    if (listed := np.prod(2 * limits + 1)) > LARGEST_WILSON_SET:
        allowed = f"from about {d_min_A * np.cbrt(listed / LARGEST_WILSON_SET):.2g} A on this cell has fewer"
        raise ExperimentError(f"{d_min_A} A gives more than {LARGEST_WILSON_SET:,} reflections; {allowed}")
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
        raise ExperimentError(f"no reflection of this cell lies within {d_min_A} A")
    present = ~symmetry.absent(half)
    half, uniform = half[present], uniform[present]
    deviates = -np.log(uniform[:, 0])
    centric = symmetry.centric(half)
    deviates[centric] *= 2 * np.cos(2 * np.pi * uniform[centric, 1]) ** 2
    return half, deviates * symmetry.epsilon(half)
