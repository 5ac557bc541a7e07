"""The code of functions in memory: what was called last, and what else this process still holds.

Owns how much of it is kept. Each version is one object, however often it is read and by whom it is held: a million
waiting invocations of a function share its body.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

from harvester.domain.model.functions import FunctionVersion

KEEP = 4096
KEEP_BYTES = 64 * 1024 * 1024


class CodeCache:
    """Function versions by id.

    Parameters
    ----------
    keep, keep_bytes: of those that nobody else holds; the newest one stays in any case.
    """

    def __init__(self, keep: int = KEEP, keep_bytes: int = KEEP_BYTES) -> None:
        self._keep, self._keep_bytes = keep, keep_bytes
        self._used: OrderedDict[str, FunctionVersion] = OrderedDict()  # by last use
        self._alive: WeakValueDictionary[str, FunctionVersion] = WeakValueDictionary()
        self._bytes = 0

    def get(self, function_id: str) -> FunctionVersion | None:
        """Return a version that is at hand."""
        function = self._used.get(function_id)
        if function is not None:
            self._used.move_to_end(function_id)
            return function
        function = self._alive.get(function_id)
        return None if function is None else self.put(function)

    def put(self, function: FunctionVersion) -> FunctionVersion:
        """Keep a version; return the object that stands for it, which may be an older one. A version never changes."""
        function = self._alive.setdefault(function.function_id, function)
        if function.function_id not in self._used:
            self._used[function.function_id] = function
            self._bytes += len(function.body)
            while len(self._used) > 1 and (len(self._used) > self._keep or self._bytes > self._keep_bytes):
                self._bytes -= len(self._used.popitem(last=False)[1].body)
        return function

    def forget(self, function_id: str) -> None:
        """Let go of a version."""
        function = self._used.pop(function_id, None)
        if function is not None:
            self._bytes -= len(function.body)
