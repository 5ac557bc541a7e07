"""The run that a slot makes before it has a user's function: nothing of it is left."""

import os
import sys
import threading

from harvester.domain.model.context import CURRENT, PROCESS
from harvester_worker.slot.warm_up import warm_up


def test_a_warm_up_leaves_nothing_behind():
    warm_up()  # what it imports stays
    modules, names, variables = set(sys.modules), set(vars(sys.modules["__main__"])), dict(os.environ)
    context, threads = PROCESS.find(), set(threading.enumerate())
    warm_up()
    assert set(sys.modules) == modules
    assert set(vars(sys.modules["__main__"])) == names
    assert dict(os.environ) == variables
    assert CURRENT.get() is None
    assert PROCESS.find() is context
    assert set(threading.enumerate()) <= threads
