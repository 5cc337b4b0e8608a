"""nanoBragg's flags as an experiment: headers, random orientations, clipping, and errors that name the flag."""

from __future__ import annotations

import numpy as np
import pytest

from nbdist.cli.nanobragg_flags import FlagError, experiment_from_flags
from nbdist.cli.nanobragg_table import GROUPS, TABLE
from nbdist.errors import NbdistError
from nbdist.experiment import resolve
from nbdist.formats.smv import smv_bytes

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


def test_flags_override_a_header_wherever_they_stand(tmp_path):
    smv(tmp_path / "a.img", DISTANCE=150.0, CLOSE_DISTANCE=149.0, BEAM_CENTER_X=3.1)
    for flags in ("-distance 80 -Xbeam 1 -img a.img", "-img a.img -distance 80 -Xbeam 1"):
        panel = experiment(flags, tmp_path).detector.panels[0]
        assert (panel.distance_mm, panel.close_distance_mm, panel.beam_center_mm[0]) == (80, None, 1)


def test_a_headers_xds_origin_serves_the_xds_convention(tmp_path):
    smv(tmp_path / "a.img", XDS_ORGX=11.5, XDS_ORGY=14.5)
    assert experiment("-xds -img a.img", tmp_path).detector.panels[0].near_point_pixels == (11.5, 14.5)


def test_a_mask_skips_zero_pixels_and_counts_y_from_the_other_edge(tmp_path):
    pixels = np.ones((30, 20), dtype=np.uint16)
    pixels[4, 7] = 0
    (tmp_path / "mask.img").write_bytes(smv_bytes({"PIXEL_SIZE": 0.1, "BEAM_CENTER_Y": 1.0}, pixels))
    found = experiment("-mask mask.img", tmp_path)
    assert np.argwhere(~resolve(found).usable).tolist() == [[4, 7]]
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
    assert found.N_cells == (39999, 16667, 14286)
    assert resolve(experiment("-samplesize 0.199993 -beamsize 0.3")).N_cells == (39999, 33333, 28571)


def test_a_size_along_one_axis_leaves_the_others():
    assert resolve(experiment("-N 5 -sample_y 0.0012")).N_cells == (5, 200, 5)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("-osc 1", (1.0, 2)),
        ("-phistep 0.1", (0.1, 2)),
        ("-osc 1 -phistep 0.3", (1.0, 4)),
        ("-osc 1 -phisteps 5", (1.0, 5)),
        ("-osc 1 -phisteps 0", (1.0, 2)),
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
        "-oscillate 3",
        "-lambda",
        "-lambda blue",
        "-lambda -1",
        "-energy 0",
        "-N 1.5",
        "-misset 1 2",
        "-pivot moon",
        "-pixel 0",
        "-detpixels 0",
        "-detpixels 1000000",
        "-detsize -5",
        "-distance -3",
        "-polar 2",
        "-fluence 0",
        "-roi 2000 3000 0 5",
        "-hkl missing.hkl",
        "-mat missing.mat",
        "-mask missing.img",
        "-img missing.img",
        "-sourcefile missing.txt",
        "-phisteps -1",
        "-phisteps 2000000000",
        "-mosaic -1",
        "-mosaic_dom -1 -mosaic 1",
        "-hdivstep -1",
        "-sample_x -1",
        "-fdet_vector 0 0 0",
        "-detector_thick -5",
        "-fudge 0",
        "-water -1",
        "-dispersion 300 -dispsteps 3",
        "-polar_vector 1 0 0",
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
    from nbdist.cli.nanobragg_flags import named_by_flags
    from nbdist.cli.nanobragg_words import read_words

    try:
        resolve(experiment(flags, folder))
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
