"""Payloads: arguments and results as bytes.

Owns the encodings, and which pickler is used when. Must not know functions or sockets.
"""

from typing import Any

import cloudpickle
import msgspec

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import FailureKind
from harvester.domain.payload import json_values
from harvester.domain.payload.buffers import Part
from harvester.domain.payload.pickles import pickled, unpickled
from harvester_worker.slot.checkpointing import Evicted, Stopped
from harvester_worker.slot.failures import failed, one_line, remedy, type_name


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_json_arguments = msgspec.json.Decoder(_Arguments)


def decode_arguments(
    encoding: Encoding, arguments: Part, shipped: frozenset[str] = frozenset()
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments, of which `shipped` came by value. Raises `RunFailed`.

    Arrays that came out of band lie in `arguments`; where that can't be written to, they get a copy that can.
    """
    try:
        if encoding is Encoding.JSON:
            decoded = _json_arguments.decode(arguments if len(arguments) else b"{}")
            return tuple(decoded.args), decoded.kwargs
        args, kwargs = unpickled(arguments)
        return tuple(args), dict(kwargs)
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: unpickling may raise anything
        wanted = '{"args": [...], "kwargs": {...}}' if encoding is Encoding.JSON else "a pickled (args, kwargs)"
        message = (
            f"the arguments cannot be decoded as {encoding.value}; they must be {wanted}: {one_line(error)}"
            f"{remedy(error, is_pickle=encoding is not Encoding.JSON, shipped=shipped)}"
        )
        raise failed(FailureKind.ARGUMENTS, message, error) from None


def encode_result(encoding: Encoding, value: object, limit_bytes: int) -> list[Part]:
    """Return the result as the pieces of one payload. Raises `RunFailed`."""
    try:
        pieces = _encoded(encoding, value)
    except (Evicted, Stopped):
        raise
    except json_values.NotJson as error:
        message = f"{error}: return something else, or invoke it with encoding='pickle'"
        raise failed(FailureKind.RESULT, message) from None
    except BaseException as error:  # noqa: BLE001 - outermost: pickling may raise anything
        instead = (
            "return lists, dicts, text and numbers, or invoke it with encoding='pickle'"
            if encoding is Encoding.JSON
            else "return something that pickles"
        )
        message = (
            f"the result, a {type_name(value)}, cannot be encoded as {encoding.value} ({one_line(error)}): {instead}"
        )
        raise failed(FailureKind.RESULT, message, error) from None
    size = sum(map(len, pieces))
    if size > limit_bytes:
        check_size(f"the result, a {type_name(value)},", size, limit_bytes)
    return pieces


def check_size(what: str, size: int, limit_bytes: int) -> None:
    """Raise `RunFailed` where a result is over the limit."""
    if size > limit_bytes:
        raise failed(
            FailureKind.RESULT,
            f"{what} takes {size} bytes, over this pilot's limit of {limit_bytes} bytes: "
            "return less, or write it to a file that you can read and return its path",
        )


def _encoded(encoding: Encoding, value: object) -> list[Part]:
    if encoding is Encoding.JSON:
        return [json_values.encode(value, "the result")]
    # cloudpickle, because the classes of a function that came as a pickle can't be imported by name.
    return pickled(value, cloudpickle.dumps)
