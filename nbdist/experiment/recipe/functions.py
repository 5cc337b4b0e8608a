"""Functions of real numbers in IEEE 754 arithmetic alone: the same bits on every machine, whatever its mathematical library.

`exp`, `log`, sines and arc tangents are truncated series after an exact reduction of the argument, good to a few units of the last digit.
"""

from __future__ import annotations

import math

LOG_2_HIGH, LOG_2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""ln 2 in two parts, of which the first has so few digits that whole multiples are exact."""
RADIANS = 0.017453292519943295
TAN_EIGHTH = 0.41421356237309503
"""The tangent of 22.5 degrees."""


def exp(x: float) -> float:
    """e^x: 2^n e^r with |r| <= ln(2)/2, and Taylor's series of e^r.

    Raises
    ------
    OverflowError
        If it is larger than the largest number.
    """
    if x < -745.2:
        return 0.0
    if x > 709.8:
        raise OverflowError("exp: the result is too large")
    halvings = round(x / LOG_2_HIGH)
    rest = (x - halvings * LOG_2_HIGH) - halvings * LOG_2_LOW
    value = 1.0
    for number in range(14, 0, -1):
        value = 1.0 + value * rest / number
    return math.ldexp(value, halvings)


def log(x: float) -> float:
    """Natural logarithm: x = 2^n m with m about 1, and ln m = 2 artanh((m - 1)/(m + 1)).

    Raises
    ------
    ValueError
        If x is not positive.
    """
    if not x > 0:
        raise ValueError("log: needs a positive number")
    m, exponent = math.frexp(x)
    if m < 0.7071067811865476:
        m, exponent = 2 * m, exponent - 1
    s = (m - 1) / (m + 1)
    squared, value = s * s, 0.0
    for number in range(23, 2, -2):
        value = (value + 1 / number) * squared
    return exponent * LOG_2_HIGH + (exponent * LOG_2_LOW + 2 * s * (value + 1))


def power(base: float, exponent: float) -> float:
    """base^exponent: whole exponents up to 64 by multiplication, others as e^(exponent ln base).

    Raises
    ------
    ValueError, ZeroDivisionError, OverflowError
        If the base is negative and the exponent no such number, if 0 is to be divided by, or if the result is too large.
    """
    if exponent == int(exponent) and abs(exponent) <= 64:
        value = 1.0
        for _ in range(abs(int(exponent))):
            value *= base
        return value if exponent >= 0 else 1 / value
    if base == 0 and exponent > 0:
        return 0.0
    return exp(exponent * log(base))


def sin_deg(degrees: float) -> float:
    """Sine of an angle in degrees; exact at multiples of 90."""
    return _sin_cos(degrees)[0]


def cos_deg(degrees: float) -> float:
    """Cosine of an angle in degrees; exact at multiples of 90."""
    return _sin_cos(degrees)[1]


def _sin_cos(degrees: float) -> tuple[float, float]:
    """Sine and cosine: Taylor's series for what is left beyond the nearest multiple of 90 degrees, turned by that multiple."""
    x = math.fmod(degrees, 360.0)
    quarters = round(x / 90.0)
    rest = (x - 90.0 * quarters) * RADIANS
    squared, cosine, sine = rest * rest, 1.0, 1.0
    for number in range(18, 1, -2):
        cosine = 1.0 - cosine * squared / (number * (number - 1))
        sine = 1.0 - sine * squared / (number * (number + 1))
    sine *= rest
    return ((sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine))[quarters % 4]


def atan2_deg(y: float, x: float) -> float:
    """Angle of the point (x, y) in degrees, -180 to 180; 0 of the origin."""
    if x == 0 and y == 0:
        return 0.0
    steep = abs(y) > abs(x)
    ratio = abs(x) / abs(y) if steep else abs(y) / abs(x)
    eighth = ratio > TAN_EIGHTH
    if eighth:  # atan r = 45 degrees + atan((r - 1)/(r + 1))
        ratio = (ratio - 1) / (ratio + 1)
    squared, value = ratio * ratio, 0.0
    for number in range(45, 2, -2):
        value = -(value + 1 / number) * squared
    angle = (ratio + ratio * value) / RADIANS + (45.0 if eighth else 0.0)
    if steep:
        angle = 90.0 - angle
    if x < 0:
        angle = 180.0 - angle
    return -angle if y < 0 else angle
