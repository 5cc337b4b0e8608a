"""Data sets made by hand: samples are rendered in this process and written as a run writes units."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbdist.experiment import Experiment
from nbdist.experiment.recipe import Recipe, recipe_of
from nbdist.frames.products import Products, made_of, rendered_frame
from nbdist.frames.renderer import Renderer
from nbdist.frames.sample_products import products_of_samples
from nbdist.planning import Cut, Unit, Units, make_plan
from nbdist.readout.chain import Readout
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import DatasetContent, UnitWriter, create_store, open_group
from nbdist.store.schema import schema_of


def recipe_with(experiment: Experiment, seed: int = 2**64 - 1, **sections: Any) -> Recipe:
    """An experiment as a recipe, with these sections in place of its own."""
    content = experiment.content()
    if "noise" in content:
        content["noise"] = {name: value for name, value in content["noise"].items() if name != "seed"}
    if "crystals" in sections:
        del content["crystal"]
    return recipe_of({**content, "recipe": {"seed": seed}, **sections})


@functools.cache
def frames_of_sample(recipe: Recipe, number: int) -> list[Products]:
    """The products of each frame of a sample, rendered once."""
    draw, products = recipe.draw(number), products_of_samples(recipe)
    scene = resolve(draw.experiment, sample=number)
    renderer, readout, made = Renderer(scene, load_reflections(scene)), Readout(scene), []
    for frame in range(recipe.frames_per_sample):
        rendered = rendered_frame(scene, frame, [renderer.frame(frame)], readout)
        labels = renderer.labels(frame, rendered.photons) if draw.experiment.labels.of_frames else None
        whole = replace(rendered, labels=labels, diffraction=renderer.diffraction, draw=draw)
        made.append(made_of(whole, products))
    return made


def make_dataset(location: Path | str, recipe: Recipe, samples: int, samples_per_unit: int = 2) -> Path | str:
    """An empty store of so many samples."""
    cut = Cut(frames_per_shard=samples_per_unit * recipe.frames_per_sample)
    create_store(location, DatasetContent(recipe, samples, make_plan(resolve(recipe.example), cut=cut)))
    return location


def write_units(location: Path | str, recipe: Recipe, units: Sequence[int] | None = None) -> Units:
    """Render and write those units of a data set, all when left out; all units that it has."""
    schema = schema_of(open_group(location))
    every, writer, together = schema.units, UnitWriter(location), recipe.frames_per_sample
    for unit in every if units is None else [every[number] for number in units]:
        samples = range(unit.first_frame // together, unit.last_frame // together)
        made = [frame for number in samples for frame in frames_of_sample(recipe, number)]
        writer.write(unit, made, record_of(unit))
    return every


def record_of(unit: Unit) -> dict[str, Any]:
    """What a run says of a unit."""
    return {"frames": [unit.first_frame, unit.last_frame], "seconds": 0.0}
