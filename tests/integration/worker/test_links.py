"""What a real pilot does when its connection comes and goes."""

import asyncio
import pickle
import signal
import time

from support.proxy import Proxy
from support.running import free_port

from harvester.domain.protocol import wire
from harvester.domain.supervision.pilot_output import unreachable


def slow_pid():
    def run(seconds):
        import os
        import time

        time.sleep(seconds)
        return os.getpid()

    return run


async def test_a_lost_connection_is_taken_up_again_and_the_running_function_goes_on(gateway, pilots, order):
    await pilots.start()
    await gateway.send(*order(slow_pid(), 0.5))
    await gateway.wait_for(wire.Started)
    gateway.cut()
    await gateway.wait_for(wire.Hello, count=2)
    assert gateway.hellos[1].held == (wire.Held(invocation_id="i-1", fence=1, is_started=True),)
    await gateway.wait_for(wire.Finished)
    await asyncio.sleep(0.2)
    assert len(gateway.of(wire.Finished)) == 1


async def test_a_result_that_was_not_acknowledged_is_sent_again(gateway, pilots, order):
    await pilots.start()
    gateway.acknowledges = False
    await gateway.send(*order(slow_pid(), 0))
    first = await gateway.wait_for(wire.Finished)
    gateway.acknowledges = True
    gateway.cut()
    assert await gateway.wait_for(wire.Finished, count=2) == first
    assert gateway.hellos[1].held == (wire.Held(invocation_id="i-1", fence=1, is_started=True),)
    await asyncio.sleep(0.1)
    gateway.cut()
    await gateway.wait_for(wire.Hello, count=3)
    assert gateway.hellos[2].held == ()


async def test_what_the_gateway_gave_to_others_is_stopped_and_not_reported(gateway, pilots, order):
    await pilots.start()
    await gateway.send(*order(slow_pid(), 60))
    await gateway.wait_for(wire.Started)
    gateway.abandon = (wire.Held(invocation_id="i-1", fence=1),)
    gateway.cut()
    await gateway.wait_for(wire.Hello, count=2)
    await gateway.send(*order(slow_pid(), 0, invocation_id="i-2"))
    await gateway.wait_for(wire.Finished, "i-2")
    assert not gateway.of(wire.GivenBack)
    assert not gateway.of(wire.Finished, "i-1")


async def test_heartbeats_come_as_often_as_the_gateway_wants(gateway, pilots):
    gateway.heartbeat_s = 0.1
    await pilots.start()
    await gateway.wait_for(wire.Heartbeat, count=15, within_s=10)  # at its own pace it would send 10


async def test_a_pilot_waits_for_its_gateway(gateway, pilots):
    gateway.refuses_with = 503
    process = await pilots.start(until_ready=False)
    await asyncio.sleep(0.5)
    gateway.refuses_with = None
    await gateway.wait_for(wire.Hello)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.wait(), 20)


async def test_an_eviction_during_an_outage_waits_for_the_gateway_with_the_state(gateway, pilots, order):
    def steps():
        import time

        number = 0
        while True:
            time.sleep(0.01)
            number += 1
            yield number

    process = await pilots.start()
    await gateway.send(*order(steps))
    await gateway.wait_for(wire.Checkpoint)
    gateway.refuses_with = 503
    gateway.cut()
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert process.returncode is None
    gateway.refuses_with = None
    await gateway.wait_for(wire.GivenBack)
    assert pickle.loads(gateway.of(wire.Checkpoint)[-1].state) > 1  # noqa: S301
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_pilot_that_the_scheduler_suspended_introduces_itself_again(gateway, pilots):
    gateway.heartbeat_s, gateway.lease_s = 0.1, 0.3
    process = await pilots.start()
    await gateway.wait_for(wire.Heartbeat)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.8)
    before = len(gateway.hellos)  # 1, unless the machine was as slow as a suspension
    process.send_signal(signal.SIGCONT)
    await gateway.wait_for(wire.Hello, count=before + 1)


async def test_a_pilot_that_hears_nothing_any_more_calls_anew_within_about_two_leases(gateway, pilots, order):
    gateway.heartbeat_s, gateway.lease_s = 0.1, 0.5
    with Proxy(free_port(), gateway.port) as proxy:
        await pilots.start(gateways=(f"http://127.0.0.1:{proxy.port}",))
        await gateway.send(*order(slow_pid(), 2.5))
        await gateway.wait_for(wire.Started)
        await asyncio.sleep(1.3)
        assert len(gateway.hellos) == 1, "answered heartbeats keep a connection"
        await asyncio.to_thread(proxy.mute)
        await gateway.wait_for(wire.Hello, count=2, within_s=2.5 * gateway.lease_s + 1)
        assert gateway.hellos[1].held == (wire.Held(invocation_id="i-1", fence=1, is_started=True),)
        await gateway.wait_for(wire.Finished)


async def test_a_pilot_without_a_gateway_says_so_within_seconds_and_comes_when_there_is_one(gateway, pilots, capfd):
    port = free_port()
    begun_at = time.monotonic()
    await pilots.start(gateways=(f"http://127.0.0.1:{port}",), until_ready=False)
    written = ""
    while not (line := unreachable(written)) and time.monotonic() - begun_at < 10:
        await asyncio.sleep(0.1)
        written += capfd.readouterr().err
    assert line.startswith(f"pilot.unreachable: no gateway answers at http://127.0.0.1:{port} (Connection refused)")
    with Proxy(port, gateway.port):
        await gateway.wait_for(wire.Hello)
    written += capfd.readouterr().err
    assert not unreachable(written), "a gateway has answered since"
