"""Forks: copies of a slot that a user's function has made, when they return from the function.

Such a process must not serve the slot's queue, or it would run what waits there a second time. It ends where it would
return into the slot's code, with the exit code that a program of its own would have. As in `multiprocessing`, output is
flushed and exit handlers are not run: they are the slot's.
"""

import contextlib
import os
import sys
import traceback


class _Slot:
    pid = 0  # 0: this process is not a slot and has no copies, as where a runner is used alone


def remember() -> None:
    """Record that this process is the slot; every fork of it is a copy."""
    _Slot.pid = os.getpid()


def is_copy() -> bool:
    """Return whether this process is not the slot but was forked from it, by Python or by C."""
    return os.getpid() != _Slot.pid and _Slot.pid != 0


def end_if_copy(error: BaseException | None = None) -> None:
    """End this process where it is a copy. To be called wherever user's code returns, or raises `error`."""
    if os.getpid() == _Slot.pid or not is_copy():
        return
    code = 1
    try:
        code = _exit_code(error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # it may be closed, or any object of the user's
                stream.flush()
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)  # noqa: T201 - as Python does it with a text
    return 1
