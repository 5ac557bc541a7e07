"""Arguments at the door: what can be seen of them without running anything.

Owns the rules and their wording. Everything here raises `Refusal` and changes nothing. Only a slot unpickles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.payload.buffers import MAGIC, BuffersError, split
from harvester.domain.payload.calls import CallsError, count_calls, decode_calls, spans_of_calls
from harvester_api.http.body_spool import KEPT_BYTES
from harvester_api.media_types import OF_BATCH, OF_ONE, media_type
from harvester_api.problems import Refusal, invalid, malformed, refusal, too_many, unsupported
from harvester_api.schemas.requests import JsonArguments
from harvester_api.settings import Offer
from harvester_api.validation.capacity import check_python

Payload = bytes | memoryview


_json_arguments = msgspec.json.Decoder(JsonArguments)
_json_batch = msgspec.json.Decoder(list[JsonArguments])
_raw_batch = msgspec.json.Decoder(list[msgspec.Raw])

MOST_CALLS = 1_000_000  # in one invocation

_DECODING = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_PYTHON_FIELD = "Harvester-Python"


def encoding_of(
    headers: Mapping[str, str], function: FunctionVersion, offers: Sequence[Offer], *, is_batch: bool = False
) -> Encoding:
    """Return what a request says of its body. Raises `Refusal` (415, 422): a pickle that nobody could read, too."""
    known = OF_BATCH if is_batch else OF_ONE
    encoding = known.get(headers.get("content-type", ""))
    if encoding is None:  # or it comes with parameters
        content_type = media_type(headers)
        encoding = known.get(content_type)
        if encoding is None:
            raise unsupported(content_type, filter(None, known))
    if encoding is not Encoding.JSON:
        _check_pickled_for(headers, function, offers)
    return encoding


def check_payload(encoding: Encoding, body: Payload, field: str = "arguments") -> None:
    """Check the arguments of one invocation. Raises `Refusal` (400, 422)."""
    if encoding is Encoding.JSON:
        try:
            _json_arguments.decode(body)
        except _DECODING as error:
            raise malformed(error, field) from None
    elif encoding is Encoding.PICKLE:
        check_pickle(body, field)
    else:
        try:
            _check_calls(body, field)
        except CallsError as error:
            raise _no_calls(field, str(error)) from None


def _check_calls(body: Payload, field: str) -> None:
    count = count_calls(body)
    if not count:
        raise _no_calls(field, "it makes no call")
    if count > MOST_CALLS:
        raise _no_calls(field, f"it makes {count} calls, and {MOST_CALLS} are the most")
    # The one is quick and copies each call, the other does neither.
    small = len(body) <= KEPT_BYTES
    calls = decode_calls(body) if small else (body[begin:end] for begin, end in spans_of_calls(body))
    for index, pickled in enumerate(calls):
        if not _is_whole(pickled):
            check_pickle(pickled, f"{field}[{index}]")


def json_items(body: bytes) -> list[bytes]:
    """Return the arguments of each invocation of a small batch that is one array. Raises `Refusal` (400, 422)."""
    try:
        _json_batch.decode(body)
        return [bytes(raw) for raw in _raw_batch.decode(body)]
    except _DECODING as error:
        raise malformed(error, "batch") from None


def packed_items(encoding: Encoding, body: bytes, most: int, piece: int) -> Iterator[list[bytes]]:
    """Yield the same as `packed_spans`, of a small batch, as the arguments themselves, `piece` of them at a time.

    The decoder finds them at once: looking for each took a fifth of what accepting a batch does. Raises the same.
    """
    try:
        if count_calls(body) > most:
            raise too_many(count_calls(body), most)
        items = decode_calls(body)
    except CallsError:
        items = [body[begin:end] for begin, end in packed_spans(encoding, body, most)]  # which says what is wrong
    for begin in range(0, len(items), piece):
        found = items[begin : begin + piece]
        for index, item in enumerate(found, begin):
            if encoding is not Encoding.PICKLE or item[:1] != b"\x80" or item[-1:] != b".":
                check_payload(encoding, item, f"batch[{index}]")
        yield found


def packed_spans(encoding: Encoding, body: Payload, most: int) -> Iterator[tuple[int, int]]:
    """Yield where in a batch that is one array of bin the arguments of each invocation lie, checked.

    Raises `Refusal` (400; 413 for more than `most`).
    """
    try:
        count = count_calls(body)
        if count > most:
            raise too_many(count, most)
        for index, (begin, end) in enumerate(spans_of_calls(body)):
            item = body[begin:end]
            if encoding is not Encoding.PICKLE or not _is_whole(item):
                check_payload(encoding, item, f"batch[{index}]")
            yield begin, end
    except CallsError as error:
        raise _no_calls("batch", str(error)) from None


def check_line(line: bytes, number: int) -> None:
    """Check the arguments that are one line, counted from 1, of a batch. Raises `Refusal` (400, 422)."""
    check_payload(Encoding.JSON, line, f"batch line {number}")


def check_pickle(pickled: Payload, field: str) -> None:
    """Check what can be seen from outside; only a slot unpickles. Raises `Refusal` (400)."""
    if pickled[:4] == MAGIC:
        try:
            pickled = split(pickled)[0]
        except BuffersError as error:
            raise _not(field, f"its buffers are broken: {error}") from None
    if pickled[:1] != b"\x80" or pickled[-1:] != b".":
        what = f"its {len(pickled)} bytes do not begin and end as a pickle does" if len(pickled) else "it is empty"
        raise _not(field, what)


def _is_whole(pickled: Payload) -> bool:
    """Whether `check_pickle` would find nothing; False is always safe."""
    return pickled[:1] == b"\x80" and pickled[-1:] == b"."


def _not(field: str, what: str) -> Refusal:
    return refusal(
        400,
        "malformed",
        f"{field}: not a pickle: {what}",
        field=field,
        remedy="Send pickle.dumps(…) or cloudpickle.dumps(…) of protocol 2 or later, whole.",
    )


def _no_calls(field: str, what: str) -> Refusal:
    return refusal(
        400,
        "malformed",
        f"{field}: {what}",
        field=field,
        remedy="Send a MessagePack array of bin, each a pickled (args, kwargs), with one call at least.",
    )


def _check_pickled_for(headers: Mapping[str, str], function: FunctionVersion, offers: Sequence[Offer]) -> None:
    """Check that the Python that pickled the arguments is the one that will read them. Raises `Refusal` (422)."""
    python = headers.get("harvester-python", "")
    if not python:
        raise invalid(
            _PYTHON_FIELD,
            "pickled arguments come without the Python version that made them",
            "Send the header 'Harvester-Python: 3.11' with your minor version, or send JSON.",
        )
    if function.python and python != function.python:
        raise refusal(
            422,
            "wrong-python",
            f"the arguments were pickled by Python {python[:40]}, and {function.function_id} runs on Python "
            f"{function.python}; a pickle does not travel between minor versions",
            field=_PYTHON_FIELD,
            remedy=f"Call it from Python {function.python}, register it again from Python {python[:40]}, or send JSON.",
        )
    if not function.python:
        check_python(python, offers, _PYTHON_FIELD, "Send JSON, or call from")
