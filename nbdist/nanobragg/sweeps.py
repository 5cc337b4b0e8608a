"""Ranges, steps and counts of nanoBragg's command line, which complete each other where one of them is not given or below 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nbdist.nanobragg.words import FlagError, Flags

MOST_ORIENTATIONS = 10**7
"""Phi steps x mosaic domains x sources of the largest image that is tried."""
DEGREES_A_RADIAN = 180 * 0.31830988618379067154
ALONE_MRAD, ALONE_PERCENT, ALONE_UM, ALONE_DEG = 1000.0, 100.0, 0.5, 1.0
"""The range of a count of steps that has neither range nor step."""


@dataclass(frozen=True)
class Sweep:
    """Equal steps over a range: value j is `start + j step`."""

    extent: float
    step: float
    steps: int

    @property
    def reaches_its_end(self) -> bool:
        """Whether the last value is the end of the range: a grid that a range and a number of steps describe."""
        return abs(self.step * (self.steps - 1) - self.extent) <= 1e-12 * self.extent

    def values(self) -> list[float]:
        """Offsets from the middle of the range."""
        return [self.step * number - self.extent / 2 for number in range(self.steps)]


def _steps_of(flag: str, extent: float, step: float) -> int:
    """ceil(extent/step), in nanoBragg's units, for their rounding."""
    if extent / step > MOST_ORIENTATIONS:
        raise FlagError(f"{flag}: the step is too small for its range")
    return math.ceil(extent / step)


def flag_sweep(flags: Flags, extent_flag: str, step_flag: str, count_flag: str, default: float, alone: float) -> Sweep:
    """What nanoBragg makes of a range, a step and a number of steps, of which some are not given or below 0.

    Parameters
    ----------
    default
        The range where none is given; below 0 is none.
    alone
        The range of a number of steps that has neither range nor step.
    """
    extent, step, steps = flags.get(extent_flag, default), flags.get(step_flag, -1.0), flags.get(count_flag, -1)
    if extent < 0:
        if step > 0:
            extent, steps = step, 2
        elif steps > 0:
            extent, step = alone, alone / steps
    elif step <= 0:
        steps = max(steps, 2)
        step = extent / (steps - 1)
    elif steps <= 0:
        steps = _steps_of(f"-{extent_flag} -{step_flag}", extent / 1000, step / 1000)
    return Sweep(extent, step, steps) if extent > 0 and step > 0 and steps > 0 else Sweep(0.0, 0.0, 1)


def phi_sweep(flags: Flags, unit_deg: float = 1.0) -> tuple[Sweep, float]:
    """The rotation's steps, and its range as given, in `unit_deg`: nanoBragg's rules for it are its own, and it works in radians.

    A negative range, which nanoBragg takes for none, turns backwards.
    """
    given = flags.get("osc")
    extent, step, steps = (
        abs(given) / unit_deg if given is not None else -1.0,
        flags.get("phistep", -1.0) / unit_deg,
        flags.get("phisteps", -1),
    )
    if extent < 0:
        if step > 0:
            return Sweep(step, step, 2), step
        if steps < 0:
            return Sweep(0.0, 0.0, 1), 0.0
        extent, step = ALONE_DEG / unit_deg, -1.0
    if steps >= 0:
        steps = max(steps, 1)
        step = step if step >= 0 else extent / steps
    elif step <= 0:
        steps, step = 2, extent / 2
    else:
        given_rad, step_rad = (abs(flags.get(name)) / DEGREES_A_RADIAN for name in ("osc", "phistep"))
        steps = max(1, _steps_of("-osc -phistep", given_rad, step_rad))
    if given is not None and given < 0:
        extent, step = -extent, -step
    return Sweep(extent, step, steps), extent


def spectrum_sweep(flags: Flags) -> Sweep:
    """The wavelengths' steps, in percent of the mean."""
    return flag_sweep(flags, "dispersion", "", "dispsteps", 0.0, ALONE_PERCENT)


def require_possible(counts: Mapping[str, int]) -> None:
    """Refuse what no machine would finish: `counts` of steps, by flag, that make more orientations than are tried.

    Raises
    ------
    FlagError
        Naming the flags.
    """
    if math.prod(counts.values()) > MOST_ORIENTATIONS:
        found = " ".join(f"-{name} {count}" for name, count in counts.items() if count > 1)
        raise FlagError(f"{found}: more than {MOST_ORIENTATIONS} orientations a pixel")
