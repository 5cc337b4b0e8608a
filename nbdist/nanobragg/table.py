"""Every flag of nanoBragg: how it is spelled, what follows it, what it does; by group, as `nbdist nanobragg -h` lists them."""

from __future__ import annotations

from itertools import chain

from nbdist.nanobragg import words as words
from nbdist.nanobragg.words import Flag, number, switch, text, unused, vector, whole, wholes

INPUTS = (
    Flag(("hkl",), "FILE", "structure factors, h k l F a line; more columns are ignored", text("hkl")),
    Flag(("mat",), "FILE", "MOSFLM A matrix; needs the wavelength", text("mat")),
    Flag(("cell",), "a b c al be ga", "unit cell, A and deg; b, c = a and 90 deg where left out", words.cell, least=1),
    Flag(("misset",), "X Y Z|random", "rotations of the crystal about lab x, y, z, deg", words.misset, least=1),
    Flag(("misset_seed",), "N", "seed of -misset random (default: -seed)", whole("misset_seed")),
    Flag(("default_F",), "F", "amplitude of reflections that are not listed (default 0)", number("default_F")),
    Flag(("sourcefile",), "FILE", "x y z weight wavelength[m] of a source a line", text("sourcefile")),
    Flag(("img",), "FILE", "SMV image whose header sets geometry, wavelength and phi", text("img")),
    Flag(("mask",), "FILE", "SMV image whose header does the same; pixels that are 0 are skipped", text("mask")),
    Flag(("dump", "Fdump"), "FILE", "accepted; no Fdump.bin is written or read", text("dump")),
)
CRYSTAL = (
    Flag(("Na",), "N", "unit cells along a (default 1)", whole("Na"), last=True),
    Flag(("Nb",), "N", "unit cells along b (default 1)", whole("Nb"), last=True),
    Flag(("Nc",), "N", "unit cells along c (default 1)", whole("Nc"), last=True),
    Flag(("N$",), "N", "unit cells along every axis", whole("Na", "Nb", "Nc"), last=True),
    Flag(
        ("samplesize", "sample_size", "xtalsize", "xtal_size"),
        "MM",
        "size of the crystal instead: N = ceil(size/axis)",
        number("sample_x", "sample_y", "sample_z"),
    ),
    Flag(("sample_x", "sample_thick", "xtal_x", "xtal_thick"), "MM", "its size along a", number("sample_x")),
    Flag(
        ("sample_y", "sample_width", "xtal_y", "xtal_width", "width"),
        "MM",
        "its size along b; the beam clips it",
        number("sample_y"),
    ),
    Flag(
        ("sample_z", "sample_heigh", "xtal_z", "xtal_heigh", "heigh"),
        "MM",
        "its size along c; the beam clips it (-height, too)",
        number("sample_z"),
    ),
    Flag(("square_xtal",), "", "brick (default)", switch("shape", "square")),
    Flag(("round_xtal",), "", "sphere", switch("shape", "round")),
    Flag(("gauss_xtal",), "", "Gaussian spots", switch("shape", "gauss")),
    Flag(("tophat_spots", "binary_spots"), "", "spots cut off at their half width", switch("shape", "tophat")),
    Flag(("fudge",), "F", "scales the radius of round, gauss and tophat spots (default 1)", number("fudge")),
    Flag(("mosaic$", "mosaici", "mosaic_spr"), "DEG", "radius of the cap of domain rotations", number("mosaic")),
    Flag(("mosaic_dom",), "N", "mosaic domains (default 10 with a spread)", whole("mosaic_domains")),
    Flag(("mosaic_seed",), "N", "seed of the domains (default 12345678)", whole("mosaic_seed")),
)
BEAM = (
    Flag(("lambda", "wave"), "A", "wavelength (default 1)", number("lambda")),
    Flag(("energy",), "EV", "photon energy instead", words.energy),
    Flag(("fluence",), "F", "photons/m^2 (default 1.26e29, that is 1/r_e^2)", number("fluence")),
    Flag(("flux",), "F", "photons/s; fluence = flux exposure/beamsize^2", number("flux")),
    Flag(("exposure",), "S", "seconds, with -flux (default 1)", number("exposure")),
    Flag(("beamsize",), "MM", "side of the beam (default 0.1); it clips the crystal", number("beamsize")),
    Flag(("polar$",), "K", "Kahn polarization factor (default 0: unpolarised)", number("polar")),
    Flag(("nopolar",), "", "leave the polarization correction out", switch("polar", None)),
    Flag(("polar_vector",), "X Y Z", "E vector; custom convention", vector("polar_vector")),
    Flag(("dispersion",), "PERCENT", "range of wavelengths", number("dispersion")),
    Flag(("dispsteps",), "N", "wavelengths in it", whole("dispsteps")),
    Flag(("divergence",), "MRAD", "both ranges of beam directions", number("hdivrange", "vdivrange")),
    Flag(("hdivrange",), "MRAD", "the horizontal one", number("hdivrange")),
    Flag(("vdivrange",), "MRAD", "the vertical one", number("vdivrange")),
    Flag(("hdivstep$",), "MRAD", "horizontal step", number("hdivstep")),
    Flag(("vdivstep$",), "MRAD", "vertical step", number("vdivstep")),
    Flag(("hdivsteps",), "N", "horizontal steps", whole("hdivsteps")),
    Flag(("vdivsteps",), "N", "vertical steps", whole("vdivsteps")),
    Flag(("divsteps",), "N", "steps both ways", whole("hdivsteps", "vdivsteps")),
    Flag(("round_div",), "", "cut the grid to an ellipse (default)", switch("round_div", True)),
    Flag(("square_div",), "", "keep the whole grid", switch("round_div", False)),
)
DETECTOR = (
    Flag(("distance",), "MM", "along the beam (default 100); pivot beam", number("distance", pivot="beam")),
    Flag(("close_distance",), "MM", "along the normal; pivot sample", number("close_distance", pivot="sample")),
    Flag(("pixel",), "MM", "pixel size (default 0.1)", number("pixel")),
    Flag(("detsize$",), "MM", "width and height", number("detsize_f", "detsize_s")),
    Flag(("detsize_f",), "MM", "along fast", number("detsize_f")),
    Flag(("detsize_s",), "MM", "along slow", number("detsize_s")),
    Flag(("detpixels$",), "N", "pixels both ways (default 1024)", whole("detpixels_f", "detpixels_s")),
    Flag(("detpixels_f", "detpixels_x"), "N", "pixels along fast", whole("detpixels_f")),
    Flag(("detpixels_s", "detpixels_y"), "N", "pixels along slow", whole("detpixels_s")),
    Flag(("Xbeam",), "MM", "direct beam, in the convention; pivot beam", number("Xbeam", pivot="beam")),
    Flag(("Ybeam",), "MM", "direct beam, in the convention; pivot beam", number("Ybeam", pivot="beam")),
    Flag(("Xclose",), "MM", "near point along fast; pivot sample", number("Xclose", pivot="sample")),
    Flag(("Yclose",), "MM", "near point along slow; pivot sample", number("Yclose", pivot="sample")),
    Flag(("ORGX",), "PIXELS", "near point as XDS counts it; pivot sample", number("ORGX", pivot="sample")),
    Flag(("ORGY",), "PIXELS", "near point as XDS counts it; pivot sample", number("ORGY", pivot="sample")),
    Flag(("detector_rotx",), "DEG", "rotation about lab x", number("detector_rotx")),
    Flag(("detector_roty",), "DEG", "rotation about lab y", number("detector_roty")),
    Flag(("detector_rotz",), "DEG", "rotation about lab z", number("detector_rotz")),
    Flag(("twotheta",), "DEG", "swing of the detector; pivot sample", words.twotheta),
    Flag(("pivot",), "beam|sample", "what stays put when the detector turns (custom convention)", words.pivot),
    Flag(("mosflm", "xds", "adxv", "denzo", "dials"), "", "convention (default mosflm)", words.convention),
    Flag(("fdet_vector",), "X Y Z", "fast axis; custom convention", vector("fdet_vector")),
    Flag(("sdet_vector",), "X Y Z", "slow axis; custom convention", vector("sdet_vector")),
    Flag(
        ("odet_vector",),
        "X Y Z",
        "normal; custom convention; fast x slow where its length is not 1",
        vector("odet_vector", True),
    ),
    Flag(("beam_vector",), "X Y Z", "the way the beam travels; custom convention", vector("beam_vector")),
    Flag(("twotheta_axis",), "X Y Z", "axis of -twotheta; custom convention", vector("twotheta_axis")),
    Flag(("spindle_axis",), "X Y Z", "axis of -phi; custom convention", vector("spindle_axis")),
    Flag(("pix0_vector",), "X Y Z", "selects the custom convention, no more", words.pix0),
    Flag(("curved_det",), "", "every pixel at the same distance", words.curved),
    Flag(("point_pixel",), "", "solid angle 1/R^2", switch("point_pixel")),
    Flag(("detector_abs",), "UM|inf|0", "attenuation depth of the sensor", words.absorption),
    Flag(("detector_thick$",), "UM", "thickness of the sensor", number("detector_thick")),
    Flag(("detector_thicksteps", "thicksteps"), "N", "layers that stand for it", whole("thicksteps")),
)
SAMPLING = (
    Flag(("phi$",), "DEG", "start of the rotation (default 0)", number("phi")),
    Flag(("osc",), "DEG", "range of the rotation", number("osc")),
    Flag(("phistep$",), "DEG", "step of the rotation", number("phistep")),
    Flag(("phisteps",), "N", "steps of the rotation", whole("phisteps")),
    Flag(("oversample_thick",), "", "absorption at every subpixel", switch("oversample_thick"), last=True),
    Flag(("oversample_polar",), "", "polarization at every subpixel", switch("oversample_polar"), last=True),
    Flag(("oversample_omega",), "", "solid angle at every subpixel", switch("oversample_omega"), last=True),
    Flag(("oversample",), "N", "subpixels along a pixel's side (default: three samples a spot)", whole("oversample")),
    Flag(("dmin",), "A", "leave out scattering beyond this resolution", number("dmin")),
    Flag(("roi",), "fmin fmax smin smax", "render these pixels only, inclusive", wholes("roi", 4)),
    Flag(("interpolate",), "", "interpolate amplitudes (default: with 2 cells or fewer)", switch("interpolate", True)),
    Flag(("nointerpolate",), "", "never interpolate", switch("interpolate", False)),
)
BACKGROUND = (
    Flag(("water",), "UM", "side of a cube of water in the beam", number("water")),
    Flag(("seed",), "N", "seed of the noise (default: the clock's)", whole("seed")),
    Flag(("noisefile", "noiseimage"), "FILE", "SMV with noise (default noiseimage.img)", text("noisefile", noise=True)),
    Flag(("nonoise",), "", "write no noise image", switch("noise", False)),
    Flag(("adc",), "OFFSET", "added to every pixel of the SMV files (default 40)", number("adc")),
)
OUTPUTS = (
    Flag(
        ("floatfile", "floatimage"), "FILE", "raw float32, fast axis first (default floatimage.bin)", text("floatfile")
    ),
    Flag(("intfile", "intimage"), "FILE", "SMV, uint16, scaled (default intimage.img)", text("intfile")),
    Flag(("scale",), "S", "its scale (default: the maximum at 55000)", number("scale")),
    Flag(("pgmfile", "pgmimage"), "FILE", "8-bit greymap (default image.pgm)", text("pgmfile", pgm=True)),
    Flag(("pgmscale",), "S", "its scale (default: 250 at five standard deviations)", number("pgmscale", pgm=True)),
    Flag(("nopgm",), "", "write no greymap", switch("pgm", False)),
    Flag(("progress",), "", "show progress (default)", switch("progress", True)),
    Flag(("noprogress",), "", "show none", switch("progress", False)),
    Flag(("printout",), "", "print the value of every pixel", switch("printout", True)),
    Flag(("printout_pixel",), "F S", "print the value of this pixel", wholes("printout_pixel", 2)),
    Flag(("trace_pixel",), "S F", "write and print the scaling chain of this pixel", wholes("trace_pixel", 2)),
)
UNUSED = (
    Flag(("stol$", "4stol$", "Q$", "stolout"), "FILE", "amorphous scattering", unused(1)),
    Flag(("density", "sample_den"), "G_PER_CM3", "density of the crystal", unused(1)),
    Flag(("MW$", "molec"), "DALTON", "its molecular weight", unused(1)),
    Flag(("coherent",), "", "coherent addition", unused(0)),
)

GROUPS = {
    "inputs": INPUTS,
    "crystal": CRYSTAL,
    "beam": BEAM,
    "detector": DETECTOR,
    "sampling": SAMPLING,
    "background and noise": BACKGROUND,
    "outputs": OUTPUTS,
    "read and not used, as in nanoBragg": UNUSED,
}
TABLE = tuple(chain.from_iterable(GROUPS.values()))
