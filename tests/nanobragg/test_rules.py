"""nanoBragg's flags as an experiment: headers, random orientations, clipping, and errors that name the flag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nbdist.errors import NbdistError
from nbdist.formats.smv import smv_bytes
from nbdist.nanobragg.flags import experiment_from_flags, simulation_from_flags
from nbdist.nanobragg.report import warnings
from nbdist.nanobragg.table import GROUPS, TABLE
from nbdist.nanobragg.words import FlagError, read_words
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

CRYSTAL = "-cell 50 60 70 90 90 90 -default_F 10"


def experiment(flags: str, folder=None):
    return experiment_from_flags(f"{CRYSTAL} {flags}".split(), folder)


def smv(path, shape=(30, 20), **header):
    path.write_bytes(smv_bytes(header, np.ones(shape, dtype=np.uint16)))
    return path


def test_later_flags_win():
    assert experiment("-lambda 1 -energy 12398.42 -wave 2 -N 3 -Nb 5").beam.wavelength_A == 2
    assert experiment("-Nb 5 -N 3").crystal.N_cells == (3, 3, 3)
    assert experiment("-N 3 -Nb 5").crystal.N_cells == (3, 5, 3)


@pytest.mark.parametrize(
    "flags",
    ["-phisteps -1", "-mosaic -1", "-hdivstep -1", "-sample_x -1", "-detector_thick -5", "-dmin -2", "-oversample -1"],
)
def test_a_number_below_0_that_counts_as_not_given_is_told(flags):
    told = simulation_from_flags(read_words(f"{CRYSTAL} {flags}".split(), TABLE), Path.cwd())
    assert told.experiment == experiment("")
    assert told.flags.warnings == [f"{flags}: a number below 0 counts as not given, as in nanoBragg"]


def test_no_spelling_belongs_to_two_flags():
    spellings = [spelling for flag in TABLE for spelling in flag.spellings]
    assert len(spellings) == len(set(spellings))
    assert sum(map(len, GROUPS.values())) == len(TABLE)


def test_an_image_header_sets_the_geometry(tmp_path):
    smv(
        tmp_path / "a.img",
        PIXEL_SIZE=0.2,
        DISTANCE=150.0,
        WAVELENGTH=1.2,
        BEAM_CENTER_X=3.1,
        BEAM_CENTER_Y=2.2,
        PHI=5.0,
        OSC_RANGE=0.5,
    )
    found = experiment("-img a.img", tmp_path)
    panel = found.detector.panels[0]
    assert (panel.fpixels, panel.spixels, panel.pixel_size_mm, panel.distance_mm) == (20, 30, 0.2, 150)
    assert panel.beam_center_mm == (3.1, 2.2)
    assert (found.beam.wavelength_A, found.scan.phi_start_deg, found.scan.osc_range_deg) == (1.2, 5, 0.5)


@pytest.mark.parametrize("order", ["{} -img a.img", "-img a.img {}"])
def test_flags_override_a_header_wherever_they_stand(tmp_path, order):
    smv(tmp_path / "a.img", PIXEL_SIZE=0.2, DISTANCE=150.0, BEAM_CENTER_X=3.1, WAVELENGTH=1.2, PHI=5.0, OSC_RANGE=0.5)
    found = experiment(
        order.format("-distance 80 -Xbeam 1 -lambda 2 -phi 1 -osc 2 -pixel 0.3 -detpixels_x 7"), tmp_path
    )
    panel = found.detector.panels[0]
    assert (panel.distance_mm, panel.beam_center_mm[0], panel.pixel_size_mm) == (80, 1, 0.3)
    assert (panel.fpixels, panel.spixels) == (7, 30)
    assert (found.beam.wavelength_A, found.scan.phi_start_deg, found.scan.osc_range_deg) == (2, 1, 2)


def test_a_headers_close_distance_and_pixels_win_over_distance_and_size(tmp_path):
    # nanoBragg.c: a close distance that is known decides, and a number of pixels that is known makes the size
    smv(tmp_path / "a.img", DISTANCE=150.0, CLOSE_DISTANCE=149.0)
    panel = experiment("-img a.img -distance 80 -detsize 50", tmp_path).detector.panels[0]
    assert (panel.distance_mm, panel.close_distance_mm, panel.fpixels) == (None, 149, 20)
    assert experiment("-img a.img -close_distance 70", tmp_path).detector.panels[0].close_distance_mm == 70


@pytest.mark.parametrize(
    ("flags", "told"), [("", 0), ("-distance 80", 1), ("-distance 80 -close_distance 70", 1), ("-close_distance 70", 0)]
)
def test_a_distance_on_the_line_that_does_not_count_is_told_and_a_headers_is_not(tmp_path, flags, told):
    smv(tmp_path / "a.img", DISTANCE=150.0, CLOSE_DISTANCE=149.0)
    simulation = simulation_from_flags(read_words(f"{CRYSTAL} -img a.img {flags}".split(), TABLE), tmp_path)
    said = [*warnings(simulation, resolve(simulation.experiment), tmp_path)]
    assert sum("-distance does not" in line for line in said) == told


def test_an_image_says_more_than_a_mask(tmp_path):
    smv(tmp_path / "m.img", DISTANCE=150.0, WAVELENGTH=1.5, BEAM_CENTER_Y=1.0)
    smv(tmp_path / "a.img", DISTANCE=120.0)
    found = experiment("-img a.img -mask m.img", tmp_path)
    assert (found.detector.panels[0].distance_mm, found.beam.wavelength_A) == (120, 1.5)
    # nanoBragg.c: Ybeam = detsize_s - BEAM_CENTER_Y for a mask, and none in the image
    assert found.detector.panels[0].beam_center_mm[1] == pytest.approx(2.0)


def test_a_header_is_read_to_its_end_and_by_the_last_place_of_a_key(tmp_path):
    text = "{\nHEADER_BYTES= 1024;\nSIZE1=20;\nSIZE2=30;\nDISTANCE=90;\nCOMMENT={ x };\nDISTANCE=120;\nSOURCE_WAVELENGTH=0.9 A;\n}\n"
    (tmp_path / "a.img").write_bytes(text.encode().ljust(1024) + bytes(1200))
    found = experiment("-img a.img", tmp_path)
    assert (found.detector.panels[0].distance_mm, found.beam.wavelength_A) == (120, 0.9)


@pytest.mark.parametrize(("after", "phi"), [("WAVELENGTH=0.9", 0.9), ("DATE=Fri Oct  8", 0)])
def test_a_key_that_stands_last_in_a_value_is_read_from_the_next_line_and_told(tmp_path, after, phi):
    text = f"{{\nHEADER_BYTES=512;\nSIZE1=20;\nSIZE2=30;\nPHI=130.0;\nAXIS=PHI;\n{after};\n}}\n"
    (tmp_path / "a.img").write_bytes(text.encode().ljust(512) + bytes(1200))
    found = simulation_from_flags(read_words(f"{CRYSTAL} -img a.img".split(), TABLE), tmp_path)
    assert found.experiment.scan.phi_start_deg == phi
    (told,) = found.flags.warnings
    assert told.startswith(f"{tmp_path / 'a.img'}: PHI is read as {phi:g}")


def test_no_pixels_beside_a_header_leave_the_size_that_it_has(tmp_path):
    smv(tmp_path / "a.img", PIXEL_SIZE=0.2)
    panel = experiment("-img a.img -detpixels_s 0 -pixel 0.1", tmp_path).detector.panels[0]
    assert (panel.fpixels, panel.spixels) == (20, 60)


@pytest.mark.parametrize(
    "line",
    [
        "HEADER_BYTES=99999999999999;",
        "HEADER_BYTES=9999999999999999999999999;",
        "HEADER_BYTES=0;",
        "HEADER_BYTES=-512;",
        "HEADER_BYTES=many;",
        "HEADER_BYTES=20;",
        "SIZE1=9;",
        "HEADER_BYTES=512;PHI=north;",
        "HEADER_BYTES=512;SIZE1=9;SIZE2=\u0663;",
        "HEADER_BYTES=512;SIZE1=999999999;SIZE2=999999999;",
    ],
)
def test_a_hostile_header_is_refused_in_one_line(tmp_path, line):
    text = f"{{\n{line}\n" + ("SIZE1=20;\nSIZE2=30;\n}" if "SIZE2" not in line else "}")
    (tmp_path / "a.img").write_bytes(text.encode().ljust(512) + bytes(1200))
    with pytest.raises(FlagError, match=r"-img|-detpixels") as error:
        experiment("-img a.img", tmp_path)
    assert "\n" not in str(error.value)


def test_a_headers_xds_origin_serves_the_xds_convention(tmp_path):
    smv(tmp_path / "a.img", XDS_ORGX=11.5, XDS_ORGY=14.5)
    assert experiment("-xds -img a.img", tmp_path).detector.panels[0].near_point_pixels == (11.5, 14.5)


def test_a_mask_skips_zero_pixels_and_counts_y_from_the_other_edge(tmp_path):
    pixels = np.ones((30, 20), dtype=np.uint16)
    pixels[4, 7] = 0
    (tmp_path / "mask.img").write_bytes(smv_bytes({"PIXEL_SIZE": 0.1, "BEAM_CENTER_Y": 1.0}, pixels))
    found = experiment("-mask mask.img", tmp_path)
    assert np.argwhere(~resolve(found).instrument.panels[0].usable).tolist() == [[4, 7]]
    # nanoBragg.c: Ybeam = detsize_s - BEAM_CENTER_Y for a mask
    assert found.detector.panels[0].beam_center_mm[1] == pytest.approx(2.0)


def test_the_random_orientation_is_nanobraggs():
    # nanoBragg -misset random -misset_seed 12345 prints 105.72 -34.95 -97.82 deg
    found = experiment("-misset random -misset_seed 12345").crystal.misset_deg
    np.testing.assert_allclose(found, (105.72, -34.95, -97.82), atol=0.005)
    assert experiment("-misset random -seed 12345").crystal.misset_deg == found
    assert experiment("-misset random -misset_seed 12346").crystal.misset_deg != found


def test_the_beam_clips_the_crystal_across_it():
    # the beam of 0.1 mm clips y and z; N = ceil(size/axis)
    found = resolve(experiment("-samplesize 0.199993"))
    assert found.specimen.lattices[0].N_cells == (39999, 16667, 14286)
    assert resolve(experiment("-samplesize 0.199993 -beamsize 0.3")).specimen.lattices[0].N_cells == (
        39999,
        33333,
        28571,
    )


def test_a_size_along_one_axis_leaves_the_others():
    assert resolve(experiment("-N 5 -sample_y 0.0012")).specimen.lattices[0].N_cells == (5, 200, 5)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("-osc 1", (1.0, 2)),
        ("-phistep 0.1", (0.2, 2)),
        ("-osc 1 -phistep 0.3", (1.2, 4)),
        ("-osc 1 -phisteps 5", (1.0, 5)),
        ("-osc 1 -phisteps 0", (1.0, 1)),
        ("-osc 0 -phisteps 5", (0.0, 5)),
        ("", (0.0, 1)),
    ],
)
def test_phi_steps_are_chosen_as_nanobragg_chooses(flags, expected):
    scan = experiment(flags).scan
    assert (scan.osc_range_deg, scan.phi_steps) == pytest.approx(expected)


@pytest.mark.parametrize(
    "flags",
    [
        "-lambda blue",
        "-lambda -1",
        "-energy 0",
        "-pivot moon",
        "-pixel 0",
        "-detpixels 1000000",
        "-detsize -5",
        "-polar 2",
        "-fluence 0",
        "-roi 2000 3000 0 5",
        "-hkl missing.hkl",
        "-mat missing.mat",
        "-mask missing.img",
        "-img missing.img",
        "-sourcefile missing.txt",
        "-phisteps 2000000000",
        "-fdet_vector 0 0 0",
        "-fudge 0",
        "-water -1",
        "-dispersion 300 -dispsteps 3",
        "-polar_vector 1 0 0 -polar 0.5",
        "-close_distance -3",
        "-N two",
        "-curved_det -detector_roty 5",
        "-odet_vector 0 1 0 -fdet_vector 1 0 0 -sdet_vector 0 0 1",
    ],
)
def test_an_error_names_its_flag_in_one_line(flags, tmp_path):
    with pytest.raises(NbdistError) as error:
        resolve_flags(flags, tmp_path)
    assert flags.split()[0] in str(error.value)
    assert "\n" not in str(error.value)


def resolve_flags(flags: str, folder):
    """Through the numbers, as the command goes."""
    from nbdist.nanobragg.fields import named_by_flags

    try:
        load_reflections(resolve(experiment(flags, folder)))
    except FlagError:
        raise
    except NbdistError as error:
        raise named_by_flags(error, read_words(flags.split(), TABLE), folder) from None


@pytest.mark.parametrize("flags", ["-hkl a.hkl", "-default_F 0"])
def test_without_a_cell_or_amplitudes_there_is_no_image(flags, tmp_path):
    (tmp_path / "a.hkl").write_text("1 1 1 5\n")
    with pytest.raises(FlagError, match=r"-cell or -mat|-hkl or -default_F"):
        experiment_from_flags(
            flags.split() + (["-cell", *["5", "5", "5", "90", "90", "90"]] if "F" in flags else []), tmp_path
        )
