"""Nothing that a caller sends stops the event loop: measured with the largest bodies and the most hostile ones."""

import asyncio
import gc

import msgspec
import pytest
from benchmarks.stalls import MB, Watch, cases, loop_of, measured, served, settings_of

from harvester.cli.up.process import GC_THRESHOLDS
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.protocol import wire

BOUND_S = 0.06  # of computing; some milliseconds on a quiet machine, and seconds where something is decoded as a whole
COUNT = 10_000


@pytest.fixture
def _as_in_a_gateway():
    """Collect garbage as the process of a gateway does, so that this does not measure the test's own."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("_as_in_a_gateway")
def test_no_request_stops_the_event_loop(tmp_path):
    settings = msgspec.structs.replace(settings_of(tmp_path, 2 * MB), batch_limit=COUNT)
    server = served(tmp_path, settings)
    watch = Watch(loop_of(server))
    try:
        stalls = {}
        for case in cases(settings.payload_limit_bytes, settings.batch_limit_bytes, COUNT):
            stall_s, _, said = measured(server, watch, case)
            assert said in {"201", "202", "400", "413", "422"}, f"{case.name}: {said}"
            stalls[case.name] = stall_s
        accepted = [name for name in stalls if "as many" in name]
        assert len(accepted) == 3
        assert {name: stall_s for name, stall_s in stalls.items() if stall_s > BOUND_S} == {}
    finally:
        watch.close()
        server.close()


@pytest.mark.usefixtures("_as_in_a_gateway")
async def test_no_frame_of_a_pilot_stops_the_event_loop(rig):
    await rig.register()
    pilot = await rig.pilot()
    watch = Watch(loop_of(rig.server))
    ended = [wire.GivenBack(invocation_id=f"i{n}", fence=1, end=ActivationEnd.UNSTARTED) for n in range(20_000)]
    await asyncio.to_thread(watch.taken_s)
    await pilot.say(*ended)
    await pilot.hear(wire.Ack, invocation_id="i19999", within=20)
    assert await asyncio.to_thread(watch.taken_s) < BOUND_S
    watch.close()
