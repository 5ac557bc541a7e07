"""Errors for packages that are not installed here, with the extra that installs them.

A user's laptop has the SDK and this command line; what starts or asks a scheduler needs more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harvester.sdk.errors import HarvesterError

_OURS = ("harvester", "harvester_adapters", "harvester_api", "harvester_worker")


@contextmanager
def needing(*extras: str) -> Iterator[None]:
    """Raise `HarvesterError`, with the line that installs them, where a module of these extras is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in _OURS:  # a defect of ours: no extra brings it
            raise
        raise HarvesterError(
            f"the Python package {missing} is not installed here; "
            f"install it: pip install 'hpc-harvester[{','.join(extras)}]'"
        ) from error
