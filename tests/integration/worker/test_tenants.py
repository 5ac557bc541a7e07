"""Real slots: nothing of a run reaches another owner's or another function's, and none takes the pilot with it."""

import asyncio
import pickle

import msgspec
import psutil
import pytest

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire

ONE_SLOT = Resources(cpus=1)


def value_of(finished):
    assert finished.failure is None, finished.failure
    return pickle.loads(finished.value)  # noqa: S301 - made by our own pilot


def spoils():
    def run():
        import asyncio
        import builtins
        import decimal
        import locale
        import logging
        import os
        import random
        import resource
        import signal
        import socket
        import sys
        import tempfile
        import threading
        import time
        import warnings

        tempfile.mkstemp()
        os.environ["PASSWORD"] = "mine"
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        os.umask(0o077)
        os.chdir("/")
        random.seed(1)
        decimal.getcontext().prec = 3
        warnings.simplefilter("error")
        sys.setrecursionlimit(200)
        sys.path.append("/mine")
        builtins.mine = 1
        socket.setdefaulttimeout(0.001)
        logging.disable(logging.CRITICAL)
        locale.setlocale(locale.LC_ALL, "C")
        asyncio.set_event_loop(None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
        os.dup2(1, 99)
        return os.getpid()

    return run


def looks():
    def run():
        import asyncio
        import builtins
        import decimal
        import locale
        import logging
        import os
        import random
        import resource
        import signal
        import socket
        import sys
        import tempfile
        import threading
        import time
        import warnings
        from pathlib import Path

        umask = os.umask(0o022)
        os.umask(umask)
        drawn = random.random()  # noqa: S311 - whether it is another one is looked at
        found = {
            "password": os.environ.get("PASSWORD"),
            "zone": time.tzname,
            "umask": umask,
            "here": str(Path.cwd()),
            "precision": decimal.getcontext().prec,
            "warnings": warnings.filters[:],
            "recursion": sys.getrecursionlimit(),
            "path": sys.path[:],
            "builtins": sorted(vars(builtins)),
            "timeout": socket.getdefaulttimeout(),
            "logging": logging.root.manager.disable,
            "locale": locale.setlocale(locale.LC_ALL),
            "hangup": str(signal.getsignal(signal.SIGHUP)),
            "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "threads": threading.active_count(),
            "files left": [each.name for each in Path(tempfile.gettempdir()).iterdir()],
            "descriptors": sorted(int(each.name) for each in Path("/proc/self/fd").iterdir())[:-1],
        }
        asyncio.get_event_loop().close()
        return found, drawn, os.getpid()

    return run


async def test_a_run_finds_nothing_of_another_functions_or_another_owners_run(gateway, pilots, order):
    async def run(function, number, owner):
        code, lease = order(function, invocation_id=f"i-{number}", name=function.__qualname__.split(".")[0])
        await gateway.send(code, msgspec.structs.replace(lease, owner=owner))
        return value_of(await gateway.wait_for(wire.Finished, f"i-{number}"))

    await pilots.start(capacity=ONE_SLOT)
    fresh, first_drawn, first_pid = await run(looks(), 0, "a")
    spoiled_pid = await run(spoils(), 1, "a")
    found, second_drawn, second_pid = await run(looks(), 2, "b")
    assert found == fresh
    assert second_drawn != first_drawn
    assert len({first_pid, spoiled_pid, second_pid}) == 3
    _, _, again_pid = await run(looks(), 3, "b")
    assert again_pid == second_pid, "one's own function finds its process again"


async def test_of_ones_own_runs_directory_umask_and_signal_mask_are_put_back_and_get_event_loop_works(
    gateway, pilots, order
):
    def both(does):
        import asyncio
        import os
        import signal
        from pathlib import Path

        umask = os.umask(0o022)
        os.umask(umask)
        found = umask, str(Path.cwd()), len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), os.getpid()
        if not does:
            asyncio.get_event_loop()
            return found

        async def coroutine():
            os.umask(0o077)
            os.chdir("/")
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            return found

        return coroutine()

    await pilots.start(capacity=ONE_SLOT)
    found = []
    for number, does in enumerate((False, True, False)):
        await gateway.send(*order(both, does, invocation_id=f"i-{number}"))
        found.append(value_of(await gateway.wait_for(wire.Finished, f"i-{number}")))
    assert found[0] == found[1] == found[2]


def kills_its_group():
    def run():
        import os
        import signal

        os.killpg(0, signal.SIGKILL)

    return run


def stops():
    def run():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSTOP)

    return run


def closes_its_lines():
    def run():
        import os

        os.closerange(3, 256)
        sum(range(10**12))  # holds the interpreter's lock, so nobody in there sees that the line is closed

    return run


def says_garbage():
    def run():
        import os
        import time
        from pathlib import Path

        for each in Path("/proc/self/fd").iterdir():
            if each.is_symlink() and str(each.readlink()).startswith("socket:"):
                os.write(int(each.name), b"\xff" * 64)
        time.sleep(60)

    return run


def shortens_its_claims():
    def run():
        import os
        from pathlib import Path

        for each in Path("/proc/self/fd").iterdir():
            if each.is_symlink() and "harvester-claims" in str(each.readlink()):
                os.ftruncate(int(each.name), 0)

    return run


@pytest.mark.parametrize(
    "harms",
    [kills_its_group, stops, closes_its_lines, says_garbage, shortens_its_claims],
    ids=lambda each: each.__name__,
)
async def test_a_function_that_harms_its_slot_is_blamed_and_its_neighbour_never_knows(gateway, pilots, order, harms):
    def neighbour():
        import os
        import time

        time.sleep(0.5)
        return os.getppid()

    process = await pilots.start()
    await gateway.send(*order(neighbour, invocation_id="neighbour", name="neighbour"))
    await gateway.wait_for(wire.Started, "neighbour")
    await gateway.send(*order(harms(), invocation_id="harms", name="harms"))
    if harms is shortens_its_claims:
        assert "PermissionError" in (await gateway.wait_for(wire.Finished, "harms")).failure.message
    else:
        assert (await gateway.wait_for(wire.GivenBack, "harms", within_s=8)).end is ActivationEnd.SLOT_DIED
    zygote = psutil.Process(value_of(await gateway.wait_for(wire.Finished, "neighbour")))
    async with asyncio.timeout(20):
        while len(zygote.children()) > (4 if harms is shortens_its_claims else 3):  # noqa: ASYNC110 - two are spares
            await asyncio.sleep(0.02)
    assert process.returncode is None


async def test_a_stopped_zygote_is_woken(gateway, pilots, order):
    def stops():
        import os
        import signal

        os.kill(os.getppid(), signal.SIGSTOP)

    def other():
        return "ran"

    await pilots.start()
    await gateway.send(*order(stops, invocation_id="i-1", name="stops"))
    await gateway.wait_for(wire.Finished, "i-1")
    await gateway.send(*order(other, invocation_id="i-2", name="other"))
    assert value_of(await gateway.wait_for(wire.Finished, "i-2")) == "ran"


async def test_the_wall_of_a_copy_holds_and_what_waits_behind_its_slot_runs_once(gateway, pilots, order, tmp_path):
    def forks(path):
        import os
        import sys

        with open(path, "a") as file:  # noqa: PTH123 - one write a run
            file.write("run\n")
        pid = os.fork()
        if pid == 0:
            sys.exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    await pilots.start(capacity=ONE_SLOT)
    messages = [order(forks, str(tmp_path / "log"), invocation_id=f"i-{number}") for number in range(8)]
    await gateway.send(messages[0][0], *[lease for _, lease in messages])
    await gateway.wait_for(wire.Finished, count=8)
    assert [value_of(finished) for finished in gateway.of(wire.Finished)] == [3] * 8
    assert len((tmp_path / "log").read_text().split()) == 8


async def test_an_edited_module_is_loaded_anew_and_no_run_is_lost_for_it(gateway, pilots, order, tmp_path):
    def uses():
        import os

        import edited

        return edited.A, os.getpid()

    (tmp_path / "edited.py").write_text("A = 1")
    await pilots.start(capacity=ONE_SLOT, environ={"PYTHONPATH": str(tmp_path)})
    found = []
    for number in range(3):
        await gateway.send(*order(uses, invocation_id=f"i-{number}"))
        found.append(value_of(await gateway.wait_for(wire.Finished, f"i-{number}")))
        if number == 1:
            (tmp_path / "edited.py").write_text("A = 22222")
            await asyncio.sleep(0.05)
    assert [value for value, _ in found] == [1, 1, 22222]
    assert found[0][1] == found[1][1] != found[2][1]
    assert not gateway.of(wire.GivenBack)


async def test_idle_processes_are_no_more_than_are_kept_warm(gateway, pilots, order):
    def run():
        import os

        return os.getppid()

    await pilots.start(capacity=ONE_SLOT, warm_slots=2)
    for number in range(6):
        await gateway.send(*order(run, invocation_id=f"i-{number}", name=f"f{number}"))
        zygote = psutil.Process(value_of(await gateway.wait_for(wire.Finished, f"i-{number}")))
    async with asyncio.timeout(20):
        while len(zygote.children()) > 3:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
