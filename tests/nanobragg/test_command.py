"""`nbdist nanobragg` from the command line: its files, what it says, and that it never ends in a traceback."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import fabio
import numpy as np
import pytest
from command_line import Ended, run_command
from hypothesis import given, settings
from hypothesis import strategies as st

from nbdist.formats.smv import read_smv, smv_bytes
from nbdist.nanobragg.table import TABLE
from nbdist.readout.draws import Draws

GOLDEN = Path(__file__).parent.parent / "golden"
CRYSTAL = (
    f"-hkl {GOLDEN}/inputs/triclinic.hkl -mat {GOLDEN}/inputs/triclinic.mat -lambda 0.9768 -N 12 -distance 90 -pixel 0.4 "
    "-detpixels_x 60 -detpixels_y 50 -oversample 1 -fluence 1e24 -nointerpolate"
)
FILES = ("floatimage.bin", "image.pgm", "intimage.img", "noiseimage.img")


@pytest.fixture
def nbdist(tmp_path, monkeypatch, capsys) -> Callable[[str], Ended]:
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> Ended:
        return run_command(line.split(), monkeypatch, capsys)

    return call


def float_image(shape=(50, 60)) -> np.ndarray:
    return np.fromfile("floatimage.bin", dtype="<f4").reshape(shape)


def test_the_four_files_appear_and_agree(nbdist, tmp_path):
    ended = nbdist(f"nanobragg {CRYSTAL} -seed 3")
    assert ended.status == 0, ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILES)
    image = float_image()
    assert image.max() > 0
    scaled = fabio.open("intimage.img").data
    assert scaled.max() == 55040
    # the scale is worked out in float64 from the float32 maximum, and pixels are rounded to the nearest
    np.testing.assert_array_equal(scaled, np.floor(image.astype(float) * (55000 / float(image.max())) + 40.5))
    noisy = fabio.open("noiseimage.img").data
    np.testing.assert_array_equal(noisy, np.minimum(Draws(3).poisson(image) + 40, 65535))
    assert Path("image.pgm").read_bytes().startswith(b"P5\n60 50\n# pixels scaled by ")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("golden", "triclinic_still"),
        ("golden_flags", "words_after_switch"),
        ("golden_flags", "div_range_and_step"),
        ("golden_flags", "detsize_pixel"),
    ],
)
def test_the_golden_image_comes_out(nbdist, folder, name):
    flags = json.loads((GOLDEN.parent / folder / "cases.json").read_text())[name].replace(
        "{in}", str(GOLDEN / "inputs")
    )
    assert nbdist(f"nanobragg {flags} --precision float64 -nopgm -nonoise").status == 0
    golden = np.load(GOLDEN.parent / folder / "images" / f"{name}.npy")
    # both are float64 sums, rounded to float32
    np.testing.assert_allclose(float_image(golden.shape), golden, rtol=1.3e-7, atol=1e-12 * golden.max())


def test_the_header_is_nanobraggs(nbdist):
    assert nbdist(f"nanobragg {CRYSTAL} -phi 3 -osc 0.5 -phisteps 1 -twotheta 4 -detector_rotx 1").status == 0
    header, _ = read_smv(Path("intimage.img"))
    assert " ".join(header) == (
        "HEADER_BYTES DIM BYTE_ORDER TYPE SIZE1 SIZE2 PIXEL_SIZE DISTANCE WAVELENGTH "
        "BEAM_CENTER_X BEAM_CENTER_Y ADXV_CENTER_X ADXV_CENTER_Y MOSFLM_CENTER_X MOSFLM_CENTER_Y DENZO_X_BEAM DENZO_Y_BEAM DIALS_ORIGIN "
        "XDS_ORGX XDS_ORGY CLOSE_DISTANCE PHI OSC_START OSC_RANGE TWOTHETA DETECTOR_SN BEAMLINE"
    )
    assert (header["SIZE1"], header["SIZE2"], header["BEAMLINE"], header["DETECTOR_SN"]) == ("60", "50", "fake", "000")
    assert (header["PHI"], header["OSC_RANGE"], header["TWOTHETA"], header["WAVELENGTH"]) == ("3", "0.5", "4", "0.9768")
    # mosflm's default centre is (size + pixel)/2 of slow and fast, half a pixel short of the spot
    assert (float(header["BEAM_CENTER_X"]), float(header["BEAM_CENTER_Y"])) == pytest.approx((10.2, 12.2))
    assert (float(header["MOSFLM_CENTER_X"]), float(header["MOSFLM_CENTER_Y"])) == pytest.approx((10.2, 12.2))
    assert (float(header["DENZO_X_BEAM"]), float(header["ADXV_CENTER_Y"])) == pytest.approx((10.4, 20 - 10.4))


def test_a_written_image_gives_its_geometry_back(nbdist):
    assert nbdist(f"nanobragg {CRYSTAL} -Xbeam 9.5 -Ybeam 13 -nonoise").status == 0
    first = float_image()
    Path("intimage.img").rename("header.img")
    crystal = re.sub(r"-lambda.*-N 12.*-oversample", "-N 12 -oversample", CRYSTAL)
    assert nbdist(f"nanobragg {crystal} -img header.img -nonoise").status == 0
    np.testing.assert_allclose(float_image(), first, rtol=1e-4, atol=1e-6 * first.max())


def test_masked_pixels_are_0(nbdist):
    pixels = np.ones((50, 60), dtype=np.uint16)
    pixels[10:30, 20:50] = 0
    Path("mask.img").write_bytes(smv_bytes({}, pixels))
    assert nbdist(f"nanobragg {CRYSTAL} -mask mask.img --save-experiment e.yaml").status == 0
    image = float_image()
    assert not image[10:30, 20:50].any()
    assert image[pixels > 0].any()
    assert "mask.img" in Path("e.yaml").read_text()
    assert "-mask" in nbdist(f"nanobragg -mask mask.img {CRYSTAL} -detpixels 70").err


def test_scales_offset_and_region_are_taken(nbdist):
    assert nbdist(f"nanobragg {CRYSTAL} -scale 0.5 -adc 7 -pgmscale 2 -roi 10 19 5 30 -nonoise").status == 0
    image = float_image()
    assert np.argwhere(image).min(axis=0).tolist() >= [5, 10]
    assert np.argwhere(image).max(axis=0).tolist() <= [30, 19]
    scaled = read_smv(Path("intimage.img"))[1]
    inside = np.zeros(image.shape, dtype=bool)
    inside[5:31, 10:20] = True
    np.testing.assert_array_equal(
        scaled, np.where(inside, np.clip(np.floor(image.astype(float) * 0.5 + 7.5), 0, 65535), 0)
    )
    assert not Path("noiseimage.img").exists()


def test_names_of_files_are_taken_and_files_that_are_not_wanted_are_not_written(nbdist, tmp_path):
    assert nbdist(f"nanobragg {CRYSTAL} -floatimage f.bin -intfile i.img -nopgm -nonoise").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.bin", "i.img"]
    ended = nbdist(f"nanobragg {CRYSTAL} -nonoise -noisefile n.img -floatfile /dev/null -intfile /dev/null -nopgm")
    assert ended.status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.bin", "i.img", "n.img"]


def test_the_offset_of_a_noise_image_is_cut_to_a_whole_number_and_that_of_the_scaled_one_rounded(nbdist):
    ended = nbdist(f"nanobragg {CRYSTAL} -fluence 1 -adc 10.7 -seed 3")
    assert ended.status == 0
    assert set(np.unique(read_smv(Path("noiseimage.img"))[1])) == {10}
    assert read_smv(Path("intimage.img"))[1].min() == 11
    assert "writing noiseimage.img as 2-byte integers" in ended.out.splitlines()


def test_overloads_are_held_and_counted(nbdist):
    ended = nbdist(f"nanobragg {CRYSTAL} -fluence 1e28")
    noisy = read_smv(Path("noiseimage.img"))[1]
    counted = re.search(r"(\d+) overloads", ended.out)
    assert counted is not None
    assert (
        int(counted[1])
        == (Draws(int(re.search(r"seed: -(\d+)", ended.out)[1])).poisson(float_image()) + 40 > 65535).sum()
    )
    assert int(counted[1]) > 0
    assert noisy.max() == 65535


@pytest.mark.slow
@pytest.mark.integration
def test_the_image_and_its_noise_are_the_same_on_any_number_of_workers(nbdist):
    line = f"nanobragg {CRYSTAL} -detpixels 300 -phi 1 -osc 1 -phisteps 6 -seed 11"
    assert nbdist(line).status == 0
    first = {name: Path(name).read_bytes() for name in FILES}
    assert nbdist(f"{line} --workers 2").status == 0
    assert {name: Path(name).read_bytes() for name in FILES} == first


@pytest.mark.parametrize(
    "flags",
    ["-phi 2 -osc 1 -phisteps 3 -seed 4", "-misset random -misset_seed 7 -seed 4", "-roi 5 40 0 30 -seed 4 -mosaic 1"],
)
def test_the_saved_experiment_gives_the_same_image_to_the_bit(nbdist, flags):
    assert nbdist(f"nanobragg {CRYSTAL} {flags} --save-experiment e.yaml").status == 0
    ended = nbdist("run e.yaml -o e.zarr --serial")
    assert ended.status == 0, ended.err
    from nbdist.store import open_group

    group = open_group("e.zarr")
    np.testing.assert_array_equal(group["intensity"][0], float_image())
    noisy = read_smv(Path("noiseimage.img"))[1]
    rendered = noisy > 0  # nothing is written outside the region of interest
    np.testing.assert_array_equal(np.minimum(group["counts"][0] + 40, 65535)[rendered], noisy[rendered])
    assert rendered.sum() == (36 * 31 if "roi" in flags else 3000)


def test_the_report_has_nanobraggs_lines(nbdist):
    out = nbdist(f"nanobragg {CRYSTAL} -phi 2 -osc 1 -phisteps 2 -seed 3 -polar 0.9 -detector_thick 300").out
    lines = out.splitlines()
    image = float_image().astype(float)
    slow, fast = np.unravel_index(image.argmax(), image.shape)
    for line in (
        "mosflm convention selected.",
        "pivoting detector around direct beam spot",
        "crystal is 0.03252 x 0.03804 x 0.04104 microns",
        "phi0 = 2",
        "phi1 = 2.5",
        "thick1 = 150 um",
        "  parallelpiped xtal: 12x12x12 cells",
        "  wave=9.768e-11 meters +/- 0% in 1 steps",
        "  Kahn polarization factor: 0.900000",
        "  incident fluence: 1e+24 photons/m^2",
        "  distance=0.09 detsize=0.024x0.02  pixel=0.0004 meters (60x50 pixels)",
        "  sensor is 0.0003 m thick in 2 layers with mu= 3333.33",
        "  Xbeam=0.0102 Ybeam=0.0122",
        "  Fbeam=0.0124 Sbeam=0.0104",
        "  DIRECTION_OF_DETECTOR_X-AXIS= 0 0 1",
        "  DIRECTION_OF_DETECTOR_Y-AXIS= 0 -1 0",
        "  INCIDENT_BEAM_DIRECTION= 1 0 0",
        "  1 sources",
        "  1 mosaic domains over mosaic spread of 0 degrees",
        "  2 phi steps from 2 to 3 degrees",
        "  1x1 pixel oversample steps",
        # the place is that of the last subpixel, in metres
        f"max_I = {image.max():g}  at {0.0004 * (fast + 0.5):g} {0.0004 * (slow + 0.5):g}",
        f"mean= {image.mean():g} rms= {np.sqrt((image**2).sum() / 2999):g} rmsd= {image.std(ddof=1):g}",
        f"intfile_scale = {55000 / image.max():g}",
        f"pgm_scale = {250 / (5 * image.std(ddof=1)):g}",
        f"{Draws(3).poisson(image.astype(np.float32)).sum()} photons on noise image (0 overloads)",
    ):
        assert line in lines, line
    assert re.search(r"^Unit Cell: 27\.1 31\.7 34\.2 88\.5 71\.4 68\.2$", out, re.MULTILINE)
    solid = re.search(r"^solid angle subtended by detector = (\S+) steradian \( (\S+)% sphere\)$", out, re.MULTILINE)
    # 24 x 20 mm at 90 mm, the middle half a pixel or less from the beam: 4 asin(ab/sqrt((a^2 + d^2)(b^2 + d^2)))
    exact = 4 * np.arcsin(12 * 10 / np.sqrt((12**2 + 90**2) * (10**2 + 90**2)))
    assert float(solid[1]) == pytest.approx(exact, rel=2e-4)
    assert float(solid[2]) == pytest.approx(100 * float(solid[1]) / (4 * np.pi), rel=1e-5)


def test_statistics_leave_masked_pixels_out_but_for_the_deviation(nbdist):
    pixels = np.ones((50, 60), dtype=np.uint16)
    pixels[10:30, 20:50] = 0
    Path("mask.img").write_bytes(smv_bytes({}, pixels))
    out = nbdist(f"nanobragg {CRYSTAL} -mask mask.img -roi 5 54 0 44 -nonoise").out
    image, seen = float_image().astype(float)[:45, 5:55], pixels[:45, 5:55] > 0
    mean, count = image[seen].mean(), seen.sum()
    rms, rmsd = np.sqrt((image**2).sum() / (count - 1)), np.sqrt(((image - mean) ** 2).sum() / (image.size - 1))
    assert f"mean= {mean:g} rms= {rms:g} rmsd= {rmsd:g}" in out.splitlines()


def test_a_run_warns_of_what_a_reader_may_not_expect(nbdist):
    Path("Fdump.bin").touch()
    crystal = re.sub(r"-hkl \S+", "-default_F 5", CRYSTAL)
    out = nbdist(
        f"nanobragg {crystal} -samplesize 0.0005 -beamsize 0.0002 -mosaic 1 -detpixels 9 -hdiv 3 -detector_thick 9"
    ).out
    for said in (
        "WARNING: passed over, as in nanoBragg: -hdiv 3",
        "WARNING: sample_y of 0.0005 mm is clipped by the beam to 0.0002 mm",
        "WARNING: a mosaic spread without -mosaic_dom: 10 domains",
        "WARNING: Fdump.bin: no dump file",
        "WARNING: -detector_thick without -detector_abs: the attenuation depth is the thickness, 9 um",
        "recommend -oversample",
    ):
        assert out.count(said) == 1, said


def test_a_departure_is_printed_once(nbdist):
    out = nbdist(f"nanobragg {CRYSTAL} -detpixels 9 -nonoise -phi 0 -osc 1 -phisteps 3 -gauss_xtal").out
    assert re.findall("^note: (the step at phi 0|gauss)", out, re.MULTILINE) == ["the step at phi 0", "gauss"]
    assert "note:" not in nbdist(f"nanobragg {CRYSTAL} -detpixels 9 -nonoise").out


def test_pixels_are_printed_on_request(nbdist):
    out = nbdist(f"nanobragg {CRYSTAL} -printout_pixel 17 9 -nonoise").out
    value = float(re.search(r"^  17    9 :\npixel +(\S+)$", out, re.MULTILINE)[1])
    assert value == pytest.approx(float(float_image()[9, 17]), rel=1e-8)
    assert (
        len(re.findall("^pixel ", nbdist(f"nanobragg {CRYSTAL} -roi 0 4 0 2 -printout -nonoise").out, re.MULTILINE))
        == 15
    )


def test_trace_pixel_writes_the_chain_of_the_image(nbdist):
    ended = nbdist(f"nanobragg {CRYSTAL} -trace_pixel 25 30 -nonoise")
    assert ended.status == 0, ended.err
    final = re.search(r"^I_pixel_final (\S+)$", Path("trace/trace.log").read_text(), re.MULTILINE)
    # the trace is float64, the image float32
    assert float(final[1]) == pytest.approx(float(float_image()[25, 30]), rel=1e-5)
    assert "I_before_scaling" in ended.out


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_help_lists_every_flag_by_group(nbdist, word, tmp_path):
    ended = nbdist(f"nanobragg {word}")
    assert ended.status == 0
    listed = set(re.findall(r"(?<=[ ])-\w+", ended.out))
    assert {word for flag in TABLE for word in flag.words} <= listed
    assert "detector\n" in ended.out
    assert not list(tmp_path.iterdir())


def test_the_subcommand_shows_in_the_help(nbdist):
    assert "nanobragg" in nbdist("--help").out


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("-hkl none.hkl", "-hkl"),
        ("-floatfile no/such/folder.bin", "-floatfile"),
        ("-intfile x -floatfile x", "-floatfile|-intfile"),
        ("-noisefile .", "-noisefile"),
        ("-printout_pixel 999 0", "-printout_pixel"),
        ("-trace_pixel 0 999", "-trace_pixel"),
        ("--workers many", "--workers"),
        ("--device abacus", "--device"),
        ("--precision", "--precision"),
        ("--worker 3", "--worker"),
        ("--save-experiment no/such/e.yaml", "--save-experiment"),
    ],
)
def test_an_error_is_one_line_that_names_the_flag_and_nothing_is_written(nbdist, tmp_path, flags, named):
    ended = nbdist(f"nanobragg {CRYSTAL} {flags}")
    assert ended.status == 2
    assert re.match(f"nbdist: .*({named})", ended.err)
    assert ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_malformed_file_is_named_with_its_flag(nbdist):
    Path("bad.hkl").write_text("1 1 1 5\none two three\n")
    ended = nbdist(f"nanobragg {CRYSTAL} -hkl bad.hkl")
    assert ended.status == 2
    assert re.match(r"nbdist: -hkl: .*bad.hkl, line 2", ended.err)


def test_flags_that_nanobragg_does_not_use_are_accepted_with_a_warning(nbdist):
    ended = nbdist(f"nanobragg {CRYSTAL} -stol a -4stol b -Q c -stolout d -coherent -dump e -nonoise")
    assert ended.status == 0, ended.err
    for flag in ("-stol", "-4stol", "-Q", "-stolout", "-coherent"):
        assert f"WARNING: {flag}" in ended.out
    assert "WARNING: e: no dump file (-dump) is written or read" in ended.out
    assert "WARNING: Fd: no dump file" in nbdist(f"nanobragg {CRYSTAL} -Fdump Fd -nonoise").out


def test_a_flag_may_have_two_dashes(nbdist):
    assert nbdist(f"nanobragg {CRYSTAL} -nonoise -detpixels 9 --distance 80").status == 0
    assert "distance=0.08 " in nbdist(f"nanobragg {CRYSTAL} -nonoise --distance 80").out


# files are written where the flags say: the soup names none
ARITY = {word: len(flag.values.split()) for flag in TABLE for word in flag.words if flag.values != "FILE"}
NUMBERS = st.one_of(
    st.integers(-3, 40).map(str), st.floats(-1e3, 1e3).map(repr), st.sampled_from(["0", "1", "2", "0.5", "1e-9", "1e9"])
)
WRONG = st.lists(st.sampled_from(["nan", "inf", "x", "-", "1e999", "-N", "random", "beam"]) | NUMBERS, max_size=4)


def flag_words(spelling: str) -> st.SearchStrategy[list[str]]:
    """A flag with as many numbers as it needs, now and then with something else."""
    right = st.lists(NUMBERS, min_size=ARITY[spelling], max_size=ARITY[spelling])
    return st.integers(0, 9).flatmap(lambda dice: WRONG if dice == 0 else right).map(lambda words: [spelling, *words])


SOUP = st.lists(st.sampled_from(sorted(ARITY)).flatmap(flag_words), max_size=4)


@settings(max_examples=60)
@given(soup=SOUP)
def test_flag_soup_ends_in_an_image_or_a_line(soup, nbdist, tmp_path):
    for path in tmp_path.iterdir():
        path.unlink() if path.is_file() else [inner.unlink() for inner in path.iterdir()]
    words = " ".join(word for flag in soup for word in flag)
    # the base comes first, so that the soup can change it; the last words keep the image small
    ended = nbdist(
        f"nanobragg {CRYSTAL} {words} -detpixels 8 -oversample 1 -mosaic_dom 2 -phisteps 2 -thicksteps 2 -divsteps 2 -dispsteps 2"
    )
    if ended.status == 0:
        assert Path("floatimage.bin").stat().st_size == 4 * 64
    else:
        assert ended.status == 2
        assert re.fullmatch(r"nbdist: \S.*\n", ended.err)
        assert not Path("floatimage.bin").exists()


def test_what_dials_reads_otherwise_is_said_with_what_sets_it_right(nbdist):
    said = nbdist(f"nanobragg {CRYSTAL} -xds -ORGX 20.5 -ORGY 10.5 -polar 0.9 -adc 20 -nonoise").out.splitlines()[-1]
    # of 50 rows and pixels of 0.4 mm; where ADXV has Y upwards, and dxtbx a pixel more of both
    assert said == (
        "DIALS reads a beam centre of 21 41 pixels from intimage.img and an offset of 1; it is 20 10: dials.import intimage.img "
        "mosflm_beam_centre=4,8 panel.pedestal=20 polarization_fraction=0.95"
    )
    edge_on = "-sdet_vector 1 0 0"  # its plane is through the sample
    for tilted in ("-twotheta 10", "-adxv", "-spindle_axis 0 1 0 -osc 1", "-phi 0 -osc -1", edge_on):
        said = nbdist(f"nanobragg {CRYSTAL} -nonoise {tilted}").out.splitlines()[-1]
        assert said.startswith("DIALS cannot read from intimage.img how its detector and axis stand")
    for unknown in ("-curved_det", "-fdet_vector 0 0 1 -sdet_vector 0 -1 0.1"):
        ended = nbdist(f"nanobragg {CRYSTAL} -nonoise {unknown}")
        assert (ended.status, "DIALS" in ended.out) == (0, False)


@pytest.mark.integration
def test_dials_reads_what_is_said_and_goes_by_what_is_printed(nbdist):
    if shutil.which("dials.import") is None:
        pytest.skip("DIALS is not installed")
    said = nbdist(f"nanobragg {CRYSTAL} -xds -ORGX 20.5 -ORGY 10.5 -polar 0.9 -adc 20 -nonoise -intfile a_001.img").out
    printed = said.splitlines()[-1].rpartition(": ")[2].split()
    subprocess.run(printed, check=True, capture_output=True)
    models = json.loads(Path("imported.expt").read_text())
    detector = models["detector"][0]
    (panel,) = detector["panels"]  # as the header has it; what is printed moves the detector that it is of
    np.testing.assert_allclose(panel["origin"], [-8.4, 16.4, -90], atol=1e-9)
    np.testing.assert_allclose(np.add(panel["origin"], detector["hierarchy"]["origin"]), [-8, 4, -90], atol=1e-9)
    assert (panel["pedestal"], models["beam"][0]["polarization_fraction"]) == (20, 0.95)
