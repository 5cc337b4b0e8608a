"""`nbdist finish`: all parts of a store are there and decode, and its metadata is consolidated; or which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import typer

from nbdist.cli.arguments import StoreLocation
from nbdist.cli.display import console
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.cli.progress_display import Steps

SHOWN = 20
"""Lines of one kind at most."""


def finish(location: StoreLocation, as_json: JsonOption = False) -> None:
    """Check that all parts of a store are there, and consolidate it."""
    from nbdist.run.finish import finish as finish_store

    with Steps("units checked") as steps:
        result = finish_store(location, report=steps)
    print_json(
        "finish",
        store=location,
        finished=not result.missing,
        units=result.units,
        frames=result.frames,
        units_missing=result.missing,
        units_damaged=result.damaged,
        go_on=result.commands,
    )
    if not result.missing:
        console.print(f"{location}: {result.frames} frames, {result.units} units, all complete; metadata consolidated")
        return
    console.print(f"{location}: {len(result.missing)} of {result.units} units are missing or damaged")
    print_lines([f"part {part}: {len(units)} unit(s), {spans(units)}" for part, units in result.parts.items()])
    absent = len(result.missing) - len(result.damaged)
    if absent and not result.parts:
        incomplete = islice((unit for unit in result.missing if unit not in result.damaged), SHOWN)
        print_lines([f"unit {unit} is not complete" for unit in incomplete], absent)
    print_lines([f"unit {unit}: {wrong}" for unit, wrong in result.damaged.items()])
    console.print("go on with:")
    print_lines(result.commands)
    raise typer.Exit(1)


def print_lines(lines: Sequence[str], count: int | None = None) -> None:
    """Print lines, indented, and how many more there are; `count` is how many there are in all, where not all were made."""
    for line in lines[:SHOWN]:
        console.print(f"  {line}")
    more = (len(lines) if count is None else count) - SHOWN
    if more > 0:
        console.print(f"  ... and {more} more")


def spans(numbers: Sequence[int]) -> str:
    """Numbers as a person writes them: `0, 4, 8, ... 60`."""
    shown: list[int | str] = [*numbers] if len(numbers) <= 5 else [*numbers[:3], "...", numbers[-1]]
    return ", ".join(map(str, shown))
