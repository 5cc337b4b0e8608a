"""What a plain installation leaves out is asked for in one line, by name, where it is missed."""

from __future__ import annotations

import sys
import tomllib
from importlib import reload
from pathlib import Path

import pytest
import yaml

from nbdist.errors import EXTRAS, MissingExtraError, is_fatal


def _job_of_a_queue():
    from nbdist.clusters.job_scripts import job_class

    job_class("slurm")


def _web_pages():
    from nbdist.clusters.local import scheduler_of
    from nbdist.clusters.tls import temporary_security

    scheduler_of(temporary_security(), "127.0.0.1:0")


def _bucket():
    from nbdist.store.bucket import Bucket

    Bucket("s3://bucket/series.zarr")


def _preview():
    from nbdist.cli.preview import preview

    preview("series.zarr")


def _report():
    from nbdist.cli.report import report

    report("series.zarr")


def _view():
    from nbdist.cli.view import view

    view("series.zarr")


def _contact_sheet():
    from nbdist.cli.demo import _draw

    _draw(Path("demo.zarr"), Path("demo.png"))


def _table():
    from nbdist.store.tables import parquet

    parquet("spots")


def _learning():
    import nbdist.learning

    reload(nbdist.learning)


def _device():
    from nbdist.kernels.devices import pick_device

    pick_device("cuda")


def _gpus():
    from nbdist.clusters.gpus import chosen_gpus

    chosen_gpus("all")


def _eager():
    from nbdist.experiment import validate
    from nbdist.experiment.template import TEMPLATE
    from nbdist.kernels.choice import make_backend
    from nbdist.scene import resolve

    make_backend(resolve(validate(yaml.safe_load(TEMPLATE))).instrument, mode="eager")


def _trace():
    from nbdist.cli.trace import trace

    trace(Path("experiment.yaml"), (0, 0))


def _nxmx():
    from nbdist.formats.nxmx import NXmx

    NXmx().notes(None)


def _master_file():
    from nbdist.formats.nxmx_models import read_nxmx

    read_nxmx(Path("x_master.h5"))


@pytest.mark.parametrize(
    ("extra", "use", "said"),
    [
        ("cluster", _job_of_a_queue, "--cluster needs dask-jobqueue: install nbdist with its extra cluster"),
        ("dashboard", _web_pages, "--dashboard needs bokeh: install nbdist with its extra dashboard"),
        ("hdf5", _nxmx, "format nxmx needs hdf5plugin: install nbdist with its extra hdf5"),
        ("hdf5", _master_file, "reading NXmx files needs hdf5plugin: install nbdist with its extra hdf5"),
        ("pictures", _preview, "nbdist preview needs matplotlib: install nbdist with its extra pictures"),
        ("pictures", _report, "nbdist report needs matplotlib: install nbdist with its extra pictures"),
        ("pictures", _contact_sheet, "the contact sheet needs matplotlib: install nbdist with its extra pictures"),
        ("s3", _bucket, "s3://bucket/series.zarr needs obstore: install nbdist with its extra s3"),
        ("tables", _table, "the table spots needs pyarrow: install nbdist with its extra tables"),
        ("torch", _device, "device cuda needs torch: install nbdist with its extra torch"),
        ("torch", _gpus, "--gpus needs torch: install nbdist with its extra torch"),
        ("torch", _eager, "kernel eager needs torch: install nbdist with its extra torch"),
        ("torch", _trace, "nbdist trace needs torch: install nbdist with its extra torch"),
        ("view", _view, "nbdist view needs bokeh: install nbdist with its extra view"),
        ("torch", _learning, "nbdist.learning needs torch: install nbdist with its extra torch"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, extra, use, said):
    monkeypatch.setitem(sys.modules, EXTRAS[extra].replace("-", "_"), None)
    with pytest.raises(MissingExtraError) as missing:
        use()
    assert str(missing.value) == said
    assert is_fatal(missing.value), "no other unit of a run would fare better"


def test_every_extra_brings_the_package_that_is_said():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    for extra, package in EXTRAS.items():
        assert any(line.startswith(package) for line in project["optional-dependencies"][extra])
        assert not any(line.startswith(package) for line in project["dependencies"])
