"""What failed in the daemon that should not have: a traceback for the log, and a sentence for everybody else."""

from __future__ import annotations

import logging

from harvester.domain.harvest.planning import PolicyError

log = logging.getLogger(__name__)


def failed(what: str, error: Exception) -> str:
    """Log the traceback of `error`; return a sentence for `harvester status` and `explain`.

    It may fail at every tick: the log writes the same traceback once a minute (`cli.up.logs`).
    """
    if isinstance(error, PolicyError):
        log.error("daemon.failure: %s is wrong: %s", what, error)
        return f"{what} is wrong: {error}"
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    log.error("daemon.failure: %s failed (%s); it is tried again", what, said, exc_info=error)
    return f"{what} failed ({said}); it is tried again, and the log has the traceback"
