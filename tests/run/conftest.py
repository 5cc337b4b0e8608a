"""What the execution tests share: a running Dask cluster, and the arrays of a store as they are on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of two worker processes, kept for the session: starting them takes longer than most series here."""
    from distributed import Client

    from nbdist.clusters.local import local_cluster

    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as connected:
        yield connected


@pytest.fixture(scope="session")
def stored() -> Callable[[Path], dict[str, NDArray[Any]]]:
    """Frame arrays of a store by name, read with zarr alone."""

    def read(location: Path) -> dict[str, NDArray[Any]]:
        group: Any = zarr.open_group(str(location), mode="r")
        return {name: group[name][:] for name in ("intensity", "counts") if name in group}

    return read


@pytest.fixture(scope="session")
def assert_same_bits(stored: Callable[[Path], dict[str, NDArray[Any]]]) -> Callable[[Path, Path], None]:
    """Fail unless two stores hold the same frame arrays to the bit, and something in them."""

    def check(one: Path, other: Path) -> None:
        first, second = stored(one), stored(other)
        assert first.keys() == second.keys()
        for name, values in first.items():
            assert values.any(), f"{name} is empty: comparing it says nothing"
            np.testing.assert_array_equal(values, second[name], err_msg=name)

    return check


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
            made[frames] = tmp_path_factory.mktemp("undisturbed") / "series.zarr"
            generate(light_experiment(frames), made[frames], serial=True, kernel="eager", frames_per_shard=1)
        return made[frames]

    return make
