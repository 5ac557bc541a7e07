"""What becomes of a fork that comes back from user's code: it ends there, whatever way it leaves."""

import subprocess
import sys

import pytest

from harvester_worker.isolation import forks

# Each `run` is called in a slot's place; the copy must never come back from it. What the original prints is looked at.
SCRIPT = """
import os, sys
from harvester.domain.payload.calls import decode_outcomes, encode_calls
from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester_worker.isolation import forks
from harvester_worker.slot import loaded_function, runner
from harvester_worker.slot.checkpointing import SlotContext
import atexit, pickle
forks.remember()
me = os.getpid()
atexit.register(lambda: print("at exit of the", "slot" if os.getpid() == me else "copy"))
def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def leaves(how, of=None):
    pid = os.fork()
    if pid:
        return ended(pid)
    print("in the copy")  # not flushed
    if how == "raises":
        raise ValueError("of the copy")
    if how == "exits":
        sys.exit(of)
    return "returned"
async def leaves_a_loop(how, of=None):
    import asyncio
    result = leaves(how, of)
    if result != "returned":
        await asyncio.to_thread(int)  # the slot's loop still hears of its threads
    return result
def leaves_a_generator(how, of=None):
    result = leaves(how, of)
    if result == "returned":
        yield "what a copy saves is nobody's"
    return result
context = SlotContext(
    invocation_id="i", attempt=1, restored=None, send=print, interval_s=9, limit_bytes=9**9, leave_in_s=9
)
function, how, of, chunk = {!r}, {!r}, {!r}, {!r}
arguments = pickle.dumps(((how, of), {{}}))
loaded = loaded_function.Loaded(globals()[function])
if chunk:
    pieces = runner.run(loaded, Encoding.CALLS, encode_calls([arguments] * 3), context, limit_bytes=9**9, interval_s=9)
    print([pickle.loads(each) for each in decode_outcomes(b"".join(pieces))])
else:
    pieces = runner.run(loaded, Encoding.PICKLE, arguments, context, limit_bytes=9**9, interval_s=9)
    print(pickle.loads(b"".join(pieces)))
"""


def outcome(function, how, of=None, *, chunk=False):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(function, how, of, chunk)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("function", ["leaves", "leaves_a_loop", "leaves_a_generator"])
@pytest.mark.parametrize(
    ("how", "of", "code"), [("returns", None, 0), ("raises", None, 1), ("exits", 3, 3), ("exits", "a word", 1)]
)
def test_a_copy_ends_with_the_code_of_its_way_out_and_the_slot_goes_on(function, how, of, code):
    output, errors = outcome(function, how, of)
    assert output == ["in the copy", str(code), "at exit of the slot"]
    assert ("ValueError: of the copy" in errors) is (how == "raises")
    assert ("a word" in errors) is (of == "a word")


def test_a_copy_of_one_call_makes_none_of_the_others():
    output, _ = outcome("leaves", "exits", 3, chunk=True)
    assert output == ["in the copy"] * 3 + ["[3, 3, 3]", "at exit of the slot"]


def test_who_runs_functions_without_a_slot_has_no_copies():
    assert not forks.is_copy()
    forks.end_if_copy()
