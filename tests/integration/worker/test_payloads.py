"""Many calls in one invocation, arrays out of band, and payloads in files, with a real pilot."""

import asyncio
import os
import pickle
import signal
import time

import pytest

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.payload import buffers
from harvester.domain.payload.blobs import MARK, BlobRef, blob_name
from harvester.domain.payload.calls import decode_outcomes, encode_calls
from harvester.domain.protocol import wire

MEGABYTE = 1_000_000


def call(*args):
    return pickle.dumps((args, {}))


def outcomes_of(finished):
    assert finished.failure is None, finished.failure
    return [
        each if isinstance(each, Failure) else pickle.loads(each)  # noqa: S301 - made by our own pilot
        for each in decode_outcomes(finished.value)
    ]


def loaded(payload):
    pickled, *arrays = buffers.split(payload)
    return pickle.loads(pickled, buffers=arrays)  # noqa: S301 - made by our own pilot


async def test_many_calls_come_back_with_each_ones_outcome(gateway, pilots, order):
    def invert(number):
        return 1 / number

    await pilots.start()
    arguments = encode_calls([call(2), call(0), b"no pickle", call(4)])
    await gateway.send(*order(invert, encoding=Encoding.CALLS, arguments=arguments))
    first, second, third, fourth = outcomes_of(await gateway.wait_for(wire.Finished))
    assert (first, fourth) == (0.5, 0.25)
    assert (second.kind, second.error_type) == (FailureKind.EXCEPTION, "ZeroDivisionError")
    assert third.kind is FailureKind.ARGUMENTS


async def test_evicted_calls_go_on_elsewhere_where_they_were(gateway, pilots, order, tmp_path):
    def note(path, number):
        import time

        with open(path, "a") as file:  # noqa: PTH123 - it runs in the slot
            file.write(f"{number}\n")
        time.sleep(0.05)
        return number

    notes = tmp_path / "notes"
    leased = order(
        note, encoding=Encoding.CALLS, arguments=encode_calls([call(str(notes), number) for number in range(30)])
    )
    process = await pilots.start()
    await gateway.send(*leased)
    await gateway.wait_for(wire.Started)
    await asyncio.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert [m.end for m in gateway.of(wire.GivenBack)] == [ActivationEnd.EVICTED]
    state = gateway.of(wire.Checkpoint)[-1].state
    assert len(pickle.loads(state)) >= 3  # noqa: S301 - made by our own pilot
    await pilots.start(until_ready=False)
    await gateway.wait_for(wire.Hello, count=2)
    function, lease = leased
    again = wire.Lease(
        **{name: getattr(lease, name) for name in lease.__struct_fields__ if name not in ("fence", "checkpoint")},
        fence=2,
        checkpoint=state,
    )
    await gateway.send(function, again)
    assert outcomes_of(await gateway.wait_for(wire.Finished)) == list(range(30))
    assert notes.read_text().split() == [str(number) for number in range(30)], "none was made twice"


async def test_a_cancel_reaches_a_call_among_many(gateway, pilots, order):
    def sleep():
        import time

        time.sleep(1)

    await pilots.start()
    await gateway.send(*order(os.getpid, invocation_id="before", name="pid"))
    before = loaded((await gateway.wait_for(wire.Finished, "before")).value)
    await gateway.send(*order(sleep, encoding=Encoding.CALLS, arguments=encode_calls([call()] * 100)))
    await gateway.wait_for(wire.Started, "i-1")
    await gateway.send(wire.Cancel(invocation_id="i-1", fence=1))
    assert (await gateway.wait_for(wire.GivenBack)).end is ActivationEnd.CANCELLED
    await gateway.send(*order(os.getpid, invocation_id="after", name="pid"))
    assert loaded((await gateway.wait_for(wire.Finished, "after")).value) == before, "it was interrupted, not killed"


def touch():
    """A function that writes to the array that it is given, and returns it."""

    def run(array):
        import pickle

        view = memoryview(array)
        view[:2] = b"ok"
        return {"array": pickle.PickleBuffer(array), "size": len(view)}

    return run


def out_of_band(array):
    apart = []
    pickled = pickle.dumps(((pickle.PickleBuffer(array),), {}), protocol=5, buffer_callback=apart.append)
    return b"".join(buffers.join([pickled, *[each.raw() for each in apart]]))


@pytest.mark.parametrize("size", [100, MEGABYTE])
async def test_an_array_travels_out_of_band_and_can_be_written_to(gateway, pilots, order, size):
    await pilots.start()
    await gateway.send(*order(touch(), arguments=out_of_band(bytearray(b"x" * size))))
    finished = await gateway.wait_for(wire.Finished)
    assert finished.failure is None, finished.failure
    assert buffers.is_joined(finished.value) == (size == MEGABYTE), "a small one is not worth it"
    result = loaded(finished.value)
    assert bytes(result["array"]) == b"ok" + b"x" * (size - 2)


@pytest.fixture
def shared(tmp_path, gateway):
    """A directory of large payloads, as the gateway has it."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    (folder / MARK).write_text("the mark\n")
    gateway.blobs = {"blobs": str(folder), "blobs_mark": "the mark", "blob_bytes": 10_000}

    def put(invocation_id, payload):
        ref = BlobRef(name=blob_name(invocation_id, "args"), size=len(payload))
        (folder / ref.name).parent.mkdir(exist_ok=True)
        (folder / ref.name).write_bytes(payload)
        return ref

    put.folder = folder
    return put


async def test_large_arguments_and_results_travel_by_reference_where_the_directory_is_shared(
    gateway, pilots, order, shared
):
    await pilots.start()
    await gateway.wait_for(wire.SharesBlobs)
    array = bytearray(b"x" * MEGABYTE)
    ref = shared("large-01", out_of_band(array))
    await gateway.send(*order(touch(), invocation_id="large-01", fence=7, arguments=ref))
    finished = await gateway.wait_for(wire.Finished)
    assert finished.value == BlobRef(name=blob_name("large-01", "r7"), size=finished.value.size)
    written = (shared.folder / finished.value.name).read_bytes()
    assert len(written) == finished.value.size
    assert bytes(loaded(written)["array"])[:4] == b"okxx"
    assert (shared.folder / ref.name).read_bytes() == out_of_band(array), "what the function wrote stays its own"
    await gateway.send(*order(lambda: b"small", invocation_id="small", name="g"))
    assert isinstance((await gateway.wait_for(wire.Finished, "small")).value, bytes)
    left = [path.name for path in shared.folder.glob("*/*")]
    assert sorted(left) == sorted(["large-01-args", "large-01-r7"]), "no half of a file"


async def test_many_calls_may_lie_in_a_file(gateway, pilots, order, shared):
    await pilots.start()
    await gateway.wait_for(wire.SharesBlobs)
    ref = shared("calls-01", encode_calls([call(number) for number in range(1000)]))
    await gateway.send(*order(abs, invocation_id="calls-01", encoding=Encoding.CALLS, arguments=ref))
    finished = await gateway.wait_for(wire.Finished)
    body = (shared.folder / finished.value.name).read_bytes()
    assert [pickle.loads(each) for each in decode_outcomes(body)] == list(range(1000))  # noqa: S301 - as above


async def test_many_calls_in_a_file_are_ended_after_the_walltime_of_all_of_them(gateway, pilots, order, shared):
    await pilots.start()
    await gateway.wait_for(wire.SharesBlobs)
    ref = shared("calls-01", encode_calls([call(60)] * 3))
    began_at = time.monotonic()
    ordered = order(time.sleep, invocation_id="calls-01", encoding=Encoding.CALLS, arguments=ref, walltime_s=0.2)
    await gateway.send(*ordered)
    finished = await gateway.wait_for(wire.Finished)
    assert finished.failure.kind is FailureKind.WALLTIME
    assert time.monotonic() - began_at >= 0.6


async def test_a_directory_without_the_mark_is_not_shared(gateway, pilots, order, shared):
    (shared.folder / MARK).write_text("another gateway's\n")
    await pilots.start()
    await gateway.send(*order(lambda n: b"x" * n, MEGABYTE))
    assert isinstance((await gateway.wait_for(wire.Finished)).value, bytes)
    assert not gateway.of(wire.SharesBlobs)


async def test_a_filesystem_that_hangs_does_not_hang_the_pilot(gateway, pilots, order, shared):
    (shared.folder / MARK).unlink()
    os.mkfifo(shared.folder / MARK)  # who opens it waits for a writer that never comes
    process = await pilots.start()
    await gateway.send(*order(abs, -1))
    assert loaded((await gateway.wait_for(wire.Finished)).value) == 1
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


@pytest.mark.parametrize("damage", ["missing", "short", "outside"])
async def test_arguments_whose_file_is_damaged_fail_with_its_name(gateway, pilots, order, shared, damage):
    await pilots.start()
    await gateway.wait_for(wire.SharesBlobs)
    ref = shared("large-01", call(1))
    if damage == "missing":
        (shared.folder / ref.name).unlink()
    elif damage == "short":
        (shared.folder / ref.name).write_bytes(b"")
    else:
        ref = BlobRef(name="../secret-file", size=5)
    await gateway.send(*order(abs, invocation_id="large-01", arguments=ref))
    failure = (await gateway.wait_for(wire.Finished)).failure
    assert failure.kind is FailureKind.ARGUMENTS
    assert ref.name in failure.message


async def test_a_pilot_that_lost_the_directory_gives_work_back_and_shares_no_more(gateway, pilots, order, shared):
    await pilots.start()
    await gateway.wait_for(wire.SharesBlobs)
    ref = shared("large-01", call(1))
    shared.folder.rename(shared.folder.with_name("gone"))
    await gateway.send(*order(abs, invocation_id="large-01", arguments=ref))
    assert (await gateway.wait_for(wire.GivenBack, "large-01")).end is ActivationEnd.UNSTARTED
    await gateway.wait_for(wire.Hello, count=2)
    await gateway.send(*order(lambda n: b"x" * n, MEGABYTE, invocation_id="large-02", name="g"))
    assert len((await gateway.wait_for(wire.Finished, "large-02")).value) > MEGABYTE
    assert len(gateway.of(wire.SharesBlobs)) == 1
