"""What functions in tests tell of themselves where they run in the test's own process. A module, so that it is one."""

import threading

BEGAN = threading.Event()
LEAVE = threading.Event()  # what waits is to end
ATTEMPTS: list[tuple[int, object]] = []  # the attempt, and what it began with


def clear() -> None:
    BEGAN.clear()
    LEAVE.clear()
    ATTEMPTS.clear()
