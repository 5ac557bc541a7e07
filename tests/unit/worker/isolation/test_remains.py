"""What is found of a run when it is over: threads at users' code, edited modules, processes that were stopped."""

import importlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import harvester
from harvester.domain.model.resources import Resources
from harvester_worker.isolation import installed
from harvester_worker.isolation.changed_modules import ChangedModules
from harvester_worker.isolation.installed import is_installed
from harvester_worker.isolation.remaining_threads import RemainingThreads
from harvester_worker.isolation.slot_environment import Surroundings
from harvester_worker.pool.stopped_slots import LOOK_S, LOOKS, StoppedSlots
from harvester_worker.pool.warm_slots import MOST, USUAL_BYTES, WEIGH_EACH, WEIGH_S, SlotKind, WarmSlots

# ---- threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def threads():
    return RemainingThreads()


@pytest.mark.parametrize("daemon", [True, False])
def test_a_thread_at_the_users_code_is_seen_until_it_ends(threads, daemon):
    begun, end = threading.Event(), threading.Event()

    def users():
        begun.set()
        end.wait()

    thread = threading.Thread(target=users, daemon=daemon)
    thread.start()
    begun.wait()
    assert threads.are_at_users_code()
    end.set()
    thread.join()
    assert not threads.are_at_users_code()


def test_an_idle_pool_is_nobodys_harm_and_one_at_work_is(threads):
    begun, end = threading.Event(), threading.Event()

    def users():
        begun.set()
        end.wait()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert not threads.are_at_users_code()
        pool.submit(users)
        begun.wait()
        assert threads.are_at_users_code()
        end.set()


def test_a_timer_that_will_call_the_user_is_seen(threads):
    timer = threading.Timer(60, print)
    timer.start()
    assert threads.are_at_users_code()
    timer.cancel()
    timer.join()
    assert not threads.are_at_users_code()


def test_installed_code_is_known_by_its_folder():
    assert is_installed(os.__file__)
    assert is_installed(pytest.__file__)
    assert is_installed("<frozen importlib._bootstrap>")
    assert is_installed(installed.__file__)  # the pilot's own stay what they are
    assert is_installed(harvester.__file__)
    assert not is_installed(__file__)
    assert not is_installed("<stdin>")


# ---- modules ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that modules are imported from, of a user's."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("harvester_worker.isolation.changed_modules.LEAST_S", 0.0)
    monkeypatch.setattr("harvester_worker.isolation.changed_modules.SHARE", 0)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("edited_")]:
        del sys.modules[name]


def written(path, text, *, at):
    path.write_text(text)
    os.utime(path, (at, at))


def test_a_module_is_out_of_date_when_its_file_is_another_one(folder):
    written(folder / "edited_one.py", "A = 1", at=1000)
    modules = ChangedModules(frozenset(sys.modules))
    importlib.import_module("edited_one")
    modules.record(0.1)
    assert not modules.check()
    written(folder / "edited_one.py", "A = 2", at=1001)
    assert modules.check()


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_another_one(folder):
    written(folder / "edited_two.py", "A = 1", at=1000)
    modules = ChangedModules(frozenset(sys.modules))
    importlib.import_module("edited_two")
    modules.record(0.1)
    written(folder / "new", "A = 2", at=1000)
    (folder / "new").rename(folder / "edited_two.py")
    assert modules.check()


def test_a_module_that_was_written_while_its_run_was_under_way_is_not_trusted(folder):
    modules = ChangedModules(frozenset(sys.modules))
    (folder / "edited_three.py").write_text("A = 1")
    importlib.import_module("edited_three")
    modules.record(60.0)
    assert modules.check()


def test_what_is_missing_or_installed_or_was_there_before_is_not_out_of_date(folder):
    written(folder / "edited_before.py", "A = 1", at=1000)
    importlib.import_module("edited_before")
    modules = ChangedModules(frozenset(sys.modules))
    written(folder / "edited_four.py", "A = 1", at=1000)
    importlib.import_module("edited_four")
    modules.record(0.1)
    written(folder / "edited_before.py", "A = 2", at=1001)
    (folder / "edited_four.py").unlink()
    assert not modules.check()
    written(folder / "edited_four.py", "A = 2", at=1001)
    assert modules.check()


# ---- stopped processes -----------------------------------------------------------------------------------------------


def looks(stopped, pid, at, *, is_stopped=True):
    return [stopped.seen(found, is_stopped=is_stopped) for found in stopped.to_look_at(at) if found == pid]


def test_who_stays_stopped_is_given_up_after_some_looks():
    stopped = StoppedSlots()
    assert stopped.due_in_s(0.0) is None
    stopped.add(7, 0.0)
    assert stopped.due_in_s(0.0) == LOOK_S
    assert stopped.to_look_at(LOOK_S / 2) == []
    told = [looks(stopped, 7, LOOK_S * number) for number in range(1, LOOKS + 1)]
    assert told == [[False]] * (LOOKS - 1) + [[True]]
    assert stopped.due_in_s(99.0) is None


def test_who_goes_on_is_forgotten():
    stopped = StoppedSlots()
    stopped.add(7, 0.0)
    assert looks(stopped, 7, LOOK_S, is_stopped=False) == [False]
    assert stopped.due_in_s(LOOK_S) is None


def test_an_hour_of_suspension_is_one_look():
    stopped = StoppedSlots()
    stopped.add(7, 0.0)
    assert looks(stopped, 7, 3600.0) == [False]
    assert looks(stopped, 7, 3600.1) == []
    assert looks(stopped, 7, 3600.0 + LOOK_S, is_stopped=False) == [False]


# ---- idle processes --------------------------------------------------------------------------------------------------


def kind(owner="me", function_id="f@1", gpus=None):
    return SlotKind(Surroundings(cpus=1, gpus=gpus), (owner, function_id))


def some(*numbers_and_owners, cpus=1, for_each_cpu=4, memory_mb=0):
    warm = WarmSlots(Resources(cpus=cpus, memory_mb=memory_mb), for_each_cpu)
    for number, owner in numbers_and_owners:
        warm.add(number, kind(owner))
    return warm


def nothing(_number):
    return 0


def test_an_idle_process_is_taken_for_its_own_tenant_only_and_the_last_used_one_first():
    warm = some((1, "me"), (2, "me"), (3, "somebody else"))
    assert warm.take(kind(function_id="g@1")) is None
    assert warm.take(kind(gpus=("0",))) is None
    assert [warm.take(kind()) for _ in range(3)] == [2, 1, None]
    assert warm.take(kind("somebody else")) == 3


def test_one_process_more_ends_the_idle_ones_that_were_not_used_for_longest():
    warm = some((1, "a"), (2, "b"), (3, "c"), cpus=2, for_each_cpu=1)
    warm.add(warm.take(kind("a")), kind("a"))
    assert [warm.choose_surplus(count, 0.0, nothing) for count in (3, 4, 5)] == [[], [2], [2, 3]]
    warm.discard(2)
    warm.discard(2)
    assert warm.choose_surplus(9, 0.0, nothing) == [3, 1]


def test_a_large_pilot_does_not_keep_more_than_is_good_for_its_node():
    warm = some(*[(number, "a") for number in range(300)], cpus=100, for_each_cpu=16)
    assert warm.choose_surplus(100 + MOST, 0.0, nothing) == [0]


def test_idle_processes_have_a_share_of_the_pilots_memory_and_are_weighed_now_and_then():
    bytes_of = {1: 10, 2: 200, 3: 150, 4: 100}
    everybody = [(number, str(number)) for number in bytes_of]
    warm = some(*everybody, memory_mb=1000)
    assert warm.choose_surplus(4, 10.0, lambda number: bytes_of[number] * 1024**2) == [1, 2]
    assert warm.choose_surplus(4, 10.0 + WEIGH_S / 2, lambda _: 10**12) == []
    assert warm.choose_surplus(4, 10.0 + WEIGH_S, nothing) == []
    found = [warm.choose_surplus(4, 11.0 + WEIGH_S, lambda _: 2**40) for _ in range(2 * WEIGH_EACH)]
    assert [number for number, surplus in enumerate(found) if surplus] == [0, WEIGH_EACH]
    assert some(*everybody).choose_surplus(4, 10.0, lambda _: USUAL_BYTES // 10) == [1, 2]


def test_idle_processes_are_found_by_their_devices():
    warm = some()
    warm.add(1, kind(gpus=("0", "1")))
    warm.add(2, kind(gpus=("2",)))
    warm.add(3, kind())
    assert warm.with_devices(("1", "3")) == [1]
    assert warm.with_devices(()) == []
