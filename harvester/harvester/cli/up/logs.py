"""Where the log of `harvester up` goes, and what becomes of it on a bad day.

A disk that is full takes no log either, and a trouble that lasts is logged at every tick, ten times a second. Neither
may bury the terminal, or what else is in the file, under tracebacks or under one line.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

_AGAIN_S = 60.0
_MOST_TEXTS = 1000


class OnceInAWhile(logging.Filter):
    """Passes a warning once a minute, and everything below a warning always.

    Two warnings are the same where their words are; with a traceback, where the same was raised in the same place.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        if record.levelno < logging.WARNING:
            return True
        now, what = self._clock(), (record.name, _raised(record) or record.getMessage())
        if now - self._told_at.get(what, -_AGAIN_S) < _AGAIN_S:
            return False
        if len(self._told_at) >= _MOST_TEXTS:
            self._told_at.clear()
        self._told_at[what] = now
        return True


def _raised(record: logging.LogRecord) -> str:
    """Return what was raised and where; empty for a record without a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    trace = None if error is None else error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error)} {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


class Lines(logging.Formatter):
    """One line a record, for the terminal: tracebacks are in the log file only."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"{record.levelname} {record.getMessage()}"


class LogFile(RotatingFileHandler):
    """The log file. That it takes no line is told once, until it takes one again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=10_000_000, backupCount=3, encoding="utf-8")
        self._is_told = False
        self._has_failed = False

    def _open(self) -> TextIOWrapper:
        """Open the file for its owner only: it names functions, nodes and people."""
        raw = open(self.baseFilename, "ab", opener=_for_us)  # noqa: SIM115 - `opener`; the handler closes it
        return TextIOWrapper(raw, self.encoding)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self._has_failed = False
        super().emit(record)
        self._is_told = self._has_failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report on the terminal that a line is missing from the file, once until a line is written again."""
        self._has_failed = True
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_told:
            words = f"WARNING the log {self.baseFilename} cannot be written ({error.strerror}); lines are missing there"
            sys.stderr.write(f"{words} until it can\n")


def _for_us(path: str, flags: int) -> int:
    file = os.open(path, flags, 0o600)
    os.fchmod(file, 0o600)  # one that an older version made
    return file


def log_to(path: Path) -> None:
    """Send the log to the file `path`, and warnings to the terminal."""
    file = LogFile(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    file.addFilter(OnceInAWhile())
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(Lines())
    terminal.addFilter(OnceInAWhile())
    logging.basicConfig(level=logging.INFO, handlers=[file, terminal], force=True)
    for chatty in ("psij", "websockets", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
