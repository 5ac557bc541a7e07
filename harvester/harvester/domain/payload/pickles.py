"""Values as pickled payloads, and back: which pickler writes what, and which buffers travel beside the pickle.

Owns the rules, which SDK and slots share. The general pickler is handed in, since this imports none. Unpickling runs
code, so it is for slots, and for clients with results of their own functions.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from harvester.domain.payload import buffers
from harvester.domain.payload.buffers import Part
from harvester.domain.payload.plain import is_plain

PROTOCOL = 5
OUT_OF_BAND_BYTES = 64 * 1024
"""Buffers from this size on are not copied into the pickle (PEP 574); a smaller one costs more apart."""


class Dumps(Protocol):
    """A pickler for functions and classes, as `cloudpickle.dumps` is one."""

    def __call__(
        self, value: object, /, *, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], bool]
    ) -> bytes:
        """Return the pickle; buffers for which `buffer_callback` returns False are left out."""
        ...


class Loads(Protocol):
    """An unpickler, as `pickle.loads` is one."""

    def __call__(self, body: Part, /, *, buffers: Iterable[Any] = ()) -> Any:  # noqa: ANN401 - whatever was pickled
        """Return what was pickled."""
        ...


class _Pieces:
    """What a pickler writes to: it hands over large bytes as they are."""

    def __init__(self) -> None:
        self.pieces: list[Part] = []

    def write(self, piece: Any) -> int:  # noqa: ANN401 - bytes, or a `PickleBuffer` of the pickler's own
        self.pieces.append(piece if isinstance(piece, bytes) else memoryview(piece))
        return len(self.pieces[-1])


def pickled(value: object, dumps: Dumps) -> list[Part]:
    """Return the pieces of one payload, large bytes and buffers not copied. Raises whatever pickling raises."""
    if is_plain(value):
        # A tenth of what the general pickler costs; and `pickle.dumps` would move large bytes about.
        file = _Pieces()
        pickle.Pickler(file, PROTOCOL).dump(value)
        return file.pieces
    apart: list[Part] = []
    body = dumps(value, protocol=PROTOCOL, buffer_callback=lambda buffer: _sort(buffer, apart))
    return buffers.join([body, *apart])


def _sort(buffer: pickle.PickleBuffer, apart: list[Part]) -> bool:
    """Put a large buffer to those apart; return whether this one stays in the pickle instead."""
    try:
        raw = buffer.raw()
    except BufferError:  # it is not contiguous
        return True
    if raw.nbytes < OUT_OF_BAND_BYTES:
        return True
    apart.append(raw)
    return False


def unpickled(payload: Part, loads: Loads = pickle.loads) -> Any:  # noqa: ANN401 - whatever was pickled
    """Return what a payload holds. Raises whatever unpickling raises.

    Arrays that came out of band lie in `payload`; where that cannot be written to, they get a copy that can.
    """
    if not buffers.is_joined(payload):
        return loads(payload)
    parts = buffers.split(bytearray(payload) if memoryview(payload).readonly else payload)
    return loads(parts[0], buffers=parts[1:])
