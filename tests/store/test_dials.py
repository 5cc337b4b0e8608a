"""What DIALS makes of an exported series: its own prediction is ours, and its programs read the files."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack
import numpy as np
import pytest
from dials_programs import dials, dials_python
from labelled import labelled_store, reflection_rows, spot_rows

from nbdist.errors import ExperimentError, NbdistError, StoreError
from nbdist.experiment.lattice import axis_rotation
from nbdist.kernels.prediction import series_reflections
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.models import laboratory_rotation
from nbdist.store.dials import write_dials

FRAMES, D_MIN_A = 20, 4.0
PANELS = [
    {"spixels": 300, "fpixels": 260, "pixel_size_mm": 0.3, "origin_mm": [-80.0, -45.0, 100.0]},
    {"spixels": 150, "fpixels": 260, "pixel_size_mm": 0.6, "origin_mm": [3.0, -45.0, 95.0], "rotation_deg": [0, 12, 3]},
]
CRYSTALS = [
    {
        "cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0],
        "misset_deg": [14, -31, 52],
        "N_cells": [8, 7, 6],
        "shape": "gauss",
    },
    {"cell": [60.0, 60.0, 30.0, 90.0, 90.0, 120.0], "misset_deg": [-70, 11, 5], "N_cells": [8, 7, 6], "shape": "gauss"},
]
"""Nothing at right angles to anything: an axis that is taken for another shows."""


def experiment_of(small_experiment, convention="xds", panels=PANELS, crystals=CRYSTALS, spots=True, **scan):
    return small_experiment(
        crystal=None,
        crystals=crystals,
        beam={"wavelength_A": 1.1, "polarization_factor": 0.8},
        detector={"convention": convention, "panels": panels},
        scan={"frames": FRAMES, "phi_start_deg": 25.0, "osc_range_deg": 0.5, **scan},
        labels={"reflections": True, "spots": spots},
        sampling={"method": "integrated"},
    )


def crossings(experiment):
    """The reflections of a series to D_MIN_A that cross the Ewald sphere within its scan and meet a panel."""
    scene = resolve(experiment)
    rows = series_reflections(scene, load_reflections(scene))
    within = (rows["panel"] >= 0) & (rows["frame"] >= 0) & (rows["frame"] < FRAMES) & (rows["d_A"] > D_MIN_A)
    return {name: values[within & np.isfinite(rows["photons"])] for name, values in rows.items()}


def spots_of(rows, shift=(0.0, 0.0)):
    """`spots(frame)`: a spot of 8,000 photons a reflection where it crosses, shifted by pixels from where it is predicted."""

    def spots(frame):
        its = np.floor(rows["frame"]) == frame
        some = {name: rows[name][its] for name in ("reflection", "panel")}
        slow, fast = rows["slow"][its] + shift[0], rows["fast"][its] + shift[1]
        box = {"first_slow": np.floor(slow) - 2, "last_slow": np.floor(slow) + 3}
        box |= {"first_fast": np.floor(fast) - 1, "last_fast": np.floor(fast) + 2}
        some |= {"slow": slow, "fast": fast, "photons": np.full(its.sum(), 8e3), "background": np.full(its.sum(), 50.0)}
        moments = {"extent_slow2": np.full(its.sum(), 0.5), "extent_fast2": np.full(its.sum(), 0.25)}
        return spot_rows(some.pop("reflection"), **some, **box, **moments)

    return spots


def read_table(path):
    """Columns of a `.refl` file, by the types that DIALS gives them."""
    name, version, content = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
    assert (name, version) == ("dials::af::reflection_table", 1)
    kinds = {"int": "<i4", "int6": "<i4", "cctbx::miller::index<>": "<i4", "std::size_t": "<u8", "bool": "?"}
    return content["identifiers"], {
        column: np.frombuffer(raw, kinds.get(kind, "<f8")).reshape(rows, -1)
        for column, (kind, (rows, raw)) in content["data"].items()
    }


def test_a_table_has_the_sums_of_the_spots_of_each_reflection(small_experiment, tmp_path):
    experiment = experiment_of(small_experiment)
    rows = reflection_rows(
        [3, 5, 9, 12],
        [2, 4, 0, 6],
        [4, 4, 0, 6],
        panel=np.array([0, 1, -1, 0]),
        slow=np.array([10.25, 40.5, 0, 70.5]),
        fast=np.array([20.75, 50.5, 0, 90.5]),
        frame=np.array([3.5, 4.5, 0.5, 6.5]),
        photons=np.array([1000.0, 300.0, 50.0, 20.0]),
        masked=np.array([False, True, False, False]),
        whole=True,
    )
    per_frame = {2: (3, 100.0, 19.0), 3: (3, 700.0, 21.0), 4: (3, 100.0, 23.0), 6: (12, 4.0, 90.0)}

    def spots(frame):
        if frame not in per_frame:
            return spot_rows([])
        reflection, photons, fast = per_frame[frame]
        box = dict(first_slow=8 - frame, last_slow=12 + frame, first_fast=18, last_fast=24)
        return spot_rows(
            [reflection],
            slow=10.0,
            fast=fast,
            photons=photons,
            background=7.0,
            extent_slow2=0.5,
            extent_fast2=0.25,
            **box,
        )

    location, told = labelled_store(experiment, tmp_path / "a.zarr", rows, spots), []
    assert write_dials(location, tmp_path / "out", report=lambda done, total: told.append((done, total))) == 3
    assert told == [(done, FRAMES // 2) for done in range(1, FRAMES // 2 + 1)]
    identifiers, table = read_table(tmp_path / "out/labels.refl")
    models = json.loads((tmp_path / "out/labels.expt").read_text())
    assert list(identifiers.values()) == [each["identifier"] for each in models["experiment"]]
    # of 900 photons 1/9, 7/9 and 1/9 at 19, 21, 23 and frames 2.5, 3.5, 4.5
    np.testing.assert_allclose(table["xyzobs.px.value"][0], [21.0, 10.0, 3.5])
    np.testing.assert_allclose(table["xyzobs.px.variance"][0] * 900, [0.25 + 8 / 9, 0.5, 1 / 12 + 2 / 9], rtol=1e-6)
    np.testing.assert_allclose(table["xyzobs.mm.value"][0], [6.3, 3.0, np.deg2rad(25 + 3.5 / 2)])
    np.testing.assert_allclose(table["xyzcal.px"][0], [20.75, 10.25, 3.5])
    np.testing.assert_array_equal(table["bbox"][0], [18, 24, 4, 16, 2, 5])
    assert [table[f"intensity.sum.{name}"][0, 0] for name in ("value", "variance")] == [900, 921]
    assert table["partiality"][:, 0].tolist() == [0.9, 0.0, 0.2]
    # 4 photons over a background of 7 are weak
    assert table["flags"][:, 0].tolist() == [1 + 2 + 4 + 32 + 256, 1 + 4 + 16384, 1 + 2 + 4 + 256]


def test_without_spots_what_is_predicted_is_all_there_is(small_experiment, tmp_path):
    rows = reflection_rows([3], [2], [4], slow=10.25, fast=20.75, frame=3.5, photons=1000.0, whole=True, masked=False)
    location = labelled_store(experiment_of(small_experiment, spots=False), tmp_path / "a.zarr", rows, spot_rows)
    write_dials(location, tmp_path)
    _, table = read_table(tmp_path / "labels.refl")
    np.testing.assert_array_equal(table["xyzobs.px.value"], table["xyzcal.px"])
    np.testing.assert_array_equal(table["bbox"], [[20, 21, 10, 11, 3, 4]])
    assert (table["flags"][0, 0], table["intensity.sum.value"][0, 0], table["partiality"][0, 0]) == (1 + 4, 1000, 1)


def test_a_still_is_a_frame_of_its_own_at_its_phi(small_experiment, tmp_path):
    rows = reflection_rows(
        [3], [2], [2], slow=10.25, fast=20.75, frame=2.5, photons=1000.0, polarization=0.8, whole=True, masked=False
    )
    experiment = experiment_of(small_experiment, osc_range_deg=0.0)
    box = {"first_slow": 8, "last_slow": 12, "first_fast": 18, "last_fast": 24}
    location = labelled_store(experiment, tmp_path / "a.zarr", rows, lambda frame: spot_rows([3], photons=900.0, **box))
    write_dials(location, tmp_path, slice(2, 3))
    _, table = read_table(tmp_path / "labels.refl")
    assert [table[name][0, 2] for name in ("xyzcal.px", "xyzobs.px.value", "xyzcal.mm")] == [0.5, 0.5, 0]
    np.testing.assert_array_equal(table["bbox"], [[18, 24, 8, 12, 0, 1]])
    np.testing.assert_allclose(table["lp"], 1 / 0.8, rtol=1e-6)
    models = json.loads((tmp_path / "labels.expt").read_text())
    assert (models["scan"], models["goniometer"]) == ([], [])
    scene = resolve(experiment)
    turn = laboratory_rotation(scene) @ axis_rotation(scene.spindle_axis, np.deg2rad(25.0))
    np.testing.assert_allclose(
        models["crystal"][0]["real_space_a"], turn @ scene.specimen.lattices[0].real_vectors_A[0]
    )


SQUARE = {"spixels": 40, "fpixels": 40, "pixel_size_mm": 1.0, "distance_mm": 80}


def test_gaps_between_modules_are_masked(small_experiment, tmp_path):
    modules = {"spixels": 148, "fpixels": 80, "slow_gap_pixels": 4, "fast_gap_pixels": [0, 20]}
    experiment = experiment_of(small_experiment, panels=[{**PANELS[0], "modules": modules}, PANELS[1]])
    rows = crossings(experiment)
    write_dials(labelled_store(experiment, tmp_path / "a.zarr", rows, spots_of(rows)), tmp_path / "out")
    first, second = json.loads((tmp_path / "out" / "labels.expt").read_text())["detector"][0]["panels"]
    # first fast, first slow, last fast, last slow
    assert first["mask"] == [[0, 148, 260, 152], [160, 0, 180, 300]]
    assert second["mask"] == []


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ({"curved": True, "panels": [SQUARE]}, r"^detector\.panels\.0 is curved, and DIALS has flat panels only"),
        (
            {"name": "Timepix 512", "panels": [{}], "distance_mm": 80, "curved": True},
            r"^detector is curved, and DIALS has flat",
        ),
        (
            {
                "convention": "custom",
                "panels": [SQUARE | {"origin_mm": [80, 0, 0], "fast_axis": [0, 0, 1], "slow_axis": [0, -1, 0.1]}],
            },
            r"detector\.panels\.0: fast and slow are 84\.28\d* degrees apart, and DIALS' are 90",
        ),
    ],
)
def test_a_detector_that_dials_has_no_model_of_is_refused(detector, said, small_experiment, tmp_path):
    experiment = small_experiment(detector=detector, labels={"reflections": True})
    location = labelled_store(experiment, tmp_path / "a.zarr", reflection_rows([], [], []), spot_rows)
    with pytest.raises(ExperimentError, match=said):
        write_dials(location, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_that_are_no_scan_are_refused_and_nothing_is_left_half_written(small_experiment, tmp_path):
    rows = reflection_rows([], [], [])
    stills = labelled_store(
        experiment_of(small_experiment, osc_range_deg=0.0), tmp_path / "a.zarr", rows, lambda frame: spot_rows([])
    )
    with pytest.raises(StoreError, match="DIALS has no scan of 20 stills; name one frame"):
        write_dials(stills, tmp_path / "out")
    with pytest.raises(StoreError, match="frames 0:9:2 are no scan; they should be consecutive"):
        write_dials(stills, tmp_path / "out", range(0, 9, 2))
    (tmp_path / "out/labels.refl").mkdir(parents=True)
    (tmp_path / "out/labels.refl/in-the-way").touch()
    with pytest.raises(NbdistError, match=r"labels\.refl cannot be written"):
        write_dials(stills, tmp_path / "out", slice(3, 4))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["labels.refl"]


TURNED = {"mosflm": lambda x, y, z: [z, -y, x], "adxv": lambda x, y, z: [x, -y, z]}
"""Where the origin of a panel lies in the frame of another convention."""


@pytest.mark.integration
def test_dials_predicts_what_is_exported(small_experiment, tmp_path):
    upright = [panel | {"rotation_deg": [0, 0, 0]} for panel in PANELS]
    series = [("xds", 0.5, PANELS, None), ("dials", -0.5, upright, None), ("adxv", 0.5, upright, None)]
    series.append(("mosflm", 0.5, upright, slice(5, 17)))
    for convention, osc_deg, panels, frames in series:
        turned = TURNED.get(convention, lambda *xyz: [*xyz])
        placed = [panel | {"origin_mm": turned(*panel["origin_mm"])} for panel in panels]
        experiment = experiment_of(small_experiment, convention, placed, osc_range_deg=osc_deg)
        rows = crossings(experiment)
        location = labelled_store(experiment, tmp_path / f"{convention}.zarr", rows, spots_of(rows))
        write_dials(location, tmp_path / convention, frames)
    folders = [tmp_path / convention for convention, *_ in series]
    dials(dials_python(), Path(__file__).with_name("dials_check.py"), tmp_path / "found.json", D_MIN_A, *folders)
    for found, (convention, _, _, frames) in zip(
        json.loads((tmp_path / "found.json").read_text()), series, strict=True
    ):
        first, last = (0, FRAMES) if frames is None else (frames.start, frames.stop)
        assert found["images"] == [[first, last]] * len(CRYSTALS)
        theirs, ours = ({tuple(row["key"]): row for row in found[which]} for which in ("predicted", "written"))
        assert len(ours) == len(found["written"]) > 100
        # of frames 5 to 17 there are parts of reflections that cross before and after; DIALS goes a little beyond the resolution
        ours = {key: row for key, row in ours.items() if first <= row["px"][2] < last}
        assert set(ours) == {key for key, row in theirs.items() if row["d"] > D_MIN_A}, convention
        for name in ("d", "panel", "px", "mm", "s1", "zeta", "lp"):
            apart = [np.subtract(row[name], theirs[key][name]) for key, row in ours.items()]
            # d and polarization are stored in float32
            np.testing.assert_allclose(apart, 0, atol=2e-6, err_msg=f"{name}, {convention}")


@pytest.mark.integration
def test_programs_of_dials_read_the_files(small_experiment, tmp_path, monkeypatch):
    experiment = experiment_of(small_experiment)
    rows = crossings(experiment)
    write_dials(labelled_store(experiment, tmp_path / "a.zarr", rows, spots_of(rows, (0.25, -0.125))), tmp_path)
    monkeypatch.chdir(tmp_path)
    files = tmp_path / "labels.expt", tmp_path / "labels.refl"
    shown = dials("dials.show", *files)
    assert "Reflection list contains" in shown
    dials("dials.report", *files)
    assert (tmp_path / "dials.report.html").stat().st_size > 0
