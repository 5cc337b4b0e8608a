"""Reflections of other programs: MTZ, XDS_ASCII.HKL, and CIF as the Protein Data Bank and small-molecule crystallographers have them.

An MTZ file is a table of columns with labels and types (CCP4, "MTZ format"): F "structure amplitude", G "structure amplitude of one of a
Friedel pair", J "intensity", K "intensity of one of a Friedel pair", which are F(+), F(-), I(+) and I(-) of hkl and -h-k-l. In mmCIF
these are items of `_refln`: F_meas_au "the measured value of the structure factor, in arbitrary units", pdbx_F_plus "the structure factor
F(h,k,l) of the Friedel pair", intensity_meas, pdbx_I_plus and their likes; small molecules have F_squared_meas. All are read with gemmi;
unmerged intensities are merged (`unmerged`).
"""

from __future__ import annotations

import codecs
import functools
import gzip
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import FileFormatError
from nbdist.formats.hkl import LARGEST_INDEX, WHAT
from nbdist.formats.text import damage_named, unreadable_named, user_path, version_of
from nbdist.formats.unmerged import Observations, merged

if TYPE_CHECKING:
    import gemmi

Values = NDArray[np.float64]
Form = Literal["mtz", "cif", "xds", "text"]
Kind = Literal["F", "F of a pair", "I", "I of a pair", "F calculated", "F calculated of a pair", "F of a map", ""]
ORDER: tuple[Kind, ...] = (
    "F", "F of a pair", "I", "I of a pair", "F calculated", "F calculated of a pair", "F of a map",
)  # fmt: skip
"""Which kind of column is taken where none is named: the first that a file has with values."""
MEASURED: tuple[Kind, ...] = ("F", "F of a pair")
OBSERVED: tuple[Kind, ...] = (*MEASURED, "I", "I of a pair")
SIGNS = (("+", "-"), ("plus", "minus"))
"""In what the labels of a pair differ: F(+) and F(-), pdbx_F_plus and pdbx_F_minus."""
MTZ_TYPES: dict[str, Kind] = {"F": "F", "G": "F of a pair", "J": "I", "K": "I of a pair"}
CALCULATED = re.compile(r"(?i)f[-_]?calc|fc|f[-_]?model|f_?part")
OF_A_MAP = re.compile(r"(?i)2m?fo-?d?fc|fwt|fem")
DIFFERENCE = re.compile(r"(?i)m?fo-?d?fc|delf|f_?diff|dano|fan|p?anom|fllg")
"""What labels of MTZ columns of type F begin with where they are not what was measured; differences are no amplitudes."""
PHASE, SIGMAS = "P", ("Q", "L", "M")
"""Types of MTZ columns that stand behind those that they belong to: a measured amplitude has a sigma, and one with a phase is of a map."""
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
BEGINS: dict[Form, str] = {"mtz": "MTZ", "cif": "data_"}
XDS_BEGINS = b"!FORMAT=XDS_ASCII"
OF_A_PDB = re.compile(rb"^(HEADER|CRYST1|ATOM  |HETATM)", re.MULTILINE)
READS_MODELS = "structure_factors of kind model reads it"
STATUS = ("status", "observed_status", "include_status")
UNUSED = "x"
"""Items of `_refln` that say what a measured value is good for, and their code for one that is none: "unreliable", or not measured."""
OPERATIONS = ("_space_group_symop.operation_xyz", "_symmetry_equiv.pos_as_xyz")
NUMBERS = ("_space_group.IT_number", "_symmetry.Int_Tables_number")
"""What names a space group where its Hermann-Mauguin symbol is not there; in CIFs of small molecules with _ for the dot."""
HEADER_WORDS, RECORD_BYTES = 20, 80
"""Of an MTZ file: words of 4 bytes before its reflections, and bytes of each line of text after them."""
WHOLE_BELOW = 256
"""M/ISYM of a reflection that was recorded whole."""


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
        NaN where it has none, or one that is marked as not measured.
    columns
        The labels that were read.
    others
        Those that might have been.
    crystal
        Space group and cell.
    block
        Of a CIF with several, the one that was read; "" else.
    notes
        What was done to the values.
    """

    indices: NDArray[np.int32]
    amplitudes: Values
    columns: tuple[str, ...]
    others: tuple[str, ...]
    crystal: CrystalOfFile
    block: str
    notes: tuple[str, ...]


class _Table(NamedTuple):
    """A file's columns: the kind of each label, "" of what is no amplitude, and how its values are had, NaN where there is none.

    `owner` is what gemmi reads them from, which has to be there as long as they are asked for. `block` and `notes` are those of
    `MergedReflections`.
    """

    crystal: CrystalOfFile
    kinds: dict[str, Kind]
    indices: Callable[[], NDArray[np.int32]]
    values: Callable[[str], Values]
    owner: object
    block: str = ""
    notes: tuple[str, ...] = ()

    def columns_that_hold(self) -> tuple[str, ...]:
        """The first column, or pair of columns, in the order of kinds, that holds a value."""
        for kind in ORDER:
            for label in (label for label, its in self.kinds.items() if its == kind):
                partners = [label.replace(plus, minus) for plus, minus in SIGNS if plus in label]
                pair = [label, *(partner for partner in partners if self.kinds.get(partner) == kind)]
                its = tuple(pair[:2] if kind.endswith("of a pair") else pair[:1])
                if len(its) == 1 + kind.endswith("of a pair") and any(
                    np.isfinite(self.values(each)).any() for each in its
                ):
                    return its
        return ()


def form_of(path: Path) -> Form:
    """Which kind of file it is, by what it holds: one that begins as none of MTZ, CIF and XDS_ASCII counts as text.

    Of one that is not there, which a store may outlive, the name says it.

    Raises
    ------
    FileFormatError
        If it cannot be read, or is a map, an atomic model or of another kind than its name says.
    """
    place, suffix = user_path(path), Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
    with unreadable_named(path, WHAT):
        if not place.exists():
            return FORMS.get(suffix, "text")
    with unreadable_named(path, WHAT), _opened(path) as stream:
        start = stream.read(2**16).removeprefix(codecs.BOM_UTF8)
    if start[208:212] == b"MAP ":
        raise FileFormatError(f"{WHAT} {path} is a map; give reflections (MTZ, mmCIF, or h k l F a line)")
    if not start and suffix in FORMS:
        raise FileFormatError(f"{WHAT} {path} is empty")
    if start.startswith(b"MTZ "):
        return "mtz"
    if start.startswith(XDS_BEGINS):
        return "xds"
    lines = (line.strip() for line in start.splitlines())
    if next((line for line in lines if line and not line.startswith(b"#")), b"").lower().startswith(b"data_"):
        return "cif"
    if OF_A_PDB.search(start):
        raise FileFormatError(f"{WHAT} {path} is an atomic model (PDB); {READS_MODELS}")
    if suffix in FORMS:
        raise FileFormatError(
            f"{WHAT} {path} is of another kind than its name says: it does not begin with {BEGINS[FORMS[suffix]]}"
        )
    return "text"


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    place = user_path(path)
    return gzip.open(place) if path.suffix == ".gz" else place.open("rb")


def read_crystal(path: Path) -> CrystalOfFile:
    """Space group and cell of an MTZ, CIF or XDS_ASCII file; neither of a text file. A file that stays as it is is read once."""
    return _read_crystal(path, *version_of(path, WHAT))


@functools.lru_cache(maxsize=4)
def _read_crystal(path: Path, *_: int) -> CrystalOfFile:
    form = form_of(path)
    return CrystalOfFile(None, None) if form == "text" else _table(path, form, with_data=False).crystal


def read_merged(path: Path, columns: Sequence[str] = ()) -> MergedReflections:
    """Read amplitudes from an MTZ, CIF or XDS_ASCII file; unmerged intensities are merged.

    Parameters
    ----------
    path
        The file.
    columns
        Label of a column (an item of `_refln` in a CIF), or of two: those of hkl and of -h-k-l. Where none is named, what there is first
        of measured amplitudes, pairs of them, intensities, pairs of them, calculated amplitudes, pairs of them, and coefficients of a map.
        Merged here are I, I(+) and I(-).

    Raises
    ------
    FileFormatError
        If the file is damaged or of another kind, has no such columns, or no value in them.
    """
    table, what = _table(path, form_of(path), with_data=True, columns=tuple(columns)), f"{WHAT} {path}"
    usable = [label for label, kind in table.kinds.items() if kind]
    with damage_named(path, WHAT):
        chosen = tuple(columns) or table.columns_that_hold()
    if not chosen:
        if usable:
            raise FileFormatError(
                f"{what}: no column that is recognised holds a value; name columns of {', '.join(usable)}"
            )
        raise FileFormatError(f"{what} holds no amplitudes or intensities; its columns are {', '.join(table.kinds)}")
    for label in chosen:
        if label not in usable:
            found = "is none of amplitudes or intensities" if label in table.kinds else "is not in it"
            raise FileFormatError(f"{what}: column {label} {found}; it has {', '.join(usable) or 'none'}")
    kinds = {table.kinds[label][0] for label in chosen}
    if len(kinds) > 1:
        raise FileFormatError(f"{what}: columns {' and '.join(chosen)} are an amplitude and an intensity, no pair")
    with damage_named(path, WHAT):
        indices, values = table.indices(), np.stack([table.values(label) for label in chosen])
    _check_indices(path, indices)
    notes, below = table.notes, int((values < 0).sum())
    if kinds == {"I"}:
        notes += (f"intensities below 0, which have F = 0: {below:,}",) if below else ()
        amplitudes = np.sqrt(np.maximum(values, 0))
    elif table.kinds[chosen[0]] in MEASURED:
        notes += (f"amplitudes below 0, which count as missing: {below:,}",) if below else ()
        amplitudes = np.where(values < 0, np.nan, values)
    else:  # with a phase, which turns by half a cycle
        amplitudes = np.abs(values)
    amplitudes[~np.isfinite(values)] = np.nan
    if np.isnan(amplitudes).all():
        raise FileFormatError(f"{what}: column {' and '.join(chosen)} holds no value")
    others = tuple(label for label in usable if label not in chosen)
    return MergedReflections(indices, amplitudes, chosen, others, table.crystal, table.block, notes)


def _table(path: Path, form: Form, with_data: bool, columns: tuple[str, ...] = ()) -> _Table:
    with unreadable_named(path, WHAT), user_path(path).open("rb"):
        pass
    with damage_named(path, WHAT):
        if form == "mtz":
            return _mtz_table(path, with_data)
        return _xds_table(path, with_data) if form == "xds" else _cif_table(path, columns)


def _check_indices(path: Path, indices: NDArray[np.int32]) -> None:
    largest = np.abs(indices.astype(np.int64)).max(initial=0)
    if largest >= LARGEST_INDEX:
        raise FileFormatError(f"{WHAT} {path}: has a Miller index of {largest}; they lie below {LARGEST_INDEX}")


def _mtz_table(path: Path, with_data: bool) -> _Table:
    import gemmi

    what, place = f"{WHAT} {path}", str(user_path(path))
    mtz = gemmi.read_mtz_file(place, with_data=False)
    words = mtz.nreflections * len(mtz.columns)
    with _opened(path) as stream:  # before room is made for what the header promises
        stream.seek(4 * (HEADER_WORDS + words))
        header = stream.read()
    if not words:
        raise FileFormatError(
            f"{what} is damaged or holds nothing: its last lines, which say how many reflections and columns it has, are not there"
        )
    if not any(header.startswith(b"END ", start) for start in range(0, len(header), RECORD_BYTES)):
        raise FileFormatError(
            f"{what} is damaged: it ends before its {mtz.nreflections:,} reflections of {len(mtz.columns)} columns, and what is said of "
            "them, do"
        )
    if with_data:
        mtz = gemmi.read_mtz_file(place)
    crystal = _crystal(mtz.spacegroup, mtz.cell)
    if len(mtz.batches):
        return _merged_table(path, crystal, mtz.spacegroup, functools.partial(_observations, path, mtz), with_data)
    columns = [*mtz.columns]
    kinds = {
        column.label: _mtz_kind(column, "" if following is None else following.type)
        for column, following in zip(columns, [*columns[1:], None], strict=True)
        if column.type != "H"
    }
    return _Table(crystal, kinds, mtz.make_miller_array, functools.partial(_mtz_values, mtz), mtz)


def _mtz_kind(column: gemmi.Mtz.Column, following: str) -> Kind:
    """The kind of a column, by its type, its label and the type of the column that follows it."""
    kind, label = MTZ_TYPES.get(column.type, ""), column.label
    if kind not in MEASURED or (kind == "F" and OF_A_MAP.match(label)):
        return "F of a map" if kind == "F" else kind
    if DIFFERENCE.match(label):
        return ""
    calculated, with_phase = CALCULATED.match(label) is not None, following == PHASE
    if kind == "F":
        return "F calculated" if calculated else "F of a map" if with_phase else "F"
    return "F calculated of a pair" if calculated or with_phase else kind


def _mtz_values(mtz: gemmi.Mtz, label: str) -> Values:
    """Values of a column, NaN where they are the file's number for none, or 0 with a sigma of 0."""
    columns = [*mtz.columns]
    number = next(number for number, column in enumerate(columns) if column.label == label)
    stored = np.array(columns[number].array)
    values = stored.astype(np.float64)
    values[stored == np.float32(mtz.valm)] = np.nan
    if columns[number + 1 :] and columns[number + 1].type in SIGMAS:
        values[(stored == 0) & (np.array(columns[number + 1].array) == 0)] = np.nan
    return values


def _observations(path: Path, mtz: gemmi.Mtz) -> Observations:
    """The observations of an unmerged MTZ file: not the parts of a reflection that others continue, nor what is flagged.

    M/ISYM is "256 M + ISYM": M is not 0 of a partially recorded reflection, and an even ISYM says that h, k, l are of the Friedel mate.
    """
    columns = [*mtz.columns]
    intensities = [number for number, column in enumerate(columns[:-1]) if column.type == "J"]
    found = min(intensities, key=lambda number: columns[number].label != "I", default=None)
    codes = next((column for column in columns if column.type == "Y"), None)
    if found is None or columns[found + 1].type != "Q" or codes is None:
        raise FileFormatError(
            f"{WHAT} {path} holds unmerged reflections, without a column of intensities with one of sigmas behind it, or without M/ISYM"
        )
    code = np.array(codes.array).astype(np.int64)
    values, indices = _mtz_values(mtz, columns[found].label), mtz.make_miller_array()
    values[code >= WHOLE_BELOW] = np.nan
    for column in columns:
        if column.label == "FLAG":
            values[np.array(column.array) > 0] = np.nan
    return Observations(
        np.where(code[:, None] % 2 == 0, -indices, indices),
        values,
        np.array(columns[found + 1].array, dtype=np.float64),
    )


def _xds_table(path: Path, with_data: bool) -> _Table:
    import gemmi

    xds = gemmi.read_xds_ascii(str(user_path(path)))
    group = gemmi.find_spacegroup_by_number(xds.spacegroup_number)

    def observations() -> Observations:
        return Observations(
            np.array(xds.miller_array),
            np.array(xds.iobs_array, dtype=np.float64),
            np.array(xds.sigma_array, dtype=np.float64),
        )

    return _merged_table(path, _crystal(group, gemmi.UnitCell(*xds.cell_constants)), group, observations, with_data)


def _merged_table(
    path: Path,
    crystal: CrystalOfFile,
    group: gemmi.SpaceGroup | None,
    observations: Callable[[], Observations],
    with_data: bool,
) -> _Table:
    """The reflections of unmerged intensities, equivalent in the file's space group."""
    kinds: dict[str, Kind] = {"I": "I", "I(+)": "I of a pair", "I(-)": "I of a pair"}
    if not with_data:
        return _Table(crystal, kinds, lambda: np.zeros((0, 3), dtype=np.int32), lambda _: np.zeros(0), None)
    if group is None:
        raise FileFormatError(
            f"{WHAT} {path} holds unmerged reflections, and names no space group in which to merge them"
        )
    operations = group.operations().sym_ops
    rotations = np.array([operation.rot for operation in operations], dtype=np.int64) // operations[0].DEN
    observed = observations()
    _check_indices(path, observed.indices)
    its = merged(observed, rotations)
    values = {"I": its.mean, "I(+)": its.plus, "I(-)": its.minus}
    left_out = len(observed.sigmas) - its.observations
    notes = (
        f"{its.observations:,} observations are merged into {len(its.indices):,} reflections of {group.xhm()}, without another scaling"
        + (f"; {left_out:,} partial or rejected ones are left out" if left_out else ""),
    )
    return _Table(crystal, kinds, lambda: its.indices, values.__getitem__, None, notes=notes)


def _cif_table(path: Path, columns: tuple[str, ...]) -> _Table:
    """Columns of the first block of merged reflections that has what is asked for: these columns, or any that holds a value."""
    import gemmi

    what = f"{WHAT} {path}"
    with _opened(path) as stream:
        content = stream.read()
    document = gemmi.cif.read_string(content.decode("utf-8-sig", errors="replace"))
    has_atoms = any(block.find_loop("_atom_site.Cartn_x") for block in document)  # gemmi empties the document below
    small = [block for block in document if block.find_loop("_refln_index_h")]
    found = [gemmi.hkl_cif_as_refln_block(block) for block in small] if small else gemmi.as_refln_blocks(document)
    blocks = [block for block in found if block]
    if not blocks:
        raise FileFormatError(
            f"{what} holds no reflections: no loop of _refln"
            + (f"; it is an atomic model, and {READS_MODELS}" if has_atoms else "")
        )
    tables = [_block_table(path, block, several=len(blocks) > 1) for block in blocks if not block.is_unmerged()]
    if not tables:
        raise FileFormatError(f"{what} holds unmerged reflections (_diffrn_refln); merge them first")
    for table in tables:
        if all(label in table.kinds for label in columns) if columns else table.columns_that_hold():
            break
    else:
        table = tables[0]
    return table._replace(owner=found)


def _block_table(path: Path, block: gemmi.ReflnBlock, several: bool) -> _Table:
    labels = [label for label in block.column_labels() if not label.startswith("index_")]
    kinds = {label: CIF_ITEMS.get(label, "") for label in labels}
    prefix = block.default_loop.tags[0].removesuffix(block.column_labels()[0])

    def words(label: str) -> NDArray[np.str_]:
        return np.array(_words(block.block, prefix + label), dtype=str)

    @functools.cache
    def values(label: str) -> Values:
        its = np.array(block.make_float_array(label), dtype=np.float64)
        stem = label.replace("_meas", "")
        for sigma in (f"{label}_sigma", label.replace("_meas", "_meas_sigma"), f"{stem}_sigma"):
            if sigma != label and sigma in labels:
                its[(its == 0) & (np.array(block.make_float_array(sigma)) == 0)] = np.nan
        for status in STATUS:
            if status in labels and kinds[label] in OBSERVED:
                its[words(status) == UNUSED] = np.nan
        return its

    def indices() -> NDArray[np.int32]:
        if "wavelength_id" in labels and len(of_each := np.unique(words("wavelength_id"))) > 1:
            raise FileFormatError(
                f"{WHAT} {path}: block {block.block.name} has reflections of {len(of_each)} wavelengths in one loop "
                f"(wavelength_id {', '.join(of_each.tolist())}); give a file of one of them"
            )
        return block.make_miller_array()

    return _Table(
        _crystal(block.spacegroup or _group_without_a_symbol(block.block), block.cell),
        kinds,
        indices,
        values,
        None,
        block.block.name if several else "",
    )


def _group_without_a_symbol(block: gemmi.cif.Block) -> gemmi.SpaceGroup | None:
    """The space group of a block by its operations, else by its number."""
    import gemmi

    for tag in (its for each in (*OPERATIONS, *NUMBERS) for its in (each, each.replace(".", "_"))):
        words = _words(block, tag)
        if words and tag.endswith("xyz"):
            return gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(word.strip()) for word in words]))
        if words and words[0].strip().isdecimal():
            return gemmi.find_spacegroup_by_number(int(words[0]))
    return None


def _words(block: gemmi.cif.Block, tag: str) -> list[str]:
    """The values of an item, without quotes."""
    import gemmi

    return [gemmi.cif.as_string(word) for word in block.find_values(tag)]


def _crystal(space_group: gemmi.SpaceGroup | None, cell: gemmi.UnitCell) -> CrystalOfFile:
    return CrystalOfFile(
        None if space_group is None else space_group.xhm(), tuple(cell.parameters) if cell.is_crystal() else None
    )
