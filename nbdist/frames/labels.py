"""The labels of a frame: where the photons of its pixels come from, and the spots that they make.

Integrated, each spot has its own photons also where spots overlap. The sum adds up terms, not spots: all photons of a pixel belong to
the reflection that gave most of them, so a spot is made of whole pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.frames.tables import Columns
from nbdist.kernels.attribution import Attribution
from nbdist.kernels.spots import Diffraction, FrameSpots, SpotMeasures, Underneath, measured
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.tile import Tile

Images = Sequence[NDArray[Any]]
"""One image (slow, fast) a panel, in order."""
LEFT_OUT = 5e-4
"""Of the Bragg photons of a summed frame: so many at most are in pixels too dim to be asked whose they are."""


@dataclass(frozen=True)
class FrameLabels:
    """What is known of a frame besides its photons.

    Attributes
    ----------
    bragg, background
        Photons a pixel that the crystals diffract, and of the background, float32.
    spot
        Of each pixel 0, or 1 + the row of its dominant spot in `spots`, int32.
    spots
        The columns of `tables.SPOT_COLUMNS`.
    """

    bragg: Images
    background: Images
    spot: Images
    spots: Columns


def spot_labels(
    diffraction: Diffraction,
    spots: FrameSpots,
    bragg: Images,
    background: Images,
    measures: Sequence[SpotMeasures],
) -> FrameLabels:
    """The labels of a frame whose spots were measured.

    Parameters
    ----------
    spots
        Its spots.
    bragg, background
        Photons of each panel, (slow, fast); no Bragg photons where they are not asked for.
    measures
        What each panel has of each spot.

    Returns
    -------
    A row for each spot that gives photons, of the panel that has most of them; its photons are those of all panels.
    """
    photons = np.stack([its.moments[:, 0] for its in measures])
    kept = np.flatnonzero(photons.sum(axis=0) > 0)
    panel = photons[:, kept].argmax(axis=0)
    moments, boxes, beside = (
        np.stack(arrays)[panel, kept] for arrays in zip(*(its[:3] for its in measures), strict=True)
    )
    total = photons[:, kept].sum(axis=0)
    under = np.stack([its.beside[:, 0] for its in measures])[:, kept].sum(axis=0)
    columns: dict[str, NDArray[Any]] = {
        "reflection": spots.reflection[kept],
        "panel": panel,
        "photons": total,
        "partiality": diffraction.partiality(spots, kept),
        **dict(
            zip(("slow", "fast", "extent_slow2", "extent_fast2", "extent_slow_fast"), moments[:, 1:].T, strict=True)
        ),
        **dict(
            zip(("first_slow", "last_slow", "first_fast", "last_fast", "peak_slow", "peak_fast"), boxes.T, strict=True)
        ),
        "background": under,
        "signal_over_noise": total / np.sqrt(total + under),
        "overlap": beside[:, 1],
    }
    return FrameLabels(
        bragg=bragg,
        background=background,
        spot=[
            _of_rows(its.spot, np.searchsorted(kept, np.flatnonzero(its.moments[:, 0] > 0)))
            for its in measures
            if its.spot is not None
        ],
        spots=columns,
    )


def _of_rows(image: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """An image with 1 + the row where it has 1 + the number of the row among those of its panel; the same where they are all rows."""
    if len(rows) == 0 or rows[-1] == len(rows) - 1:
        return image
    touched = np.flatnonzero(image)
    image.reshape(-1)[touched] = rows[image.reshape(-1)[touched] - 1] + 1
    return image


def whole_pixel_spots(
    diffraction: Diffraction,
    tables: Sequence[AmplitudeTable],
    frame: int,
    bragg: Images,
    background: Images,
    spot_share: float | None,
) -> tuple[FrameSpots, list[SpotMeasures]]:
    """The spots of a summed frame, made of whole pixels, and what each panel has of each.

    The share of others is that of the terms which other reflections gave to pixels of the spot. Pixels that hold at most `LEFT_OUT` of
    the photons are left out, the dimmest ones, and those whose reflection is none that can be told: F(000).

    Parameters
    ----------
    tables
        Amplitudes of each lattice.
    bragg, background
        Photons of each panel, (slow, fast).
    spot_share
        A pixel is its dominant spot's where the Bragg photons are more than this share of all; None where that is not asked for.
    """
    attribution, faintest = Attribution(diffraction.scene, tables, frame), _faintest(bragg)
    bright = [np.nonzero(image >= faintest) for image in bragg]
    givers = [attribution.givers(panel, *pixels) for panel, pixels in enumerate(bright)]
    lattice, miller = (np.concatenate(columns) for columns in zip(*(its[:2] for its in givers), strict=True))
    spots, number = diffraction.named(frame, lattice, miller)
    measures, first = [], 0
    for panel, (image, (slow, fast), its) in enumerate(zip(bragg, bright, givers, strict=True)):
        spot = number[first : first + len(slow)]
        first += len(slow)
        told = spot >= 0
        spot, slow, fast = spot[told], slow[told], fast[told]
        photons = image[slow, fast].astype(np.float64)
        own = np.ones(image.shape)
        own[slow, fast] = its.share[told]
        measures.append(
            measured(
                [(spot, slow * image.shape[1] + fast, photons)],
                len(spots.reflection),
                Tile(panel, 0, image.shape[0], 0, image.shape[1]),
                image,
                Underneath(1.0, background[panel], spot_share=spot_share),
                diffraction.scene.instrument.tolerance,
                own,
            )
        )
    return spots, measures


def _faintest(images: Images) -> float:
    """Photons of the dimmest pixel that counts: those below hold at most `LEFT_OUT` of all photons."""
    total = sum(float(image.sum(dtype=np.float64)) for image in images)
    floor = 0.5 * LEFT_OUT * total / sum(image.size for image in images)  # below it are at most half as many
    photons = np.sort(np.concatenate([image[image > floor] for image in images]))
    if not len(photons):
        return np.inf
    return float(photons[np.searchsorted(np.cumsum(photons, dtype=np.float64), 0.5 * LEFT_OUT * total)])
