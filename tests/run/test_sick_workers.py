"""A worker that fails whatever it is given, at once, spoils nothing: its units are done by others, and it is restarted."""

from __future__ import annotations

import time

import pytest
from distributed import get_worker
from injected import run
from waiting import LIMIT_S

from nbdist.run.ledger import FAILS_IN_A_ROW


@pytest.mark.integration
def test_all_units_are_done_where_one_worker_fails_every_unit_at_once(light_experiment, client, tmp_path):
    client.wait_for_workers(2, timeout=LIMIT_S)
    sick = min(client.nthreads())

    def render(context, frame):
        from nbdist.run.rendering import render_frame

        if get_worker().address == sick:
            raise ValueError("the GPU has fallen off the bus")
        time.sleep(0.1)
        return render_frame(context, frame)

    progress = run(light_experiment(60), tmp_path / "a.zarr", client, render_frame=render)
    client.wait_for_workers(2, timeout=LIMIT_S)
    assert progress.failed == {}
    assert progress.frames_done == 60
    assert progress.retried >= FAILS_IN_A_ROW
    assert progress.workers_lost == 1, "it was restarted"
