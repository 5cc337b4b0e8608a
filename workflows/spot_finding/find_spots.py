"""Train a small network to find spots, and compare it with DIALS' thresholds on crystals, detectors and backgrounds it has not seen.

python workflows/spot_finding/find_spots.py -o folder
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import dials_finder
import numpy as np
import torch
from spot_comparison import LIMITS, Finder, Images, Sample, f1_by_limit, picture, tables
from spot_network import SpotNet, places, train
from spot_truth import Truth

import nbdist
from nbdist.experiment.recipe import load_recipe
from nbdist.learning import FrameDataset

HERE = Path(__file__).parent
SURE = tuple(np.linspace(0.05, 0.95, 37))
"""What the network is to be sure of a place, at least: its settings."""
SPOTS = ("slow", "fast", "photons", "background", "peak_slow", "peak_fast")


def say(line: str = "") -> None:
    """Print a line at once."""
    print(line, flush=True)


def generated(recipe_file: Path, store: Path, samples: int, workers: int) -> None:
    """Make a data set, or what is missing of it."""
    recipe, resume = load_recipe(recipe_file), store.exists()
    nbdist.generate_dataset(recipe, store, samples, workers=workers or None, serial=not workers, resume=resume)


def read(recipe_file: Path, store: Path, split: str) -> list[Sample]:
    """The samples of a split of a data set."""
    recipe = load_recipe(recipe_file)
    found = []
    for sample in FrameDataset(store, split=split, products=["counts"], tables={"spots": list(SPOTS)}):
        counts = sample["counts"].numpy()
        columns = dict(zip(SPOTS, sample["spots"].numpy().T, strict=True))
        columns |= {name: columns[name].astype(np.int64) for name in ("peak_slow", "peak_fast")}
        experiment = recipe.draw(int(sample["sample"])).experiment
        found.append(Sample(counts, experiment, Truth.of(columns, counts >= 0)))
    return found


def by_network(network: SpotNet, images: Images) -> Finder:
    """What the network finds, by how sure it is to be."""
    given = [places(network, its.image) for its in images.all]
    return Finder.of(
        "network", {f"sure={least:.3g}": [at[sure >= least] for at, sure in given] for least in SURE}, images
    )


def by_dials(folder: Path, images: Images, grid: dials_finder.Grid) -> list[Finder]:
    """What DIALS finds, by threshold and its settings."""
    counts = [its.counts for its in images.all]
    models = [dials_finder.models(its.experiment) for its in images.all]
    finders = []
    for name, settings in grid.items():
        found = dials_finder.find_spots(folder / name, counts, models, settings)
        by_setting = {
            " ".join([*(option.rpartition(".")[2] for option in options[1:]), f"min_spot_size={pixels}"]): found.places(
                number, pixels, len(counts)
            )
            for number, options in enumerate(settings)
            for pixels in dials_finder.PIXELS
        }
        finders.append(Finder.of(f"DIALS, {name}", by_setting, images))
    return finders


def main(arguments: Sequence[str] | None = None, grid: dials_finder.Grid | None = None) -> int:
    """Generate, train and compare; 0 where the network is better than every threshold above each limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="folder to keep; a temporary one when left out")
    parser.add_argument(
        "--seen", type=Path, default=HERE / "seen.yaml", help="recipe to train and to choose settings on"
    )
    parser.add_argument("--unseen", type=Path, default=HERE / "unseen.yaml", help="recipe to compare on")
    parser.add_argument("--samples", type=int, default=480, help="of seen; a quarter of its crystals is for validation")
    parser.add_argument("--test-samples", type=int, default=120, help="of unseen")
    parser.add_argument("--steps", type=int, default=500, help="of training")
    parser.add_argument("--workers", type=int, default=2, help="processes that render; 0 for this one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return compare(folder, options, grid or dials_finder.grid())


def compare(folder: Path, options: argparse.Namespace, grid: dials_finder.Grid) -> int:
    """Do it in a folder."""
    clock = time.monotonic()

    def spent(what: str) -> None:
        nonlocal clock
        say(f"{what}: {time.monotonic() - clock:.0f} s")
        clock = time.monotonic()

    seen, unseen = folder / "seen.zarr", folder / "unseen.zarr"
    generated(options.seen, seen, options.samples, options.workers)
    generated(options.unseen, unseen, options.test_samples, options.workers)
    spent(f"{options.samples} + {options.test_samples} samples rendered")
    teaching = read(options.seen, seen, "train")
    images = Images(read(options.seen, seen, "validation"), read(options.unseen, unseen, "test"))
    spent(f"{len(teaching)} to train on, {len(images.validation)} to choose on, {len(images.test)} to compare on, read")
    network = train(
        [its.image for its in teaching],
        steps=options.steps,
        report=lambda step, loss: say(f"  step {step}: loss {loss:.3f}"),
    )
    torch.save(network.state_dict(), folder / "network.pt")
    spent("network trained")
    finders = [by_network(network, images)]
    spent("spots found by the network")
    if dials_finder.missing():
        say(f"not compared: {dials_finder.missing()}")
    else:
        finders += by_dials(folder / "dials", images, grid)
        spent(f"spots found by DIALS, with {sum(len(its.settings) for its in finders[1:])} settings")
    tables(finders, images, say)
    f1 = [f1_by_limit(finder, images, ~images.of_test) for finder in finders]
    drawn = [0, *sorted(range(1, len(finders)), key=lambda number: -f1[number][0])[:1]]
    number = picture([finders[its] for its in drawn], images, folder / "spots.png")
    say(f"\n{folder / 'spots.png'}: image {number} of those")
    missed = [
        f"MISSED: {finder.name} is better above {limit:g}"
        for finder, others in zip(finders[1:], f1[1:], strict=True)
        for limit, ours, theirs in zip(LIMITS, f1[0], others, strict=True)
        if theirs >= ours
    ]
    for line in missed:
        say(line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
