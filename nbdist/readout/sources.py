"""What of the read-out is compiled: its sources, the C types of their functions, and what is said where they cannot be compiled."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nbdist.native.build import BuildError, Source

T = TypeVar("T")

logger = logging.getLogger(__name__)

WORD, LONG, INT, REAL, POINTER = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p

DEVIATES, RESPONSE = SOURCES = tuple(
    Source(Path(__file__).parent / name, ("-ffp-contract=off",)) for name in ("deviates.cpp", "response.cpp")
)
"""No multiplication melts into an addition, which would round otherwise than numpy."""


def if_compiled(make: Callable[[], T], what: str, instead: str) -> T | None:
    """What `make` loads; None where nothing can be compiled, which is logged with what numpy does instead."""
    try:
        return make()
    except BuildError as error:
        logger.warning("the read-out's %s cannot be compiled here (%s); numpy %s times slower", what, error, instead)
        return None
