"""Routes as they are declared: each takes the parameters and bodies that it declares, and no others.

Owns the way from a request to the route that takes it and back: one look into a table, the check of the query's names
(a misspelt parameter is told, not passed over in silence), the endpoint, and the problem document for what it raises.
FastAPI keeps the routes for the OpenAPI document; its own way to them (middlewares, dependencies, exit stacks) costs
more than all the rest of a short call, and nothing here needs it.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from re import Pattern

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from harvester.domain.model.function_names import normal
from harvester_api import problems
from harvester_api.http.parameters import parsed
from harvester_api.problems import Refusal, refusal

Endpoint = Callable[[Request], Awaitable[Response]]


class RouteTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A route as a request meets it."""

    endpoint: Endpoint
    pattern: Pattern[str]
    query: frozenset[str]  # names of the parameters that it knows


class Table:
    """The declared routes of some routers; of two that fit the one that was declared first."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._targets: dict[tuple[str, int], list[RouteTarget]] = {}
        for route in (route for router in routers for route in router.routes):
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    for slashes in _slashes(route.path):
                        self._targets.setdefault((method, slashes), []).append(_target(route))

    def find(self, scope: Scope) -> RouteTarget | None:
        """Return what takes a request, its path parameters put into `scope`; None for what is not declared."""
        path = normal(scope["path"])
        for target in self._targets.get((scope["method"], path.count("/")), ()):
            match = target.pattern.match(path)
            if match is not None:
                scope["path_params"] = match.groupdict()
                return target
        return None


def _slashes(path: str) -> Sequence[int]:
    """Return how many slashes a path may have that fits a route's: a function's name may come with its owner's."""
    count = path.count("/")
    return (count, count + 1) if ":function}" in path else (count,)


def _target(route: APIRoute) -> RouteTarget:
    described = (route.openapi_extra or {}).get("parameters", ())
    return RouteTarget(
        endpoint=route.endpoint,
        pattern=compile_path(route.path)[0],
        query=frozenset(each["name"] for each in described if each["in"] == "query"),
    )


async def serve(target: RouteTarget, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request."""
    request = Request(scope, receive)
    try:
        if scope["query_string"]:
            check_query(scope["query_string"], target.query)
        response = await target.endpoint(request)
    except ClientDisconnect:
        return  # nobody is there to be answered
    except Exception as error:  # noqa: BLE001 - outermost of a request; what is no refusal is logged there
        response = problems.answered(request, error)
    await response(scope, receive, send)


def check_query(query: bytes, known: Iterable[str]) -> None:
    """Check that a query has only `known` names. Raises `Refusal` (422)."""
    for name in parsed(query):
        if name not in known:
            raise _unknown(name, sorted(known))


def _unknown(name: str, known: list[str]) -> Refusal:
    # Fragments are how parameters get misspelt: `vers`, `wait`.
    starts = [each for each in known if name and each.startswith(name)]
    close = starts or difflib.get_close_matches(name[:80], known, n=1, cutoff=0.5)
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
