"""The models of a series as programs that process it have them: beam, panels, axis, scan and crystals, in dxtbx's laboratory frame.

In that frame the beam travels along -z, its source being at +z, and the crystals turn about an axis along x, forwards, as frames go on;
where that axis is not at right angles to the beam, x is along its part that is. Lengths are in millimetres, the first pixel of a panel
begins at its origin, so that its centre is at 1/2, and frames are counted from 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
P1 = " P 1"
"""Hall symbol of no symmetry."""
LARGEST_SLANT = 1e-4
"""Cosine between fast and slow up to which they are taken to have been at right angles before they were written with five digits."""
ROUNDING = 1e-12
"""Cosine between fast and slow that is none."""


class Beam(NamedTuple):
    """Direction the beam travels, wavelength, and polarization: share of it whose E vector lies in the plane with this normal.

    Flux in photons a second, and the side of the square beam; None where neither is known.
    """

    travels: Array
    wavelength_A: float
    polarization_normal: Array
    polarization_fraction: float
    flux_photons_per_s: float | None = None
    size_mm: float | None = None


class Panel(NamedTuple):
    """A flat panel: outer corner of its first pixel, unit vectors at right angles, rows and columns, its sensor and what is dead of it.

    A gap is a rectangle of pixels: first and last (exclusive) along fast, first and last along slow. A sensor has a thickness, an
    attenuation where it stops photons by depth, and the symbol of its material where that is known. `usable` (slow, fast), bool, is
    False where a pixel is masked.
    """

    name: str
    origin_mm: Array
    fast: Array
    slow: Array
    shape: tuple[int, int]
    pixel_mm: float
    thickness_mm: float
    attenuation_per_mm: float
    gaps: tuple[tuple[int, int, int, int], ...]
    material: str
    usable: NDArray[np.bool_]

    @property
    def normal(self) -> Array:
        """Unit vector at right angles to both of its axes (3,)."""
        return np.asarray(np.cross(self.fast, self.slow))

    @property
    def slant(self) -> float:
        """Cosine between its axes, without a sign."""
        return abs(float(self.fast @ self.slow))

    def at_right_angles(self) -> Panel:
        """This panel with slow turned to be at right angles to fast, where a file had them with too few digits to be that.

        dxtbx takes axes with a cosine of 1e-7 for no panel's.
        """
        if not ROUNDING < self.slant <= LARGEST_SLANT:
            return self
        across = self.slow - (self.slow @ self.fast) * self.fast
        return self._replace(slow=across / np.linalg.norm(across))

    @property
    def distance_mm(self) -> float:
        """Distance of its plane from the sample, along the normal, in millimetres."""
        return abs(float(self.origin_mm @ self.normal))

    def met_by(self, direction: Array) -> tuple[float, float] | None:
        """Fast and slow pixel coordinates at which a ray from the sample meets its plane; None where it does not."""
        across = float(direction @ self.normal)
        along = float(self.origin_mm @ self.normal)
        if abs(across) < 1e-9 or along / across <= 0:
            return None
        from_origin = along / across * direction - self.origin_mm
        return float(from_origin @ self.fast) / self.pixel_mm, float(from_origin @ self.slow) / self.pixel_mm

    def millimetres(self, pixels: Array) -> Array:
        """Where the rays that are seen at pixel coordinates fast, slow (n, 2) meet its front, millimetres along fast and slow (n, 2).

        A ray is seen as deep as dxtbx's `ParallaxCorrectedPxMmStrategy` has it: for a sensor of thickness t and attenuation mu, which it
        enters at an angle a from the normal, 1/mu - (t/cos a + 1/mu) exp(-mu t/cos a) along its way.
        """
        flat = np.asarray(pixels, dtype=np.float64) * self.pixel_mm
        if not self.corrects_parallax:
            return flat
        axes = np.stack([self.fast, self.slow])
        towards = self.origin_mm + flat @ axes
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        way, mean = self.thickness_mm / np.abs(towards @ self.normal), 1 / self.attenuation_per_mm
        seen = mean - (way + mean) * np.exp(-way * self.attenuation_per_mm)
        return np.asarray(flat - seen[:, None] * (towards @ axes.T))

    @property
    def corrects_parallax(self) -> bool:
        """Whether it has a sensor in which photons are stopped by depth."""
        return self.thickness_mm > 0 and self.attenuation_per_mm > 0


class Scan(NamedTuple):
    """Frames of a rotation, or stills where each has an oscillation of 0: the first of them, their number, their phi and exposure."""

    first_frame: int
    frames: int
    start_deg: float
    osc_deg: float
    exposure_s: float = 0.0


class Crystal(NamedTuple):
    """Rows a, b, c (3, 3) in Angstrom at a rotation of 0, and the Hall symbol of its space group."""

    real_vectors_A: Array
    hall: str = P1


@dataclass(frozen=True, eq=False)
class Models:
    """The models of some frames of a series.

    Attributes
    ----------
    axis
        Unit vector (3,) about which the crystals turn as phi rises.
    crystals
        One of each lattice.
    trusted
        The lowest and the highest reading that says what fell on a pixel.
    gain, pedestal
        Readings a photon, and the reading without one.
    """

    beam: Beam
    panels: tuple[Panel, ...]
    axis: Array
    scan: Scan
    crystals: tuple[Crystal, ...]
    trusted: tuple[int, int]
    gain: float = 1.0
    pedestal: float = 0.0

    @property
    def still(self) -> bool:
        """Whether its frames are stills."""
        return self.scan.osc_deg == 0

    def counted_from(self, first_frame: int) -> Models:
        """These models with their first frame as another one of a series."""
        return replace(self, scan=self.scan._replace(first_frame=first_frame))

    def phi_rad(self, frame: Array) -> Array:
        """Phi at real numbers of frames (n,), radians; that of a still is 0, for its crystals are given as they stand."""
        if self.still:
            return np.zeros_like(frame)
        return np.asarray(np.deg2rad(self.scan.start_deg + (frame - self.scan.first_frame) * self.scan.osc_deg))

    def millimetres(self, panel: NDArray[np.integer[Any]], pixels: Array) -> Array:
        """`Panel.millimetres` of the panels with these numbers (n,), of fast, slow, frame (n, 3); phi, radians, takes the frame's place."""
        found = np.empty_like(pixels)
        for number, its in enumerate(self.panels):
            seen = panel == number
            found[seen, :2] = its.millimetres(pixels[seen, :2])
        found[:, 2] = self.phi_rad(pixels[:, 2])
        return found
