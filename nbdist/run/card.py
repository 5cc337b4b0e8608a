"""The data card of a data set: what it is, how much of what it has, how its values are distributed, and by what it can be checked.

DATASET.zarr/
  README.md           for people; one that someone else wrote is left alone
  card.json           the same and more for programs; written last
  card/values.png, card/samples.png
  card/checksums-00000.txt ...   SHA-256 of each shard, by its key, as `sha256sum -c` checks them

What holds: it is made of the finished store alone, a unit at a time, so a million samples take no memory; and it is taken back before
anything is written into the store again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from nbdist.errors import MissingExtraError, StoreError, one_line, printable, require_extra
from nbdist.formats.distributions import Distribution, Distributions, Numbers, Words
from nbdist.formats.image_files import stacked, stacked_shape
from nbdist.formats.text import parsed_json
from nbdist.formats.views import State, View
from nbdist.frames.products import COUNTS, INTENSITY, SPOTS, PixelProduct, TableProduct
from nbdist.frames.sample_products import MASK, VISIBLE
from nbdist.run.exporting import now
from nbdist.store import open_group, read_frame, summarize
from nbdist.store.checksums import checksum_lines
from nbdist.store.objects import ROOT, Objects
from nbdist.store.occupancy import occupy
from nbdist.store.places import objects_of
from nbdist.store.reading import DatasetSummary, panel_masks
from nbdist.store.samples import sample_rows
from nbdist.store.schema import schema_of
from nbdist.store.tables import SAMPLE
from nbdist.store.units import CARD, OUR_README, README, has_our_readme, store_id_of
from nbdist.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "nbdist data card"
FORMAT_VERSION = 1
FOLDER = "card"
VALUES_PICTURE, SAMPLES_PICTURE = f"{FOLDER}/values.png", f"{FOLDER}/samples.png"
LINES_PER_FILE = 2**16
"""Checksums of one object: a few MiB."""
A_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}
"""What makes the folder of the card's parts a group of Zarr: readers that walk through a store find nothing strange."""
SAMPLES_SHOWN = 6
MOST_HISTOGRAMS = 40
"""Columns that are drawn; all are counted."""
MOST_ROWS = 20
"""Splits, crystals or values that README.md has a row of each."""
Report = Callable[[str, int, int], None]
logger = logging.getLogger(__name__)


@dataclass
class Card:
    """What a data set's card says.

    Attributes
    ----------
    summary, store_id
        The data set, and the random name of its store.
    columns
        Units and meaning of the columns of its samples, by name.
    distributions
        How their values are distributed, by name.
    splits
        Samples of each split, and its crystals.
    checksum, objects, checksum_files
        SHA-256 of all checksums, how many there are, and the keys of the objects that list them.
    pictures
        Keys of the pictures; none where matplotlib is not installed.
    made_at
        When, as ISO 8601 has it.
    """

    summary: DatasetSummary
    store_id: str
    columns: dict[str, dict[str, str]]
    distributions: Distributions
    splits: dict[str, Words]
    checksum: str = ""
    objects: int = 0
    checksum_files: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    made_at: str = ""

    @property
    def license(self) -> str | None:
        """What the recipe says of the licence."""
        said = self.summary.content.get("recipe", {}).get("license")
        return str(said) if said else None

    def as_json(self) -> dict[str, object]:
        """What card.json says."""
        summary, schema = self.summary, self.summary.schema
        pixels = [its for its in schema.products if isinstance(its, PixelProduct)]
        tables = [its for its in schema.products if isinstance(its, TableProduct)]
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "title": summary.title,
            "license": self.license,
            "made_by": f"nbdist {__version__}",
            "made_at": self.made_at,
            "store_id": self.store_id,
            "fingerprint": summary.fingerprint,
            "seed": summary.seed,
            "samples": summary.samples,
            "frames_per_sample": summary.frames_per_sample,
            "frames": summary.frames,
            "panels": [list(shape) for shape in schema.panels],
            "shard_bytes": summary.found.shard_bytes,
            "splits": {
                name: {"samples": crystals.count, "crystals": crystals.as_json()}
                for name, crystals in self.splits.items()
            },
            "arrays": [
                {"name": its.name, "dtype": its.dtype, "units": its.units, "long_name": its.long_name} for its in pixels
            ],
            "tables": [
                {
                    "name": its.name,
                    "long_name": its.long_name,
                    "columns": {
                        column.name: {"dtype": column.dtype, "units": column.units, "long_name": column.long_name}
                        for column in its.columns
                    },
                }
                for its in tables
            ],
            "values": {name: {**self.columns[name], **its.as_json()} for name, its in self.distributions.items()},
            "checksums": {
                "algorithm": "SHA-256",
                "of": "each shard, as the records of units have it and sha256sum checks it; `all` is that of these lines",
                "all": self.checksum,
                "shards": self.objects,
                "files": self.checksum_files,
            },
            "pictures": self.pictures,
            "provenance": summary.provenance,
            "recipe": summary.content,
        }


def make_card(location: str | os.PathLike[str], *, report: Report = lambda what, done, total: None) -> Card:
    """`write_card` for a store that nobody holds: nobody writes into it meanwhile."""
    occupation = occupy(objects_of(open_group(location)))
    try:
        return write_card(location, report=report)
    finally:
        occupation.release()


def keep_card(location: str | os.PathLike[str]) -> None:
    """Write the card of a finished data set that has none; of a series there is none. The caller holds the store."""
    group = open_group(location)
    if schema_of(group).frames_per_sample is not None and objects_of(group).read(CARD) is None:
        write_card(location)


def write_card(location: str | os.PathLike[str], *, report: Report = lambda what, done, total: None) -> Card:
    """Write the card of a finished data set into its store, or write it again; the caller holds the store.

    Parameters
    ----------
    location
        Path or URL of the store.
    report
        Called with ("values" or "checksums", samples or units done, all of them).

    Returns
    -------
    What the card says.

    Raises
    ------
    StoreError
        If there is no data set, it is not finished, or the store cannot be written.
    """
    group, summary = open_group(location), summarize(location)
    if not isinstance(summary, DatasetSummary):
        raise StoreError(f"{summary.location} is a series; a card is of a data set")
    if not summary.found.finished:
        missing = len(summary.units) - len(summary.complete)
        raise StoreError(f"{summary.location}: {missing} of {len(summary.units)} units are missing; a card is of all")
    objects = objects_of(group)
    card = Card(summary, store_id_of(group), *counted_values(group, summary, report), made_at=now())
    try:
        objects.delete(CARD)
        objects.write(f"{FOLDER}/{ROOT}", json.dumps(A_GROUP).encode())
        _write_checksums(group, objects, card, report)
        for key, picture in _pictures(group, card):
            objects.write(key, picture)
            card.pictures.append(key)
        if objects.read(README) is None or has_our_readme(objects):
            objects.write(README, read_me(card).encode())
        objects.write(CARD, json.dumps(card.as_json(), indent=2).encode())
    except OSError as error:
        raise StoreError(f"{objects.location} cannot be written: {one_line(error)}") from None
    return card


def card_fault(group: zarr.Group) -> str | None:
    """What a data set's card says of its shards that their records do not say; None where it is right, or there is none.

    A record holds what its shards had when they were written, and `StoredUnits.damages` compares them with it.
    """
    content = objects_of(group).read(CARD)
    if content is None:
        return None
    try:
        said = parsed_json(content)
        store, checksum, shards = said["store_id"], said["checksums"]["all"], said["checksums"]["shards"]
    except (ValueError, KeyError, TypeError):
        return f"{CARD} does not decode"
    if store != store_id_of(group):
        return f"{CARD} is of another store"
    found, count = hashlib.sha256(), 0
    for line in checksum_lines(group):
        found.update(f"{line}\n".encode())
        count += 1
    if (checksum, shards) != (found.hexdigest(), count):
        return f"{CARD} has the checksum {checksum} of {shards} shards; that of their records is {found.hexdigest()} of {count}"
    return None


def counted_values(
    group: zarr.Group, summary: DatasetSummary, report: Report
) -> tuple[dict[str, dict[str, str]], Distributions, dict[str, Words]]:
    """Units and meanings of the columns of samples, how their values are distributed, and the crystals of each split.

    They are those of the samples that are complete.
    """
    schema, _ = sample_rows(group)
    names = [name for name in schema.names if name != SAMPLE]
    columns: dict[str, dict[str, str]] = {}
    found: dict[str, Numbers | Words] = {}
    for name in names:
        said = schema.field(name).metadata or {}
        columns[name] = {key: said.get(key.encode(), b"").decode() for key in ("units", "long_name")}
        kind = str(schema.field(name).type)
        whole = "int" in kind
        named = "string" in kind or (whole and _numbers_alternatives(summary.content, name))
        found[name] = Words() if named else Numbers(whole)
    splits: dict[str, Words] = {}
    for again in (False, True):
        done = 0
        for rows in sample_rows(group)[1]:
            for name, its in found.items():
                values = rows[name].to_numpy()
                if isinstance(its, Numbers) and again:
                    its.count_in_bins(values)
                elif not again:
                    its.add(values)
            if not again:
                split, crystal = (np.asarray(rows[name].to_numpy(), dtype=str) for name in ("split", "crystal"))
                for name in np.unique(split):
                    splits.setdefault(str(name), Words()).add(crystal[split == name])
            done += len(rows)
            report("values", done + again * summary.samples, 2 * summary.samples)
        for its in found.values():
            if isinstance(its, Numbers) and not again:
                its.begin_histogram()
    return columns, found, splits


def _numbers_alternatives(content: Any, name: str) -> bool:
    """Whether what a recipe has at the place of a column is a choice among mappings or lists, whose number is no amount."""
    for part in name.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    choice = content.get("choice", ()) if isinstance(content, Mapping) else ()
    return any(isinstance(each, Mapping | list) for each in choice)


def _write_checksums(group: zarr.Group, objects: Objects, card: Card, report: Report) -> None:
    """Write the checksums of all shards, so many in an object, and note theirs."""
    lines, all_of_them = checksum_lines(group), hashlib.sha256()
    while some := list(islice(lines, LINES_PER_FILE)):
        content = "".join(f"{line}\n" for line in some).encode()
        all_of_them.update(content)
        key = f"{FOLDER}/checksums-{len(card.checksum_files):05d}.txt"
        objects.write(key, content)
        card.checksum_files.append(key)
        card.objects += len(some)
        report("checksums", card.objects, len(card.summary.units) * card.summary.schema.shards_per_unit)
    card.checksum = all_of_them.hexdigest()


def _pictures(group: zarr.Group, card: Card) -> Iterator[tuple[str, bytes]]:
    """Yield the key and the content of each picture; none where matplotlib is not installed, which is logged."""
    try:
        require_extra("pictures", "a data card's pictures")
    except MissingExtraError as error:
        logger.warning("the data card has no pictures: %s", error)
        return
    from nbdist.formats.pictures import distributions_figure, drawn

    title, drawn_columns = card.summary.title or "data set", worth_drawing(card.columns, card.distributions)
    yield (
        VALUES_PICTURE,
        drawn(distributions_figure(drawn_columns, f"{title}: {card.summary.samples:,} samples", "samples")),
    )
    samples = np.unique(np.linspace(0, card.summary.samples - 1, SAMPLES_SHOWN).round().astype(int)).tolist()
    yield SAMPLES_PICTURE, drawn(first_frames_figure(group, card.summary, samples, f"{title}: "))


def first_frames_figure(group: zarr.Group, summary: DatasetSummary, samples: Sequence[int], title: str = "") -> Figure:
    """A figure of the first frames of some samples, with circles at the spots that are seen where spots are labelled."""
    from nbdist.formats.pictures import samples_figure

    shown = [_shown(group, summary, sample) for sample in samples]
    has_spots = any(table.name == SPOTS.name for table in summary.schema.tables)
    marked = f", and their spots of signal over noise from {VISIBLE:g} on" if has_spots else ""
    return samples_figure(
        [view for view, _, _ in shown],
        [f"sample {sample}" for sample in samples],
        [spots for _, spots, _ in shown],
        f"{title}first frames{marked}",
        shown[0][2].units,
    )


def worth_drawing(
    columns: Mapping[str, Mapping[str, str]], distributions: Distributions
) -> dict[str, tuple[Distribution, str]]:
    """Columns whose values are not all the same, so many at most, with their units."""
    found: dict[str, tuple[Distribution, str]] = {}
    for name, its in distributions.items():
        alike = its.least == its.greatest if isinstance(its, Numbers) else len(its.counts) < 2
        if not alike and its.count and len(found) < MOST_HISTOGRAMS:
            found[name] = its, columns[name]["units"]
    return found


def _shown(group: zarr.Group, summary: DatasetSummary, sample: int) -> tuple[View, NDArray[np.float64], PixelProduct]:
    """The first frame of a sample as an image, where its visible spots are (n, 2), and the product that it is of."""
    schema = summary.schema
    frame = read_frame(group, sample * summary.frames_per_sample)
    pixels = {its.name: its for its in schema.products if isinstance(its, PixelProduct)}
    product = pixels.get(COUNTS.name) or pixels[INTENSITY.name]
    shape, images = stacked_shape(schema.panels), product.images(frame)
    masks = panel_masks(group) or MASK.images(frame)
    mask = stacked(masks, shape, "uint8", nothing=State.NOWHERE)
    states = np.select(
        [mask == 1, mask == 2, mask == State.NOWHERE], [State.MASKED, State.BAD, State.NOWHERE], State.READ
    )
    values = stacked(images, shape, "float32", nothing=0)
    spots = np.empty((0, 2))
    if SPOTS.name in frame:
        rows = SPOTS.rows(frame)
        seen = rows["signal_over_noise"] >= VISIBLE
        firsts = np.concatenate([[0], np.cumsum([slow for slow, _ in schema.panels])])
        spots = np.stack([rows["slow"] + firsts[rows["panel"]], rows["fast"]], axis=1)[seen]
    return View(values, states.astype(np.uint8)), spots, product


def read_me(card: Card) -> str:
    """What README.md says, in Markdown."""
    summary, samples = card.summary, card.summary.samples
    per_sample = "a still" if summary.frames_per_sample == 1 else f"{summary.frames_per_sample} frames"
    lines = [
        f"# {_line(summary.title or 'Synthetic diffraction images')}",
        "",
        f"{samples:,} samples of {per_sample} each, simulated X-ray diffraction images with labels, made by nbdist "
        f"{summary.provenance.get('versions', {}).get('nbdist', '')}.".replace(" .", "."),
        f"{_bytes(summary.found.shard_bytes)} in {len(summary.units):,} units.",
        "",
        f"Licence: {_line(card.license or 'none is named in the recipe (recipe.license)')}.",
        "",
        "```python",
        "import nbdist",
        f'images = nbdist.open_series("{_name(summary.location)}")     # frames of all samples, lazily, with their labels',
        f'samples = nbdist.open_samples("{_name(summary.location)}")   # a row for each sample',
        "```",
        "",
        "## Splits",
        "",
        *_table(
            ("split", "samples", "share", "crystals"),
            (
                (name, f"{its.count:,}", f"{its.count / samples:.1%}", _at_least(its))
                for name, its in card.splits.items()
            ),
        ),
        "",
        "## What it holds",
        "",
        *_table(
            ("array", "type", "units", "what it is"),
            (
                (its.name, its.dtype, its.units, its.long_name)
                for its in summary.schema.products
                if isinstance(its, PixelProduct)
            ),
        ),
        "",
        *_table(
            ("table", "columns", "what it is"),
            (
                (its.name, ", ".join(column.name for column in its.columns), its.long_name)
                for its in summary.schema.products
                if isinstance(its, TableProduct)
            ),
        ),
        "",
        "## Values of the samples",
        "",
        *_table(
            ("column", "units", "least", "mean", "greatest", "deviation", "what it is"),
            (
                (
                    name,
                    card.columns[name]["units"],
                    *(
                        "" if math.isnan(value) else f"{value:.5g}"
                        for value in (its.least, its.mean, its.greatest, its.deviation)
                    ),
                    _meaning(card, name),
                )
                for name, its in card.distributions.items()
                if isinstance(its, Numbers)
            ),
        ),
        "",
        *_table(
            ("column", "values", "what it is"),
            (
                (
                    name,
                    ", ".join(f"{word or '(none)'} ({count:,})" for word, count in its.commonest(MOST_ROWS).items())
                    + (" ..." if len(its.counts) > MOST_ROWS or its.others else ""),
                    _meaning(card, name),
                )
                for name, its in card.distributions.items()
                if isinstance(its, Words)
            ),
        ),
        "",
        *(f"![{key}]({key})\n" for key in card.pictures),
        "## Where it is from",
        "",
        "The recipe and the seed are the whole set: `card.json` has the recipe as `recipe`, and each sample can be rendered again from it"
        f" and from its number alone. Seed {summary.seed}, fingerprint `{summary.fingerprint}`.",
        "",
        *_table(("package", "version"), summary.provenance.get("versions", {}).items()),
        "",
        "## Checksums",
        "",
        f"`card/checksums-*.txt` have the SHA-256 of each of the {card.objects:,} shards. `sha256sum -c card/checksums-*.txt` in this"
        " folder reads and compares all of them; so does `nbdist verify`, which renders some samples again besides. That of all of"
        " these lines is",
        "",
        f"    {card.checksum}",
        "",
        f"{OUR_README} {__version__} on {card.made_at}; `nbdist card` makes it again.",
        "",
    ]
    return "\n".join(lines)


def _meaning(card: Card, name: str) -> str:
    """What a column is, where that is more than its name."""
    said = card.columns[name]["long_name"]
    return "" if said == name else said


def _table(head: tuple[str, ...], rows: Iterable[Iterable[object]]) -> list[str]:
    """Lines of a table in Markdown."""
    shown = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(_line(cell).replace("|", "\\|") for cell in row) + " |" for row in shown]


def _line(words: object) -> str:
    """Words of a recipe in one line, which are neither HTML nor orders to a terminal."""
    return printable(" ".join(str(words).split())).replace("<", "&lt;")


def _at_least(words: Words) -> str:
    """How many different words there are."""
    return f"{len(words.counts):,}" + (" at least" if words.others else "")


def _name(location: str) -> str:
    return location.rstrip("/").rpartition("/")[2]


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.3g} {unit}"
        size /= 1024
    raise AssertionError
