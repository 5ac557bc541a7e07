"""Routes that take what they declare and nothing else: a misspelt parameter is told, not passed over in silence.

Owns the check of a query's names. Without a query it costs one look at an empty string.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute

from harvester_api.problems import Refusal, refusal


class DeclaredRoute(APIRoute):
    """A route whose OpenAPI description is what it takes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind the check."""
        handle = super().get_route_handler()
        described = (self.openapi_extra or {}).get("parameters", ())
        known = frozenset(each["name"] for each in described if each["in"] == "query")

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                check_query(request.scope["query_string"], known)
            return await handle(request)

        return checked


def check_query(query: bytes, known: Iterable[str]) -> None:
    """Check that a query has only `known` names. Raises `Refusal` (422)."""
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise _unknown(name, sorted(known))


def _unknown(name: str, known: list[str]) -> Refusal:
    # Fragments are how parameters get misspelt: `vers`, `wait`.
    starts = [each for each in known if name and each.startswith(name)]
    close = starts or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        remedy = f"Do you mean {close[0]}?"
    else:
        remedy = f"This takes {', '.join(known)}." if known else "This takes no parameters in the query."
    return refusal(
        422,
        "unknown-parameter",
        f"{name[:80]}: there is no such parameter here",
        field=name[:80],
        remedy=remedy,
    )
