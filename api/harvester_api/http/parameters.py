"""Parameters of requests: each declared once, from which it is read and from which the OpenAPI document is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from fastapi import Request
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import HTTPConnection

from harvester_api.problems import Refusal, refusal
from harvester_api.schemas.requests import LONGEST_S

E = TypeVar("E", bound=StrEnum)

MOST_FIELDS = 50  # of a query


@lru_cache(4096)  # the calls of a program are alike
def parsed(query: bytes) -> Mapping[str, Sequence[str]]:
    """Return the values of each name of a query, in order. Raises `Refusal` (422) for more than anybody needs."""
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        remedy = "/openapi.json lists what each path takes."
        detail = f"the query has more than {MOST_FIELDS} parameters"
        raise refusal(422, "too-many-parameters", detail, field="query", remedy=remedy) from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def headers_of(connection: HTTPConnection) -> Mapping[str, str]:
    """Return the headers by their names in lower case, of repeated ones the first.

    Starlette's own mapping searches the list at each look; a request is looked at half a dozen times.
    """
    found = connection.scope.get("harvester.headers")
    if found is None:
        raw = connection.scope["headers"]
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}
        connection.scope["harvester.headers"] = found
    return cast("Mapping[str, str]", found)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of the query, a header, or a part of the path."""

    name: str
    description: str
    where: str = "query"  # "query", "header" or "path"
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})

    def described(self) -> dict[str, Any]:
        """Return the OpenAPI object."""
        return {
            "name": self.name,
            "in": self.where,
            "description": self.description,
            "required": self.where == "path",
            "schema": self.schema,
        }

    def text(self, request: Request) -> str | None:
        """Return the value as it stands, None where it is missing. Raises `Refusal` (422) for more than one."""
        query = request.scope["query_string"]
        values = parsed(query).get(self.name) if query else None
        if not values:
            return None
        if len(values) > 1:
            raise refusal(
                422,
                "invalid-field",
                f"{self.name}: given {len(values)} times",
                field=self.name,
                remedy="Give it once.",
            )
        return values[0]

    def integer(self, request: Request) -> int | None:
        """Return a whole number within the bounds of the schema. Raises `Refusal` (422)."""
        if not request.scope["query_string"]:
            return self.schema.get("default")
        text = self.text(request)
        if text is None:
            return self.schema.get("default")
        try:
            value = int(text)
        except ValueError:
            raise self._refusal(text) from None
        self._check_bounds(value, text)
        return value

    def seconds(self, request: Request) -> float:
        """Return a duration in seconds, 0 where it is missing. Raises `Refusal` (422)."""
        return self.duration(request) or 0.0

    def duration(self, request: Request) -> float | None:
        """Return a duration in seconds within the bounds of the schema, None where it is missing.

        Raises `Refusal` (422).
        """
        text = self.text(request)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            raise self._refusal(text) from None
        if not math.isfinite(value):
            raise self._refusal(text)
        self._check_bounds(value, text)
        return value

    def flag(self, request: Request) -> bool:
        """Return whether it is set. Raises `Refusal` (422)."""
        text = self.text(request)
        if text is None:
            return False
        if text.lower() not in {"1", "true", "yes", "0", "false", "no"}:
            raise self._refusal(text)
        return text.lower() in {"1", "true", "yes"}

    def choice(self, request: Request, kind: type[E]) -> E | None:
        """Return one of the words of `kind`. Raises `Refusal` (422)."""
        text = self.text(request)
        if text is None:
            return None
        try:
            return kind(text)
        except ValueError:
            raise self._refusal(text) from None

    def _check_bounds(self, value: float, text: str) -> None:
        low, high = self.schema.get("minimum"), self.schema.get("maximum")
        above = self.schema.get("exclusiveMinimum")
        if (low is not None and value < low) or (high is not None and value > high):
            raise self._refusal(text)
        if above is not None and value <= above:
            raise self._refusal(text)

    def _refusal(self, text: str) -> Refusal:
        wanted = ", ".join(f"{key} {value}" for key, value in self.schema.items() if key != "default")
        return refusal(
            422,
            "invalid-field",
            f"{self.name}: {text[:80]!r} is not {wanted}",
            field=self.name,
            remedy=self.description,
        )


def _words(kind: type[StrEnum]) -> dict[str, Any]:
    return {"type": "string", "enum": [word.value for word in kind]}


def choice_of(name: str, kind: type[StrEnum], description: str) -> Parameter:
    """Return a parameter that is one of the words of `kind`."""
    return Parameter(name=name, description=description, schema=_words(kind))


def limit_of(default: int, maximum: int) -> Parameter:
    """Return the parameter for the length of a page."""
    schema = {"type": "integer", "minimum": 1, "maximum": maximum, "default": default}
    return Parameter(name="limit", description=f"The number of items on a page, up to {maximum}.", schema=schema)


WAIT = Parameter(
    name="wait_s",
    description="Wait up to this many seconds for the end. The gateway's own limit (60 s by default) still applies.",
    schema={"type": "number", "minimum": 0, "default": 0},
)
RAW = Parameter(
    name="raw",
    description="1: answer a result within wait_s with its bytes alone.",
    schema={"type": "boolean", "default": False},
)
VERSION = Parameter(
    name="version",
    description="The version of the function; the newest when left out.",
    schema={"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
)
FUNCTION_NAME = Parameter(
    name="name",
    where="path",
    description="The function's name: your own function, else the one that is shared with you; or owner/name.",
)


class _FunctionConvertor(StringConvertor):
    """A part of a path that is a name, or owner and name with a slash between, which clients may write as %2F."""

    regex = "[^/]+(?:/[^/]+)?"


register_url_convertor("function", _FunctionConvertor())
FUNCTION_PATH = f"/v1/functions/{{{FUNCTION_NAME.name}:function}}"
INVOCATION_ID = Parameter(name="invocation_id", where="path", description="The invocation's id.")
PILOT_ID = Parameter(name="pilot_id", where="path", description="The pilot's id.")
PRIORITY = Parameter(
    name="priority",
    description="Higher priorities start first among your own waiting invocations; other users are not affected.",
    schema={"type": "integer", "minimum": -1000, "maximum": 1000, "default": 0},
)
TTL = Parameter(
    name="ttl_s",
    description="An invocation that has not started within this many seconds expires.",
    schema={"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S},
)
DEADLINE = Parameter(
    name="deadline_s",
    description="An invocation that has not ended within this many seconds expires; its slot is told to stop.",
    schema={"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S},
)
OPTIONS = (VERSION, PRIORITY, TTL, DEADLINE)
"""What may be said of an invocation, and of a batch for all of its invocations."""

KEY = Parameter(
    name="Idempotency-Key",
    where="header",
    description="A repeated call with the same key, by the same caller, is the same invocation or the same batch.",
    schema={"type": "string", "minLength": 1, "maxLength": 200},
)
PYTHON = Parameter(
    name="Harvester-Python",
    where="header",
    description="For pickles: the minor version of the Python that made them, such as 3.11.",
)
DRAFT = Parameter(
    name="Harvester-Draft",
    where="header",
    description="In place of a body: the name of the file in the folder drafts of /v1/directory that holds it. A "
    "request with both a draft and a body, or with the name of a file that does not exist, is refused with 422.",
    schema={"type": "string", "pattern": "^[0-9a-f]{32}$"},
)
PARENT = Parameter(
    name="Harvester-Parent",
    where="header",
    description="The open invocation of yours that waits for this one. This one then starts before your other work.",
    schema={"type": "string", "minLength": 1, "maxLength": 64},
)
STREAM_ID = Parameter(
    name="stream_id",
    where="path",
    description="A name that you choose, such as a UUID. Other users' streams of the same name are separate.",
    schema={"type": "string", "pattern": "^[A-Za-z0-9-]{8,64}$"},
)
STREAM = Parameter(
    name="Harvester-Stream",
    where="header",
    description="The stream, open at /v1/streams/{stream_id}, that is told of the end.",
    schema=STREAM_ID.schema,
)
