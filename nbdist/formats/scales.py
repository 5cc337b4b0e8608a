"""Scales of greys that a person can read: limits that suit the values, and numbers that are round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nbdist.formats.views import View

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

DECADES = 4.0
"""Orders of magnitude below the brightest pixel that are drawn."""
FAINT = 0.1
"""Part of an image's pixels that are drawn as if there was nothing."""
LOGARITHMIC_FROM = 30.0
"""A scale is logarithmic where the brightest pixel has more than so many times the median of those above 0."""
MOST_TICKS = 9

ScaleName = Literal["auto", "linear", "log"]


@dataclass(frozen=True)
class Scale:
    """How values are turned into greys.

    Attributes
    ----------
    norm
        From the darkest to the brightest value drawn.
    ticks, labels
        Where the scale has numbers, and which.
    beyond
        At which ends there are values that are drawn as that end: "neither", "min", "max" or "both".
    """

    norm: Normalize
    ticks: list[float]
    labels: list[str]
    beyond: str

    @classmethod
    def of(cls, views: Sequence[View], name: ScaleName = "auto") -> Scale:
        """The scale of some images together: logarithmic where that is asked for, or where the range asks for it."""
        from matplotlib.colors import LogNorm, Normalize

        values = np.concatenate([view.values[view.drawn].ravel() for view in views])
        if not values.size or values.max() <= 0:
            return cls(Normalize(0, 1), [0, 1], ["0", "1"], "neither")
        low, most, logarithmic = limits(values, name)
        whole, top = values.dtype.kind in "iu", float(values.max())
        if not logarithmic:
            beyond = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
            ends = beyond[int(values.min() < low), int(top > most)]
            ticks = _linear_ticks(low, most, whole)
            return cls(Normalize(low, most), ticks, [tick_label(tick) for tick in ticks], ends)
        if not whole:
            ticks = log_ticks(low, top)
            return cls(LogNorm(low, top), ticks, [tick_label(tick) for tick in ticks], "min")
        ticks = log_ticks(max(1.0, low), top)
        labels = [tick_label(tick) for tick in ticks]
        nothing = low == 0.5
        return cls(
            LogNorm(low, most),
            [low, *ticks] if nothing else ticks,
            ["0", *labels] if nothing else labels,
            "neither" if nothing else "min",
        )


def limits(values: NDArray[Any], name: ScaleName = "auto") -> tuple[float, float, bool]:
    """The darkest and the brightest of some values that are drawn apart, and whether on a logarithmic scale.

    It is logarithmic where that is asked for, or where the range asks for it; never where no value is above 0. Of whole numbers it then
    begins at 0.5 at the least, a place for what is 0.
    """
    if not values.size or values.max() <= 0:
        return 0.0, 1.0, False
    top, above = float(values.max()), values[values > 0]
    if name == "linear" or (name == "auto" and top <= LOGARITHMIC_FROM * float(np.median(above))):
        return *_linear_limits(values), False
    low = max(top * 10**-DECADES, min(float(np.quantile(above, FAINT)), top / 10))
    if values.dtype.kind not in "iu":
        return low, top, True
    low = 0.5 if low <= 1 else low
    return low, max(top, 2 * low), True


def _linear_limits(values: NDArray[Any]) -> tuple[float, float]:
    """Limits from 0, or the level that all of it stands on, to the brightest; a few that are far brighter are drawn as the end."""
    base, high = (float(limit) for limit in np.quantile(values, (0.01, 0.999)))
    top = float(values.max())
    most = high if top > 3 * high > 0 else top
    low = base if base < most and (base > high / 2 or values.min() < 0) else 0.0
    return (low, most) if most > low else (low, low + 1)


def _linear_ticks(low: float, top: float, whole: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=whole).tick_values(low, top)
    return [float(tick) for tick in ticks if low <= tick <= top]


def log_ticks(low: float, top: float) -> list[float]:
    """1, 2 and 5 times powers of ten from low to top; powers alone where those were too many, and every so many of them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(top)) + 1)
    for leading in ((1, 2, 5), (1,)):
        ticks = [n * 10.0**exponent for exponent in exponents for n in leading]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= top * (1 + 1e-9)]
        if len(ticks) <= MOST_TICKS:
            return ticks
    return ticks[:: -(-len(ticks) // MOST_TICKS)]


def tick_label(value: float) -> str:
    """A number as a person reads it: 0.05, 200, 5,000, and powers of ten beyond."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    leading = round(value / 10.0**exponent, 3)
    return f"$10^{{{exponent}}}$" if leading == 1 else f"${leading:g} \\times 10^{{{exponent}}}$"


def unit_label(units: str, factor: int = 1) -> str:
    """What a scale counts, and how many pixels a dot stands for."""
    named = "" if not units else "photons per pixel" if units == "photon" else f"{units} per pixel"
    return named if factor == 1 else f"{named}, brightest of {factor} x {factor}".lstrip(", ")
