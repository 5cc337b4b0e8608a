"""What the tests of runs share: clusters of processes to be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`processes(workers=2, harm="...", nanny=False)`: a cluster of real processes to be killed; see `process_cluster`."""
    from process_cluster import ProcessCluster

    made = []

    def make(workers: int = 2, **options: Any) -> ProcessCluster:
        folder = tmp_path / f"cluster{len(made)}"
        folder.mkdir()
        made.append(ProcessCluster(folder, **options))
        for _ in range(workers):
            made[-1].add_worker()
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="session")
def light_experiment(small_experiment: Callable[..., Any]) -> Callable[..., Any]:
    """`light_experiment(frames)`: frames of 16 x 20 pixels."""
    panel = {"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0}
    return lambda frames: small_experiment(panel=panel, scan={"frames": frames, "phi_steps": 2})


@pytest.fixture(scope="session")
def undisturbed_series(light_experiment: Callable[..., Any], tmp_path_factory: Any) -> Callable[[int], Path]:
    """`undisturbed_series(frames)`: the store of an undisturbed serial run of that experiment, one frame in a shard."""
    from nbdist import generate

    made: dict[int, Path] = {}

    def make(frames: int) -> Path:
        if frames not in made:
            store = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
            progress = generate(light_experiment(frames), store, serial=True, frames_per_shard=1)
            assert not progress.failed, "it is kept for others: a test that does harm asks for it before"
            made[frames] = store
        return made[frames]

    return make
