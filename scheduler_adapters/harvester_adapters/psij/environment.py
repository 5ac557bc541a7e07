"""Which variables of this process reach a scheduler's commands, and with them the pilots.

Knows no scheduler: what its commands need is told by the beginnings of names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

# The daemon's environment has its secrets, and bsub hands on all that it is run with.
KEPT = ("HOME", "LANG", "LOGNAME", "PATH", "USER")


def exported(beginnings: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the variables that submissions and cancellations are run with."""
    return (*KEPT, *(name for name in os.environ if name.startswith(tuple(beginnings))), *more)


def values(names: Sequence[str]) -> dict[str, str]:
    """Return those of the variables that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def asking(beginnings: Sequence[str]) -> dict[str, str]:
    """Return the environment of questions: untranslated answers, whatever the user's language is."""
    return values(exported(beginnings, ())) | {"LC_ALL": "C", "TZ": "UTC"}
