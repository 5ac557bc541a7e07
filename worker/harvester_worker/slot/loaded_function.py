"""The code of a slot: the one function that it serves, as it came and as it was loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from harvester.domain.model.functions import FunctionVersion
from harvester_worker.isolation import forks
from harvester_worker.slot import runner


class Code:
    """What a slot is to call. It comes before the first run, and stays loaded for all of them."""

    def __init__(self) -> None:
        self._function: FunctionVersion | None = None
        self._loaded: runner.Loaded | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether a run need not load it first."""
        return self._loaded is not None

    @property
    def has_walltime(self) -> bool:
        """Whether an upper bound of its runs was declared."""
        return self._function is not None and self._function.walltime_s is not None

    def take(self, function: FunctionVersion) -> None:
        """Serve this function."""
        self._function = function

    def loaded(self) -> runner.Loaded:
        """Return it ready to be called. Raises `RunFailed`."""
        if self._loaded is None:
            if self._function is None:
                raise RuntimeError("a run came before its function")
            self._loaded = runner.load(self._function)
            forks.end_if_copy()
            self._function = msgspec.structs.replace(self._function, body=b"")  # it is loaded, and may be large
        return self._loaded

    def id_of(self, plain: Callable[..., Any]) -> str | None:
        """Return the function's id if this is what was loaded."""
        is_it = self._loaded is not None and self._loaded.function is plain
        return self._function.function_id if self._function is not None and is_it else None
