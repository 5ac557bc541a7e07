"""A user's exception, pickled beside the text of its failure.

Owns how it is pickled, and what counts as the same exception again. The general pickler is handed in, since this
imports none. Both ways run the exception's own code: for slots, and for clients whose own functions raised it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from harvester.domain.payload.pickles import Loads

LIMIT_BYTES = 64 * 1024
"""A larger exception is not sent; its failure tells it as text."""

KEPT = 4096
"""Characters or bytes at each end of a text, where an exception is too large with all of it."""

DEPTH = 8
"""Of exceptions and lists in one another, of which each may want to be made so; a group in a group takes two."""


class PicklerType(Protocol):
    """A pickler for functions and classes, as `cloudpickle.Pickler` is one."""

    def dump(self, value: object, /) -> None:
        """Write the pickle of `value`."""
        ...


class TooLarge(Exception):
    """An exception with too much in it."""


class _Bounded:
    """What a pickler writes to: it stops one that writes too much, before it has written all."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._left = LIMIT_BYTES

    def write(self, piece: Any) -> int:  # noqa: ANN401 - bytes, or a buffer of the pickler's own
        size = memoryview(piece).nbytes
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"over {LIMIT_BYTES} bytes")
        self.pieces.append(bytes(piece))
        return size


def pickled_exception(error: BaseException, pickler: Callable[[Any], PicklerType]) -> bytes:
    """Return `error` as a pickle; empty where it is too large, or does not come out of it as it went in.

    Texts and bytes in it lose their middle where it is too large with them. Only an `Exception` travels: a client must
    not be interrupted or ended by what a function on a node raised. Raises whatever else than an `Exception` pickling
    raises.
    """
    if not isinstance(error, Exception):
        return b""
    best = b""
    for written in (error, _bare(error)):
        body, is_same = _tried(written, error, pickler)
        if is_same:
            return body
        best = body or best  # its text may name an address in memory
    if best:
        return best
    return _tried(_bare(error, _shortened), error, pickler)[0]


def _tried(written: object, error: Exception, pickler: Callable[[Any], PicklerType]) -> tuple[bytes, bool]:
    """Return a pickle that makes an exception of the class of `error`, else nothing; and whether with its text."""
    file = _Bounded()
    try:
        pickler(file).dump(written)
        body = b"".join(file.pieces)
        again = pickle.loads(body)  # noqa: S301 - made in this process, a line above
        return (body, str(again) == str(error)) if type(again) is type(error) else (b"", False)
    except Exception:  # noqa: BLE001 - the exception's own code runs here, and may raise anything
        return b"", False


def _bare(value: Any, change: Callable[[Any], Any] = lambda value: value, depth: int = DEPTH) -> Any:  # noqa: ANN401 - anything
    """Return an exception to be pickled without its `__init__`, with those that are in it, as in a group."""
    if depth and isinstance(value, Exception):
        args = tuple(_bare(each, change, depth - 1) for each in value.args)
        return _Bare(value, args, {name: _bare(each, change, depth - 1) for name, each in vars(value).items()})
    if depth and type(value) in {list, tuple} and any(isinstance(each, Exception) for each in value):
        return type(value)(_bare(each, change, depth - 1) for each in value)
    return change(value)


def _shortened(value: Any) -> Any:  # noqa: ANN401 - anything
    if type(value) not in {str, bytes} or len(value) <= 2 * KEPT:
        return value
    gap = f" … {len(value) - 2 * KEPT} left out … "
    return value[:KEPT] + (gap if isinstance(value, str) else gap.encode()) + value[-KEPT:]


def unpickled_exception(body: bytes, loads: Loads = pickle.loads) -> Exception | None:
    """Return the exception in a pickle; None where it cannot be made here, or is not one to be raised."""
    try:
        error = loads(body)
    except BaseException:  # noqa: BLE001 - the exception's own code runs here, and may raise anything, SystemExit too
        return None
    return error if issubclass(type(error), Exception) else None


class _Bare:
    """Pickles as the exception that it holds, to be made without its `__init__`, which may want other arguments."""

    def __init__(self, error: Exception, args: tuple[Any, ...], attributes: Mapping[str, Any]) -> None:
        self._parts = type(error), args, attributes

    def __reduce__(self) -> tuple[Any, ...]:
        return remade, self._parts


def remade(kind: type[Exception], args: tuple[Any, ...], attributes: Mapping[str, Any]) -> Exception:
    """Return an exception of this class with these arguments and attributes; its `__init__` is not called."""
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(attributes)
    return error
