"""Parameters of requests: each declared once, from which it is read and from which the OpenAPI document is drawn."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from fastapi import Request

from harvester_api.problems import Refusal, refusal

E = TypeVar("E", bound=StrEnum)


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
        values = request.query_params.getlist(self.name)
        if len(values) > 1:
            raise refusal(
                422,
                "invalid-field",
                f"{self.name}: it is given {len(values)} times",
                field=self.name,
                remedy="Give it once.",
            )
        return values[0] if values else None

    def integer(self, request: Request) -> int | None:
        """Return a whole number within the bounds of the schema. Raises `Refusal` (422)."""
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
        """Return a duration in seconds; over the schema's maximum it is the maximum. Raises `Refusal` (422)."""
        text = self.text(request)
        if text is None:
            return 0.0
        try:
            value = float(text)
        except ValueError:
            raise self._refusal(text) from None
        if not math.isfinite(value) or value < 0:
            raise self._refusal(text)
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

    def _check_bounds(self, value: int, text: str) -> None:
        low, high = self.schema.get("minimum"), self.schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
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
    return Parameter(name="limit", description=f"At most so many items, up to {maximum}.", schema=schema)


WAIT = Parameter(
    name="wait_s",
    description="Wait up to so many seconds for the end; the gateway waits no longer than its own limit.",
    schema={"type": "number", "minimum": 0, "default": 0},
)
VERSION = Parameter(
    name="version",
    description="The version of the function; the newest when left out.",
    schema={"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
)
FUNCTION_NAME = Parameter(name="name", where="path", description="The function's name.")
INVOCATION_ID = Parameter(name="invocation_id", where="path", description="The invocation's id.")
PILOT_ID = Parameter(name="pilot_id", where="path", description="The pilot's id.")
