"""Where nbdist departs from nanoBragg.c, and that a line that meets such a place is told so, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbdist.nanobragg.flags import simulation_from_flags
from nbdist.nanobragg.report import departures
from nbdist.nanobragg.table import TABLE
from nbdist.nanobragg.words import read_words
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

INPUTS = Path(__file__).parent.parent / "golden" / "inputs"
CRYSTAL = (
    f"-hkl {INPUTS}/triclinic.hkl -mat {INPUTS}/triclinic.mat -lambda 0.9768 -N 12 -distance 90 -pixel 2.5 -detpixels 9 -oversample 1 "
    "-nointerpolate"
)


def departures_of(line: str, folder: Path) -> list[str]:
    simulation = simulation_from_flags(read_words(line.split(), TABLE), folder)
    scene = resolve(simulation.experiment)
    return list(departures(simulation, scene, load_reflections(scene)[0].indices))


LEFT = "-hkl cube.hkl -cell 60 -N 3 -interpolate"
TABLED = "-hkl cube.hkl -cell 20 -N 3 -interpolate"
"""Small cells whose table reaches far beyond the detector's edge: interpolation never leaves it."""
CUT = "-hkl cube.hkl -cell 27 -N 3 -interpolate"
"""Cells whose table holds what the middles of all pixels see, and not what their corners see."""


@pytest.mark.parametrize(
    ("flags", "plain", "said"),
    [
        ("-phi 0 -osc 1 -phisteps 3", "-phi 0.1 -osc 1 -phisteps 3", "the step at phi 0"),
        ("-phi -1 -osc 2 -phisteps 2", "-phi 0 -osc 0 -phisteps 2", "the step at phi 0"),
        ("-oversample 0 -beam_vector -1 0 0", "-oversample 0 -beam_vector 1 0 0", "a detector towards the source"),
        ("-cell 27.1 -xtalsize 0.00271", "-cell 27.1 -xtalsize 0.0027", "sample_y of 0.00271 mm is 1000 cells"),
        ("-phi 1 -osc -0.5", "-phi 1 -osc 0.5", "turns backwards"),
        ("-detector_thick 450 -thicksteps 3", "-detector_thick 450", "layers are thickness/layers apart"),
        ("-detector_thick 450 -thicksteps 3", "-detector_thick -3 -thicksteps 3", "layers are thickness/layers apart"),
        ("-detector_thick 450", "-detector_thick 450 -oversample_thick", "own capture fraction"),
        ("-oversample 2 -oversample_omega", "-oversample_omega", "-oversample_omega: factors of every term"),
        (
            "-phi 1 -osc 1 -oversample_polar",
            "-phi 1 -osc 1 -oversample_thick",
            "-oversample_polar: factors of every term",
        ),
        ("-nopolar -oversample_polar", "-nopolar", "off is off"),
        ("-oversample 3 -dmin 8", "-oversample 3 -dmin 8 -nopolar", "first subpixel"),
        ("-oversample 3 -dmin 8", "-oversample 1 -dmin 8", "first subpixel"),
        ("-oversample 3 -dmin 8", "-oversample 3 -dmin 0.5", "first subpixel"),
        ("-curved_det -N 12", "", "-curved_det: offsets turn"),
        ("-twotheta 5", "-xds -twotheta 5", "distance is the one given"),
        ("-gauss_xtal", "-round_xtal", "radius in index space"),
        ("-tophat_spots", "-square_xtal", "radius in index space"),
        ("-water 1", "-water 0", "-water: r_e^2 fluence counts once"),
        (LEFT, LEFT.replace("-inter", "-nointer"), "interpolation falls back"),
        (LEFT, TABLED, "interpolation falls back"),
        (f"-sourcefile {INPUTS}/sources.txt", "-hdivrange 1", "weights count"),
        ("-cell 27.1 31.7 34.2 88.5 71.4 68.2", "-cell 30 40 50 90 90 120", "nanoBragg.c changes its angles"),
        (f"{CUT} -oversample 3", f"{CUT} -oversample 1", "interpolation falls back"),
        (f"{TABLED} -default_F -3", f"{TABLED} -default_F 3", "interpolated without its sign"),
        ("-hkl five.hkl", "-hkl cube.hkl", "columns after the fourth are left out"),
        ("-hkl commented.hkl", "-hkl ends.hkl", "-hkl: # comments are left out"),
        ("-mat commented.mat", "-mat ends.mat", "-mat: # comments are left out"),
        ("-sourcefile commented.txt", "-sourcefile ends.txt", "-sourcefile: # comments"),
        ("-sourcefile cut.txt", "-sourcefile ends.txt", "-sourcefile: # comments"),
        ("-sourcefile dos.txt", "-sourcefile five.txt", "-sourcefile: # comments"),
        ("-sourcefile weights.txt", "-sourcefile five.txt", "weights count"),
        ("-oversample_thick", "-oversample_thick -detector_thick 450", "nanoBragg.c's image is 0"),
        ("-osc 0 -phistep 0.1", "-osc 0 -phistep 0.1 -phisteps 1", "nanoBragg.c takes none"),
        # its sum of radians: -4.8 + 24 x 5/25 is 0, -4.9 + 49 x 5/50 is not
        ("-phi -4.8 -osc 5 -phisteps 25", "-phi -4.9 -osc 5 -phisteps 50", "the step at phi 0"),
        ("-phi -4.7 -osc 4.8 -phistep 0.1", "-phi -4.75 -osc 4.8 -phistep 0.1", "the step at phi 0"),
        ("-fdet_vector 0.1 0 1", "-fdet_vector 0 0.1 1", "the distance is the one given"),
        ("-twotheta_axis 0 0 -2 -twotheta 3", "-twotheta_axis 0 0 -1 -twotheta 3", "brought to length 1"),
    ],
)
def test_a_line_is_told_once_where_it_departs_from_nanobragg_c_and_only_there(flags, plain, said, tmp_path):
    cube = [f"{h} {k} {l} 5" for h in range(-6, 7) for k in range(-6, 7) for l in range(-6, 7)]
    (tmp_path / "cube.hkl").write_text("\n".join(cube), encoding="utf-8")
    matrix = "0.02 0 0\n0 0.02 0\n0 0 0.02\n"
    for name, text in {
        "five.hkl": "\n".join(f"{line} 0.1" for line in cube),
        "commented.hkl": "\n".join([cube[0], "# more", *cube[1:]]),
        "ends.hkl": "\n".join([*cube, "# the end"]),
        "commented.mat": f"# a matrix\n{matrix}",
        "ends.mat": f"{matrix}# 50 50 50\n1 2 3\n",
        "commented.txt": "# sources\n-10 0 0\n",
        "ends.txt": "-10 0 0\n-10 0 0 1\n",
        "cut.txt": "-10 0 0 1",
        "dos.txt": "-10 0 0\r\n",
        "five.txt": "-10 0 0 3 1e-10 # one\r\n-10,0,1;3 1e-10",
        "weights.txt": "-10 0 0 3 1e-10\n-10 0 1 3.00001 1e-10\n",
    }.items():
        (tmp_path / name).write_bytes(text.encode())

    def told(line: str) -> str:
        crystal = re.sub(r"-mat \S+", "", CRYSTAL) if "-cell" in line or "-mat" in line else CRYSTAL
        return "\n".join(departures_of(f"{crystal} {line}", tmp_path))

    assert told(flags).count(said) == 1
    assert said not in told(plain)


def test_the_distance_that_nanobragg_takes_is_that_of_the_foot_and_the_beam(tmp_path):
    # pix0 = 90 b - 11.25 f - 11.25 s, of which f leans 0.1/sqrt(1.01) to the normal: 90 - 11.25 x 0.0995037
    (told,) = departures_of(f"{CRYSTAL} -fdet_vector 0.1 0 1", tmp_path)
    assert told.endswith("take 88.8806 mm")


def test_a_plain_line_is_told_nothing(tmp_path):
    assert not departures_of(CRYSTAL, tmp_path)
