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

    from nbdist.execution.clusters import local_cluster

    with local_cluster(2) as cluster, Client(cluster) as connected:
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
