"""Generate a small training set, then read it the way a training loop does: a DataLoader with two processes.

python workflows/training_set/make_and_read.py [training_set.zarr]
"""

from __future__ import annotations

import sys
from pathlib import Path

from torch.utils.data import DataLoader

import nbdist
from nbdist.learning import FrameDataset


def main(store: str) -> None:
    """Make the set, or what is missing of it, and read it once."""
    experiment = nbdist.load_experiment(Path(__file__).with_name("training_set.yaml"))
    nbdist.generate(experiment, store, resume=True)

    frames = FrameDataset(store)
    loader = DataLoader(frames, batch_size=8, shuffle=True, num_workers=2, multiprocessing_context="spawn")
    usable, total = frames.mask, 0
    for batch in loader:
        counts, intensity = batch["counts"][:, usable], batch["intensity"][:, usable]
        excess = ((counts - intensity) ** 2).mean() / intensity.mean()
        total += len(counts)
        print(
            f"{len(counts)} frames {tuple(usable.shape)}, {counts.sum()} photons, "
            f"variance over mean {excess:.3f}, phi {batch['phi'][0].tolist()}"
        )
    print(f"read {total} of {len(frames)} frames of {store}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "training_set.zarr")
