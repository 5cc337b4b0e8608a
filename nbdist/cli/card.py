"""`nbdist card`: the data card of a data set, made again."""

from __future__ import annotations

from nbdist.cli.arguments import StoreLocation
from nbdist.cli.display import console
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.cli.progress_display import Steps


def card(location: StoreLocation, as_json: JsonOption = False) -> None:
    """Make the data card of a finished data set again: README.md, card.json, pictures and checksums in its store."""
    from nbdist.run.card import make_card

    with Steps() as steps:
        made = make_card(location, report=steps.named)
    splits = ", ".join(f"{crystals.count:,} {name}" for name, crystals in made.splits.items())
    print_json(
        "card",
        store=location,
        samples=made.summary.samples,
        samples_by_split={name: crystals.count for name, crystals in made.splits.items()},
        shards=made.objects,
        sha256=made.checksum,
    )
    console.print(
        f"{location}: card of {made.summary.samples:,} samples ({splits}); {made.objects:,} shards, all: {made.checksum}"
    )
