"""HTTP to the gateway: headers, retries, and refusals as exceptions. A blocking and an asyncio client over one policy.

Owns the retry policy. Every request of the SDK may be repeated: reads are harmless, submissions carry an
Idempotency-Key, registering and cancelling twice changes nothing. Knows no route.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import msgspec

from harvester.sdk.errors import GatewayError, GatewayUnreachable
from harvester.sdk.settings import Settings

LOG = logging.getLogger("harvester.sdk")
# 500 too: a gateway that is stopped answers so to the long-polls that are open.
RETRY_STATUSES = frozenset({429, 500, 502, 503, 504})
DEFECT_PATIENCE_S = 15.0  # a 500 that lasts longer than a restart is a defect, and nobody is served by waiting
COMPLAIN_AFTER_S = 5.0  # of silence, in the log, once
_CONNECT_S = 10.0
_ANSWER_S = 30.0  # beyond the time that the gateway was asked to wait


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as often as it is sent."""

    method: str
    path: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    content: bytes = b""
    wait_s: float = 0.0  # how long the gateway was asked to hold it

    def send_options(self) -> dict[str, Any]:
        """Return what httpx's `request` takes."""
        return {
            "method": self.method,
            "url": self.path,
            "params": dict(self.params),
            "headers": dict(self.headers),
            "content": self.content or None,
            "timeout": httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S, read=_ANSWER_S + self.wait_s),
        }


def json_request(method: str, path: str, value: object, *, wait_s: float = 0.0) -> Request:
    """Return a request with a JSON body."""
    return Request(
        method=method,
        path=path,
        headers={"Content-Type": "application/json"},
        content=msgspec.json.encode(value),
        wait_s=wait_s,
    )


class Trouble:
    """What became of one request so far: decides whether it is tried again, and when.

    Parameters
    ----------
    settings: whom we ask.
    patience_s: seconds for which failures are tried again; infinite for those who wait for a result.
    now: monotonic seconds.
    """

    def __init__(self, settings: Settings, patience_s: float, now: float) -> None:
        self._settings = settings
        self._since = now
        self._patience_s = patience_s
        self._pauses = _pauses()
        self._has_complained = False

    def pause_after(self, error: GatewayError, now: float) -> float:
        """Return the seconds until the next try. Raises `error` when patience is over."""
        pause = next(self._pauses)
        patience_s = min(self._patience_s, DEFECT_PATIENCE_S) if error.status == 500 else self._patience_s
        if now + pause - self._since > patience_s:
            raise error
        if now - self._since > COMPLAIN_AFTER_S and not self._has_complained:
            self._has_complained = True
            LOG.warning("%s; still trying", error.detail or error.title)
        return pause

    def judge(self, response: httpx2.Response) -> GatewayError | None:
        """Return None for an answer, an error for a refusal that may pass. Raises `GatewayError` for one that stays."""
        if response.status_code < 400:
            return None
        error = problem(response)
        if response.status_code in RETRY_STATUSES:
            return error
        raise error

    def unreachable(self, error: httpx2.TransportError) -> GatewayUnreachable:
        """Return a broken connection in our words."""
        url = self._settings.url
        reason = str(error) or type(error).__name__
        return GatewayUnreachable(
            0,
            "no answer",
            f"the gateway at {url} does not answer: {reason}",
            remedy="see that it runs (harvester up), and that HARVESTER_URL or the config file names it",
        )


def _pauses() -> Iterator[float]:
    pause = 0.1
    while True:
        # Jittered: when a gateway comes back, all its clients call at once.
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - no secret depends on it
        pause = min(2 * pause, 2.0)


def problem(response: httpx2.Response) -> GatewayError:
    """Return a refusal (RFC 9457, or whatever a proxy in between says) as an exception."""
    try:
        said = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        said = None
    where = f"{response.request.method} {response.request.url.path}"
    if not isinstance(said, dict):
        answer = f"{where} was answered with {response.status_code} {response.reason_phrase}"
        return GatewayError(response.status_code, response.reason_phrase, answer)
    detail = said.get("detail")
    return GatewayError(
        response.status_code,
        str(said.get("title") or response.reason_phrase),
        detail if isinstance(detail, str) else f"{where} was refused with {response.status_code}: {detail}",
        str(said.get("field") or ""),
        str(said.get("remedy") or ""),
    )


def _headers(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.token}", "User-Agent": "hpc-harvester"}


class Gateway:
    """The blocking client."""

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self.settings = settings
        self._patience_s = patience_s
        self._http = httpx2.Client(base_url=settings.url, headers=_headers(settings))

    def send(self, request: Request) -> httpx2.Response:
        """Return the answer. Raises `GatewayError` for a refusal, `GatewayUnreachable` when patience is over."""
        trouble = Trouble(self.settings, self._patience_s, time.monotonic())
        while True:
            error: GatewayError | None
            try:
                response = self._http.request(**request.send_options())
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as defect:
                raise trouble.unreachable(defect) from defect
            except httpx2.TransportError as broken:
                error = trouble.unreachable(broken)
            else:
                error = trouble.judge(response)
                if error is None:
                    return response
            time.sleep(trouble.pause_after(error, time.monotonic()))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncGateway:
    """The asyncio client, for the thread that submits and collects."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        limits = httpx2.Limits(max_connections=16, max_keepalive_connections=16)
        self._http = httpx2.AsyncClient(base_url=settings.url, headers=_headers(settings), limits=limits)

    async def send(self, request: Request, patience_s: float) -> httpx2.Response:
        """Return the answer; errors as those of `Gateway.send`."""
        trouble = Trouble(self._settings, patience_s, time.monotonic())
        while True:
            error: GatewayError | None
            try:
                response = await self._http.request(**request.send_options())
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as defect:
                raise trouble.unreachable(defect) from defect
            except httpx2.TransportError as broken:
                error = trouble.unreachable(broken)
            else:
                error = trouble.judge(response)
                if error is None:
                    return response
            await asyncio.sleep(trouble.pause_after(error, time.monotonic()))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
