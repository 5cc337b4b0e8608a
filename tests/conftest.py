"""What tests share: one compile cache, a small experiment that is quick to render, the reference data, a cluster, how stores compare."""

from __future__ import annotations

import contextlib
import datetime
import gc
import ipaddress
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import browser, faults, page  # noqa: F401 - fixtures of all tests
from hypothesis import HealthCheck, settings

from nbdist.errors import MissingExtraError
from nbdist.experiment import Experiment, validate
from nbdist.experiment.crystal import LATTICE_FIELDS

if TYPE_CHECKING:
    from nbdist.scene.amplitudes import AmplitudeCache

ROOT = Path(__file__).parent.parent

# read when torch and Dask are imported: not before the first test that needs them
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / ".cache" / "inductor"))
os.environ.setdefault("NBDIST_KERNELS", str(ROOT / ".cache" / "kernels"))
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault(
    "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0"
)  # of few kernels: they are compiled faster without
# images this small gain nothing from threads, and beside other work on the machine their barriers cost tenfold
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
# each process that a test starts would compile nbdist's modules anew: a third of what it takes to start
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False  # nor would pytest keep what it makes of the assertions of two hundred files
# Dask looks at its event loops fifty times a second and at its threads a hundred times: with ten of its processes, half a core
os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "1s")
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")

# modules and collected tests stay: looking again and again for what may be freed among them was a quarter of the time of collecting
gc.disable()
gc.set_threshold(
    20_000, *gc.get_threshold()[1:]
)  # arrays and series make thousands of small objects that no cycle keeps

for _number in (signal.SIGINT, signal.SIGHUP):
    # ignored by nohup, or in the background of a script: so would all processes that tests start, and tell
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *told: None)

_unhurried: dict[str, Any] = {
    "deadline": None,
    "max_examples": 25,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("default", **_unhurried)
settings.register_profile("ci", derandomize=True, **_unhurried)
settings.load_profile("ci" if os.environ.get("CI") else "default")

MOST_PROCESSES = 8
"""Of one test run: some tests start a cluster each, and on a large machine their memory would add up."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process for each core, and one more, as tests of clusters wait for most of their time.

    None besides this one where one file is asked for, which starts at once that way.
    """
    if len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py"):
        return 0
    return min(len(os.sched_getaffinity(0)) + 1, MOST_PROCESSES)


def pytest_configure() -> None:
    """Tests are modules of one folder to pytest: the second file of a name would break the collection of all, and not of its own."""
    names = Counter(file.name for file in Path(__file__).parent.rglob("test_*.py"))
    if twice := [name for name, number in names.items() if number > 1]:
        raise pytest.UsageError(f"two files of tests are called {', '.join(twice)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long begin first, so that no process is left alone with one at the end.

    Whole workflows are skipped unless they are asked for.
    """
    weights: Counter[Path] = Counter()
    minutes = pytest.mark.skip(reason="a whole workflow: pytest -s -m workflows, as .ci/run does")
    for item in items:
        if item.get_closest_marker("workflows") and "workflows" not in config.option.markexpr:
            item.add_marker(minutes)
        slow, starts_processes = (item.get_closest_marker(name) is not None for name in ("slow", "integration"))
        weights[item.path] += 10_000 * slow + 100 * starts_processes + 1
    items.sort(key=lambda item: -weights[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Once tests are collected garbage is, too; nothing is frozen, as hypothesis asks gc who refers to its random numbers."""
    try:
        return (yield)
    finally:
        gc.enable()


NEED_TORCH = (
    "frames/test_trace_chain.py",
    "integration/test_image_numbers.py",
    "kernels/test_gradients.py",
    "kernels/test_kernels.py",
    "kernels/test_pixel_factors.py",
    "kernels/test_shapes.py",
    "learning",
    "run/test_device_memory.py",
    "scene/test_amplitude_table.py",
    "test_reference_lysozyme.py",
)
"""Files of tests that are all about PyTorch: left out where it is not installed, as most installations are."""
WITHOUT_TORCH = find_spec("torch") is None
collect_ignore = NEED_TORCH if WITHOUT_TORCH else ()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """See `_skipping_without_torch`."""
    yield from _skipping_without_torch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """See `_skipping_without_torch`."""
    yield from _skipping_without_torch()


def _skipping_without_torch() -> Iterator[None]:
    """Where PyTorch is not installed, a test that needs it is skipped, and the others run."""
    try:
        yield
    except (ModuleNotFoundError, MissingExtraError) as missing:
        if not WITHOUT_TORCH or "torch" not in str(missing):
            raise
        pytest.skip("PyTorch is not installed")


SMALL: dict[str, Any] = {
    "beam": {"wavelength_A": 1.0, "fluence_photons_per_m2": 1e24, "polarization_factor": 0.9},
    "crystal": {"cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0], "misset_deg": [14, -31, 52], "N_cells": [8, 7, 6]},
    "scan": {"frames": 3, "phi_start_deg": 10.0, "osc_range_deg": 0.5, "phi_steps": 4},
    "detector": {
        "convention": "xds",
        "panels": [{"spixels": 96, "fpixels": 80, "pixel_size_mm": 0.8, "distance_mm": 100}],
    },
    "structure_factors": {"kind": "wilson", "d_min_A": 2.5, "seed": 1},
    "sampling": {"oversample": 1},
}


@pytest.fixture(scope="session")
def small_experiment() -> Callable[..., Experiment]:
    """`small_experiment(scan={"frames": 5}, ...)`: 96 x 80 pixels, 3 frames of 4 phi steps, fields replaced by section.

    A section whose `kind` is given, or None, replaces the default one whole; `panel={...}` changes fields of the only panel.
    """

    def make(panel: dict[str, Any] | None = None, **sections: Any) -> Experiment:
        content: dict[str, Any] = {name: dict(fields) for name, fields in SMALL.items()}
        if panel:
            content["detector"]["panels"] = [{**SMALL["detector"]["panels"][0], **panel}]
        for name, fields in sections.items():
            whole = not isinstance(fields, dict) or "kind" in fields
            content[name] = fields if whole else {**content.get(name, {}), **fields}
            if name == "crystal" and not whole:
                _one_lattice(content[name], fields)
        return validate(content)

    return make


def _one_lattice(crystal: dict[str, Any], given: dict[str, Any]) -> None:
    """Leave out the default cell or size where the caller gave another way to say it."""
    if given.keys() & set(LATTICE_FIELDS) - {"cell"}:
        crystal.pop("cell", None)
    if given.keys() & {"size_mm", "size_um"} and "N_cells" not in given:
        crystal.pop("N_cells", None)


@pytest.fixture(scope="session")
def make_renderer() -> Callable[..., Any]:
    """`make_renderer(experiment, mode="eager")`: the experiment's Renderer on the CPU with its amplitudes loaded.

    With a cache of amplitudes a file that many experiments name is read once.
    """

    def make(experiment: Experiment, mode: str = "eager", cache: AmplitudeCache | None = None) -> Any:
        from nbdist.frames.renderer import Renderer
        from nbdist.scene import resolve
        from nbdist.scene.amplitudes import load_reflections

        scene = resolve(experiment)
        return Renderer(scene, load_reflections(scene, cache), "cpu", mode)

    return make


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of the lysozyme reference case: $NBDIST_REFERENCE_DATA, or ../shared/reference beside the checkout."""
    named = os.environ.get("NBDIST_REFERENCE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "reference"
    if not (folder / "lysozyme_p1" / "expected_trace.json").is_file():
        pytest.skip(f"the reference data are not at {folder}; set NBDIST_REFERENCE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> list[str]:
    """A certificate authority, a certificate of it and its key, as `--security` takes them; and those of another authority."""
    return [_security(tmp_path_factory.mktemp(name)) for name in ("ours", "theirs")]


def _security(folder: Path) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def certificate(subject: str, key: Any, issuer: str, issuer_key: Any, authority: bool) -> Any:
        name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])  # noqa: E731
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(issuer_key, hashes.SHA256())
        )

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    files = {
        "ca.pem": certificate("authority", authority_key, "authority", authority_key, True).public_bytes(pem),
        "cert.pem": certificate("nbdist", key, "authority", authority_key, False).public_bytes(pem),
        "key.pem": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return ",".join(str(folder / name) for name in files)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of two worker processes, kept for the session: starting them takes longer than most series here."""
    from distributed import Client

    from nbdist.clusters.local import local_cluster

    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as connected:
        yield connected


@pytest.fixture(scope="module")
def cards_without_pictures() -> Iterator[None]:
    """See `_no_pictures`; of a module whose cards nobody looks at."""
    with _no_pictures():
        yield


@pytest.fixture
def card_without_pictures() -> Iterator[None]:
    """See `_no_pictures`; of one test."""
    with _no_pictures():
        yield


@contextlib.contextmanager
def _no_pictures() -> Iterator[None]:
    """Data cards have no pictures, as where matplotlib is not installed: to draw them takes longer than to render a small data set."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nbdist.run.card._pictures", lambda group, card: ())
        yield


@pytest.fixture(scope="session")
def stored() -> Callable[[Path], dict[str, Any]]:
    """Frame arrays of a store by name, read with zarr alone."""

    def read(location: Path) -> dict[str, Any]:
        import zarr

        group: Any = zarr.open_group(str(location), mode="r")
        return {name: group[name][:] for name in ("intensity", "counts") if name in group}

    return read


@pytest.fixture(scope="session")
def assert_same_bits(stored: Callable[[Path], dict[str, Any]]) -> Callable[[Path, Path], None]:
    """Fail unless two stores hold the same frame arrays to the bit, and something in them."""

    def check(one: Path, other: Path) -> None:
        import numpy as np

        first, second = stored(one), stored(other)
        assert first.keys() == second.keys()
        for name, values in first.items():
            assert values.any(), f"{name} is empty: comparing it says nothing"
            np.testing.assert_array_equal(values, second[name], err_msg=name)

    return check
