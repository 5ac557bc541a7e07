"""Blobs: large payloads as files of a directory, by reference.

Owns names and layout of the directory; opens nothing. A blob is written once under a name that was never used, made
durable, and then referred to. It is deleted with its last reference. A file without a reference was left by a process
that died, and is swept.
"""

from __future__ import annotations

import re

import msgspec

MARK = "MARK"
"""File in the directory that tells it from another one of the same name on another filesystem."""

DRAFTS = "drafts"
"""Folder in the directory where a payload is written, under a random name, before it belongs to an invocation."""

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-z-]{8,80}")


class BlobRef(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="blob"):
    """A payload that lies in a file."""

    name: str  # relative to the directory: "3f/0198…-r17"
    size: int  # bytes


def blob_name(invocation_id: str, suffix: str) -> str:
    """Return the name of an invocation's blob; `suffix` tells arguments and each activation's result apart."""
    return f"{invocation_id[-2:]}/{invocation_id}-{suffix}"


def is_blob_name(name: str) -> bool:
    """Return whether `name` stays inside the directory: a path that a pilot sends is not trusted."""
    return _NAME.fullmatch(name) is not None
