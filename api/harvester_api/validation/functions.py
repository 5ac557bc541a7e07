"""What may be registered: pure checks of functions at the door, so that nothing waits that can never run.

Owns the rules and their wording. Everything here raises `Refusal` and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from harvester.domain.model import function_names
from harvester.domain.model.functions import FunctionKind, FunctionVersion
from harvester_api.problems import invalid, too_large
from harvester_api.schemas.requests import FunctionDraft
from harvester_api.settings import Offer
from harvester_api.validation.arguments import check_pickle
from harvester_api.validation.body_reader import function_body
from harvester_api.validation.capacity import check_cloudpickle, check_fits, check_python
from harvester_api.validation.source_names import SourceNames, names_of
from harvester_api.validation.sources import check_source

CLOUDPICKLE = re.compile(r"[0-9A-Za-z.+_-]{0,40}")
REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A draft with its body decoded."""

    draft: FunctionDraft
    body: bytes | None  # None where it cannot be decoded
    trouble: str = ""  # and why
    names: SourceNames | None = None  # of a source file, where somebody has looked


def opened(draft: FunctionDraft) -> Opened:
    """Decode the body of a draft; takes as long as the body is large."""
    body, trouble = function_body(draft)
    is_source = body is not None and draft.kind is FunctionKind.SOURCE
    return Opened(draft=draft, body=body, trouble=trouble, names=names_of(draft.body) if is_source else None)


def check_function(found: Opened, offers: Sequence[Offer], limit: int) -> FunctionVersion:
    """Return the function to register, without its version. Raises `Refusal` (413, 422)."""
    draft = found.draft
    name = function_names.normal(draft.name)
    if not function_names.is_name(name):
        raise invalid("name", f"{draft.name[:140]!r} is not a valid function name", function_names.REMEDY)
    if CLOUDPICKLE.fullmatch(draft.cloudpickle) is None:
        raise invalid(
            "cloudpickle", f"{draft.cloudpickle[:40]!r} is not a version", "Write it like '3.1.2', or leave it out."
        )
    if draft.entry and not draft.entry.isidentifier():
        raise invalid("entry", f"{draft.entry[:140]!r} is not a function name", "Name the function to call.")
    body = _body(found, offers)
    if len(body) > limit:
        raise too_large("body", len(body), limit)
    _check_python(draft, offers)
    wanted = FunctionVersion(
        function_id="",
        name=name,
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
        max_running=draft.max_running,
    )
    check_fits(wanted, offers)
    return wanted


def _body(found: Opened, offers: Sequence[Offer]) -> bytes:
    draft, body = found.draft, found.body
    if draft.kind is FunctionKind.PICKLE:
        if body is None:
            raise invalid("body", f"it is not base64: {found.trouble}", "Send the pickled callable in base64.")
        check_pickle(body, "body")
        return body
    if draft.kind is FunctionKind.MODULE and REFERENCE.fullmatch(draft.body) is None:
        raise invalid(
            "body", f"{draft.body[:200]!r} does not name a function", "Write it as 'package.module:function'."
        )
    if draft.kind is FunctionKind.SOURCE and not draft.entry:
        raise invalid("entry", "a source file needs the name of its function", "Name the function to call.")
    if body is None:
        raise invalid("body", f"it is not text: {found.trouble}", "Send it as UTF-8.")
    if draft.kind is FunctionKind.SOURCE:
        check_source(found.names, draft.entry, offers)
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
    if draft.kind is FunctionKind.PICKLE and draft.cloudpickle:
        check_cloudpickle(draft.cloudpickle, offers)
