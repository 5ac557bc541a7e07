"""What a real pilot does with functions."""

import asyncio
import pickle

import msgspec
import pytest

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import ActivationEnd, FailureKind
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire


def value_of(finished):
    assert finished.failure is None, finished.failure
    return pickle.loads(finished.value)  # noqa: S301 - made by our own pilot


async def test_a_function_runs_and_its_result_is_sent(gateway, pilots, order):
    await pilots.start()
    await gateway.send(*order(lambda a, b: a + b, 2, 3))
    assert value_of(await gateway.wait_for(wire.Finished)) == 5
    assert gateway.hellos[0].capacity == Resources(cpus=2)


async def test_one_slot_runs_function_after_function(gateway, pilots, order):
    def pid():
        import os

        return os.getpid()

    await pilots.start()
    pids = set()
    for number in range(5):
        await gateway.send(*order(pid, invocation_id=f"i-{number}"))
        pids.add(value_of(await gateway.wait_for(wire.Finished, f"i-{number}")))
    assert len(pids) == 1


async def test_as_many_run_at_once_as_there_are_cpus_and_the_rest_waits(gateway, pilots, order):
    def sleep():
        import time

        time.sleep(0.3)

    await pilots.start()
    for number in range(3):
        await gateway.send(*order(sleep, invocation_id=f"i-{number}"))
    await gateway.wait_for(wire.Started, count=2)
    await asyncio.sleep(0.1)
    assert len(gateway.of(wire.Started)) == 2
    await gateway.wait_for(wire.Finished, count=3)


async def test_an_exception_comes_back_with_the_users_frames_only(gateway, pilots, order):
    def broken():
        raise KeyError("apples")

    await pilots.start()
    await gateway.send(*order(broken))
    failure = (await gateway.wait_for(wire.Finished)).failure
    assert failure.kind is FailureKind.EXCEPTION
    assert failure.error_type == "KeyError"
    assert "in broken" in failure.traceback
    assert "harvester_worker" not in failure.traceback


async def test_arguments_that_are_no_pickle_are_a_failure_and_the_slot_goes_on(gateway, pilots, order):
    await pilots.start()
    await gateway.send(*order(lambda: 1, arguments=b"no pickle"))
    assert (await gateway.wait_for(wire.Finished, "i-1")).failure.kind is FailureKind.ARGUMENTS
    await gateway.send(*order(lambda: 2, invocation_id="i-2"))
    assert value_of(await gateway.wait_for(wire.Finished, "i-2")) in {1, 2}


async def test_json_arguments_and_results(gateway, pilots, order):
    body = b"import math\n\ndef area(r, *, digits):\n    return {'area': round(math.pi * r * r, digits)}\n"
    source = FunctionVersion(
        function_id="area@1", name="area", version=1, kind=FunctionKind.SOURCE, body=body, entry="area"
    )
    await pilots.start()
    arguments = msgspec.json.encode({"args": [2], "kwargs": {"digits": 2}})
    await gateway.send(*order(source, encoding=Encoding.JSON, arguments=arguments))
    assert msgspec.json.decode((await gateway.wait_for(wire.Finished)).value) == {"area": 12.57}


async def test_a_slot_that_is_killed_is_given_back_and_the_pilot_goes_on(gateway, pilots, order):
    def suicide():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    await pilots.start()
    await gateway.send(*order(suicide))
    assert (await gateway.wait_for(wire.GivenBack)).end is ActivationEnd.SLOT_DIED
    await gateway.send(*order(lambda: "alive", invocation_id="i-2", name="g"))
    assert value_of(await gateway.wait_for(wire.Finished, "i-2")) == "alive"


async def test_a_cancelled_function_is_interrupted_and_its_slot_goes_on(gateway, pilots, order):
    def sleep(seconds):
        import os
        import time

        time.sleep(seconds)
        return os.getpid()

    await pilots.start()
    await gateway.send(*order(sleep, 0))
    pid = value_of(await gateway.wait_for(wire.Finished, "i-1"))
    await gateway.send(*order(sleep, 60, invocation_id="i-2"))
    await gateway.wait_for(wire.Started, "i-2")
    await gateway.send(wire.Cancel(invocation_id="i-2", fence=1))
    assert (await gateway.wait_for(wire.GivenBack, "i-2")).end is ActivationEnd.CANCELLED
    await gateway.send(*order(sleep, 0, invocation_id="i-3"))
    assert value_of(await gateway.wait_for(wire.Finished, "i-3")) == pid


async def test_what_a_cancelled_function_was_importing_can_be_imported_by_the_next_run(
    gateway, pilots, order, tmp_path
):
    # As modules in C do it, numpy's for one: half an import is the only one of its process.
    once = (
        "import sys, time\nif hasattr(sys, 'once'): raise ImportError('more than once per process')\nsys.once = True\n"
    )
    (tmp_path / "once.py").write_text(once + "open(__file__ + '.begun', 'w').close()\ntime.sleep(60)\n")

    def load(folder):
        import sys

        sys.path.append(folder)
        import once  # what the test has written

        return once.__name__

    await pilots.start()
    await gateway.send(*order(load, str(tmp_path)))
    await gateway.wait_for(wire.Started, "i-1")
    while not (tmp_path / "once.py.begun").exists():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    await gateway.send(wire.Cancel(invocation_id="i-1", fence=1))
    assert (await gateway.wait_for(wire.GivenBack, "i-1")).end is ActivationEnd.CANCELLED
    (tmp_path / "once.py").write_text(once)
    await gateway.send(*order(load, str(tmp_path), invocation_id="i-2"))
    assert value_of(await gateway.wait_for(wire.Finished, "i-2")) == "once"


async def test_a_cancelled_function_that_does_not_listen_is_killed(gateway, pilots, order):
    def stubborn():
        import time

        while True:
            try:  # noqa: SIM105 - it does not stop
                time.sleep(60)
            except BaseException:  # noqa: BLE001, S110 - that is what stubborn means
                pass

    await pilots.start()
    await gateway.send(*order(stubborn))
    await gateway.wait_for(wire.Started)
    await asyncio.sleep(0.2)
    await gateway.send(wire.Cancel(invocation_id="i-1", fence=1))
    assert (await gateway.wait_for(wire.GivenBack)).end is ActivationEnd.CANCELLED
    await gateway.send(*order(lambda: 1, invocation_id="i-2", name="g", resources=Resources(cpus=2)))
    assert value_of(await gateway.wait_for(wire.Finished, "i-2")) == 1


async def test_a_function_that_overruns_its_declared_walltime_fails(gateway, pilots, order):
    def sleep():
        import time

        time.sleep(60)

    await pilots.start()
    await gateway.send(*order(sleep, walltime_s=0.2))
    assert (await gateway.wait_for(wire.Finished)).failure.kind is FailureKind.WALLTIME


async def test_each_activation_sees_its_own_devices(gateway, pilots, order):
    def devices():
        import os
        import time

        time.sleep(0.2)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    await pilots.start(environ={"CUDA_VISIBLE_DEVICES": "4,6"}, capacity=Resources(cpus=4, gpus=4))
    assert gateway.hellos[0].capacity.gpus == 2
    for number in range(3):
        one_gpu = Resources(cpus=1, gpus=1)
        await gateway.send(*order(devices, invocation_id=f"i-{number}", resources=one_gpu))
    await gateway.send(*order(devices, invocation_id="none"))
    await gateway.wait_for(wire.Finished, count=4)
    seen = [value_of(finished) for finished in gateway.of(wire.Finished) if finished.invocation_id != "none"]
    assert sorted(seen[:2]) == ["4", "6"]
    assert seen[2] in {"4", "6"}
    assert value_of(gateway.of(wire.Finished, "none")[0]) == ""


async def test_devices_of_any_vendor_are_a_slots_own_and_are_put_back(gateway, pilots, order):
    names = (
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "SLURM_STEP_GPUS",
        "SLURM_GPUS_ON_NODE",
        "CUDA_VISIBLE_DEVICES",
    )

    def devices(names, spoils):
        import os

        seen = [os.environ.get(name) for name in names]
        if spoils:
            os.environ.update(dict.fromkeys(names, "7"))
        return os.getpid(), seen

    told = {
        "ROCR_VISIBLE_DEVICES": "0,1",
        "ZE_AFFINITY_MASK": "2,3",
        "SLURM_STEP_GPUS": "4-5",
        "SLURM_GPUS_ON_NODE": "2",
    }
    await pilots.start(environ=told, capacity=Resources(cpus=2, gpus=2))
    one_gpu = Resources(cpus=1, gpus=1)
    seen = []
    for number in range(2):
        spoils = number == 0
        await gateway.send(*order(devices, names, spoils, invocation_id=f"i-{number}", resources=one_gpu))
        seen.append(value_of(await gateway.wait_for(wire.Finished, f"i-{number}")))
    assert seen[0] == seen[1], "the same process, as it was before"
    assert seen[0][1] == ["0", "2", "4", "1", None]
    await gateway.send(*order(devices, names, False, invocation_id="none"))
    none = value_of(await gateway.wait_for(wire.Finished, "none"))
    assert none[1] == ["-1", "-1", None, "0", None]


async def test_a_program_that_a_function_starts_finds_default_signal_handlers(gateway, pilots, order):
    def run():
        import subprocess

        return subprocess.run(["/bin/sh", "-c", "kill -TERM $$"], check=False).returncode

    await pilots.start()
    await gateway.send(*order(run))
    assert value_of(await gateway.wait_for(wire.Finished)) == -15


async def test_an_async_function_is_awaited(gateway, pilots, order):
    async def add(a, b):
        import asyncio

        await asyncio.sleep(0)
        return a + b

    await pilots.start()
    await gateway.send(*order(add, 1, 2))
    assert value_of(await gateway.wait_for(wire.Finished)) == 3


async def test_a_generator_function_resumes_from_its_state(gateway, pilots, order):
    def count(to, state=None):
        started_at = state or 0
        for number in range(started_at, to):
            yield number + 1
        return started_at, to

    await pilots.start()
    await gateway.send(*order(count, 10, invocation_id="fresh"))
    assert value_of(await gateway.wait_for(wire.Finished, "fresh")) == (0, 10)
    first = gateway.of(wire.Checkpoint, "fresh")[0]
    assert (first.seq, pickle.loads(first.state)) == (1, 1)  # noqa: S301
    await gateway.send(*order(count, 10, invocation_id="resumed", attempt=2, checkpoint=pickle.dumps(7)))
    assert value_of(await gateway.wait_for(wire.Finished, "resumed")) == (7, 10)


async def test_a_large_result_arrives(gateway, pilots, order):
    await pilots.start()
    await gateway.send(*order(lambda n: b"x" * n, 20_000_000))
    assert len(value_of(await gateway.wait_for(wire.Finished))) == 20_000_000


async def test_large_arguments_and_checkpoints_arrive(gateway, pilots, order):
    def keep(data):
        from harvester.domain.model.context import context

        context().checkpoint(data)
        return len(data)

    await pilots.start()
    await gateway.send(*order(keep, b"y" * 20_000_000))
    assert value_of(await gateway.wait_for(wire.Finished)) == 20_000_000
    assert len(gateway.of(wire.Checkpoint)[0].state) > 20_000_000


async def test_a_pilot_file_that_is_none_is_refused_with_its_field(tmp_path):
    import sys

    path = tmp_path / "pilot.json"
    path.write_text('{"pilot_id": 7}')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harvester_worker", "--pilot-file", str(path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"pilot_id" in said
    assert str(path).encode() in said


@pytest.mark.parametrize("status", [401, 403])
async def test_a_pilot_that_the_gateway_refuses_ends_with_a_code_of_its_own(gateway, pilots, status):
    gateway.refuses_with = status
    process = await pilots.start(until_ready=False)
    assert await asyncio.wait_for(process.wait(), 5) == 3
