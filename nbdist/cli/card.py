"""`nbdist card`: the data card of a data set, made again."""

from __future__ import annotations

from nbdist.cli.arguments import StoreLocation
from nbdist.cli.display import console
from nbdist.cli.progress_display import Steps


def card(location: StoreLocation) -> None:
    """Make the data card of a finished data set again: README.md, card.json, pictures and checksums in its store."""
    from nbdist.run.card import make_card

    with Steps() as steps:
        made = make_card(location, report=steps.named)
    splits = ", ".join(f"{crystals.count:,} {name}" for name, crystals in made.splits.items())
    console.print(
        f"{location}: card of {made.summary.samples:,} samples ({splits}); {made.objects:,} shards, all: {made.checksum}"
    )
