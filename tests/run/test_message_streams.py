"""Dask's messages go out although the clock of the machine is set back."""

from __future__ import annotations

import asyncio

import distributed.batched
import pytest
from distributed.batched import BatchedSend
from distributed.comm import connect, listen
from tornado.ioloop import IOLoop
from waiting import LIMIT_S

from nbdist import generate
from nbdist.clusters.message_streams import INTERVAL_S, send_at_once


@pytest.fixture
def wall_clock(monkeypatch):
    """The time of day as Dask sees it, which a test may set."""
    clock = [1e9]
    monkeypatch.setattr(IOLoop, "time", lambda loop: clock[0])
    monkeypatch.setattr(distributed.batched, "time", lambda: clock[0])
    return clock


def test_a_message_is_sent_although_the_clock_was_set_back_after_the_one_before(wall_clock):
    async def exchange():
        received = asyncio.Queue()

        async def receive(comm):
            while True:
                for message in await comm.read():
                    received.put_nowait(message)

        async with listen("inproc://", receive) as listener:
            comm = await connect(listener.contact_address)
            stream = BatchedSend(interval="10ms")
            send_at_once(stream)
            stream.start(comm)
            for message in ("first", "second", "third"):
                stream.send(message)
                assert await asyncio.wait_for(received.get(), LIMIT_S) == message
                wall_clock[0] -= 86400
            stream.abort()

    asyncio.run(exchange())


@pytest.mark.integration
def test_all_streams_of_a_run_on_local_workers_send_at_once(light_experiment, client, tmp_path):
    generate(light_experiment(4), tmp_path / "a.zarr", client, frames_per_shard=1)

    def of_scheduler(dask_scheduler):
        streams = [*dask_scheduler.stream_comms.values(), *dask_scheduler.client_comms.values()]
        return [stream.interval for stream in streams]

    here = client.run_on_scheduler(of_scheduler)
    assert len(here) >= 3
    assert {*here, client.scheduler_comm.interval} == {INTERVAL_S}
    assert set(client.run(lambda dask_worker: dask_worker.batched_stream.interval).values()) == {INTERVAL_S}
