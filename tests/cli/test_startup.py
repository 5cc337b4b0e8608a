"""The package and its command start quickly, because they load nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "dask", "distributed", "zarr", "xarray", "pydantic", "numpy", "matplotlib", "bokeh")
RUN = "from nbdist.cli.main import run\ntry:\n    run()\nexcept SystemExit:\n    pass"


def _loaded(code: str) -> list[str]:
    program = f"import sys\n{code}\nprint('\\n', *[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1].split()


def test_importing_nbdist_loads_nothing_heavy():
    assert _loaded("import nbdist; dir(nbdist); nbdist.__version__") == []


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["readout", "--help"], ["nanobragg", "-h"], ["--version"]]
)
def test_help_loads_nothing_heavy(words):
    code = f"sys.argv = {['nbdist', *words]}\n{RUN}"
    allowed = {"pydantic"} if len(words) > 1 else set()  # typer reads the parameters of a subcommand with it
    assert set(_loaded(code)) <= allowed


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("nbdist ver", {"pydantic"}),
        ("nbdist run --dev", {"pydantic"}),
        ("nbdist preview --what int", {"pydantic", "numpy"}),
    ],
)
def test_completing_loads_nothing_heavy(words, allowed):
    """Whoever presses the tabulator waits for it."""
    variables = {"_NBDIST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = f"import os\nos.environ.update({variables})\nsys.argv = ['nbdist']\n{RUN}"
    assert set(_loaded(code)) <= allowed


def test_a_public_name_is_loaded_when_it_is_used():
    assert "pydantic" in _loaded("import nbdist; nbdist.load_experiment")
    assert "torch" not in _loaded("import nbdist; nbdist.load_experiment")


def test_the_client_of_a_run_loads_what_it_needs(experiment_file, tmp_path):
    code = f"nbdist.generate(nbdist.load_experiment({str(experiment_file)!r}), {str(tmp_path / 'a.zarr')!r}, workers=1)"
    loaded = _loaded(f"import nbdist\n{code}")
    assert {"distributed", "zarr"} <= set(loaded)
    assert not {"torch", "matplotlib", "bokeh"} & set(loaded)


def test_rendering_on_a_cpu_loads_no_torch(experiment_file):
    code = f"nbdist.simulate_frame(nbdist.load_experiment({str(experiment_file)!r}), device='cpu')"
    assert "torch" not in _loaded(f"import nbdist\n{code}")


def test_a_name_that_is_not_there_is_an_attribute_error():
    import nbdist

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nbdist.nothing  # noqa: B018
    assert set(nbdist.__all__) <= set(dir(nbdist))
