"""Merged reflections of other programs: MTZ, and CIF as the Protein Data Bank and small-molecule crystallographers have them.

An MTZ file is a table of columns with labels and types (CCP4, "MTZ format"): F "structure amplitude", G "structure amplitude of one of a
Friedel pair", J "intensity", K "intensity of one of a Friedel pair", which are F(+), F(-), I(+) and I(-) of hkl and -h-k-l. In mmCIF
these are items of `_refln`: F_meas_au "the measured value of the structure factor, in arbitrary units", pdbx_F_plus "the structure factor
F(h,k,l) of the Friedel pair", intensity_meas, pdbx_I_plus and their likes; small molecules have F_squared_meas. All are read with gemmi.
"""

from __future__ import annotations

import contextlib
import gzip
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError, one_line
from nbdist.formats.hkl import LARGEST_INDEX, WHAT
from nbdist.formats.text import unreadable_named, user_path

if TYPE_CHECKING:
    import gemmi

Values = NDArray[np.float64]
Form = Literal["mtz", "cif", "text"]
Kind = Literal["F", "F of a pair", "I", "I of a pair", "F calculated", "F of a map", ""]
ORDER: tuple[Kind, ...] = ("F", "F of a pair", "I", "I of a pair", "F calculated", "F of a map")
"""Which kind of column is taken where none is named: the first that a file has."""
MTZ_TYPES: dict[str, Kind] = {"F": "F", "G": "F of a pair", "J": "I", "K": "I of a pair"}
CALCULATED = re.compile(r"(?i)f-?calc|fc|f-?model|f_part")
OF_A_MAP = re.compile(r"(?i)2m?fo-?d?fc|fwt|fem")
DIFFERENCE = re.compile(r"(?i)m?fo-?d?fc|delfwt|f_?diff|dano|fan")
"""What labels of MTZ columns of type F begin with where they are not what was measured; differences are no amplitudes."""
CIF_ITEMS: dict[str, Kind] = {
    "F_meas_au": "F",
    "F_meas": "F",
    "pdbx_F_plus": "F of a pair",
    "pdbx_F_minus": "F of a pair",
    "intensity_meas": "I",
    "F_squared_meas": "I",
    "pdbx_I_plus": "I of a pair",
    "pdbx_I_minus": "I of a pair",
    "F_calc_au": "F calculated",
    "F_calc": "F calculated",
    "pdbx_FWT": "F of a map",
}
FORMS: dict[str, Form] = {".mtz": "mtz", ".cif": "cif", ".mmcif": "cif", ".fcf": "cif"}
"""What names say."""
HEADER_WORDS, RECORD_BYTES = 20, 80
"""Of an MTZ file: words of 4 bytes before its reflections, and bytes of each line of text after them."""


class CrystalOfFile(NamedTuple):
    """What a file says of its crystal: the space group as gemmi writes it, and the cell (Angstrom, degrees); None where it does not."""

    space_group: str | None
    cell: tuple[float, ...] | None


class MergedReflections(NamedTuple):
    """Reflections that a file holds a value of.

    Attributes
    ----------
    indices
        int32 (n, 3), as they stand in the file.
    amplitudes
        float64 (1, n), or (2, n) of hkl and -h-k-l: F as it stands in the file, or sqrt(I), and 0 where I is below 0;
        NaN where it has none.
    columns
        The labels that were read.
    others
        Those that might have been.
    negative
        Intensities below 0.
    crystal
        Space group and cell.
    """

    indices: NDArray[np.int32]
    amplitudes: Values
    columns: tuple[str, ...]
    others: tuple[str, ...]
    negative: int
    crystal: CrystalOfFile


class _Table(NamedTuple):
    """A file's columns: the kind of each label, "" of what is no amplitude, and how its values are had, NaN where there is none.

    `owner` is what gemmi reads them from, which has to be there as long as they are asked for.
    """

    crystal: CrystalOfFile
    kinds: dict[str, Kind]
    indices: Callable[[], NDArray[np.int32]]
    values: Callable[[str], Values]
    owner: object


def form_of(path: Path) -> Form:
    """Which kind of file it is, by what it holds: one that begins as neither MTZ nor CIF counts as text.

    Of one that is not there, which a store may outlive, the name says it.

    Raises
    ------
    FileFormatError
        If it cannot be read, or is a map or of another kind than its name says.
    """
    place, suffix = user_path(path), Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
    if not place.exists():
        return FORMS.get(suffix, "text")
    with unreadable_named(path, WHAT), gzip.open(place) if path.suffix == ".gz" else place.open("rb") as stream:
        start = stream.read(2**16)
    if start[208:212] == b"MAP ":
        raise FileFormatError(f"{WHAT} {path} is a map; give reflections (MTZ, mmCIF, or h k l F a line)")
    if start.startswith(b"MTZ "):
        return "mtz"
    lines = (line.strip() for line in start.splitlines())
    if next((line for line in lines if line and not line.startswith(b"#")), b"").lower().startswith(b"data_"):
        return "cif"
    if suffix in FORMS:
        begins = "MTZ" if FORMS[suffix] == "mtz" else "data_"
        raise FileFormatError(f"{WHAT} {path} is of another kind than its name says: it does not begin with {begins}")
    return "text"


def read_crystal(path: Path) -> CrystalOfFile:
    """Space group and cell of an MTZ or CIF file; neither of a text file."""
    form = form_of(path)
    return CrystalOfFile(None, None) if form == "text" else _table(path, form, with_data=False).crystal


def read_merged(path: Path, columns: Sequence[str] = ()) -> MergedReflections:
    """Read amplitudes from an MTZ or CIF file.

    Parameters
    ----------
    path
        The file.
    columns
        Label of a column (an item of `_refln` in a CIF), or of two: those of hkl and of -h-k-l. Where none is named, what there is first
        of measured amplitudes, pairs of them, intensities, pairs of them, calculated amplitudes and coefficients of a map.

    Raises
    ------
    FileFormatError
        If the file is damaged, not merged or of another kind, has no such columns, or no value in them.
    """
    table = _table(path, form_of(path), with_data=True)
    usable = [label for label, kind in table.kinds.items() if kind]
    chosen = tuple(columns) or _recognised(table.kinds)
    what = f"{WHAT} {path}"
    if not chosen:
        raise FileFormatError(f"{what} holds no amplitudes or intensities; its columns are {', '.join(table.kinds)}")
    for label in chosen:
        if label not in usable:
            found = "is none of amplitudes or intensities" if label in table.kinds else "is not in it"
            raise FileFormatError(f"{what}: column {label} {found}; it has {', '.join(usable) or 'none'}")
    kinds = {table.kinds[label][0] for label in chosen}
    if len(kinds) > 1:
        raise FileFormatError(f"{what}: columns {' and '.join(chosen)} are an amplitude and an intensity, no pair")
    with _damage_named(path):
        indices, values = table.indices(), np.stack([table.values(label) for label in chosen])
    there = np.isfinite(values)
    if not there.any():
        raise FileFormatError(f"{what}: column {' and '.join(chosen)} holds no value")
    if np.abs(indices).max() >= LARGEST_INDEX:
        raise FileFormatError(f"{what}: has a Miller index of {np.abs(indices).max()}; they lie below {LARGEST_INDEX}")
    intensities = kinds == {"I"}
    amplitudes = np.sqrt(np.maximum(values, 0)) if intensities else np.abs(values)
    amplitudes[~there] = np.nan
    others = tuple(label for label in usable if label not in chosen)
    negative = int((values < 0).sum()) if intensities else 0
    return MergedReflections(indices, amplitudes, chosen, others, negative, table.crystal)


def _recognised(kinds: dict[str, Kind]) -> tuple[str, ...]:
    for kind in ORDER:
        labels = tuple(label for label, its in kinds.items() if its == kind)
        if kind.endswith("of a pair"):
            if len(labels) > 1:
                return labels[:2]
        elif labels:
            return labels[:1]
    return ()


def _table(path: Path, form: Form, with_data: bool) -> _Table:
    with unreadable_named(path, WHAT), user_path(path).open("rb"):
        pass
    with _damage_named(path):
        return _mtz_table(path, with_data) if form == "mtz" else _cif_table(path)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Whatever gemmi raises of a damaged file, in one line that names it."""
    try:
        yield
    except FileFormatError:
        raise
    except Exception as error:
        said = one_line(error).replace(str(user_path(path)), "").strip(": ")
        raise FileFormatError(f"{WHAT} {path} is damaged: {said}") from None


def _mtz_table(path: Path, with_data: bool) -> _Table:
    import gemmi

    what, place = f"{WHAT} {path}", user_path(path)
    mtz = gemmi.read_mtz_file(str(place), with_data=False)
    words = mtz.nreflections * len(mtz.columns)
    with place.open("rb") as stream:  # before room is made for what the header promises
        stream.seek(4 * (HEADER_WORDS + words))
        header = stream.read()
    if not words or not any(header.startswith(b"END ", start) for start in range(0, len(header), RECORD_BYTES)):
        raise FileFormatError(
            f"{what} is damaged: it ends before its {mtz.nreflections:,} reflections of {len(mtz.columns)} columns, and what is said of "
            "them, do"
        )
    if len(mtz.batches):
        raise FileFormatError(f"{what} holds unmerged reflections, of {len(mtz.batches)} batches; merge them first")
    if with_data:
        mtz = gemmi.read_mtz_file(str(place))
    kinds = {column.label: _mtz_kind(column) for column in mtz.columns if column.type != "H"}

    def values(label: str) -> Values:
        return np.array(mtz.column_with_label(label).array, dtype=np.float64)

    return _Table(_crystal(mtz.spacegroup, mtz.cell), kinds, mtz.make_miller_array, values, mtz)


def _mtz_kind(column: gemmi.Mtz.Column) -> Kind:
    kind = MTZ_TYPES.get(column.type, "")
    if kind == "F":
        if OF_A_MAP.match(column.label):
            return "F of a map"
        if DIFFERENCE.match(column.label):
            return ""
        if CALCULATED.match(column.label):
            return "F calculated"
    return kind


def _cif_table(path: Path) -> _Table:
    import gemmi

    what, document = f"{WHAT} {path}", gemmi.cif.read(str(user_path(path)))
    small = [block for block in document if block.find_loop("_refln_index_h")]
    blocks = gemmi.ReflnBlocks() if small else gemmi.as_refln_blocks(document)  # which takes the document's blocks
    block = gemmi.hkl_cif_as_refln_block(small[0]) if small else next((its for its in blocks if its), None)
    if block is None:
        raise FileFormatError(f"{what} holds no reflections: no loop of _refln")
    if block.is_unmerged():
        raise FileFormatError(f"{what} holds unmerged reflections (_diffrn_refln); merge them first")
    kinds = {label: CIF_ITEMS.get(label, "") for label in block.column_labels() if not label.startswith("index_")}
    return _Table(
        _crystal(block.spacegroup, block.cell), kinds, block.make_miller_array, block.make_float_array, blocks
    )


def _crystal(space_group: gemmi.SpaceGroup | None, cell: gemmi.UnitCell) -> CrystalOfFile:
    return CrystalOfFile(
        None if space_group is None else space_group.xhm(), tuple(cell.parameters) if cell.is_crystal() else None
    )
