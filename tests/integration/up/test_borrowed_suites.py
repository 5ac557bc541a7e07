"""The executor and the joblib backend under the tests of those whose interface they have: CPython and joblib.

Nothing of these suites is copied: they are imported from where they are installed. Only what makes the executor is
replaced. Whatever cannot pass is listed with its reason, and the lists must be true.
"""

import importlib
import importlib.util
import inspect
import io
import logging
import os
import pkgutil
import re
import subprocess
import sys
import unittest
from concurrent import futures
from pathlib import Path

import pytest
from support.running import Running, free_port

import harvester
from harvester.domain.model.invocations import InvocationState
from harvester.sdk.futures import InvocationFuture

pytestmark = pytest.mark.timeout(300)

_NEW_PROCESS = "starts a program that makes ThreadPoolExecutor by its name"
_THREADS = "looks at the threads of a ThreadPoolExecutor"
_SHARED = "the function and the test share an object in memory"
_NAMED = "looks for the name of the class"
NOT_OURS = {
    "ExecutorShutdown.test_interpreter_shutdown": _NEW_PROCESS,
    "ExecutorShutdown.test_submit_after_interpreter_shutdown": _NEW_PROCESS,
    "ExecutorShutdown.test_hang_gh83386": _NEW_PROCESS,
    "ExecutorShutdown.test_hang_gh94440": _NEW_PROCESS,
    "ThreadPoolShutdown.test_cancel_futures_wait_false": _NEW_PROCESS,
    "ThreadPoolShutdown.test_threads_terminate": _THREADS,
    "ThreadPoolShutdown.test_context_manager_shutdown": _THREADS,
    "ThreadPoolShutdown.test_del_shutdown": _THREADS,
    "ThreadPoolShutdown.test_shutdown_no_wait": _THREADS,
    "ThreadPoolShutdown.test_thread_names_assigned": _THREADS,
    "ThreadPoolShutdown.test_thread_names_default": _THREADS,
    "ThreadPoolExecutor.test_saturation": _THREADS,
    "ThreadPoolExecutor.test_idle_thread_reuse": _THREADS,
    "ThreadPoolExecutor.test_default_workers": "the default of max_workers is a number of threads there",
    "ThreadPoolExecutor.test_hang_global_shutdown_lock": "forks around a ThreadPoolExecutor",
    "ThreadPoolExecutor.test_map_submits_without_iteration": _SHARED,
    "ThreadPoolExecutor.test_executor_map_current_future_cancel": _SHARED,
    "ThreadPoolWait.test_pending_calls_race": _SHARED,
    "FailingInitializer.test_initializer": "waits for the private `_broken`, and for a log of its own process",
    "Future.test_repr": _NAMED,
    "Future.test_multiple_set_result": _NAMED,
    "Future.test_multiple_set_exception": _NAMED,
    "Future.test_cancel": "looks at the private `_state`: ours tells its waiters of a cancellation at once",
}


def missing(what, remedy):
    """A suite that is not there is seen on a laptop, and is an error where all of them have to be."""
    tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    tell(f"{what} is not installed: {remedy}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("borrowed")


@pytest.fixture(scope="module")
def system(folder):
    python = folder / "python"  # what is linked into this folder can be imported here and on the pilots
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    version = "{}.{}".format(*sys.version_info)
    config = folder / "site.toml"
    config.write_text(
        f'[[pilot]]\nname = "all"\npartition = "harvest"\npython = "{python}"\npython_version = "{version}"\n'
    )
    options = ("--scheduler", "local", "--nodes", "2", "--cpus", "3", "--port", str(free_port()))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        running = Running(folder / "state", "--config", str(config), *options).start()
        yield running
        running.stop()
        running.kill_pilots()


@pytest.fixture
def client(system):
    with system.client("user") as client:
        assert client.submit(abs, -1).result(60) == 1  # its threads are there before a test counts threads
        yield client


# ---- CPython's ---------------------------------------------------------------------------------------------------


def cpythons_modules(folder):
    """Return the suite's modules. Many Pythons come without them; Debian's of the same version does as well."""
    version = "python{}.{}".format(*sys.version_info)
    own = importlib.util.find_spec("test")
    homes = [*map(Path, own.submodule_search_locations if own else ()), Path("/usr/lib", version, "test")]
    places = [home / f"test_concurrent_futures{end}" for home in homes for end in ("", ".py")]
    place = next((place for place in places if place.exists()), None)
    if place is None or importlib.util.find_spec("test.support") is None:
        missing("CPython's test suite", f"apt-get install lib{version}-testsuite")
    folder.joinpath(f"borrowed_executors{place.suffix}").symlink_to(place)
    package = importlib.import_module("borrowed_executors")
    inner = [each.name for each in pkgutil.iter_modules(getattr(package, "__path__", ()))]
    return [package, *(importlib.import_module(f"{package.__name__}.{name}") for name in inner)]


def short_name(owner, method):
    for kind in inspect.getmro(owner):
        if method in vars(kind):
            return f"{kind.__name__.removesuffix('Mixin').removesuffix('s').removesuffix('Test')}.{method}"
    raise AssertionError(f"{owner} has no {method}")


def adapted(owner, make):
    """Return the tests of a class, with another executor, by the names of where they are written."""
    kind = type(owner.__name__, (owner,), {"executor_type": staticmethod(make)})
    for method in unittest.defaultTestLoader.getTestCaseNames(owner):
        yield short_name(owner, method), kind(method)


def test_cpythons_tests_of_executors_and_futures_pass_but_those_listed(client, folder, monkeypatch):
    class Gateway:
        def cancel(self, _invocation_id):
            return True

        def state(self, _invocation_id):
            return InvocationState.ACCEPTED

    def make(**options):
        return harvester.Executor(client, **options)

    found = {}
    for module in cpythons_modules(folder):
        if hasattr(module, "create_future"):
            monkeypatch.setattr(module, "Future", lambda: InvocationFuture(Gateway()), raising=False)
        for owner in vars(module).values():
            if not inspect.isclass(owner) or not issubclass(owner, unittest.TestCase):
                continue
            is_futures = owner.__name__ == "FutureTests"
            if is_futures or getattr(owner, "executor_type", None) is futures.ThreadPoolExecutor:
                found.update(adapted(owner, make))
    known = {name: why for name, why in NOT_OURS.items() if sys.version_info[:2] == (3, 11) or name in found}
    assert known.keys() - found.keys() <= {"ExecutorShutdown.test_hang_gh94440"}, "listed, and not in this Python"
    # pytest listens to what is logged; where nobody does, logging writes to standard error, which the suite looks at.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    said = io.StringIO()
    chosen = [test for name, test in found.items() if name not in NOT_OURS]
    result = unittest.TextTestRunner(said, verbosity=2).run(unittest.TestSuite(chosen))
    assert result.wasSuccessful(), said.getvalue()
    assert result.testsRun >= 40  # and none of them skipped itself
    assert result.skipped == []


# ---- joblib's ----------------------------------------------------------------------------------------------------

_NOT_THERE = "the inner loop names a backend that only the outer process has registered"
NOT_JOBLIBS = {
    "test_nested_loop[loky-harvester]": _NOT_THERE,
    "test_nested_loop[harvester-harvester]": _NOT_THERE,
    "test_nested_loop[back_compat_backend-harvester]": _NOT_THERE,
}
PLUGIN = """
import harvester.joblib

harvester.joblib.register()  # before the suite is imported, which is parametrized with all backends that joblib knows
"""


def test_joblibs_tests_of_parallel_pass_with_the_backend(system, tmp_path):
    if not importlib.util.find_spec("joblib") or not importlib.util.find_spec("joblib.test.test_parallel"):
        missing("joblib with its tests", "pip install joblib")
    tmp_path.joinpath("harvester_backend.py").write_text(PLUGIN)
    environment = {
        **os.environ,
        "HARVESTER_URL": system.url,
        "HARVESTER_TOKEN": system.token("user"),
        "PYTHONPATH": str(tmp_path),
    }
    chosen = " and not ".join(["harvester", *NOT_JOBLIBS])
    plugins = ["-p", "harvester_backend", "-p", "no:cacheprovider"]
    where = ["-c", os.devnull, "--rootdir", str(tmp_path), "--pyargs", "joblib.test.test_parallel"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, *where, "-k", chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 60
