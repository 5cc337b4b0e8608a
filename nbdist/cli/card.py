"""`nbdist card`: the data card of a data set, made again."""

from __future__ import annotations

from nbdist.cli.arguments import StoreLocation
from nbdist.cli.display import console, error_console, interactive


def card(location: StoreLocation) -> None:
    """Make the data card of a finished data set again: README.md, card.json, pictures and checksums in its store."""
    from nbdist.run.card import make_card

    def report(what: str, done: int, total: int) -> None:
        if interactive():
            error_console.print(f"{what} {done}/{total}", end="\r")

    made = make_card(location, report=report)
    splits = ", ".join(f"{crystals.count:,} {name}" for name, crystals in made.splits.items())
    console.print(
        f"{location}: card of {made.summary.samples:,} samples ({splits}); {made.objects:,} shards, all: {made.checksum}"
    )
