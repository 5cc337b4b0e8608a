"""The labels of a frame: where the photons of its pixels come from, and the spots that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.frames.tables import Columns
from nbdist.kernels.spots import Diffraction, SpotMeasures

Images = Sequence[NDArray[Any]]
"""One image (slow, fast) a panel, in order."""


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
    frame: int,
    bragg: Images,
    background: Images,
    measures: Sequence[SpotMeasures],
    spot_share: float,
) -> FrameLabels:
    """The labels of a frame whose spots were measured.

    Parameters
    ----------
    bragg, background
        Photons of each panel, (slow, fast).
    measures
        What each panel has of each spot.
    spot_share
        A pixel is its dominant spot's where the Bragg photons are more than this share of all.

    Returns
    -------
    A row for each spot that gives photons, of the panel that has most of them; its photons are those of all panels.
    """
    spots = diffraction.spots(frame)
    photons = np.stack([its.moments[:, 0] for its in measures])
    kept = np.flatnonzero(photons.sum(axis=0) > 0)
    panel = photons[:, kept].argmax(axis=0)
    rows = np.zeros(len(spots.reflection) + 1, dtype=np.int32)
    rows[kept + 1] = np.arange(1, len(kept) + 1)
    moments, boxes, beside = (
        np.stack(arrays)[panel, kept] for arrays in zip(*(its[:3] for its in measures), strict=True)
    )
    total = photons[:, kept].sum(axis=0)
    under = np.stack([its.beside[:, 0] for its in measures])[:, kept].sum(axis=0)
    columns: dict[str, NDArray[Any]] = {
        "reflection": spots.reflection[kept],
        "panel": panel,
        "photons": total,
        "partiality": diffraction.partiality(spots)[kept],
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
            np.where(crystal > spot_share * (crystal + other), rows[its.dominant], 0)
            for crystal, other, its in zip(bragg, background, measures, strict=True)
        ],
        spots=columns,
    )
