"""Warm-up: a run of a function of our own, in a slot that has no user's yet.

A forked process pays for each page of memory that it is the first to write to, and Python writes to what it only reads.
A slot that waits for its first function makes this run, so that the first run of a user finds those pages copied. It
must not leave anything behind.
"""

import types

import cloudpickle

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester_worker.slot import loaded_function, runner
from harvester_worker.slot.checkpointing import SlotContext

_LIMIT_BYTES = 1024 * 1024


def _nothing() -> None:
    """Return nothing."""


def _version() -> FunctionVersion:
    # In a module that cannot be imported, so that the function goes by value, as most of users' do.
    nothing = types.FunctionType(_nothing.__code__, {"__name__": "harvester_warm_up"}, "nothing")
    nothing.__module__ = "harvester_warm_up"
    body = cloudpickle.dumps(nothing, protocol=5)
    return FunctionVersion(function_id="warm-up@1", name="warm-up", version=1, kind=FunctionKind.PICKLE, body=body)


_VERSION = _version()
_ARGUMENTS = cloudpickle.dumps(((), {}), protocol=5)


def warm_up() -> None:
    """Load a function and run it, in each encoding that a user may choose."""
    context = SlotContext(
        invocation_id="",
        attempt=1,
        restored=None,
        send=lambda _: None,
        interval_s=1.0,
        limit_bytes=_LIMIT_BYTES,
        leave_in_s=1.0,
    )
    loaded = loaded_function.load(_VERSION)
    for encoding, arguments in ((Encoding.PICKLE, _ARGUMENTS), (Encoding.JSON, b"{}")):
        runner.run(loaded, encoding, arguments, context, limit_bytes=_LIMIT_BYTES, interval_s=1.0)
    context.end()
