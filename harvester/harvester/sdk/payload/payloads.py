"""Arguments and results as bytes, and what an ended invocation means to its caller.

Owns the encodings of the REST API. Sends nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

import msgspec

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import Failure, InvocationState
from harvester.domain.payload import json_values
from harvester.domain.payload.calls import decode_outcomes
from harvester.domain.payload.exceptions import unpickled_exception
from harvester.domain.payload.pickles import unpickled
from harvester.domain.protocol import stream
from harvester.sdk.errors import HarvesterError, InvocationFailed
from harvester.sdk.payload import own_classes, pickler
from harvester.sdk.payload.interrupts import is_interrupt

PICKLE_TYPE = "application/x-python-pickle"
JSON_TYPE = "application/json"
CALLS_TYPE = "application/vnd.harvester.calls+msgpack"
CONTENT_TYPE = {Encoding.JSON: JSON_TYPE, Encoding.PICKLE: PICKLE_TYPE, Encoding.CALLS: CALLS_TYPE}
BATCH_TYPE = {
    Encoding.PICKLE: "application/vnd.msgpack",
    Encoding.CALLS: "application/vnd.harvester.calls-batch+msgpack",
}

Body = bytes | bytearray | memoryview
Document = dict[str, Any]  # an object of the REST API, as JSON has it
_ENCODING = {content_type: encoding for encoding, content_type in CONTENT_TYPE.items()}


# ---- arguments -----------------------------------------------------------------------------------------------------


def encode_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], encoding: Encoding, packages: frozenset[str] = frozenset()
) -> bytes:
    """Return the arguments of one invocation, what is of `packages` by value.

    What is returned is a copy, made once: an array may be changed as soon as this is over. As JSON, raises
    `HarvesterError` where they cannot be written so; as a pickle, what pickling raises, with a note of which argument
    it is.
    """
    if encoding is Encoding.JSON:
        return _json_arguments(args, kwargs)
    try:
        pieces = pickler.pieces((tuple(args), dict(kwargs)), packages)
    except Exception as error:
        culprit = _culprit(args, kwargs, packages)
        if culprit:
            error.add_note(f"harvester: {culprit} cannot be pickled")
        raise
    return pieces[0] if isinstance(pieces[0], bytes) and len(pieces) == 1 else b"".join(pieces)


def _json_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    remedy = "change it, or pass encoding='pickle'"
    try:
        encoded = json_values.encode(list(args), "args"), json_values.encode(dict(kwargs), "kwargs")
    except json_values.NotJson as error:
        raise HarvesterError(f"the arguments cannot be sent as json: {error}; {remedy}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise HarvesterError(f"the arguments cannot be sent as json: {what}; {remedy}") from error
    return b'{"args":%s,"kwargs":%s}' % encoded


def _culprit(args: Sequence[Any], kwargs: Mapping[str, Any], packages: frozenset[str]) -> str:
    """Return the first argument that cannot be pickled; empty where each can be by itself."""
    named = [(f"argument {at}", each) for at, each in enumerate(args, 1)]
    for name, each in (*named, *((f"argument {name!r}", each) for name, each in kwargs.items())):
        try:
            pickler.pieces(each, packages)
        except Exception:  # noqa: BLE001 - as above
            return f"{name}, a {type(each).__module__}.{type(each).__qualname__},".replace("builtins.", "")
    return ""


def encode_batch(arguments: Sequence[bytes]) -> bytes:
    """Return a batch of encoded arguments as the gateway takes it."""
    return msgspec.msgpack.encode(arguments)


# ---- results -------------------------------------------------------------------------------------------------------


def decode_result(invocation_id: str, encoding: Encoding, body: Body) -> Any:  # noqa: ANN401 - a user's result is anything
    """Return a result; of `Encoding.CALLS` a list of `calls.Outcome`, whose values `decode_pickle` reads.

    Raises `InvocationFailed` of kind "result" when it cannot be read here.
    """
    if encoding is Encoding.PICKLE:
        return decode_pickle(invocation_id, body)
    try:
        return decode_outcomes(bytes(body)) if encoding is Encoding.CALLS else msgspec.json.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise _undecodable(invocation_id, error) from error


def decode_pickle(invocation_id: str, body: Body) -> Any:  # noqa: ANN401 - as above
    """Return what was pickled, with or without buffers beside it. Raises as `decode_result`."""
    try:
        # Made by the caller's own function, and brought by a gateway to which they gave their token.
        return unpickled(body, own_classes.loads)
    except BaseException as error:
        # Unpickling runs the result's own code, which may raise anything, SystemExit too.
        if is_interrupt(error):
            raise
        raise _undecodable(invocation_id, error) from error


def encoding_of(content_type: str) -> Encoding:
    """Return how an answer of this type is written; JSON where it is none of ours."""
    return _ENCODING.get(content_type, Encoding.JSON)


def _undecodable(invocation_id: str, error: BaseException) -> InvocationFailed:
    what = f"{type(error).__name__}: {_text(error)}"
    message = f"the result cannot be decoded on this machine ({what}); its classes must be importable here"
    return InvocationFailed(invocation_id, "result", message)  # the function raised nothing, and nothing is of its node


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the exception's own code
        return "(its text cannot be read)"


# ---- ends ----------------------------------------------------------------------------------------------------------


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    kind: str = "unknown"
    message: str = "the gateway told no reason"
    error_type: str = ""
    traceback: str = ""
    node: str = ""
    attempt: int = 0
    exception: bytes = b""


class EndedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Of an ended invocation's document, what its caller must know."""

    invocation_id: str
    state: InvocationState
    encoding: Encoding
    failure: _Failure | None = None
    result_b64: str | None = None  # in answers of /v1/wait
    exception_b64: str = ""  # as above

    def value(self) -> bytes | None:
        """Return the result's bytes; None when they must be fetched."""
        return None if self.result_b64 is None else base64.b64decode(self.result_b64)

    def error(self) -> Exception | None:
        """Return what the caller must be told when there is no result; None when it succeeded."""
        failure = self.failure
        if failure is not None and self.exception_b64:
            failure = msgspec.structs.replace(failure, exception=base64.b64decode(self.exception_b64))
        return error_of(self.invocation_id, self.state, failure)


def error_of(invocation_id: str, state: InvocationState, failure: _Failure | Failure | None) -> Exception | None:
    """Return what the caller of an ended invocation must be told when it has no result; None when it succeeded."""
    if state is InvocationState.SUCCEEDED:
        return None
    if state is InvocationState.CANCELLED:
        return CancelledError(f"invocation {invocation_id} was cancelled")
    if failure is None and state is InvocationState.EXPIRED:
        failure = _Failure(kind="expired", message="it had not begun, or not ended, in the time that was set for it")
    return failed(invocation_id, failure or _Failure())


def failed(invocation_id: str, why: _Failure | Failure) -> Exception:
    """Return a failure as an exception: what the function raised where it can be made here, else `InvocationFailed`."""
    told = InvocationFailed(
        invocation_id, str(why.kind), why.message, why.error_type, why.traceback, why.node, why.attempt
    )
    original = unpickled_exception(why.exception, own_classes.loads) if why.exception else None
    # A future that ends with `CancelledError` counts as cancelled, and this one was not.
    if original is None or isinstance(original, CancelledError):
        return told
    BaseException.__setattr__(original, "__cause__", told)  # its class may have a `__setattr__` of its own
    return original


def error_in(ended: stream.Ended | EndedDocument) -> Exception | None:
    """Return what the caller of an ended invocation must be told when it has no result; None when it succeeded."""
    if isinstance(ended, EndedDocument):
        return ended.error()
    return error_of(ended.invocation_id, ended.state, ended.failure)


def value_of(ended: stream.Ended | EndedDocument) -> bytes | None:
    """Return the bytes of a result that came with its end; None when they must be fetched."""
    return ended.value if isinstance(ended, stream.Ended) else ended.value()
