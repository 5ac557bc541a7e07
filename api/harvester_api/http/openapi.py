"""The OpenAPI document: what each operation takes and answers, drawn from the records that are really encoded.

Owns `operation`, with which a route describes itself, and `document`, which puts the schemas in. Knows no route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from harvester_api.http.parameters import Parameter
from harvester_api.media_types import CALLS_BATCH_TYPE, CALLS_TYPE, JSON_TYPE, LINES_TYPE, MSGPACK_TYPE, PICKLE_TYPE
from harvester_api.problems import MEDIA_TYPE, Problem
from harvester_api.schemas import pilot_responses, requests
from harvester_api.schemas import responses as docs

REF = "#/components/schemas/{name}"

_RECORDS: tuple[type, ...] = (
    Problem,
    requests.JsonArguments,
    requests.FunctionDraft,
    requests.SharingRequest,
    docs.FunctionDocument,
    docs.FunctionPage,
    docs.FunctionVersions,
    docs.InvocationDocument,
    docs.InvocationPage,
    docs.BatchAnswer,
    requests.WaitRequest,
    docs.WaitAnswer,
    docs.ExplanationDocument,
    pilot_responses.PilotPage,
    pilot_responses.PilotDocument,
    pilot_responses.SlotPage,
    docs.ClusterDocument,
    docs.DaemonDocument,
    requests.NodesRequest,
    requests.PauseRequest,
    docs.Identity,
    docs.DirectoryDocument,
    docs.Health,
)

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
RAW_RESULT: dict[str, Any] = {
    JSON_TYPE: {"schema": {}},
    PICKLE_TYPE: {"schema": BINARY},
    CALLS_TYPE: {"schema": BINARY},
}


def ref(record: type) -> dict[str, Any]:
    """Return the schema that points to a record."""
    return {"$ref": REF.format(name=record.__name__)}


def json_of(record: type) -> dict[str, Any]:
    """Return the content of a JSON body that is one record."""
    return {JSON_TYPE: {"schema": ref(record)}}


ARGUMENTS_BODY: dict[str, Any] = {
    "description": "The arguments. No body: no arguments, and with pickles a refusal (400). Pickles come with the "
    f"header Harvester-Python; as {CALLS_TYPE} an array of bin, each the pickled (args, kwargs) of one call, all made "
    "in one invocation.",
    "required": False,
    "content": {**json_of(requests.JsonArguments), PICKLE_TYPE: {"schema": BINARY}, CALLS_TYPE: {"schema": BINARY}},
}
BATCH_BODY: dict[str, Any] = {
    "description": "The arguments of each invocation: an array, or one a line. As MessagePack an array of bin, each a "
    f"pickled (args, kwargs), or with {CALLS_BATCH_TYPE} the many calls of one invocation.",
    "required": True,
    "content": {
        JSON_TYPE: {"schema": {"type": "array", "items": ref(requests.JsonArguments)}},
        LINES_TYPE: {"schema": {"type": "string"}},
        MSGPACK_TYPE: {"schema": BINARY},
        CALLS_BATCH_TYPE: {"schema": BINARY},
    },
}


def body_of(record: type, *, is_required: bool = True) -> dict[str, Any]:
    """Return the request body that is one record as JSON."""
    return {"required": is_required, "content": json_of(record)}


def operation(
    summary: str,
    answers: Mapping[int, tuple[str, Mapping[str, Any]]],
    *,
    parameters: Sequence[Parameter] = (),
    body: Mapping[str, Any] | None = None,
    refuses: Sequence[int] = (),
    is_open: bool = False,
) -> dict[str, Any]:
    """Return the keywords with which a route is declared.

    Parameters
    ----------
    summary: one sentence.
    answers: by status, a description and the content.
    parameters, body: what it takes.
    refuses: statuses of the problems it answers with, besides those that any operation may have.
    is_open: it asks for no token.
    """
    responses: dict[str, Any] = {
        str(status): {"description": text, **({"content": dict(content)} if content else {})}
        for status, (text, content) in answers.items()
    }
    common = (422, 500) if is_open else (401, 422, 500, 503)
    for status in sorted({*refuses, *common}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": ref(Problem)}},
        }
    extra: dict[str, Any] = {"responses": responses, "security": [] if is_open else [{"bearer": []}]}
    if parameters:
        extra["parameters"] = [parameter.described() for parameter in parameters]
    if body is not None:
        extra["requestBody"] = dict(body)
    return {
        "summary": summary,
        "openapi_extra": extra,
        "status_code": next(iter(answers)),
        "response_class": Response,
    }


def install(app: FastAPI) -> None:
    """Give `app` its document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    # FastAPI's own way to replace it.
    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    drawn = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    _, schemas = msgspec.json.schema_components(_RECORDS, ref_template=REF)
    components = drawn.setdefault("components", {})
    components["schemas"] = schemas
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return drawn
