"""A series as files, and what DIALS and ImageD11 make of them by themselves; workflows/process_with_dials/prove.py does all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from processing import INDEXED, Models, Reflections, misorientation_deg, missing, process
from prove import D_MIN_A, IMAGES, by_imaged11, centroids, exported, images_of, render

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.processing]
needs_dials = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> dict[str, Path]:
    """The series of the proof, integrated: the folder of each format that it is exported to."""
    store = render(tmp_path_factory.mktemp("series"), "integrated")
    return {format: exported(store, format) for format in IMAGES}


@needs_dials
def test_dials_sees_reflections_where_the_truth_has_them(series):
    for what, _, rms, limit in centroids(series["nxmx"]):
        assert rms < limit, what


@needs_dials
def test_dials_indexes_the_images(series, tmp_path):
    process(tmp_path, images_of(series["smv"], "smv"), d_min_A=D_MIN_A, last="dials.index")
    assert Reflections.read(tmp_path / "indexed.refl").flagged(INDEXED).mean() > 0.97
    found, true = Models.read(tmp_path / "indexed.expt"), Models.read(series["smv"] / "series_truth.expt")
    angle_deg, cell_error = misorientation_deg(found.axes_A, true.axes_A)
    assert angle_deg < 0.002
    assert cell_error < 2e-4  # not refined yet


@pytest.mark.filterwarnings("ignore")
def test_imaged11_indexes_the_images(series):
    pytest.importorskip("ImageD11")
    for what, _, value, limit in by_imaged11(series["cbf"]):
        assert value < limit, what
