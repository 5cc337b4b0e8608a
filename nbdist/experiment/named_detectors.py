"""Detectors by name: what their makers and users published of them.

A figure that was not found in print is None here, and its detector does without it. Sizes are those of the images that a detector
writes, in which the wide pixels along the edges of chips are already split into virtual ones of the usual pitch.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from nbdist.experiment.materials import Material


@dataclass(frozen=True)
class Joint:
    """How chips meet within a module.

    Attributes
    ----------
    chip
        Rows and columns of a chip.
    pitches
        Width of the pixels along a joint, in pitches of the others.
    virtual_lines
        Lines of an image at a joint that no chip has: the wide pixels of both sides are split into them and into their own.
    """

    chip: tuple[int, int]
    pitches: float
    virtual_lines: int


@dataclass(frozen=True)
class NamedDetector:
    """A detector that can be bought, or could.

    Attributes
    ----------
    name, maker
        Of the model.
    grid, module
        Modules along slow and fast, and rows and columns of one, in pixels of no binning.
    pixel_mm
        Pitch of those pixels.
    gaps
        Lines between modules along slow and fast.
    counts_photons
        Whether photons are counted; others integrate charge.
    saturation
        The largest value that a pixel can have: photons, or ADU of a CCD.
    source
        Where the figures were published.
    material, thickness_um
        Of the sensor in which photons are stopped; None for a phosphor in front of a CCD, which is thin.
    split_sensor
        Dead columns in the middle of a module, whose sensor is made of two.
    joint
        How chips meet within a module, where that is known and its lines are those of the module.
    binning
        Pixels along a side that are read as one, unless the experiment says otherwise.
    binnings
        What it may be.
    aliases
        Other names.
    """

    name: str
    maker: str
    grid: tuple[int, int]
    module: tuple[int, int]
    pixel_mm: float
    gaps: tuple[int, int]
    counts_photons: bool
    saturation: int | None
    source: str
    material: Material | None = None
    thickness_um: float | None = None
    split_sensor: int = 0
    joint: Joint | None = None
    binning: int = 1
    binnings: tuple[int, ...] = (1,)
    aliases: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an image at its usual binning."""
        return self.binned_shape(self.binning)

    def binned_shape(self, binning: int) -> tuple[int, int]:
        """Rows and columns of an image of so many pixels along a side read as one."""
        slow, fast = (
            (number * size + (number - 1) * gap) // binning
            for number, size, gap in zip(self.grid, self.module, self.gaps, strict=True)
        )
        return slow, fast

    @property
    def saturates_in_photons(self) -> bool:
        """Whether `saturation` is in photons, as of all that stop them in pixels of their own; else it is what is read of a CCD."""
        return self.material is not None

    @property
    def layers(self) -> int:
        """Layers that stand for the sensor, each as costly as its pixels: a ray at 45 degrees moves by two pixels in one."""
        return 1 if self.thickness_um is None else -int(-self.thickness_um // (2e3 * self.pixel_mm))


_PILATUS_JOINT, _EIGER_JOINT = Joint((97, 60), 1.5, 1), Joint((256, 256), 2.0, 2)

_PILATUS_SIZES = {"300K": (3, 1), "1M": (5, 2), "2M": (8, 3), "6M": (12, 5)}
_EIGER_SIZES = {"1M": (2, 1), "4M": (4, 2), "9M": (6, 3), "16M": (8, 4)}
_COUNTER_20_BITS, _IMAGE_16_BITS = 2**20 - 1, 2**16 - 3
"""Largest counts: of a counter of 20 bits, and of an image of 16, whose two largest values mark gaps and bad pixels."""
_CCD_BINNINGS, _FRAME_SHIFT_BINNINGS = (1, 2, 4, 8), (1, 2, 3, 4, 5, 6, 8, 10)

_SOURCES = {
    "Pilatus": "Broennimann et al. (2006) J. Synchrotron Rad. 13, 120; DECTRIS, PILATUS user manual 1.2; gaps: dxtbx (2022)",
    "Pilatus3": "Loeliger et al. (2012) IEEE Nucl. Sci. Symp. Conf. Rec., 610; DECTRIS, PILATUS3 data sheet; gaps: dxtbx (2022)",
    "Pilatus3 CdTe": "DECTRIS, PILATUS3 X CdTe data sheet; the split of its sensors: pyFAI (2026)",
    "Pilatus4": "DECTRIS, PILATUS4 data sheet, as in pyFAI (2026)",
    "Eiger": "Casanas et al. (2016) Acta Cryst. D72, 1036; gaps: dxtbx (2022)",
    "Eiger2": "Donath et al. (2023) J. Synchrotron Rad. 30, 723; DECTRIS, EIGER2 user manual; gaps: dxtbx (2022)",
    "Eiger2 CdTe": "Donath et al. (2023) J. Synchrotron Rad. 30, 723; the split of its sensors: pyFAI (2026)",
    "Jungfrau": "Mozzanica et al. (2016) J. Instrum. 11, C02047; Leonarski et al. (2018) Nat. Methods 15, 799; gaps: pyFAI (2026)",
}


def _pilatus(size: str, family: str, thickness_um: float, material: Material = "Si") -> NamedDetector:
    return NamedDetector(
        name=f"{family} {size}",
        maker="DECTRIS",
        grid=_PILATUS_SIZES[size],
        module=(195, 487),
        pixel_mm=0.172,
        gaps=(17, 7),
        counts_photons=True,
        saturation=_COUNTER_20_BITS,
        source=_SOURCES[family],
        material=material,
        thickness_um=thickness_um,
        split_sensor=3 if material == "CdTe" else 0,
        joint=_PILATUS_JOINT,
    )


def _eiger(size: str, family: str, thickness_um: float, material: Material = "Si") -> NamedDetector:
    first = family == "Eiger"
    return NamedDetector(
        name=f"{family} {size}",
        maker="DECTRIS",
        grid=_EIGER_SIZES[size],
        module=(514, 1030) if first else (512, 1028),
        pixel_mm=0.075,
        gaps=(37, 10) if first else (38, 12),
        counts_photons=True,
        saturation=_IMAGE_16_BITS,
        source=_SOURCES[family],
        material=material,
        thickness_um=thickness_um,
        split_sensor=2 if material == "CdTe" else 0,
        joint=_EIGER_JOINT if first else None,
    )


def _pilatus4(size: str, grid: tuple[int, int]) -> NamedDetector:
    return NamedDetector(
        name=f"Pilatus4 {size}",
        maker="DECTRIS",
        grid=grid,
        module=(255, 513),
        pixel_mm=0.15,
        gaps=(20, 7),
        counts_photons=True,
        saturation=None,
        source=_SOURCES["Pilatus4"],
        material="Si",
        thickness_um=450.0,
    )


def _jungfrau(size: str, grid: tuple[int, int], note: str = "") -> NamedDetector:
    return NamedDetector(
        name=f"Jungfrau {size}",
        maker="PSI",
        grid=grid,
        module=(514, 1030),
        pixel_mm=0.075,
        gaps=(36, 8),
        counts_photons=False,
        saturation=10_000,
        source=f"{_SOURCES['Jungfrau']}; saturation for photons of 12 keV{note}",
        material="Si",
        thickness_um=320.0,
        joint=_EIGER_JOINT,
    )


def _ccd(
    name: str, maker: str, pixels: int, width_mm: float, binnings: tuple[int, ...], source: str, *aliases: str
) -> NamedDetector:
    return NamedDetector(
        name=name,
        maker=maker,
        grid=(1, 1),
        module=(pixels, pixels),
        pixel_mm=width_mm / pixels,
        gaps=(0, 0),
        counts_photons=False,
        saturation=2**16 - 1,
        source=source,
        binning=2,
        binnings=binnings,
        aliases=aliases,
    )


def _rayonix(model: str, pixels: int, width_mm: float) -> NamedDetector:
    source = f"Rayonix, {model}-HS data sheet, as in pyFAI (2026)"
    return _ccd(f"Rayonix {model}-HS", "Rayonix", pixels, width_mm, _FRAME_SHIFT_BINNINGS, source, f"Rayonix {model}")


NAMED_DETECTORS: dict[str, NamedDetector] = {
    its.name: its
    for its in (
        *(_pilatus(size, "Pilatus", 320.0) for size in _PILATUS_SIZES),
        *(_pilatus(size, "Pilatus3", 450.0) for size in _PILATUS_SIZES),
        *(_pilatus(size, "Pilatus3 CdTe", 1000.0, "CdTe") for size in ("300K", "1M", "2M")),
        *(_pilatus4(size, grid) for size, grid in {"260K": (2, 1), "1M": (4, 2), "2M": (6, 3), "4M": (8, 4)}.items()),
        *(_eiger(size, "Eiger", 450.0) for size in _EIGER_SIZES),
        *(_eiger(size, "Eiger2", 450.0) for size in _EIGER_SIZES),
        *(_eiger(size, "Eiger2 CdTe", 750.0, "CdTe") for size in _EIGER_SIZES),
        _jungfrau("4M", (4, 2)),
        _jungfrau(
            "16M",
            (8, 4),
            "; modules on the 4M's grid, where those of the detectors in use are staggered: give their panels for that",
        ),
        _ccd(
            "ADSC Q315r",
            "ADSC",
            6144,
            314.5728,
            _CCD_BINNINGS[:2],
            "ADSC, Quantum 315r data sheet; pitch of 0.0512 mm as in the headers that dxtbx (2022) knows",
            "Quantum 315r",
        ),
        _rayonix("MX170", 3840, 170.0),
        _rayonix("MX300", 7680, 300.0),
        _rayonix("MX340", 7680, 340.0),
        _ccd(
            "Mar 225",
            "Rayonix",
            6144,
            225.0,
            _CCD_BINNINGS,
            "Mar USA (now Rayonix), MarMosaic 225 data sheet, as in pyFAI (2026)",
            "MarMosaic 225",
            "Rayonix MX225",
        ),
        NamedDetector(
            name="Timepix 512",
            maker="Medipix collaboration",
            grid=(2, 2),
            module=(256, 256),
            pixel_mm=0.055,
            gaps=(4, 4),
            counts_photons=True,
            saturation=11_810,
            source="Llopart et al. (2007) Nucl. Instrum. Methods A 581, 485; van Genderen et al. (2016) Acta Cryst. A72, 236; "
            "pixels at the joints of its 2 x 2 chips are three pitches wide: one of them is kept, the others are a gap",
            material="Si",
            thickness_um=300.0,
        ),
    )
}
"""All by name."""


def _key(name: str) -> str:
    """A name without what people write in several ways: case, spaces, dashes, the maker's name and the series within a family."""
    letters = re.sub(r"^(dectris|rayonix|psi|adsc)", "", re.sub(r"[^a-z0-9]", "", name.lower()))
    return re.sub(r"^(pilatus3?4?|eiger2?)(?:xe|x|s|r)(?=\d|cdte)", r"\1", letters)


_BY_KEY = {_key(spelling): its for its in NAMED_DETECTORS.values() for spelling in (its.name, *its.aliases)}


def named_detector(name: str) -> NamedDetector:
    """Return the detector that a name means: `eiger2_16m` and `EIGER2 XE 16M` are `Eiger2 16M`.

    Raises
    ------
    ValueError
        If there is none, with the names that are near.
    """
    found = _BY_KEY.get(_key(name))
    if found is None:
        begun = [key for key in _BY_KEY if key.startswith(_key(name)) and _key(name)]
        close = difflib.get_close_matches(_key(name), _BY_KEY, n=4, cutoff=0.6)
        near = dict.fromkeys(_BY_KEY[key].name for key in begun or close)
        suggestion = f"near ones are {', '.join(near)}; " if near else ""
        raise ValueError(f"{name} is no detector by name; {suggestion}`nbdist detectors` lists all")
    return found
