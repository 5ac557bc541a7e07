"""Blocking invocations by name: call, start, wait for a result.

Owns the routes of a single invocation. Needs no thread; what runs many at once is `client`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from harvester.domain.functions import Encoding
from harvester.sdk.errors import GatewayError
from harvester.sdk.gateway import Request
from harvester.sdk.outbox import Target
from harvester.sdk.payloads import CONTENT_TYPE, PICKLE_TYPE, Ended, decode_result, encode_arguments
from harvester.sdk.sender import function_path, version_params
from harvester.sdk.shipping import PYTHON
from harvester.sdk.views import Views

WAIT_S = 20.0  # of one long-poll


class Calls(Views):
    """Invocations of registered functions, by name."""

    def invoke(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        encoding: Encoding | str = Encoding.JSON,
        timeout: float | None = None,
    ) -> Any:  # noqa: ANN401 - the function's result
        """Invoke a registered function by its name and wait for its result.

        Parameters
        ----------
        version: None for the newest.
        encoding: "json" or "pickle", for arguments and result.
        timeout: in seconds; `TimeoutError` when it is over, and the invocation goes on.

        Raises `InvocationFailed`, `CancelledError`, `GatewayError`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        target = Target(name=name, version=version)
        response = self._post(target, args, kwargs or {}, Encoding(encoding), _slice(deadline))
        if _type_of(response) == PICKLE_TYPE:
            return decode_result(response.headers.get("harvester-invocation", ""), PICKLE_TYPE, response.content)
        document = msgspec.json.decode(response.content)
        if document.get("state") == "succeeded" and "result" in document:
            return document["result"]
        return self._result(document["invocation_id"], deadline)

    def start(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        encoding: Encoding | str = Encoding.JSON,
    ) -> str:
        """Invoke a registered function by its name and return the invocation's id. Parameters as for `invoke`."""
        target = Target(name=name, version=version)
        response = self._post(target, args, kwargs or {}, Encoding(encoding), 0.0)
        if "harvester-invocation" in response.headers:
            return response.headers["harvester-invocation"]
        return str(msgspec.json.decode(response.content)["invocation_id"])

    def result(self, invocation_id: str, timeout: float | None = None) -> Any:  # noqa: ANN401 - the function's result
        """Wait for an invocation and return its result.

        Raises `InvocationFailed`, `CancelledError`, `GatewayError`, and `TimeoutError` after `timeout` seconds.
        """
        return self._result(invocation_id, None if timeout is None else time.monotonic() + timeout)

    def _result(self, invocation_id: str, deadline: float | None) -> Any:  # noqa: ANN401 - the function's result
        while True:
            wait_s = _slice(deadline)
            request = Request(
                method="GET",
                path=f"/v1/invocations/{quote(invocation_id, safe='')}/result",
                params={"wait_s": f"{wait_s:g}"},
                wait_s=wait_s,
            )
            try:
                response = self._gateway.send(request)
            except GatewayError as error:
                if error.status != 409:
                    raise
                raise self._why(invocation_id, error) from None
            if response.status_code == 200:
                return decode_result(invocation_id, _type_of(response), response.content)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(
                    f"invocation {invocation_id} has not ended yet; it goes on, ask for its result later"
                )

    def _why(self, invocation_id: str, refusal: GatewayError) -> Exception:
        """Return why an ended invocation has no result."""
        return msgspec.convert(self.invocation(invocation_id), Ended).error() or refusal

    def _post(
        self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], encoding: Encoding, wait_s: float
    ) -> httpx2.Response:
        headers = {
            "Content-Type": CONTENT_TYPE[encoding],
            "Accept": CONTENT_TYPE[encoding],
            # A repeated request must not become a second invocation.
            "Idempotency-Key": str(uuid.uuid4()),
        }
        if encoding is Encoding.PICKLE:
            headers["Harvester-Python"] = PYTHON
        request = Request(
            method="POST",
            path=f"{function_path(target)}/invocations",
            params={**version_params(target), "wait_s": f"{wait_s:g}"},
            headers=headers,
            content=encode_arguments(args, kwargs, encoding),
            wait_s=wait_s,
        )
        return self._gateway.send(request)


def _slice(deadline: float | None) -> float:
    """Return how long the gateway may hold the next request."""
    return WAIT_S if deadline is None else max(0.0, min(WAIT_S, deadline - time.monotonic()))


def _type_of(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip()
