"""A report is a page that a browser shows whole: every figure is there, says what it is, and nothing is asked of another machine."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from browser import figures
from recipes import recipe

from nbdist import generate, generate_dataset, open_samples, open_spots
from nbdist.cli.report import report
from nbdist.run.report.pages import page_of, report_of

pytestmark = pytest.mark.integration

OF_A_SERIES = ["frame", "maximum", "radial-profile", "shells", "wilson-plot", "spots", "rocking-curves"]
OF_LABELS = ["spot-statistics"]
TITLE = "<script>alert('no')</script> & $x_{"


@pytest.fixture(scope="module")
def pages(small_experiment, tmp_path_factory):
    """Reports as files, by what they are of."""
    folder = tmp_path_factory.mktemp("pages")

    def series(name, frames=None, **sections):
        experiment = small_experiment(
            crystal={"N_cells": [24, 21, 18], "shape": "gauss", "mosaicity": {"sigma_deg": 0.3}},
            panel={"spixels": 192, "fpixels": 160, "pixel_size_mm": 0.4},
            sampling={"method": "integrated", "oversample": "auto"},
            noise={"photon_noise": True},
            background={"water_um": 0.5},
            title=TITLE,
            **sections,
        )
        generate(experiment, folder / f"{name}.zarr", serial=True, frames_per_shard=1, frames=frames)

    series("labels", labels="all")
    series("unfinished", frames=range(1))
    generate_dataset(recipe(title=TITLE), folder / "samples.zarr", 3, serial=True)
    written = {}
    for name in ("labels", "unfinished", "samples"):
        written[name] = folder / f"{name}.html"
        report(str(folder / f"{name}.zarr"), written[name], sample=3)
    return written


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("labels", [*OF_A_SERIES, *OF_LABELS, "unit-seconds"]),
        ("unfinished", OF_A_SERIES),
        ("samples", ["values", "sheet", *OF_LABELS]),
    ],
)
def test_every_figure_is_found_and_says_what_it_shows(page, pages, name, ids):
    page.goto(pages[name].as_uri())
    found = figures(page)
    assert [figure.id for figure in found] == ids
    for figure in found:
        assert len(figure.caption) > 30
        assert len(figure.alt) > 10
        assert figure.width > 250
        assert figure.height > 150
    assert page.title() == TITLE
    assert page.locator("h1").inner_text() == TITLE
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    for width in (1280, 420):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut at the right edge"


def test_the_whole_experiment_is_unfolded_when_asked_for(page, pages):
    page.goto(pages["labels"].as_uri())
    text = page.locator("details pre")
    assert not text.is_visible()
    page.locator("summary").click()
    assert "mosaicity:" in text.inner_text()


def test_what_an_unfinished_store_lacks_is_said(page, pages):
    page.goto(pages["unfinished"].as_uri())
    said = page.locator("main").inner_text()
    assert "2 of 3 units are missing" in said
    assert "labels: all" in said


@pytest.mark.parametrize("table", ["samples", "spots"])
def test_a_data_set_whose_table_does_not_decode_has_a_page_that_says_so(table, pages, tmp_path):
    copy = shutil.copytree(pages["samples"].with_suffix(".zarr"), tmp_path / "a.zarr")
    key = f"{table}/00000000.parquet"
    (copy / key).write_bytes(b"!" * (copy / key).stat().st_size)
    made = report_of(copy)
    assert "every shard decodes" in {check.name for check in made.checks if check.result == "failed"}
    page = page_of(made)
    assert f"Left out, as they do not decode: sample 0: {copy}: {key} does not decode" in page
    assert ("The values of samples are not told" in page) == (table == "samples")


def test_a_data_set_is_told_by_its_tables(pages):
    location = pages["samples"].with_suffix(".zarr")
    made, rows, spots = report_of(location), open_samples(location), open_spots(location)
    assert made.samples == [0, 1, 2]
    assert {name: words.count for name, words in made.splits.items()} == rows["split"].value_counts().to_dict()
    for name in ("beam.wavelength_A", "photons"):
        found = made.distributions[name]
        assert (found.least, found.mean, found.greatest) == pytest.approx(tuple(rows[name].agg(["min", "mean", "max"])))
    np.testing.assert_array_equal(made.spots.values["partiality"], spots["partiality"])
    few = report_of(location, among=range(1, 3), sample=1)
    assert few.samples == [1]
    assert few.spots.spots == (spots["sample"] == 1).sum()
