"""A worker that fails whatever it is given, at once, spoils nothing: its units are done by others, and it is restarted."""

from __future__ import annotations

import pytest
from waiting import LIMIT_S

from nbdist import generate
from nbdist.planning import Unit
from nbdist.run.health import SICK_AFTER, Health
from nbdist.run.progress import Progress
from nbdist.run.supply import Supply

UNITS = [Unit(number, number, number + 1) for number in range(20)]


def test_a_worker_that_fails_in_a_row_while_another_succeeds_is_sick_once():
    health = Health()
    for unit in UNITS[:SICK_AFTER]:
        health.note("a", [], [unit])
    assert health.sick() == {}, "all may be as sick"
    health.note("b", [10], [])
    assert health.sick() == {"a": UNITS[:SICK_AFTER]}
    assert health.sick() == {}


def test_a_success_between_failures_says_that_the_worker_is_well():
    health = Health()
    health.note("b", [10], [])
    for number in range(0, 9, 3):
        health.note("a", [], UNITS[number : number + 2])
        health.note("a", [number + 2], [])
    assert health.sick() == {}


def test_units_that_fail_everywhere_make_nobody_sick_for_ever():
    health = Health()
    health.note("b", [10], [])
    restarts = 0
    for turn in range(100):
        for unit in UNITS[:SICK_AFTER]:
            health.note(f"worker {turn}", [], [unit])
        restarts += len(health.sick())
    assert restarts == 1


def test_a_unit_avoids_the_workers_at_which_it_failed_until_it_is_done():
    health = Health()
    health.note("a", [], UNITS[:1])
    assert health.avoided(0) == {"a"}
    health.note("b", [0], [])
    assert health.avoided(0) == set()


def test_units_that_are_pardoned_are_handed_out_again_and_charged_nothing():
    progress = Progress()
    supply = Supply(UNITS[:1], 0, progress)
    (unit,) = supply.take(1)
    supply.failed(unit, "the GPU is gone")
    assert progress.failed
    supply.pardon([unit])
    assert progress.failed == {}
    assert supply.take(1) == [unit]


@pytest.mark.integration
def test_all_units_are_done_where_one_worker_fails_every_unit_at_once(light_experiment, client, tmp_path):
    def harm():
        from nbdist.run import rendering

        def failing(context, frame):
            raise ValueError("the GPU has fallen off the bus")

        rendering.render_frame = failing

    def slow():
        import time

        from nbdist.run import rendering

        def slowed(context, frame, original=rendering.render_frame):
            time.sleep(0.1)
            return original(context, frame)

        rendering.kept, rendering.render_frame = rendering.render_frame, slowed

    def mend():
        from nbdist.run import rendering

        rendering.render_frame = getattr(rendering, "kept", rendering.render_frame)

    client.wait_for_workers(2)
    sick, well = sorted(client.nthreads())
    client.run(harm, workers=[sick])
    client.run(slow, workers=[well])
    try:
        progress = generate(light_experiment(60), tmp_path / "a.zarr", client, kernel="eager", frames_per_shard=1)
    finally:
        client.restart_workers([sick], raise_for_error=False) if sick in client.nthreads() else None
        client.run(mend, workers=[well])
        client.wait_for_workers(2, timeout=LIMIT_S)
    assert progress.failed == {}
    assert progress.frames_done == 60
    assert progress.retried >= SICK_AFTER
    assert progress.workers_lost == 1, "it was restarted"
