"""A process of its own that reads one large body, so that the gateway's event loop does not stand still for it.

Decoding holds the interpreter for as long as it takes, in whatever thread it runs: seconds for millions of small
elements. So what is large, or would make many objects, is decoded here, with an end to memory and time; the gateway
gets the verdict, and where in the body what it needs lies. Started by `large_bodies`: the body is the standard input,
the verdict goes to the standard output, both of them files. Imports little, since it starts anew for each body.
"""

from __future__ import annotations

import array
import base64
import binascii
import mmap
import os
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from harvester.domain.model.functions import FunctionKind
from harvester.domain.payload.decoding import UNREADABLE
from harvester_api.schemas.requests import FunctionDraft, JsonArguments
from harvester_api.validation.source_names import SourceNames, names_of

MEMORY_BYTES = 1024 * 1024 * 1024  # beyond the body
CPU_S = 30
_NICE = 5  # the gateway, which answers everybody, goes first

_OPEN = re.compile(rb"\s*\[")
_BETWEEN = re.compile(rb"[\s,]*")
_BLANK = re.compile(rb"\s*")
_LINE = re.compile(rb"[^\n]*")

_one = msgspec.json.Decoder(JsonArguments)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_function = msgspec.json.Decoder(FunctionDraft)


class BodyVerdict(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was found. At most one of the kinds of trouble is set."""

    malformed: str = ""  # it does not decode: why
    invalid: str = ""  # it decodes to something else: why, as msgspec says it
    is_deep: bool = False  # nested too deeply
    is_hungry: bool = False  # it would take too much memory
    is_crowded: bool = False  # it has more elements than it may have
    line: int = 0  # of a body of lines, from 1: the one in trouble
    spans: bytes = b""  # where each element lies: pairs of begin and end, as array.array("Q") has them
    function: FunctionDraft | None = None  # its body left out: it stands behind this verdict
    body_size: int | None = None  # of that body in bytes; None where it cannot be decoded
    trouble: str = ""  # why the body of the function cannot be decoded
    names: SourceNames | None = None  # of a source file


def read_one(body: memoryview, _most: int) -> BodyVerdict:
    """Look at the arguments of one invocation."""
    return _troubled(body) or BodyVerdict()


def read_array(body: memoryview, most: int) -> BodyVerdict:
    """Look at the arguments of a batch that is an array of at most `most` elements."""
    try:
        raws = _elements.decode(body)
    except MemoryError:  # an element takes a few dozen bytes: there are millions
        return BodyVerdict(is_crowded=True)
    except UNREADABLE as error:
        return _verdict(error)
    if len(raws) > most:
        return BodyVerdict(is_crowded=True)
    return _spans(body, most, _placed(body, raws))


def read_lines(body: memoryview, most: int) -> BodyVerdict:
    """Look at the arguments of a batch that has an element a line; empty lines are passed over."""
    return _spans(body, most, _lines(body), are_lines=True)


def _placed(body: memoryview, raws: list[msgspec.Raw]) -> Iterator[tuple[int, int, int]]:
    end = _end(_OPEN, body, 0)
    for index, raw in enumerate(raws):
        begin = _end(_BETWEEN, body, end)
        end = begin + memoryview(raw).nbytes
        yield index, begin, end


def _lines(body: memoryview) -> Iterator[tuple[int, int, int]]:
    number, end = 1, 0
    while (begin := _end(_BLANK, body, end)) < len(body):
        number += bytes(body[end:begin]).count(b"\n")
        end = _end(_LINE, body, begin)
        yield number, begin, end


def _end(pattern: re.Pattern[bytes], body: memoryview, begin: int) -> int:
    match = pattern.match(body, begin)
    return begin if match is None else match.end()


def _spans(
    body: memoryview, most: int, places: Iterator[tuple[int, int, int]], *, are_lines: bool = False
) -> BodyVerdict:
    spans = array.array("Q")
    for number, begin, end in places:
        if len(spans) >= 2 * most:
            return BodyVerdict(is_crowded=True)
        trouble = _troubled(body[begin:end])
        if trouble is not None:
            if are_lines:
                trouble.line = number
            elif trouble.invalid:
                text, _, path = trouble.invalid.partition(" - at ")
                trouble.invalid = f"{text} - at `$[{number}]{path.strip('`').removeprefix('$')}`"
            return trouble
        spans.extend((begin, end))
    return BodyVerdict(spans=spans.tobytes())


def _troubled(arguments: memoryview) -> BodyVerdict | None:
    try:
        _one.decode(arguments)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        return _verdict(error)
    return None


def _verdict(error: Exception) -> BodyVerdict:
    if isinstance(error, MemoryError):
        return BodyVerdict(is_hungry=True)
    if isinstance(error, RecursionError):
        return BodyVerdict(is_deep=True)
    if isinstance(error, msgspec.ValidationError):
        return BodyVerdict(invalid=str(error))
    return BodyVerdict(malformed=str(error))


def read_function(body: memoryview, _most: int) -> tuple[BodyVerdict, bytes]:
    """Look at a function to be registered; return its own body beside the verdict."""
    try:
        draft = _function.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        return _verdict(error), b""
    code, trouble = function_body(draft)
    is_source = code is not None and draft.kind is FunctionKind.SOURCE
    verdict = BodyVerdict(
        function=msgspec.structs.replace(draft, body=draft.body[:200]),
        body_size=None if code is None else len(code),
        trouble=trouble,
        names=names_of(draft.body) if is_source else None,
    )
    return verdict, code or b""


def function_body(draft: FunctionDraft) -> tuple[bytes | None, str]:
    """Return the bytes of a function's body; or None, and why there are none."""
    try:
        if draft.kind is FunctionKind.PICKLE:
            return base64.b64decode(draft.body, validate=True), ""
        return draft.body.encode(), ""
    except (binascii.Error, ValueError) as error:  # text that UTF-8 cannot hold is a ValueError, too
        return None, str(error)


_READERS: dict[str, Any] = {"one": read_one, "array": read_array, "lines": read_lines, "function": read_function}


def main(kind: str, most: int) -> None:
    """Read the standard input as a body of this kind, with at most so many elements."""
    os.nice(_NICE)
    body = memoryview(mmap.mmap(0, 0, access=mmap.ACCESS_READ))
    address_space = MEMORY_BYTES + 2 * len(body) + _mapped_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    found = _READERS[kind](body, most)
    verdict, code = found if isinstance(found, tuple) else (found, b"")
    encoded = msgspec.msgpack.encode(verdict)
    for part in (len(encoded).to_bytes(8, "little"), encoded, code):
        view = memoryview(part)
        while view:
            view = view[os.write(1, view) :]


def _mapped_bytes() -> int:
    """Return the address space that this process has now."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib costs an import here
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
