"""Payloads: arguments and results as bytes.

Owns the encodings, and which pickler is used when. Knows no function and no socket.
"""

import pickle
from typing import Any

import cloudpickle
import msgspec

from harvester.domain import buffers
from harvester.domain.buffers import Part
from harvester.domain.functions import Encoding
from harvester.domain.invocations import FailureKind
from harvester_worker.checkpointing import Evicted, Stopped
from harvester_worker.failures import failed, one_line, remedy, type_name

OUT_OF_BAND_BYTES = 64 * 1024
"""Buffers from this size on are not copied into the pickle (PEP 574); a smaller one costs more apart."""

PLAIN_ITEMS, PLAIN_DEPTH = 64, 4
"""How far a result is looked through for anything but plain data. What is larger pays for `cloudpickle` unnoticed."""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_SEQUENCES = frozenset({tuple, list, set})


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_json_arguments = msgspec.json.Decoder(_Arguments)


def decode_arguments(encoding: Encoding, arguments: Part) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments. Raises `RunFailed`.

    Arrays that came out of band lie in `arguments`; where that can't be written to, they get a copy that can.
    """
    try:
        if encoding is Encoding.JSON:
            decoded = _json_arguments.decode(arguments if len(arguments) else b"{}")
            return tuple(decoded.args), decoded.kwargs
        args, kwargs = _unpickled(arguments)
        return tuple(args), dict(kwargs)
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: unpickling may raise anything
        wanted = '{"args": [...], "kwargs": {...}}' if encoding is Encoding.JSON else "a pickled (args, kwargs)"
        message = (
            f"the arguments cannot be decoded as {encoding.value}, which has to be {wanted}: {one_line(error)}"
            f"{remedy(error, is_pickle=encoding is not Encoding.JSON)}"
        )
        raise failed(FailureKind.ARGUMENTS, message, error) from None


def _unpickled(payload: Part) -> Any:  # noqa: ANN401 - whatever was pickled
    if not buffers.is_joined(payload):
        return pickle.loads(payload)  # noqa: S301 - the user's own arguments to the user's own function
    writable = bytearray(payload) if memoryview(payload).readonly else payload
    pickled, *arrays = buffers.split(writable)
    return pickle.loads(pickled, buffers=arrays)  # noqa: S301 - as above


def encode_result(encoding: Encoding, value: object, limit_bytes: int) -> list[Part]:
    """Return the result as the pieces of one payload. Raises `RunFailed`."""
    try:
        pieces = _encoded(encoding, value)
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: pickling may raise anything
        instead = (
            "return lists, dicts, text and numbers, or invoke it with pickle as encoding"
            if encoding is Encoding.JSON
            else "return something that pickles"
        )
        message = (
            f"the result, a {type_name(value)}, cannot be encoded as {encoding.value} ({one_line(error)}): {instead}"
        )
        raise failed(FailureKind.RESULT, message, error) from None
    check_size(f"the result, a {type_name(value)},", sum(map(len, pieces)), limit_bytes)
    return pieces


def check_size(what: str, size: int, limit_bytes: int) -> None:
    """Raise `RunFailed` where a result is over the limit."""
    if size > limit_bytes:
        raise failed(
            FailureKind.RESULT,
            f"{what} takes {size} bytes, over this pilot's limit of {limit_bytes}: "
            "return less, or write it to a file that you can read and return its path",
        )


def _encoded(encoding: Encoding, value: object) -> list[Part]:
    if encoding is Encoding.JSON:
        return [msgspec.json.encode(value)]
    if _is_plain(value, PLAIN_DEPTH):
        return [pickle.dumps(value, protocol=5)]
    # cloudpickle, because the classes of a function that came as a pickle can't be imported by name.
    apart: list[Part] = []
    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=lambda buffer: _stays(buffer, apart))
    return buffers.join([pickled, *apart])


def _stays(buffer: pickle.PickleBuffer, apart: list[Part]) -> bool:
    """Tell whether a buffer stays in the pickle; put it to those apart if not."""
    try:
        raw = buffer.raw()
    except BufferError:  # it is not contiguous
        return True
    if raw.nbytes < OUT_OF_BAND_BYTES:
        return True
    apart.append(raw)
    return False


def _is_plain(value: object, depth: int) -> bool:
    """Whether `value` holds nothing but builtin types, which `pickle` writes alike and much faster."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if depth == 0:
        return False
    if kind in _SEQUENCES:
        items: Any = value
    elif kind is dict:
        mapping: Any = value
        items = (*mapping.keys(), *mapping.values()) if len(mapping) <= PLAIN_ITEMS else mapping
    else:
        return False
    return len(items) <= PLAIN_ITEMS and all(_is_plain(item, depth - 1) for item in items)
