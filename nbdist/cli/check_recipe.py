"""What `nbdist check` says of a recipe: whether its samples are valid experiments, and what is drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nbdist.cli.display import console, facts, print_table, table_of_numbers
from nbdist.cli.json_output import print_json, write_json
from nbdist.errors import MissingExtraError, NbdistError
from nbdist.formats.amounts import panels_row

if TYPE_CHECKING:
    from rich.table import Table

    from nbdist.experiment.recipe import Draw, Recipe


MOST_SHOWN = 8
"""Samples that have a column in the table, and that are named in a line; `--json` prints all."""
WIDEST_TEXT = 24
"""Characters of a text in the table; `--json` prints all of it."""


def check_recipe(path: Path, samples: int, json_file: Path | None) -> None:
    """Draw the first samples of a recipe, check each as an experiment, and print what was drawn."""
    from nbdist.experiment.recipe import load_recipe

    recipe = load_recipe(path)
    draws, said, wrong = _drawn(recipe, samples)
    if not wrong:
        console.print(f"{path}: valid")
    if draws:
        facts(_facts(recipe), "recipe")
        print_table(_table(recipe, draws[:MOST_SHOWN]))
    if len(draws) > MOST_SHOWN:
        console.print(f"{len(draws)} samples were drawn, of which {MOST_SHOWN} are shown; --json prints all")
    total = sum(recipe.splits.values())
    if abs(total - 1) > 1e-6:
        said = [f"recipe.splits: add up to {total:g}, and are taken in proportion", *said]
    for note in said:
        console.print(f"note: {note}")
    if draws:
        print_json("check", file=path, valid=not wrong, **_numbers(recipe, draws), wrong=wrong, notes=said)
    write_json(json_file, _drawn_numbers(draws))
    if wrong:
        number, *others = wrong
        too = f"; nor {_named(others)}" if others else ""
        raise NbdistError(f"{len(wrong)} of {samples} samples are no experiment: sample {number}: {wrong[number]}{too}")


def _facts(recipe: Recipe) -> list[tuple[str, str]]:
    total, several = sum(recipe.splits.values()), recipe.kept_together
    how = recipe.split_by if several is None else f"{recipe.split_by}, of which there are {several:,}"
    return [
        ("seed", f"{recipe.seed}"),
        ("frames", f"{recipe.frames_per_sample} a sample"),
        panels_row(recipe.shapes),
        ("mask", "the same in all samples" if recipe.one_mask else "drawn"),
        ("splits", ", ".join(f"{split} {share / total:.3g}" for split, share in recipe.splits.items())),
        ("split by", how),
        ("drawn", f"{len(recipe.columns)} columns"),
        ("fingerprint", recipe.fingerprint),
    ]


def _table(recipe: Recipe, draws: Sequence[Draw]) -> Table:
    table = table_of_numbers("", ["sample", *(str(draw.number) for draw in draws)], first="left")
    table.add_row("split", *(draw.split for draw in draws))
    table.add_row("crystal", *(_written(draw.crystal) for draw in draws))
    for column in recipe.columns:
        table.add_row(column.name, *(_written(draw.values[column.name]) for draw in draws))
    return table


def _written(value: float | int | str) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    text = str(value)
    return text if len(text) <= WIDEST_TEXT else f"{text[: WIDEST_TEXT - 3]}..."


def _drawn(recipe: Recipe, samples: int) -> tuple[list[Draw], list[str], dict[int, str]]:
    """The first samples; what is noted of them, once what differs in numbers alone; and what is wrong with those that are none."""
    from nbdist.readout.chain import Readout
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import AmplitudeCache, load_reflections
    from nbdist.scene.notes import file_completeness, notes

    draws: list[Draw] = []
    wrong: dict[int, str] = {}
    found: dict[str, tuple[str, list[int]]] = {}
    amplitudes = AmplitudeCache()
    for number in range(samples):
        try:
            draw = recipe.draw(number)
            scene = resolve(draw.experiment, sample=number)
            Readout(scene)
            reflections = load_reflections(scene, amplitudes)
            said = notes(scene, reflections, file_completeness(scene, reflections))
        except MissingExtraError:
            raise
        except NbdistError as error:
            wrong[number] = str(error).removeprefix(f"sample {number}: ")
            continue
        draws.append(draw)
        for note in said:
            numbers = found.setdefault(re.sub(r"[\d.]+", "0", note), (note, []))[1]
            if number not in numbers[-1:]:
                numbers.append(number)
    lines = [note if len(numbers) == len(draws) else f"{note} ({_named(numbers)})" for note, numbers in found.values()]
    return draws, lines, wrong


def _named(samples: Sequence[int]) -> str:
    named = ", ".join(map(str, samples[:MOST_SHOWN]))
    return f"sample{'s' * (len(samples) > 1)} {named}{', ...' * (len(samples) > MOST_SHOWN)}"


def _numbers(recipe: Recipe, draws: Sequence[Draw]) -> dict[str, object]:
    return {
        "fingerprint": recipe.fingerprint,
        "seed": recipe.seed,
        "frames_per_sample": recipe.frames_per_sample,
        "panels_slow_fast_pixels": recipe.shapes,
        "splits": recipe.splits,
        "split_by": recipe.split_by,
        "samples": _drawn_numbers(draws),
    }


def _drawn_numbers(draws: Sequence[Draw]) -> list[dict[str, object]]:
    return [
        {
            "sample": draw.number,
            "split": draw.split,
            "crystal": draw.crystal,
            "values": draw.values,
            "experiment": draw.experiment.content(),
        }
        for draw in draws
    ]
