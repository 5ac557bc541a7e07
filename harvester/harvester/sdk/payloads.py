"""Arguments and results as bytes, and what an ended invocation means to its caller.

Owns the encodings of the REST API. Sends nothing.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

import cloudpickle
import msgspec

from harvester.domain.functions import Encoding
from harvester.domain.invocations import InvocationState
from harvester.sdk.errors import HarvesterError, InvocationFailed

PICKLE_TYPE = "application/x-python-pickle"
JSON_TYPE = "application/json"
BATCH_TYPE = "application/vnd.msgpack"
CONTENT_TYPE = {Encoding.JSON: JSON_TYPE, Encoding.PICKLE: PICKLE_TYPE}
PICKLE_PROTOCOL = 5

Document = dict[str, Any]  # an object of the REST API, as JSON has it


def encode_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], encoding: Encoding) -> bytes:
    """Return the arguments of one invocation. Raises `HarvesterError` when they cannot be written so."""
    try:
        if encoding is Encoding.JSON:
            return msgspec.json.encode({"args": list(args), "kwargs": dict(kwargs)})
        return bytes(cloudpickle.dumps((tuple(args), dict(kwargs)), protocol=PICKLE_PROTOCOL))
    except Exception as error:
        # Pickling runs the arguments' own code, which may raise anything.
        raise HarvesterError(
            f"the arguments cannot be sent as {encoding.value}: {type(error).__name__}: {error}"
        ) from error


def encode_batch(arguments: Sequence[bytes]) -> bytes:
    """Return a batch of pickled arguments as the gateway takes it."""
    return msgspec.msgpack.encode(arguments)


def decode_result(invocation_id: str, content_type: str, body: bytes) -> Any:  # noqa: ANN401 - a user's result is anything
    """Return a result. Raises `InvocationFailed` of kind "result" when it cannot be read here."""
    try:
        if content_type.partition(";")[0].strip() == PICKLE_TYPE:
            return pickle.loads(body)  # noqa: S301 - made by the caller's own function, through a gateway with their token
        return msgspec.json.decode(body)
    except Exception as error:
        # Unpickling runs the result's own code, which may raise anything.
        raise InvocationFailed(
            invocation_id,
            "result",
            "the result cannot be decoded on this machine; its classes must be importable here",
            type(error).__name__,
            str(error),
        ) from error


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    kind: str = "unknown"
    message: str = "the gateway told no reason"
    error_type: str = ""
    traceback: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Of an ended invocation's document, what its caller must know."""

    invocation_id: str
    state: InvocationState
    encoding: Encoding
    failure: _Failure | None = None
    result_b64: str | None = None  # in answers of /v1/wait

    def embedded_result(self) -> bytes | None:
        """Return the result's bytes; None when they must be fetched."""
        return None if self.result_b64 is None else base64.b64decode(self.result_b64)

    def error(self) -> Exception | None:
        """Return what the caller must be told when there is no result; None when it succeeded."""
        if self.state is InvocationState.SUCCEEDED:
            return None
        if self.state is InvocationState.CANCELLED:
            return CancelledError(f"invocation {self.invocation_id} was cancelled")
        if self.state is InvocationState.EXPIRED:
            reason = "it waited longer than the queue allows; submit it again"
            return InvocationFailed(self.invocation_id, "expired", reason)
        why = self.failure or _Failure()
        return InvocationFailed(self.invocation_id, why.kind, why.message, why.error_type, why.traceback)
