"""Failures as JSON shows them: text for people and programs of any language, without the pickled exception."""

from __future__ import annotations

import msgspec

from harvester.domain.model.invocations import Failure, FailureKind


class FailureDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Why an invocation failed."""

    kind: FailureKind
    message: str  # one line: what was wrong, where, what to do
    error_type: str  # the exception's class; empty where the function raised none
    traceback: str  # the user's frames
    node: str  # where it ran; empty where no run is to blame
    attempt: int  # which of its activations; 0 as above


def failure_document(failure: Failure | None) -> FailureDocument | None:
    """Return the document of a failure."""
    return None if failure is None else msgspec.convert(failure, FailureDocument, from_attributes=True)
