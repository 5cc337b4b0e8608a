"""The files that nanoBragg writes: which ones its flags ask for, what is in them, and how all or none of them appear."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.files import written_whole
from nbdist.formats.pgm import greys, pgm_bytes
from nbdist.formats.smv import Value, smv_bytes
from nbdist.formats.text import user_path
from nbdist.nanobragg.flags import Simulation
from nbdist.nanobragg.report import dials_frame
from nbdist.nanobragg.words import FlagError, Flags
from nbdist.scene.scene import Scene

LARGEST = 65535
MAXIMUM_AT = 55000.0
DERIVED = frozenset(
    {f"{name}_CENTER_{axis}" for name in ("ADXV", "MOSFLM") for axis in "XY"}
    | {"DENZO_X_BEAM", "DENZO_Y_BEAM", "DIALS_ORIGIN"}
)
"""Keys of the header that only say the geometry again in another program's words."""
PGM_GREY_AT, PGM_DEVIATIONS = 250.0, 5.0
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What a command line wants besides an image: files (None: not written), scales (None: chosen), noise and printing."""

    float_file: Path
    int_file: Path
    pgm_file: Path | None
    noise_file: Path | None
    scale: float | None
    pgm_scale: float | None
    adc: float
    seed: int
    progress: bool
    printout: bool
    printout_pixel: tuple[int, int] | None
    trace_pixel: tuple[int, int] | None

    @classmethod
    def of(cls, flags: Flags, folder: Path, seed: int) -> Outputs:
        """Read what the flags ask for; `seed` stands in where they give none.

        Raises
        ------
        FlagError
            If a file cannot be written, or two flags name the same one.
        """
        get = flags.get
        names = {
            "floatfile": get("floatfile", "floatimage.bin"),
            "intfile": get("intfile", "intimage.img"),
            "pgmfile": get("pgmfile", "image.pgm") if get("pgm", True) else None,
            "noisefile": get("noisefile", "noiseimage.img") if get("noise", True) else None,
        }
        paths = {flag: folder / user_path(name) for flag, name in names.items() if name is not None}
        _require_writable(paths)
        scale, pgm_scale = (get(name) if get(name, 0.0) > 0 else None for name in ("scale", "pgmscale"))
        return cls(
            paths["floatfile"],
            paths["intfile"],
            paths.get("pgmfile"),
            paths.get("noisefile"),
            scale,
            pgm_scale,
            get("adc", 40.0),
            abs(get("seed", seed)),
            get("progress", True),
            get("printout", False) or get("printout_pixel") is not None,
            get("printout_pixel"),
            get("trace_pixel"),
        )

    def require_other_than(self, path: Path | None) -> None:
        """Check that no image goes to `path`, where the experiment is to be saved.

        Raises
        ------
        FlagError
            Naming the option.
        """
        images = (self.float_file, self.int_file, self.pgm_file, self.noise_file)
        if path is not None and path.resolve() in {image.resolve() for image in images if image is not None}:
            raise FlagError(f"--save-experiment: {path} is the file of an image, too")

    def require_pixels(self, shape: tuple[int, int]) -> None:
        """Check that the pixels to print and to trace lie in an image (slow, fast).

        Raises
        ------
        FlagError
            Naming the flag.
        """
        for flag, pixel, limits in (
            ("printout_pixel", self.printout_pixel, (shape[1], shape[0])),
            ("trace_pixel", self.trace_pixel, shape),
        ):
            if pixel is not None and not all(0 <= n < limit for n, limit in zip(pixel, limits, strict=True)):
                raise FlagError(
                    f"-{flag}: {pixel[0]} {pixel[1]} lies outside the {shape[1]} x {shape[0]} pixels (fast x slow)"
                )


def _require_writable(paths: dict[str, Path]) -> None:
    seen: dict[Path, str] = {}
    for flag, path in paths.items():
        try:
            place, special = path.resolve(), path.exists() and not path.is_file()
            if path.is_dir():
                raise FlagError(f"-{flag}: {path} is a folder")
            if not path.parent.is_dir():
                raise FlagError(f"-{flag}: the folder {path.parent} does not exist")
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise FlagError(f"-{flag}: {path} cannot be written")
        except (OSError, ValueError) as error:
            raise FlagError(f"-{flag}: {path} cannot be written: {error}") from None
        if not special and place in seen:
            raise FlagError(f"-{flag}: {path} is the file of -{seen[place]}, too")
        seen[place] = flag


@dataclass(frozen=True)
class Statistics:
    """Brightest pixel and where (fast, slow), mean, root of the mean square, and standard deviation over rendered pixels."""

    largest: float
    at: tuple[int, int]
    mean: float
    rms: float
    deviation: float

    @classmethod
    def of(cls, image: Image, usable: NDArray[np.bool_], region: tuple[slice, slice]) -> Statistics:
        """As nanoBragg counts them, with n - 1 in the roots: of the usable pixels, the deviation of all in the region."""
        values, area = image[usable].astype(np.float64), image[region].astype(np.float64)
        slow, fast = np.unravel_index(int(np.where(usable, image, -np.inf).argmax()), image.shape)
        mean = float(values.sum() / max(values.size, 1))
        return cls(
            float(values.max(initial=0.0)),
            (int(fast), int(slow)),
            mean,
            float(np.sqrt((values**2).sum() / max(values.size - 1, 1))),
            float(np.sqrt(((area - mean) ** 2).sum() / max(area.size - 1, 1))),
        )


@dataclass(frozen=True)
class Rendered:
    """Scales and pixels of the files of an image."""

    files: dict[Path, bytes]
    scale: float
    pgm_scale: float
    photons: int
    overloads: int


def rendered_files(
    simulation: Simulation,
    scene: Scene,
    outputs: Outputs,
    image: Image,
    counts: NDArray[np.int32] | None,
    statistics: Statistics,
) -> Rendered:
    """The bytes of every file.

    The SMV image holds value x scale + ADC offset, rounded and held between 0 and 65535; the noise image counts + offset, cut to a whole
    number. Outside the region of interest both hold 0.

    Parameters
    ----------
    image
        Expected photons (slow, fast).
    counts
        Poisson deviates of it, where there is a noise file.
    """
    header, region = smv_header(simulation, scene), scene.experiment.detector.region_of_interest
    outside = np.zeros(image.shape, dtype=bool)
    if region is not None:
        outside[...] = True
        outside[slice(*region.slow), slice(*region.fast)] = False
    scale = outputs.scale or (MAXIMUM_AT / statistics.largest if statistics.largest > 0 else 1.0)
    pgm_scale = outputs.pgm_scale or (
        PGM_GREY_AT / (PGM_DEVIATIONS * statistics.deviation) if statistics.deviation > 0 else scale
    )
    # nanoBragg rounds in single precision
    scaled = _sixteen_bits(np.floor((image.astype(np.float64) * scale + outputs.adc + 0.5).astype(np.float32)), outside)
    files = {
        outputs.float_file: image.astype("<f4").tobytes(),
        outputs.int_file: smv_bytes(header, scaled, DERIVED),
    }
    if outputs.pgm_file is not None:
        files[outputs.pgm_file] = pgm_bytes(greys(image, pgm_scale), f"pixels scaled by {pgm_scale:g}")
    photons, overloads = 0, 0
    if outputs.noise_file is not None and counts is not None:
        counts = np.maximum(counts, 0)  # masked pixels have no photons
        read = counts.astype(np.float64) + outputs.adc
        overloads = int((read[~outside] > LARGEST).sum())
        files[outputs.noise_file] = smv_bytes(header, _sixteen_bits(read, outside), DERIVED)
        photons = int(counts.sum(dtype=np.int64))
    return Rendered(files, scale, pgm_scale, photons, overloads)


def _sixteen_bits(values: NDArray[np.floating], outside: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Values held between 0 and 65535 and cut to whole ones, 0 where nothing was rendered."""
    return np.clip(np.where(outside, 0.0, values), 0, LARGEST).astype(np.uint16)


def smv_header(simulation: Simulation, scene: Scene) -> dict[str, Value]:
    """nanoBragg's header, key by key: lengths in mm, angles in degrees, centres in the conventions that the keys name."""
    experiment, panel = scene.experiment, scene.instrument.panels[0]
    pixel_mm = 1e3 * panel.pixel_m
    origin, beam = 1e3 * panel.origin_m, scene.instrument.beam_direction
    near_fast, near_slow = -float(origin @ panel.fast), -float(origin @ panel.slow)
    spot = 1e3 * panel.distance_m * beam - origin
    beam_fast, beam_slow = float(spot @ panel.fast), float(spot @ panel.slow)
    x, y = simulation.beam_center_mm
    phi_deg = experiment.scan.phi_start_deg
    return {
        "PIXEL_SIZE": pixel_mm,
        "DISTANCE": 1e3 * panel.distance_m,
        "WAVELENGTH": experiment.beam.mean_wavelength_A,
        "BEAM_CENTER_X": float(x),
        "BEAM_CENTER_Y": float(y),
        "ADXV_CENTER_X": beam_fast,
        "ADXV_CENTER_Y": simulation.size_mm[1] - beam_slow,
        "MOSFLM_CENTER_X": beam_slow - pixel_mm / 2,
        "MOSFLM_CENTER_Y": beam_fast - pixel_mm / 2,
        "DENZO_X_BEAM": beam_slow,
        "DENZO_Y_BEAM": beam_fast,
        "DIALS_ORIGIN": tuple(map(float, dials_frame(origin))),
        "XDS_ORGX": near_fast / pixel_mm + 0.5,
        "XDS_ORGY": near_slow / pixel_mm + 0.5,
        "CLOSE_DISTANCE": 1e3 * panel.close_distance_m,
        "PHI": phi_deg,
        "OSC_START": phi_deg,
        "OSC_RANGE": float(simulation.osc_deg),
        "TWOTHETA": experiment.detector.panels[0].two_theta_deg,
        "DETECTOR_SN": "000",
        "BEAMLINE": "fake",
    }


def write_all(files: dict[Path, bytes]) -> None:
    """Write every file, or none: each is written beside its place and moved there when all of them are complete.

    Raises
    ------
    NbdistError
        If one cannot be written.
    """
    with contextlib.ExitStack() as whole:
        for path, data in files.items():
            stream = whole.enter_context(written_whole(path))
            stream.write(data)
            stream.flush()


def printed_pixels(image: Image, outputs: Outputs, usable: NDArray[np.bool_]) -> Iterator[tuple[int, int, float]]:
    """(fast, slow, photons) of the pixels that -printout or -printout_pixel asks for."""
    if outputs.printout_pixel is not None:
        fast, slow = outputs.printout_pixel
        yield fast, slow, float(image[slow, fast])
    elif outputs.printout:
        for slow, fast in np.argwhere(usable):
            yield int(fast), int(slow), float(image[slow, fast])
