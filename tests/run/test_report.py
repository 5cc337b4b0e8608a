"""What a report says of a series is what its store holds, finished or not, with labels or without."""

from __future__ import annotations

import math
import os
import pathlib
import shutil
import tracemalloc

import numpy as np
import pytest
from merged_files import unit, write_mtz

from nbdist import generate, open_series, open_spots, read_out
from nbdist.errors import NbdistError
from nbdist.formats.report_page import ReportSection, ReportTable, report_page
from nbdist.formats.views import View
from nbdist.planning import Cut, make_plan
from nbdist.run.radial import radial_profile
from nbdist.run.report.common_sections import amount, run_section, spots_section
from nbdist.run.report.pages import about, report_of
from nbdist.run.report.runs import checks_of, run_facts
from nbdist.run.report.series import SeriesReport
from nbdist.run.report.series_sections import series_sections
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.store import SeriesContent, create_store, summarize

FRAMES = 6


@pytest.fixture(scope="module")
def experiment_of(small_experiment):
    """`experiment_of(labels=...)`: mosaic, integrated, few and well separated spots, each over a few frames."""

    def make(**sections):
        return small_experiment(
            crystal={"N_cells": [24, 21, 18], "shape": "gauss", "mosaicity": {"sigma_deg": 0.3}},
            scan={"frames": FRAMES, "phi_start_deg": 10.0, "osc_range_deg": 0.3, "phi_steps": 1},
            panel={"spixels": 192, "fpixels": 160, "pixel_size_mm": 0.4},
            sampling={"method": "integrated", "oversample": "auto"},
            **{"labels": "all", "background": {"water_um": 0.5}, **sections},
        )

    return make


@pytest.fixture(scope="module")
def store(experiment_of, tmp_path_factory):
    location = tmp_path_factory.mktemp("report") / "a.zarr"
    generate(experiment_of(), location, serial=True, frames_per_shard=2)
    return location


@pytest.fixture(scope="module")
def made(store) -> SeriesReport:
    found = report_of(store, sample=FRAMES)
    assert isinstance(found, SeriesReport)
    return found


def test_shells_add_up_to_the_mean_image(store, made):
    data, shells = open_series(store), made.shells
    assert shells.edges_A[0] == math.inf
    assert shells.pixels.sum() == data.intensity[0].size
    filled = shells.pixels > 0
    for means, name in ((shells.photons, "intensity"), (shells.background, "background")):
        whole = float(data[name].mean("frame").astype("float64").sum())
        assert (means[filled] * shells.pixels[filled]).sum() == pytest.approx(whole, rel=1e-6)
    inside = data.resolution.values < shells.edges_A[-2]
    assert shells.pixels[-1] == np.count_nonzero(inside)


def test_spots_are_those_of_the_labels(store, made):
    rows = open_spots(store)
    assert made.spots.frames == FRAMES
    assert made.spots.spots == len(rows)
    for name, values in made.spots.values.items():
        np.testing.assert_array_equal(values, rows[name])
    assert made.shells.spots.sum() * FRAMES == pytest.approx(len(rows))
    seen = made.shells.spots > 0
    photons = (made.shells.spots[seen] * FRAMES * made.shells.spot_photons[seen]).sum()
    assert photons == pytest.approx(rows["photons"].sum())


def test_frames_have_the_amplitudes_that_went_in(experiment_of, tmp_path):
    generate(experiment_of(structure_factors={"kind": "uniform", "F": 50.0}), tmp_path / "a.zarr", serial=True)
    (curve,) = report_of(tmp_path / "a.zarr", sample=2).wilson
    there = curve.listed_count > 0
    np.testing.assert_allclose(curve.listed[there], 50.0**2)
    enough = curve.rendered_count > 50
    assert enough.sum() > 5
    # the mean over a pixel is the photons of its middle, and edges cut some spots
    np.testing.assert_allclose(curve.rendered[enough], 50.0**2, rtol=0.05)


def test_rocking_curves_agree_in_pixels_labels_and_prediction(made):
    assert len(made.strongest) == 6
    assert len({spot.name for spot in made.strongest}) == 6
    photons = [spot.photons for spot in made.strongest]
    assert photons == sorted(photons, reverse=True)
    for spot in made.strongest:
        at = int(np.flatnonzero(spot.frames == spot.frame)[0])
        assert spot.labelled[at] == spot.photons
        most = spot.labelled.max()
        np.testing.assert_allclose(spot.predicted, spot.labelled, atol=0.03 * most)
        np.testing.assert_allclose(spot.pixels, spot.labelled, atol=0.1 * most)
        slow, fast = (int(place) for place in spot.place)
        assert spot.box[0] <= slow < spot.box[1]
        assert spot.box[2] <= fast < spot.box[3]
        picture = spot.view.values[slow - spot.first[0], fast - spot.first[1]]
        assert picture == pytest.approx(spot.view.values.max(), rel=0.5)


def test_frames_are_some_of_those_that_are_asked_for(store):
    assert report_of(store, sample=3).frames == [0, 2, 5]
    few = report_of(store, among=range(1, 4), sample=2)
    assert few.frames == [1, 3]
    assert set(few.stretch) <= {1, 2, 3}
    with pytest.raises(NbdistError, match="frames 4:7 lie outside 0:6"):
        report_of(store, among=range(4, 7))


def test_an_unfinished_store_is_told_by_the_frames_that_are_there(experiment_of, tmp_path):
    location = tmp_path / "a.zarr"
    generate(experiment_of(labels={}), location, serial=True, frames_per_shard=2, frames=range(2, 4))
    found = report_of(location)
    assert found.frames == [2, 3]
    assert (found.run.complete, found.run.units) == (1, 3)
    assert {check.name: check.result for check in found.checks}["all frames are rendered"] == "failed"
    assert found.spots is None
    assert found.wilson[0].rendered is None
    (wilson,) = [section for section in series_sections(found) if section.id == "wilson"]
    assert "circle" not in " ".join([*wilson.text, *(figure.caption for figure in wilson.figures)]).lower()
    strong = found.strongest[0]
    assert strong.labelled is None
    assert np.isfinite(strong.pixels).tolist() == [int(frame) in (2, 3) for frame in strong.frames]
    none = report_of(location, among=range(4, 6))
    assert (none.frames, none.strongest, none.profile, none.shells) == ([], [], None, None)


@pytest.mark.parametrize("missing", ["default_F", "wilson"])
def test_what_a_file_of_amplitudes_lacks_is_told_as_the_run_told_it(missing, small_experiment, tmp_path):
    indices = unit(d_A=2.0)
    F = np.where(np.arange(len(indices)) % 5, 20.0, np.nan)
    F[7] = -1
    file = write_mtz(tmp_path / "a.mtz", {"F": F}, indices)
    experiment = small_experiment(
        crystal={"cell": (24.2, 24.2, 19, 90, 90, 90)},
        structure_factors={"kind": "file", "file": file, "missing": missing},
        noise={"photon_noise": True},
        scan={"frames": 1},
    )
    said = generate(experiment, tmp_path / "a.zarr", serial=True).notes
    read_out(tmp_path / "a.zarr", tmp_path / "b.zarr", seed=3, serial=True)
    file.unlink()
    for name in ("a.zarr", "b.zarr"):
        told = report_of(tmp_path / name)
        assert isinstance(told, SeriesReport)
        assert told.notes == said
        completeness = dict(dict(told.sections)["crystal"])["completeness"]
        assert 70 < float(completeness.split()[0]) < 85
    assert any("are not in a.mtz" in line for line in said)
    assert any("is of a cell of 24 24 19" in line for line in said)
    assert any("amplitudes below 0, which count as missing: 1" in line for line in said)


def test_what_labels_would_say_and_how_to_get_them_is_said():
    (said,) = spots_section(None, "frames 0, 1").text
    assert "the store has no label `spots`" in said
    assert "labels: all" in said


def test_a_run_is_told_by_its_records_and_its_log(store, tmp_path):
    summary = summarize(store)
    records = list(summary.records)
    for name, lines in (
        ("text", "2026-01-01T00:00:00.000Z unit-retried unit=1\n2026-01-01T00:00:00.000Z unit-done unit=1\n"),
        ("json", '{"time": "2026", "event": "unit-retried", "unit": 1}\n{"time": "2026", "event": "unit-done"}\n'),
    ):
        (tmp_path / name).write_text(lines)
        facts = run_facts(summary, tmp_path / name)
        assert facts.events == {"unit-retried": 1, "unit-done": 1}
    np.testing.assert_array_equal(facts.unit_seconds, [record["seconds"] for record in records])
    assert facts.hosts == {records[0]["host"]: 3}
    assert facts.started == records[0]["started"]
    (table,) = run_section(summary, facts).tables
    assert ("unit-retried", "1") in table.rows
    assert ("worker-lost", "0") in table.rows, "that there was none is said, too"
    (tmp_path / "cut").write_text('{"time": "2026", "event": "unit-done"}\n{"time": "20\n')
    (tmp_path / "readme").write_text("# Images\nTwo words, and a date: 2026-01-01T00:00:00Z\n")
    for name, why in (
        ("nowhere", "nowhere cannot be read: No such file"),
        ("cut", "cut:2: this line is no event"),
        ("readme", "readme is no log of a run"),
    ):
        with pytest.raises(NbdistError, match=why):
            run_facts(summary, tmp_path / name)


@pytest.mark.parametrize("key", ["intensity/c/1/0/0", "background/c/1/0/0", "spots/00000001.parquet"])
def test_what_does_not_decode_is_left_out_and_fails_a_check(key, store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "a.zarr")
    with (copy / key).open("r+b") as shard:
        shard.seek(-4, os.SEEK_END)
        shard.write(b"!!!!")
    found = report_of(copy, sample=FRAMES)
    assert found.frames == [0, 1, 4, 5]
    assert set(found.damaged) == {2, 3}
    assert set(found.stretch).isdisjoint(found.damaged)
    (check,) = (check for check in found.checks if check.result == "failed")
    assert check.name == "every shard decodes"
    assert key in check.found
    for spot in found.strongest:
        assert spot.frame not in found.damaged
        np.testing.assert_array_equal(np.isnan(spot.pixels), np.isin(spot.frames, (2, 3)))


def test_shards_of_other_sizes_than_their_records_say_fail_a_check(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "a.zarr")
    for finished in (True, False):  # a store that says it is finished is believed by the sizes of its shards together
        if finished:
            sizes = [pathlib.Path(copy / f"intensity/c/{unit}/0/0").stat().st_size for unit in (1, 2)]
            os.truncate(copy / "intensity/c/1/0/0", sizes[0] - 1)
            os.truncate(copy / "intensity/c/2/0/0", sizes[1] + 1)
        else:
            os.truncate(copy / "intensity/c/2/0/0", sizes[1])
        summary = summarize(copy)
        assert summary.found.finished == finished
        facts = run_facts(summary)
        assert facts.changed == [1, 2] if finished else [1]
        check = checks_of(summary, facts, None, {})[1]
        assert (check.name, check.result) == ("shards have the sizes that their records say", "failed")
        assert "unit 1 has others" in check.found


def test_what_is_verified_is_said(store):
    checks = {check.name: check for check in report_of(store, sample=1, verified=1).checks}
    assert checks["every shard decodes"].result == "passed"
    assert checks["frames rendered again are the same"].found == "1 of 1 to the bit"
    unknown = {check.result for check in report_of(store, sample=1).checks[-2:]}
    assert unknown == {"not run"}


def test_text_is_text_whatever_is_in_it():
    bad = '<script>alert("1")</script> $x_ &'
    section = ReportSection("a", bad, text=[f"{bad} `{bad}`"], facts=[(bad, [(bad, bad)])], folded=[(bad, bad)])
    section.tables.append(ReportTable((bad, bad), [(bad, bad)], bad))
    page = report_page(bad, bad, [section], bad)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 18
    assert "<code>&lt;script&gt;" in page


def test_a_profile_takes_less_than_four_copies_of_an_image(made):
    panels = made.images.scene(0).instrument.panels
    views = [View.of(np.random.default_rng(1).random(panel.shape)) for panel in panels]
    radial_profile(panels, views, 1.0)  # what is imported at the first time
    tracemalloc.start()
    try:
        radial_profile(panels, views, 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * sum(view.values.nbytes for view in views)


@pytest.mark.parametrize(
    ("osc_range_deg", "what"), [(0.0, "A series of 2 stills on"), (0.5, "A series of 2 frames of 0.5 degrees on")]
)
def test_stills_are_told_as_stills(small_experiment, osc_range_deg, what, tmp_path):
    experiment = small_experiment(scan={"frames": 2, "osc_range_deg": osc_range_deg, "phi_steps": 1})
    scene = resolve(experiment)
    content = SeriesContent(scene, make_plan(scene, cut=Cut(frames_per_shard=1)), load_reflections(scene))
    create_store(tmp_path / "a.zarr", content)
    found = report_of(tmp_path / "a.zarr")
    assert what in about(found.summary)
    rows = {name: value for _, its in found.sections for name, value in its}
    assert rows["phi"] == ("10 to 11 deg" if osc_range_deg else "10 deg")


def test_amounts_have_the_digits_that_matter():
    assert [amount(value) for value in (0, 0.01234, 12.345, 1234.5, 1.5e9, math.nan)] == [
        "0",
        "0.0123",
        "12.3",
        "1,234",
        "1.5e+09",
        "–",
    ]
