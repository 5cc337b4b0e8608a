"""Names of units, as files spell them: in any case, with or without a plural s, short or long, with either letter for micro."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LENGTHS_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6}
WAVELENGTHS_A = {"angstrom": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10}
ANGLES_RAD = {"deg": np.pi / 180, "rad": 1.0, "mrad": 1e-3}
TIMES_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
RATES_PER_S = {"hz": 1.0, "1/s": 1.0, "s^-1": 1.0, "s-1": 1.0, "photons/s": 1.0, "ph/s": 1.0, "khz": 1e3, "mhz": 1e6}
ENERGIES_EV = {"ev": 1.0, "kev": 1e3}
PREFIXES = {"": "", "centi": "c", "milli": "m", "micro": "u", "nano": "n", "pico": "p"}
LONG_NAMES = {
    **{
        f"{prefix}{unit}": f"{letter}{short}"
        for prefix, letter in PREFIXES.items()
        for unit, short in (("meter", "m"), ("metre", "m"), ("second", "s"), ("sec", "s"), ("radian", "rad"))
    },
    **{"micron": "um", "degree": "deg", "deg": "deg", "rad": "rad", "hertz": "hz"},
    **dict.fromkeys(("a", "å", "angstrom", "ångström", "ångstrom", "angstroem"), "angstrom"),
}
"""Names that may have an s for the plural, and what the tables call them."""


def scale_of(units: str, table: Mapping[str, float]) -> float:
    """What a number in some units is to be multiplied with.

    Parameters
    ----------
    table
        Scales by the short names of units, in small letters.

    Raises
    ------
    ValueError
        If the units are not in the table.
    """
    word = units.strip().lower().replace("\u00b5", "u").replace("\u03bc", "u")
    short = LONG_NAMES.get(word) or LONG_NAMES.get(word.removesuffix("s")) or word
    if short not in table:
        raise ValueError(f"has units {units}, not one of {', '.join(table)}")
    return table[short]
