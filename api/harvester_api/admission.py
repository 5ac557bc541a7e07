"""What may come in: pure checks of functions and arguments at the door, so that nothing waits that can never run.

Owns the rules and their wording. Everything here raises `Refusal` and changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harvester.domain.functions import Encoding, FunctionKind, FunctionVersion
from harvester_api.drafts import FunctionDraft
from harvester_api.offers import check_fits, check_python
from harvester_api.problems import Refusal, invalid, refusal
from harvester_api.settings import Offer
from harvester_api.sources import check_source

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
CLOUDPICKLE = re.compile(r"[0-9A-Za-z.+_-]{0,40}")
REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
PICKLE_TYPE = "application/x-python-pickle"
MSGPACK_TYPE = "application/vnd.msgpack"
JSON_TYPE = "application/json"


class JsonArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of an invocation, as JSON. Both parts may be left out."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_json_arguments = msgspec.json.Decoder(JsonArguments)
_json_batch = msgspec.json.Decoder(list[JsonArguments])
_raw_batch = msgspec.json.Decoder(list[msgspec.Raw])
_pickle_batch = msgspec.msgpack.Decoder(list[bytes])


# ---- functions -----------------------------------------------------------------------------------------------------


def check_function(draft: FunctionDraft, offers: Sequence[Offer], limit: int) -> FunctionVersion:
    """Return the function to register, without its version. Raises `Refusal` (413, 422)."""
    if NAME.fullmatch(draft.name) is None:
        raise invalid(
            "name",
            f"{draft.name[:140]!r} is no name for a function",
            "Use up to 128 letters, digits, dots, hyphens and underscores, with a letter, digit or underscore first.",
        )
    if CLOUDPICKLE.fullmatch(draft.cloudpickle) is None:
        raise invalid(
            "cloudpickle", f"{draft.cloudpickle[:40]!r} is no version", "Write it like '3.1.2', or leave it out."
        )
    if draft.entry and not draft.entry.isidentifier():
        raise invalid("entry", f"{draft.entry[:140]!r} names no function of the file", "Name the function to call.")
    body = _body(draft, offers)
    if len(body) > limit:
        raise too_large("body", len(body), limit)
    _check_python(draft, offers)
    wanted = FunctionVersion(
        function_id="",
        name=draft.name,
        version=0,
        kind=draft.kind,
        body=body,
        entry=draft.entry,
        python=draft.python,
        cloudpickle=draft.cloudpickle,
        resources=draft.resources,
        walltime_s=draft.walltime_s,
        checkpoints=draft.checkpoints,
        max_retries=draft.max_retries,
    )
    check_fits(wanted, offers)
    return wanted


def _body(draft: FunctionDraft, offers: Sequence[Offer]) -> bytes:
    if draft.kind is FunctionKind.PICKLE:
        try:
            body = base64.b64decode(draft.body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid("body", f"it is not base64: {error}", "Send the pickled callable in base64.") from None
        check_pickle(body, "body")
        return body
    if draft.kind is FunctionKind.MODULE and REFERENCE.fullmatch(draft.body) is None:
        raise invalid("body", f"{draft.body[:200]!r} names no function", "Write it as 'package.module:function'.")
    if draft.kind is FunctionKind.SOURCE and not draft.entry:
        raise invalid("entry", "a source file needs the name of its function", "Name the function to call.")
    try:
        body = draft.body.encode()
    except UnicodeEncodeError as error:
        raise invalid("body", f"it is not text: {error}", "Send it as UTF-8.") from None
    if draft.kind is FunctionKind.SOURCE:
        check_source(draft.body, draft.entry, offers)
    return body


def _check_python(draft: FunctionDraft, offers: Sequence[Offer]) -> None:
    if draft.kind is FunctionKind.PICKLE and not draft.python:
        raise invalid(
            "python",
            "a pickle needs the Python version that made it",
            "Send the minor version, like '3.11'; the SDK does so by itself.",
        )
    if draft.python:
        check_python(draft.python, offers, "python", "Register it from")


# ---- arguments -----------------------------------------------------------------------------------------------------


def check_arguments(
    body: bytes, headers: Mapping[str, str], function: FunctionVersion, offers: Sequence[Offer]
) -> tuple[Encoding, bytes]:
    """Return encoding and bytes of one invocation's arguments. Raises `Refusal` (400, 415, 422)."""
    content_type = media_type(headers)
    if content_type == PICKLE_TYPE:
        check_pickled_for(headers, function, offers)
        check_pickle(body, "arguments")
        return Encoding.PICKLE, body
    if body and content_type not in {JSON_TYPE, ""}:
        raise _unsupported(content_type, f"{JSON_TYPE} or {PICKLE_TYPE}")
    if not body:
        return Encoding.JSON, b"{}"
    try:
        _json_arguments.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error, "arguments") from None
    return Encoding.JSON, body


def check_batch(
    body: bytes, headers: Mapping[str, str], function: FunctionVersion, offers: Sequence[Offer]
) -> tuple[Encoding, list[bytes]]:
    """Return encoding and arguments of each invocation of a batch. Raises `Refusal` (400, 415, 422)."""
    content_type = media_type(headers)
    if content_type == MSGPACK_TYPE:
        check_pickled_for(headers, function, offers)
        try:
            pickles = _pickle_batch.decode(body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise malformed(error, "batch") from None
        for index, pickled in enumerate(pickles):
            check_pickle(pickled, f"batch[{index}]")
        return Encoding.PICKLE, pickles
    if content_type not in {JSON_TYPE, ""}:
        raise _unsupported(content_type, f"{JSON_TYPE} or {MSGPACK_TYPE}")
    try:
        _json_batch.decode(body)
        return Encoding.JSON, [bytes(raw) for raw in _raw_batch.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error, "batch") from None


def check_pickled_for(headers: Mapping[str, str], function: FunctionVersion, offers: Sequence[Offer]) -> None:
    """Check that the Python that pickled the arguments is the one that will read them. Raises `Refusal` (422)."""
    python = headers.get("harvester-python", "")
    if not python:
        raise invalid(
            "Harvester-Python",
            "pickled arguments come without the Python version that made them",
            "Send the header 'Harvester-Python: 3.11' with your minor version, or send JSON.",
        )
    if function.python and python != function.python:
        raise refusal(
            422,
            "wrong-python",
            f"the arguments were pickled by Python {python[:40]}, and {function.function_id} runs on Python "
            f"{function.python}; a pickle does not travel between minor versions",
            field="Harvester-Python",
            remedy=f"Call it from Python {function.python}, register it anew from Python {python[:40]}, or send JSON.",
        )
    if not function.python:
        check_python(python, offers, "Harvester-Python", "Send JSON, or call from")


def check_pickle(pickled: bytes, field: str) -> None:
    """Check what can be seen from outside; only a slot unpickles. Raises `Refusal` (400)."""
    if not pickled.startswith(b"\x80") or not pickled.endswith(b"."):
        what = "it is empty" if not pickled else f"its {len(pickled)} bytes do not begin and end as a pickle does"
        raise refusal(
            400,
            "malformed",
            f"{field}: not a pickle: {what}",
            field=field,
            remedy="Send pickle.dumps(…) or cloudpickle.dumps(…) of protocol 2 or later, whole.",
        )


def media_type(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def malformed(error: Exception, field: str) -> Refusal:
    """Return the refusal for a body that does not decode (400), or that is not what it should be (422)."""
    if isinstance(error, msgspec.ValidationError):
        text, _, path = str(error).partition(" - at ")
        where = path.strip("`").removeprefix("$").lstrip(".") or field
        return refusal(
            422, "invalid-field", f"{where}: {text}", field=where, remedy="/openapi.json describes the body."
        )
    detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return refusal(
        400, "malformed", f"{field}: {detail}", field=field, remedy="Send a whole, well-formed body in UTF-8."
    )


def too_large(field: str, size: int | None, limit: int) -> Refusal:
    """Return the refusal for a payload over the limit. `size` is None while nobody knows it."""
    what = f"more than {limit}" if size is None else str(size)
    return refusal(
        413,
        "payload-too-large",
        f"{field}: {what} bytes, and the limit is {limit} bytes",
        field=field,
        remedy="Put large data into a file that the compute nodes see and send its path, or ask the admin for a "
        "higher limit.",
    )


def too_many(count: int, limit: int) -> Refusal:
    """Return the refusal for a batch of more invocations than the limit."""
    return refusal(
        413,
        "payload-too-large",
        f"batch: {count} invocations, and the limit is {limit}",
        field="batch",
        remedy="Send them in several batches.",
    )


def _unsupported(content_type: str, known: str) -> Refusal:
    return refusal(
        415,
        "unsupported-media-type",
        f"Content-Type {content_type or '(none)'} is not understood here",
        field="Content-Type",
        remedy=f"Send {known}.",
    )
