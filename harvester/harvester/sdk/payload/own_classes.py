"""This program's own classes that travel by value, as those of `__main__` do: they stay what they are here.

A class that comes back in a result, or in what a function raised, is found again by cloudpickle, which then sets all
its attributes to what came: methods to copies whose globals are not this program's, a counter to what it was when the
function was sent. Owns which classes were sent from here; of those only the instances are new.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import weakref
from collections.abc import Callable, Iterable
from typing import Any

Body = bytes | bytearray | memoryview

_SETTER = "_class_setstate"  # of cloudpickle
_sent: weakref.WeakSet[type] = weakref.WeakSet()


def sent(kind: type) -> None:
    """Record that a class is written by value."""
    with contextlib.suppress(TypeError):  # its metaclass may have no hash
        _sent.add(kind)


def loads(body: Body, *, buffers: Iterable[Any] = ()) -> Any:  # noqa: ANN401 - whatever was pickled
    """As `pickle.loads`, for what comes back to this program."""
    if not _sent:
        return pickle.loads(body, buffers=buffers)  # noqa: S301 - of the caller's own function
    whole = bytes(body) if isinstance(body, memoryview) else body
    if _SETTER.encode() not in whole:  # no class comes by value
        return pickle.loads(whole, buffers=buffers)  # noqa: S301 - as above
    return _Unpickler(io.BytesIO(whole), buffers=buffers).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - any global
        found = super().find_class(module, name)
        return _sparing(found) if name == _SETTER else found


def _sparing(change: Callable[[type, Any], type]) -> Callable[[type, Any], type]:
    def spare(kind: type, state: Any) -> type:  # noqa: ANN401 - cloudpickle's
        return kind if kind in _sent else change(kind, state)

    return spare
