"""What a function does to its own process must not hit the next one there, nor cost it its result."""

import pickle

import pytest

from harvester.domain.protocol import wire


def value_of(ended):
    return pickle.loads(ended.value)  # noqa: S301 - made by this very test


async def end_of(gateway, number):
    ended = await gateway.wait_for(wire.Finished, f"i-{number}")
    assert not gateway.of(wire.GivenBack)
    return ended


def close_outputs():
    import os
    import sys

    sys.stdout.close()
    os.close(2)
    return "done"


def replace_outputs():
    import io
    import sys

    sys.stdout, sys.stderr = io.StringIO(), None
    return "done"


@pytest.mark.parametrize("spoil", [close_outputs, replace_outputs])
async def test_a_function_that_spoils_its_output_keeps_its_result_and_the_next_one_can_write(
    gateway, pilots, order, spoil
):
    def writes():
        import os
        import sys

        sys.stdout.write("out\n")
        sys.stderr.write("err\n")
        return sys.stdout.fileno(), os.fstat(2).st_ino == os.fstat(sys.stderr.fileno()).st_ino

    await pilots.start()
    await gateway.send(*order(spoil, invocation_id="i-1", name="spoil"))
    assert value_of(await end_of(gateway, 1)) == "done"
    await gateway.send(*order(writes, invocation_id="i-2", name="writes"))
    assert value_of(await end_of(gateway, 2)) == (1, True)


async def test_devices_directory_and_alarm_do_not_outlive_their_function(gateway, pilots, order, tmp_path):
    def look():
        import os
        import signal
        from pathlib import Path

        here = str(Path.cwd()), os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()
        left_s = signal.getitimer(signal.ITIMER_REAL)[0]
        return *here, left_s

    def spoil(folder):
        import os
        import signal

        os.chdir(folder)
        os.environ["CUDA_VISIBLE_DEVICES"] = "7"
        signal.alarm(1)

    await pilots.start()
    seen = []
    for number, (function, args) in enumerate([(look, ()), (spoil, (str(tmp_path),)), (look, ())]):
        await gateway.send(*order(function, *args, invocation_id=f"i-{number}", name=function.__name__))
        seen.append(value_of(await end_of(gateway, number)))
    assert seen[0] == seen[2]
    assert seen[2][-1] == 0


async def test_an_exception_whose_text_no_wire_takes_is_still_the_users_to_read(gateway, pilots, order):
    def broken():
        raise FileNotFoundError("no file caf\udce9.txt")  # as os.fsdecode makes of a name that is not UTF-8

    await pilots.start()
    await gateway.send(*order(broken))
    failure = (await gateway.wait_for(wire.Finished)).failure
    assert "caf\\udce9.txt" in failure.message
    assert "caf\\udce9.txt" in failure.traceback
