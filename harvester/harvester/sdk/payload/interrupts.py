"""Interrupts: what ends the opening of a result from outside, and is nothing of the result's."""

from __future__ import annotations

import functools
import signal
import threading
from types import CodeType


def is_interrupt(error: BaseException) -> bool:
    """Return whether a user at the keyboard, or a signal handler of the program's, raised `error`.

    Both come in the main thread only. A handler is known by its code among the frames: what it calls may have raised.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code not in handlers:
        trace = trace.tb_next
    return trace is not None


def _code(handler: object) -> CodeType | None:
    """Return the Python code of a handler; None where it has none."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)  # of a bound method
    own = vars(type(function)).get("__call__")  # of an object that is called
    code = getattr(function, "__code__", None) or getattr(own, "__code__", None)
    return code if isinstance(code, CodeType) else None
