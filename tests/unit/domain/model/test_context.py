"""The context of a run: its threads find it, those that outlive it are told so."""

import threading
from types import SimpleNamespace

import pytest

from harvester.domain.model.context import DetachedContext, ProcessContext
from harvester.domain.model.hosting import RunOver


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_outside_a_slot_it_is_the_one_for_laptops():
    assert isinstance(ProcessContext().find(), DetachedContext)


def test_a_thread_finds_the_context_of_the_present_run():
    process, run = ProcessContext(), SimpleNamespace()
    process.begin(run)
    assert in_thread(process.find) is run


def test_between_two_runs_there_is_none():
    process = ProcessContext()
    process.begin(SimpleNamespace())
    process.end()
    with pytest.raises(RunOver, match=r"the thread 'MainThread' is over"):
        process.find()


def test_a_thread_that_outlived_its_run_does_not_act_for_the_next_one():
    process, go_on, found = ProcessContext(), threading.Event(), []

    def linger():
        go_on.wait(10)
        with pytest.raises(RunOver, match="'lingers' is over"):
            process.find()
        found.append("told")

    process.begin(SimpleNamespace())
    thread = threading.Thread(target=linger, name="lingers")
    thread.start()
    process.end([thread])
    following = SimpleNamespace()
    process.begin(following)
    go_on.set()
    thread.join()
    assert found == ["told"]
    assert in_thread(process.find) is following
