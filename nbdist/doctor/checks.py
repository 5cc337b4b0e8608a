"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nbdist.doctor import gpu, kernels, machine, packages
from nbdist.doctor.findings import Finding
from nbdist.errors import one_line

Check = Callable[[], Finding | list[Finding]]
CHECKS: tuple[Check, ...] = (
    packages.nbdist_itself,
    machine.python,
    machine.system,
    machine.cores,
    machine.memory,
    machine.environment,
    kernels.compiler,
    kernels.cache,
    kernels.locks,
    gpu.gpus,
    packages.needed,
    packages.extras,
    packages.completion,
)
"""What is looked at on any machine."""


def examine(*more: Check, checks: tuple[Check, ...] | None = None) -> Iterator[Finding]:
    """Look at all of this machine and its installation, and at more that is asked for.

    A check that fails by itself is a fault that names it; the others go on.
    """
    for check in (*(CHECKS if checks is None else checks), *more):
        try:
            found = check()
        except Exception as error:
            name = getattr(check, "func", check).__name__  # of a `partial`, that of its function
            said = f"could not be looked at: {type(error).__name__}: {one_line(error)}"
            yield Finding(name.replace("_", " "), said, "fault", "this is a fault of nbdist: please report it")
            continue
        yield from found if isinstance(found, list) else (found,)
