"""What is said to a gateway and how long one insists: requests, answers, refusals, and the retry policy. No sockets.

Owns the form in which the SDK's operations are written: a generator that yields a `Request`, is sent its `Response`,
and returns what it found. `drivers` has two drivers for it, a blocking one and one for asyncio. Every request of the
SDK may be repeated: reads are harmless, submissions carry an Idempotency-Key, registering and cancelling twice changes
nothing. Knows no route.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from harvester.domain.payload.decoding import UNREADABLE
from harvester.sdk.errors import GatewayError, GatewayUnreachable
from harvester.sdk.settings import Settings

LOG = logging.getLogger("harvester.sdk")
# 500 too: a gateway that is stopped answers so to the long-polls that are open.
RETRY_STATUSES = frozenset({429, 500, 502, 503, 504})
DEFECT_PATIENCE_S = 15.0  # a 500 that lasts longer than a restart is a defect, and nobody is served by waiting
COMPLAIN_AFTER_S = 5.0  # of silence, in the log, once
MAX_PAUSE_S = 60.0  # whatever Retry-After says

_WITHOUT_PROXY = "a gateway that needs no proxy is excepted from it by NO_PROXY, which takes its host"

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as often as it is sent."""

    method: str
    path: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    content: bytes = b""
    wait_s: float = 0.0  # how long the gateway was asked to hold it
    raises_pressure: bool = False  # a 429 is raised at once: the sender keeps the order of all that waits


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, whole."""

    status: int
    reason: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes | bytearray  # a large one is a bytearray, so that what is unpickled over it can be written to

    @property
    def content_type(self) -> str:
        """The media type, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip()

    def json(self) -> Any:  # noqa: ANN401 - whatever the document holds
        """Return the document. Raises `GatewayError` for a body that is not JSON."""
        try:
            return msgspec.json.decode(self.body or b"{}")
        except UNREADABLE as error:
            raise wrong_answer(self.status, f"it is not JSON: {error}") from error


class Pause(msgspec.Struct, frozen=True):
    """A step of a conversation in which nothing is said."""

    seconds: float


class Broken(msgspec.Struct, frozen=True):
    """A connection that could not be made, or did not last."""

    reason: str
    is_defect: bool = False  # trying again is no use
    remedy: str = ""  # where it is not the usual one


Operation = Generator[Request, Response, T]
Step = Request | Pause
Outcome = Response | Broken | None  # None: a pause is over


def json_request(
    method: str, path: str, value: object, *, headers: Mapping[str, str] | None = None, wait_s: float = 0.0
) -> Request:
    """Return a request with a JSON body."""
    return Request(
        method=method,
        path=path,
        headers={"Content-Type": "application/json", **(headers or {})},
        content=msgspec.json.encode(value),
        wait_s=wait_s,
    )


def converse(
    operation: Operation[T], settings: Settings, patience_s: float, clock: Callable[[], float], via: str = ""
) -> Generator[Step, Outcome, T]:
    """Return the steps of an operation, failures and repetitions included; the last word is the operation's result.

    `via` is what to call the proxy in between, empty for none.

    Raises what the operation raises, to which refusals are given as `GatewayError`.
    """
    try:
        request = next(operation)
        while True:
            try:
                answer = yield from _insist(request, Trouble(settings, patience_s, clock(), via), clock)
            except GatewayError as error:
                request = operation.throw(error)
            else:
                request = operation.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _insist(request: Request, trouble: Trouble, clock: Callable[[], float]) -> Generator[Step, Outcome, Response]:
    while True:
        outcome = yield request
        error = trouble.judge(request, outcome)
        if error is None:
            assert isinstance(outcome, Response)  # noqa: S101 - `judge` finds an error with everything else
            return outcome
        yield Pause(trouble.pause_after(error, clock()))


class Trouble:
    """What became of one request so far: decides whether it is tried again, and when.

    Parameters
    ----------
    settings: whom we ask.
    patience_s: seconds for which failures are tried again; infinite for those who wait for a result.
    now: monotonic seconds.
    via: what to call the proxy in between.
    """

    def __init__(self, settings: Settings, patience_s: float, now: float, via: str = "") -> None:
        self._settings = settings
        self._via = via
        self._since = now
        self._patience_s = patience_s
        self._pauses = _pauses()
        self._has_complained = False

    def judge(self, request: Request, outcome: Outcome) -> GatewayError | None:
        """Return None for an answer, an error for a refusal that may pass. Raises `GatewayError` for one that stays."""
        if isinstance(outcome, Response) and outcome.status < 400:
            return None
        if not isinstance(outcome, Response):
            unreachable = self._unreachable(outcome)
            if outcome is not None and outcome.is_defect:
                raise unreachable
            return unreachable
        error = problem(request, outcome, self._via)
        if outcome.status not in RETRY_STATUSES or (error.status == 429 and request.raises_pressure):
            raise error
        return error

    def pause_after(self, error: GatewayError, now: float) -> float:
        """Return the seconds until the next try. Raises `error` when patience is over."""
        pause = max(next(self._pauses), error.retry_after_s)
        patience_s = min(self._patience_s, DEFECT_PATIENCE_S) if error.status == 500 else self._patience_s
        if now + pause - self._since > patience_s:
            raise error
        if now - self._since > COMPLAIN_AFTER_S and not self._has_complained:
            self._has_complained = True
            LOG.warning("%s; still trying", error.detail or error.title)
        return pause

    def _unreachable(self, broken: Broken | None) -> GatewayUnreachable:
        through = f" through {self._via}" if self._via else ""
        said = broken.reason if broken else "nothing was said"
        return GatewayUnreachable(
            0,
            "no answer",
            f"the gateway at {self._settings.url} does not answer{through}: {said}",
            remedy=(broken.remedy if broken else "")
            or "see that it runs (harvester up), and that HARVESTER_URL or the config file names it"
            + (f"; {_WITHOUT_PROXY}" if self._via else ""),
        )


def _pauses() -> Iterator[float]:
    pause = 0.1
    while True:
        # Jittered: when a gateway comes back, all its clients call at once.
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - no secret depends on it
        pause = min(2 * pause, 2.0)


def problem(request: Request, answer: Response, via: str = "") -> GatewayError:
    """Return a refusal (RFC 9457, or whatever a proxy in between says) as an exception; see `converse` for `via`."""
    try:
        said = msgspec.json.decode(answer.body)
    except UNREADABLE:
        said = None
    where = f"{request.method} {request.path}"
    if isinstance(said, dict):
        detail = said.get("detail")
        error = GatewayError(
            answer.status,
            str(said.get("title") or answer.reason),
            detail if isinstance(detail, str) else f"{where} was refused with {answer.status}: {detail}",
            str(said.get("field") or ""),
            str(said.get("remedy") or ""),
        )
    else:
        detail = f"{where} was answered with {answer.status} {answer.reason}"
        by_proxy = (f"{detail}, by {via} or what is behind it", "", _WITHOUT_PROXY) if via else (detail,)
        error = GatewayError(answer.status, answer.reason, *by_proxy)
    error.kind = str(said.get("type") or "").rpartition(":")[2] if isinstance(said, dict) else ""
    error.retry_after_s = _retry_after_s(answer)
    return error


def _retry_after_s(answer: Response) -> float:
    """Return what the header asks for; 0 where it is missing or a date (RFC 9110, 10.2.3)."""
    try:
        return min(MAX_PAUSE_S, max(0.0, float(answer.headers.get("retry-after", ""))))
    except ValueError:
        return 0.0


def wrong_answer(status: int, detail: str) -> GatewayError:
    """Return an error about an answer that no gateway of this version gives."""
    return GatewayError(
        status,
        "wrong answer",
        f"the answer is not one of this API: {detail}",
        remedy="check that the address is that of a Harvester gateway, and that it has this version",
    )
