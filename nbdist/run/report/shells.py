"""Photons of pixels and of spots by resolution, in shells of equal volume in reciprocal space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.views import View
from nbdist.frames.tables import Columns
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.tile import Tile, bands

Array = NDArray[np.float64]
SHELLS = 10


@dataclass(frozen=True)
class Shells:
    """What a frame has by resolution, the mean of some frames; the coarsest shell comes first.

    Attributes
    ----------
    edges_A
        Spacings between shells (n + 1,); the first is infinite.
    pixels
        How many pixels lie in each (n,), without those that hold no reading or stand in a shadow.
    photons, background
        Expected photons of a pixel (n,), NaN where there is none; and what of it is background, None where no label says.
    spots
        Spots of a frame (n,); None without labels, as what follows.
    spot_photons, signal_over_noise, overlap
        Means over the spots of a shell (n,), NaN where there is none.
    """

    edges_A: Array
    pixels: NDArray[np.int64]
    photons: Array
    background: Array | None
    spots: Array | None
    spot_photons: Array | None
    signal_over_noise: Array | None
    overlap: Array | None


def shells_of(
    panels: Sequence[PanelGeometry],
    views: Sequence[View],
    background: Sequence[View] | None,
    spots: Sequence[Columns] | None,
    finest_A: float,
    wavelength_A: float,
) -> Shells:
    """What the mean of some frames has by resolution.

    Parameters
    ----------
    panels, views
        Geometry and mean photons of each panel.
    background
        Mean photons of the background of each.
    spots
        Labels of the spots of each frame, with d_A.
    finest_A
        Spacing at which the last shell ends, Angstrom.
    """
    pixels, photons, below = np.zeros((3, SHELLS))
    for number, (panel, view) in enumerate(zip(panels, views, strict=True)):
        good = view.drawn & ~view.shadowed
        columns = np.arange(panel.fpixels) + 0.5
        for band in bands(Tile(0, 0, panel.spixels, 0, panel.fpixels)):
            slow = np.arange(band.slow_start, band.slow_stop)[:, None] + 0.5
            some = good[band.slices]
            shell = _shell(panel.resolution_A(slow, columns, wavelength_A)[some], finest_A)
            pixels += np.bincount(shell, minlength=SHELLS)
            photons += np.bincount(shell, view.values[band.slices][some], SHELLS)
            if background is not None:
                below += np.bincount(shell, background[number].values[band.slices][some], SHELLS)
    with np.errstate(divide="ignore"):
        edges = finest_A * (SHELLS / np.arange(SHELLS + 1)) ** (1 / 3)
    means: dict[str, Array] = {}
    count = np.zeros(SHELLS)
    if spots is not None:
        places = [_shell(rows["d_A"], finest_A) for rows in spots]
        for its in places:
            count += np.bincount(its, minlength=SHELLS)
        for name in ("photons", "signal_over_noise", "overlap"):
            total = np.zeros(SHELLS)
            for its, rows in zip(places, spots, strict=True):
                total += np.bincount(its, rows[name], SHELLS)
            means[name] = _mean(total, count)
    return Shells(
        edges_A=edges,
        pixels=pixels.astype(np.int64),
        photons=_mean(photons, pixels),
        background=None if background is None else _mean(below, pixels),
        spots=None if spots is None else count / max(1, len(spots)),
        spot_photons=means.get("photons"),
        signal_over_noise=means.get("signal_over_noise"),
        overlap=means.get("overlap"),
    )


def _shell(d_A: Array, finest_A: float) -> NDArray[np.int64]:
    return np.minimum((SHELLS * (finest_A / d_A) ** 3).astype(np.int64), SHELLS - 1)


def _mean(total: Array, count: Array) -> Array:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
