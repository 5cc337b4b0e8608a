"""The serial run: one unit after the other in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from nbdist.errors import is_fatal
from nbdist.kernels.devices import pick_device
from nbdist.planning import Unit
from nbdist.run.context import RunContext
from nbdist.run.failures import ErrorLine
from nbdist.run.progress import Progress, Report
from nbdist.run.rendering import render_unit
from nbdist.store import UnitWriter

logger = logging.getLogger(__name__)


def run_serial(context: RunContext, units: Iterable[Unit], progress: Progress, report: Report, retries: int) -> None:
    """Render `units` in order; a unit that fails after its retries is set aside in `progress.failed`.

    Raises
    ------
    OSError
        If the store cannot be written any more (disk full, no permission).
    """
    assert context.location is not None
    writer = UnitWriter(context.location, context.store_id)
    progress.workers, progress.in_flight = 1, 1
    progress.kinds = {"cpu" if pick_device(context.device) == "cpu" else "gpu": 1}
    for unit in units:
        for attempt in range(retries + 1):
            try:
                progress.unit_done(render_unit(context, writer, unit))
                break
            except Exception as error:
                if is_fatal(error):
                    raise
                line = ErrorLine.of(error)
                logger.warning("unit %d failed (attempt %d): %s", unit.number, attempt + 1, line)
                if attempt == retries:
                    progress.unit_failed(unit, line)
                else:
                    progress.unit_retried(unit, line)
        report(progress)
    progress.in_flight = 0
    report(progress)
