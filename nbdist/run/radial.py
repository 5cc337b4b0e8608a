"""Radial profiles: what pixels hold, by how far from the beam they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError
from nbdist.formats.pictures import RadialProfile
from nbdist.formats.views import View
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.tile import Tile, bands

MOST_SHELLS = 400
PERCENTILES = (5, 25, 50, 75, 95)


def radial_profile(panels: Sequence[PanelGeometry], views: Sequence[View], wavelength_A: float) -> RadialProfile:
    """Mean and percentiles of the pixels of some panels in shells of equal width in 1/d, one for two pixels or more.

    Parameters
    ----------
    panels, views
        Geometry and image of each; pixels that hold no value, or stand in a shadow, are left out.
    wavelength_A
        Mean wavelength, Angstrom.

    Returns
    -------
    Shells from the beam outwards; those without pixels are left out. The resolution of a pixel is that of its middle.

    Raises
    ------
    RunError
        If no pixel holds a value.
    """
    inverse, values = [], []
    for panel, view in zip(panels, views, strict=True):
        good = view.drawn & ~view.shadowed
        columns = np.arange(panel.fpixels) + 0.5
        for band in bands(Tile(0, 0, panel.spixels, 0, panel.fpixels)):
            slow = np.arange(band.slow_start, band.slow_stop)[:, None] + 0.5
            spacing = panel.resolution_A(slow, columns, wavelength_A)[good[band.slices]]
            inverse.append((1 / spacing).astype(np.float32))
        values.append(view.values[good])
    # each of these is as large as the panels, and goes as soon as it can
    across, held = np.concatenate(inverse), np.concatenate(values)
    del inverse, values, good
    if not across.size:
        raise RunError("no pixel holds a value")
    longest = max(np.hypot(*panel.shape) for panel in panels)
    shells = max(1, min(MOST_SHELLS, int(longest // 4)))
    low, high = float(across.min()), float(across.max())
    across -= low
    across *= shells / max(high - low, 1e-30)
    shell = np.minimum(across.astype(np.uint16), shells - 1)
    del across
    pixels = np.bincount(shell, minlength=shells)
    of_shells = np.split(held[np.argsort(shell, kind="stable")], np.cumsum(pixels)[:-1])
    there = np.flatnonzero(pixels)
    middle = low + (high - low) * (there + 0.5) / shells
    found = np.array([np.percentile(of_shells[number], PERCENTILES) for number in there])
    return RadialProfile(
        d_A=1 / middle,
        two_theta_deg=np.rad2deg(2 * np.arcsin(np.minimum(wavelength_A * middle / 2, 1))),
        pixels=pixels[there],
        mean=np.array([of_shells[number].mean(dtype=np.float64) for number in there]),
        percentiles=dict(zip(PERCENTILES, found.T, strict=True)),
    )


def radial_csv(profile: RadialProfile) -> str:
    """A profile as text: a line for each shell, after one of names."""
    names = ["d_A", "two_theta_deg", "pixels", "mean", *(f"percentile_{share}" for share in profile.percentiles)]
    columns: list[NDArray[np.generic]] = [profile.d_A, profile.two_theta_deg, profile.pixels, profile.mean]
    columns += profile.percentiles.values()
    lines = [",".join(f"{value:.8g}" for value in row) for row in zip(*columns, strict=True)]
    return "\n".join([",".join(names), *lines]) + "\n"
