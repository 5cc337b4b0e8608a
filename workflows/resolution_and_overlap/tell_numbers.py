"""Train a small network to tell the resolution of an image and its number of lattices, on crystals that it has not seen.

python workflows/resolution_and_overlap/tell_numbers.py -o folder
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
from image_network import MOST_LATTICES, Numbers, told_of, train
from numpy.typing import NDArray
from torch.utils.data import DataLoader

import nbdist
from nbdist.learning import FrameDataset, ResumableLoader, StreamDataset
from nbdist.learning.frames import Selection

RECIPE = Path(__file__).with_name("recipe.yaml")
BATCH = 16
READ: Selection = {"products": ["counts", "resolution"], "values": ["d_min_A", "lattices"]}


def say(line: str = "") -> None:
    """Print a line at once."""
    print(line, flush=True)


def known(rows: pandas.DataFrame) -> Numbers:
    """What is true of some samples."""
    return Numbers(1 / rows["d_min_A"].to_numpy(), rows["lattices"].to_numpy())


def trivial(train_on: Numbers, images: int) -> Numbers:
    """The mean limit and the most frequent number of lattices, for each image."""
    numbers, count = np.unique(train_on.lattices, return_counts=True)
    return Numbers(np.full(images, np.nanmean(train_on.limit)), np.full(images, numbers[count.argmax()]))


def by_brightness(train_on: Numbers, photons: NDArray[np.float64], of: NDArray[np.float64]) -> Numbers:
    """What straight lines through the logarithm of an image's photons tell: what could be told without looking for spots."""
    log_photons, told = np.log(photons), []
    for its in train_on:
        is_known = np.isfinite(its)
        told.append(np.polyval(np.polyfit(log_photons[is_known], its[is_known], 1), np.log(of)))
    limit, lattices = told
    return Numbers(limit, np.rint(lattices).clip(1, MOST_LATTICES).astype(np.int64))


def errors(told: Numbers, true: Numbers) -> dict[str, float]:
    """How far what is told is from what is true, by what is printed of it; of limits, in images that have one."""
    has_limit = np.isfinite(true.limit)
    said, limit = told.limit[has_limit], true.limit[has_limit]
    return {
        "limit, mean error (1/A)": float(np.abs(said - limit).mean()),
        "resolution, mean error (A)": float(np.abs(1 / said - 1 / limit).mean()),
        "limit, variance explained (%)": 100 * float(1 - ((said - limit) ** 2).mean() / limit.var()),
        "lattices, right (%)": 100 * float((told.lattices == true.lattices).mean()),
        "one or more, right (%)": 100 * float(((told.lattices > 1) == (true.lattices > 1)).mean()),
    }


def confusion(told: NDArray[np.int64], true: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many images have a number of lattices, from 1 (row), and are told to have another (column)."""
    counts = np.zeros((MOST_LATTICES, MOST_LATTICES), dtype=np.int64)
    np.add.at(counts, (true - 1, told - 1), 1)
    return counts


def is_better(its: dict[str, float], others: Sequence[dict[str, float]]) -> bool:
    """Whether errors are smaller, and what is right is more, than all others have."""
    return all(
        (other[what] - value) * (1 if "error" in what else -1) > 0 for other in others for what, value in its.items()
    )


def compared(store: Path, epochs: int) -> dict[str, dict[str, float]]:
    """Train on a data set, print what comes out on its test, and return the errors of the network and of what does not look for spots."""
    began = time.monotonic()
    samples = nbdist.open_samples(store, ["sample", "split", "d_min_A", "lattices", "photons"])
    seen, unseen = (samples[samples["split"] == split] for split in ("train", "test"))
    say(f"{len(seen)} images to train on, {len(unseen)} to test")

    stream = StreamDataset(FrameDataset(store, split="train", **READ), buffer=512)
    loader = ResumableLoader(stream, batch_size=BATCH)
    network = train(
        lambda: loader,
        known(seen),
        epochs=epochs,
        steps=len(loader),
        report=lambda epoch, limit, lattices: say(
            f"epoch {epoch}: losses {limit:.3f} and {lattices:.3f}, {time.monotonic() - began:.0f} s"
        ),
    )

    true = known(unseen)
    test = DataLoader(FrameDataset(store, split="test", **READ), batch_size=BATCH)
    told = told_of(network, test)
    columns = {
        "network": errors(told, true),
        "photons alone": errors(
            by_brightness(known(seen), seen["photons"].to_numpy(), unseen["photons"].to_numpy()), true
        ),
        "trivial": errors(trivial(known(seen), len(unseen)), true),
    }
    say(f"\n{'':40}" + "".join(f"{name:>15}" for name in columns))
    for what in columns["network"]:
        say(f"{what:40}" + "".join(f"{its[what]:15.3g}" for its in columns.values()))
    say("\nimages with 1, 2, 3 lattices (rows), and how many the network tells of (columns)")
    for row in confusion(told.lattices, true.lattices):
        say("".join(f"{count:6}" for count in row))
    return columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the data set, train, and compare on its test; 1 where the network is no better than what does not look at spots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the data set; made, or gone on with"
    )
    parser.add_argument("--samples", type=int, default=2000, help="of the data set")
    parser.add_argument("--epochs", type=int, default=12, help="of the training")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    options = parser.parse_args(arguments)
    began = time.monotonic()

    store = options.output / "images.zarr"
    options.output.mkdir(parents=True, exist_ok=True)
    nbdist.generate_dataset(
        nbdist.load_recipe(RECIPE), store, options.samples, workers=options.workers, resume=store.exists()
    )
    say(f"data set after {time.monotonic() - began:.0f} s")
    columns = compared(store, options.epochs)
    better = is_better(columns["network"], [columns["photons alone"], columns["trivial"]])
    say(
        f"\n{time.monotonic() - began:.0f} s in all" + ("" if better else "; the network is not better than the others")
    )
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
