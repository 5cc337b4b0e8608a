"""What the command-line tests share: the command run in this process, an experiment file, and a finished store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from command_line import run_command

from nbdist.experiment import experiment_to_yaml


@pytest.fixture
def nbdist(monkeypatch, capsys) -> Callable[..., SimpleNamespace]:
    """Run `nbdist ARGUMENTS` in this process as the console script does; return its code, out (words joined by single blanks) and err."""

    def run(*arguments: object) -> SimpleNamespace:
        status, out, err = run_command([*map(str, arguments)], monkeypatch, capsys)
        return SimpleNamespace(code=status, out=" ".join(out.split()), raw=out, err=err)

    return run


@pytest.fixture(scope="session")
def write_experiment(small_experiment) -> Callable[..., Path]:
    """`write_experiment(path, scan={...})`: the small experiment, sections changed, as a YAML file; values are not validated."""

    def write(path: Path, **sections: dict[str, Any]) -> Path:
        content = yaml.safe_load(experiment_to_yaml(small_experiment()))
        for name, fields in sections.items():
            whole = not isinstance(fields, dict) or "kind" in fields
            content[name] = fields if whole else {**content.get(name, {}), **fields}
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def experiment_file(write_experiment, tmp_path) -> Path:
    """The small experiment as a file."""
    return write_experiment(tmp_path / "small.yaml")


@pytest.fixture(scope="session")
def finished(small_experiment, tmp_path_factory) -> Path:
    """A complete store of the small experiment, one frame in a shard; not to be changed."""
    from nbdist import generate

    location = tmp_path_factory.mktemp("finished") / "series.zarr"
    generate(small_experiment(), location, serial=True, frames_per_shard=1)
    return location


@pytest.fixture(scope="session")
def part(small_experiment, tmp_path_factory) -> Path:
    """A store of which frame 0 alone is rendered; not to be changed."""
    from nbdist import generate

    location = tmp_path_factory.mktemp("part") / "series.zarr"
    generate(small_experiment(), location, serial=True, frames_per_shard=1, frames=range(1))
    return location
