"""NXmx files as those programs find them that read them: by NeXus' definition, and by DECTRIS' places, as XDS' plugins do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from nbdist.formats.image_files import BAD, GAP, ImageSeries
from nbdist.formats.models import Beam, Models, Panel, Scan
from nbdist.formats.nxmx import NXmx

IMAGES = 5
SILICON = {"thickness_mm": 0.3, "attenuation_per_mm": 4.0, "material": "Si"}
BITSHUFFLE = 32008
"""The HDF Group's number of the filter."""


def panel(shape=(6, 8), origin_mm=(-3.0, 4.0, -100.0), fast=(1.0, 0.0, 0.0), slow=(0.0, -1.0, 0.0), **changes):
    sensor = {"thickness_mm": 0.0, "attenuation_per_mm": 0.0, "gaps": (), "material": ""} | changes
    place = {"origin_mm": np.array(origin_mm), "fast": np.array(fast), "slow": np.array(slow)}
    return Panel("panel", **place, shape=shape, pixel_mm=0.5, **sensor, usable=np.ones(shape, bool))


def series_of(*panels, beam=None, osc_deg=0.1, dtype="int32"):
    beam = {"polarization_normal": np.array([0.0, 1.0, 0.0]), "polarization_fraction": 0.999} | (beam or {})
    return ImageSeries(
        prefix="lysozyme",
        models=Models(
            beam=Beam(travels=np.array([0.0, 0.0, -1.0]), wavelength_A=0.9795, **beam),
            panels=panels,
            axis=np.array([1.0, 0.0, 0.0]),
            scan=Scan(0, IMAGES, 17.1, osc_deg, 0.25),
            crystals=(),
            trusted=(0, 999),
        ),
        dtype=dtype,
        title="made up",
        made_by="nbdist 0",
        made_at="2026-01-01T00:00:00+00:00",
    )


def written(folder, series, seed=5):
    """The images of a series, after it was written two images a file."""
    format, random = NXmx(images_per_file=2), np.random.default_rng(seed)
    images = [
        [random.integers(0, 50, panel.shape).astype(series.dtype) for panel in series.models.panels]
        for _ in range(IMAGES)
    ]
    marks = [np.zeros(panel.shape, np.int32) for panel in series.models.panels]
    marks[0][1, 2], marks[0][3, :] = BAD, GAP
    frames = iter(images)
    for number, first in enumerate(range(0, IMAGES, 2)):
        span = range(first, min(first + 2, IMAGES))
        format.write(folder / format.file_name("lysozyme", number), series, span, islice(frames, len(span)))
    format.write_list(folder / format.images_name("lysozyme"), series, marks)
    return images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of one panel, moved to another folder after they were written."""
    begun = tmp_path_factory.mktemp("begun") / "here"
    begun.mkdir()
    written(begun, series_of(panel()))
    return begun.rename(begun.with_name("there"))


@pytest.fixture
def master(folder):
    with h5py.File(folder / "lysozyme_master.h5") as file:
        yield file


def test_a_data_file_holds_chunks_of_an_image_packed_as_a_detector_packs_them(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"lysozyme_data_{number:06d}.h5" for number in (1, 2, 3)),
        "lysozyme_master.h5",
    ]
    with h5py.File(folder / "lysozyme_data_000003.h5") as file:
        data = file["entry/data/data"]
        assert (data.shape, data.chunks, data.dtype) == ((1, 6, 8), (1, 6, 8), np.int32)
        filters = data.id.get_create_plist()
        assert [filters.get_filter(number)[0] for number in range(filters.get_nfilters())] == [BITSHUFFLE]
        assert (data.attrs["image_nr_low"], data.attrs["image_nr_high"]) == (5, 5)


def test_an_image_is_found_as_the_plugins_of_xds_look_for_it(master):
    # neggia: all data files have as many images as the first; durin: files follow each other until one is not there
    images = np.stack([image for (image,) in written_again()])
    first = master["entry/data/data_000001"].shape[0]
    for number in range(IMAGES):
        found = master[f"entry/data/data_{number // first + 1:06d}"][number % first]
        np.testing.assert_array_equal(found, images[number])
    assert "data_000004" not in master["entry/data"]
    detector = master["entry/instrument/detector"]
    specific = detector["detectorSpecific"]
    assert specific["nimages"][()] * specific["ntrigger"][()] == IMAGES
    for name in ("nimages", "ntrigger"):
        assert specific[name].dtype.kind == "u"
    for place in (detector, specific):
        for axis in "xy":
            assert place[f"{axis}_pixel_size"][()] == pytest.approx(0.5e-3)
            assert place[f"{axis}_pixel_size"].attrs["units"] == "m"
        mask = place["pixel_mask"]
        assert (mask.shape, mask.dtype, mask.chunks) == ((6, 8), np.uint32, None)
        assert mask[1, 2] == 2
        assert (mask[3] == 1).all()
        assert np.count_nonzero(mask) == 9


def written_again(seed=5):
    random = np.random.default_rng(seed)
    return [[random.integers(0, 50, (6, 8)).astype(np.int32)] for _ in range(IMAGES)]


def test_all_images_are_one_dataset_that_stores_nothing(master):
    data = master["entry/data/data"]
    assert data.is_virtual
    np.testing.assert_array_equal(data, np.stack([image for (image,) in written_again()]))


def test_images_of_a_file_that_is_not_there_are_masked(folder):
    (folder / "lysozyme_data_000002.h5").rename(folder / "away")
    with h5py.File(folder / "lysozyme_master.h5") as file:
        assert (file["entry/data/data"][2:4] == GAP).all()
    (folder / "away").rename(folder / "lysozyme_data_000002.h5")


@pytest.fixture
def nxmx():
    """The package, which takes long to load: in one process of the tests, not in all."""
    import nxmx

    return nxmx


def test_the_nxmx_package_reads_what_was_meant(nxmx, master):
    (entry,) = nxmx.NXmx(master).entries
    (instrument,), (sample,) = entry.instruments, entry.samples
    (detector,), (beam,) = instrument.detectors, instrument.beams
    assert entry.definition == "NXmx"
    assert str(entry.start_time) == str(entry.end_time_estimated) == "2026-01-01 00:00:00+00:00"
    assert beam.incident_wavelength.to("angstrom").magnitude == 0.9795
    assert detector.sensor_material == "Si"
    assert detector.sensor_thickness.to("nm").magnitude == pytest.approx(1)
    assert (detector.underload_value, detector.saturation_value, detector.bit_depth_readout) == (0, 999, 32)
    assert detector.frame_time.to("s").magnitude == 0.25
    # the beam meets the panel 3 mm along fast and 4 mm along slow
    assert [getattr(detector, f"beam_center_{axis}").magnitude for axis in "xy"] == pytest.approx([6, 8])
    assert detector.distance.to("mm").magnitude == pytest.approx(100)
    (module,) = detector.modules
    chain = nxmx.get_dependency_chain(module.fast_pixel_direction)
    place = nxmx.get_cumulative_transformation(nxmx.get_dependency_chain(chain[1]))[0]
    np.testing.assert_allclose(place[:3, 3], [3.0, 4.0, 100.0], atol=1e-12)  # of McStas, in millimetres
    np.testing.assert_allclose(module.fast_pixel_direction.vector, [-1, 0, 0])
    np.testing.assert_allclose(module.slow_pixel_direction.vector, [0, -1, 0])
    (omega,) = nxmx.get_dependency_chain(sample.depends_on)
    np.testing.assert_allclose(omega.vector, [-1, 0, 0])
    np.testing.assert_allclose(omega[()].magnitude, 17.1 + 0.1 * np.arange(5), rtol=1e-14)
    np.testing.assert_allclose((omega.end[()] - omega[()]).magnitude, 0.1, rtol=1e-12)


def test_panels_are_modules_of_one_image(nxmx, tmp_path):
    silicon = {"thickness_mm": 0.45, "attenuation_per_mm": 4.0, "material": "Si"}
    panels = panel(**silicon), panel((2, 5), (6.0, 4.0, -90.0), (0.6, 0.0, 0.8), **silicon)
    images = written(tmp_path, series_of(*panels))
    with h5py.File(tmp_path / "lysozyme_master.h5") as file:
        (detector,) = nxmx.NXmx(file).entries[0].instruments[0].detectors
        first, second = detector.modules
        assert [list(its.data_origin) for its in (first, second)] == [[0, 0], [6, 0]]
        assert [list(its.data_size) for its in (first, second)] == [[6, 8], [2, 5]]
        np.testing.assert_allclose(second.fast_pixel_direction.vector, [-0.6, 0, -0.8])
        data = file["entry/data/data"]
        for number, (above, below) in enumerate(images):
            np.testing.assert_array_equal(data[number, :6], above)
            np.testing.assert_array_equal(data[number, 6:, :5], below)
            assert (data[number, 6:, 5:] == GAP).all()
        # dxtbx 3.12 cannot cut a mask along fast
        assert "pixel_mask" not in file["entry/instrument/detector"]
        assert file["entry/instrument/detector/detectorSpecific/pixel_mask"].shape == (8, 8)
        assert detector.sensor_thickness.to("mm").magnitude == pytest.approx(0.45)


def test_polarization_is_in_the_words_of_stokes_and_said_to_whom_dials_matters(tmp_path):
    assert NXmx().notes(series_of(panel(**SILICON))) == []
    up = series_of(
        panel(**SILICON), beam={"polarization_fraction": 0.75, "polarization_normal": np.array([1.0, 0.0, 0.0])}
    )
    assert NXmx().notes(up) == [
        "DIALS reads no polarization from NXmx and takes 0.999 along x; this one's: dials.import "
        "polarization_fraction=0.75 polarization_normal=1,0,0"
    ]
    written(tmp_path, up)
    with h5py.File(tmp_path / "lysozyme_master.h5") as file:
        # half of it is polarized, along y
        stokes = file["entry/instrument/beam/incident_polarization_stokes"]
        np.testing.assert_allclose(stokes, [1, -0.5, 0, 0], atol=1e-15)
        assert file["entry/sample/beam"] == file["entry/instrument/beam"]
    askew = np.array([np.sin(0.3), np.cos(0.3), 0.0])  # the E vector is 0.3 from -x, McStas' x, towards y
    written(tmp_path, series_of(panel(), beam={"polarization_fraction": 1.0, "polarization_normal": askew}))
    with h5py.File(tmp_path / "lysozyme_master.h5") as file:
        stokes = file["entry/instrument/beam/incident_polarization_stokes"]
        np.testing.assert_allclose(stokes, [1, np.cos(0.6), np.sin(0.6), 0], atol=1e-15)


def test_what_dials_does_not_read_is_said_with_the_import_that_does():
    assert NXmx().notes(series_of(panel())) == [
        "DIALS does not read from nxmx that there is no sensor, by whose absorption it divides intensities; "
        "dials.import lysozyme_master.h5 reference_geometry=lysozyme.expt does"
    ]
    series = series_of(panel(**SILICON))
    assert NXmx().notes(replace(series, models=replace(series.models, gain=2.5, pedestal=10.0))) == [
        "DIALS does not read from nxmx readings a photon (2.5) and what is read without a photon (10); "
        "dials.import lysozyme_master.h5 reference_geometry=lysozyme.expt does"
    ]


@pytest.mark.parametrize(
    ("sensors", "said"),
    [
        ([{"thickness_mm": 0.3}], "a sensor that counts every photon in every layer has no parallax that DIALS knows"),
        ([{"thickness_mm": 0.3, "attenuation_per_mm": 4.0}], "a sensor of no named material is written as Si"),
        ([{}, SILICON], "NXmx has one sensor for all"),
        ([{}, {}], "XDS takes the panels for one that is flat"),
    ],
)
def test_what_programs_make_of_a_detector_that_it_is_not_is_said(sensors, said):
    notes = NXmx().notes(series_of(*(panel(**sensor) for sensor in sensors)))
    assert any(note.startswith(said) for note in notes)


@pytest.mark.integration
def test_files_are_written_where_other_programs_are_led_to_the_same_filters(tmp_path):
    here = Path(__file__)
    script = f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t; "
    script += f"t.written(t.Path({str(tmp_path)!r}), t.series_of(t.panel()))"
    led = os.environ | {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGINS_PATH}
    subprocess.run([sys.executable, "-c", script], check=True, env=led)
    with h5py.File(tmp_path / "lysozyme_master.h5") as file:
        assert file["entry/data/data"][:].any()
