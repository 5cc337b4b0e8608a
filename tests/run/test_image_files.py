"""Series as CBF and SMV: a file an image, models of what can be read from them, and XDS.INP."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import fabio
import numpy as np
import pytest

from nbdist import generate, open_series
from nbdist.cli.export import FormatName
from nbdist.errors import NbdistError
from nbdist.run.export import FORMATS, export

FRAMES = 3


def counted(light_experiment, **detector):
    return light_experiment(FRAMES).with_changes(
        noise={"photon_noise": True},
        readout={
            "dead_pixel_fraction": 0.1,
            "electrons_per_photon": 20_000,
            "offset_adu": 40,
            "saturation_adu": 200_000,
        },
        detector=detector,
    )


@pytest.fixture(scope="module")
def store(light_experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("store") / "series.zarr"
    generate(counted(light_experiment), location, serial=True)
    return location


@pytest.mark.parametrize(("name", "suffix", "held"), [("cbf", "cbf", None), ("smv", "img", 65535)])
def test_each_image_is_a_file_that_fabio_reads(name, suffix, held, store, tmp_path):
    _, progress = export(store, tmp_path, FORMATS[name])
    files = [f"series_{number:05}.{suffix}" for number in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["XDS.INP", "export.json", "series.expt", *files]
    counts = open_series(store, chunks=None).counts.values
    assert (counts < 0).any()
    too_large = 0
    if held is not None:
        counts, too_large = np.clip(counts, 0, held), np.count_nonzero(counts > held)
        assert too_large > 0
    found = np.stack([fabio.open(str(tmp_path / file)).data for file in files])
    np.testing.assert_array_equal(found, counts)
    assert progress.saturated_pixels == too_large
    models = json.loads((tmp_path / "series.expt").read_text())
    assert models["imageset"][0]["template"] == f"series_#####.{suffix}"
    panel = models["detector"][0]["panels"][0]
    assert panel["pedestal"] == 40
    assert panel["trusted_range"][1] == (held or 200_000) - 0.5
    text = (tmp_path / "XDS.INP").read_text()
    assert f"NAME_TEMPLATE_OF_DATA_FRAMES= series_?????.{suffix}\n" in text
    assert f"OVERLOAD= {(held or 200_000) - 1}\n" in text
    said = [note.partition(";")[0] for note in progress.notes]
    expected = {
        "cbf": ["DIALS does not read from cbf what is read without a photon"],
        "smv": ["DIALS does not read from smv polarization"],
    }
    assert said == expected[name]


def test_an_input_of_xds_that_is_there_is_left_as_it_is(store, tmp_path):
    (tmp_path / "XDS.INP").write_text("mine")
    export(store, tmp_path, FORMATS["cbf"])
    export(store, tmp_path, FORMATS["smv"], overwrite=True)
    assert (tmp_path / "XDS.INP").read_text() == "mine"
    (tmp_path / "XDS.INP").unlink()
    export(store, tmp_path, FORMATS["smv"], resume=True)
    export(store, tmp_path, FORMATS["cbf"], overwrite=True)
    assert ".cbf" in (tmp_path / "XDS.INP").read_text(), "one that an export wrote goes with it"


def test_bad_pixels_that_smv_cannot_mark_are_counted(light_experiment, tmp_path):
    experiment = light_experiment(1).with_changes(
        noise={"photon_noise": True},
        readout={"dead_pixel_fraction": 0.1},
        detector={"panels": [{"spixels": 20, "fpixels": 30}]},
    )
    generate(experiment, tmp_path / "a.zarr", serial=True)
    _, progress = export(tmp_path / "a.zarr", tmp_path / "out", FORMATS["smv"])
    bad = np.count_nonzero(open_series(tmp_path / "a.zarr", chunks=None).counts.values == -2)
    assert bad > 10
    assert (
        f"SMV has no readings below 0: {bad} masked pixels hold 0, as if nothing had fallen on them" in progress.notes
    )


def test_the_files_that_are_not_there_are_the_same_when_they_are_written_again(store, tmp_path):
    export(store, tmp_path, FORMATS["cbf"])
    before = (tmp_path / "series_00002.cbf").read_bytes()
    (tmp_path / "series_00002.cbf").unlink()
    _, progress = export(store, tmp_path, FORMATS["cbf"], resume=True)
    assert progress.frames_done == 1
    assert (tmp_path / "series_00002.cbf").read_bytes() == before


@pytest.mark.parametrize("name", ["cbf", "smv"])
def test_several_panels_are_refused(name, light_experiment, tmp_path):
    panels = [{"spixels": 5, "fpixels": 6}] * 2
    generate(counted(light_experiment, panels=panels), tmp_path / "a.zarr", serial=True)
    with pytest.raises(
        NbdistError, match=f"{name}: an image is of one panel, and the detector has 2; use --format nxmx"
    ):
        export(tmp_path / "a.zarr", tmp_path / "out", FORMATS[name])
    assert not (tmp_path / "out").exists()


def test_intensities_are_photons_whatever_the_detector_reads(store, tmp_path):
    export(store, tmp_path, FORMATS["smv"], what="intensity")
    header = fabio.open(str(tmp_path / "series_00001.img")).header
    assert (float(header["GAIN"]), float(header["IMAGE_PEDESTAL"])) == (1, 0)


def test_the_command_has_the_formats_by_their_names():
    assert {its.value for its in FormatName} == set(FORMATS)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["cbf", "smv", "nxmx"])
def test_models_beside_images_set_right_what_dials_does_not_read(name, light_experiment, tmp_path, monkeypatch):
    if shutil.which("dials.import") is None:
        pytest.skip("DIALS is not installed")
    sensor = {"material": "Si", "thickness_um": 320, "layers": 4}
    experiment = counted(light_experiment, sensor=sensor, panels=[{"spixels": 9, "fpixels": 7, "two_theta_deg": 10}])
    generate(experiment, tmp_path / "a.zarr", serial=True)
    out = tmp_path / "out"
    _, progress = export(tmp_path / "a.zarr", out, FORMATS[name])
    monkeypatch.chdir(out)
    command = progress.notes[0].rpartition("; ")[2].removesuffix(" does").split()
    assert command[0] == "dials.import"
    files = sorted(str(path) for path in Path.cwd().glob(command[1]))
    assert len(files) == (1 if name == "nxmx" else FRAMES)
    subprocess.run([command[0], *files, *command[2:]], check=True, capture_output=True)
    ours, theirs = (json.loads(Path(file).read_text()) for file in ("a.expt", "imported.expt"))
    assert len(theirs["imageset"]) == 1
    assert theirs["scan"][0]["image_range"] == [1, FRAMES]
    for which in ("beam", "goniometer", "scan"):
        for key in ("direction", "wavelength", "polarization_fraction", "rotation_axis", "oscillation"):
            if key in ours[which][0]:
                np.testing.assert_allclose(theirs[which][0][key], ours[which][0][key], atol=1e-9)
    for key in ("origin", "fast_axis", "slow_axis", "thickness", "mu", "pedestal", "trusted_range", "gain"):
        np.testing.assert_allclose(*(models["detector"][0]["panels"][0][key] for models in (theirs, ours)), atol=1e-9)
