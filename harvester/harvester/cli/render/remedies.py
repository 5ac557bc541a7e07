"""Remedies for a refusal, as commands: the gateway gives them in the words of its REST API.

Pure. A refusal without words of its own here keeps the gateway's.
"""

from __future__ import annotations

import re

from harvester.sdk.errors import GatewayError

_BY_WHICH = "with --token or HARVESTER_TOKEN; `harvester up` prints its file"
_BY_TITLE = {
    "Unknown function": "`harvester functions` lists those that you may call, `harvester functions register` adds one",
    "Unknown version": "leave --version out for the newest one",
    "Unknown invocation": "`harvester invocations` lists yours, newest first",
    "Unknown pilot": "`harvester pilots` lists the live pilots, `harvester pilots --all` all",
    "Pilot ended": "`harvester pilots` lists the live pilots",
    "Admin only": f"use the admin's token, {_BY_WHICH}",
    "Unauthorized": f"give a token of this gateway, {_BY_WHICH}",
}
_REST = re.compile(r"\b(GET|POST|PUT|DELETE) /|/openapi\.json")


def told(error: GatewayError) -> str:
    """Return a refusal as one line: what was wrong, and which command helps."""
    remedy = _BY_TITLE.get(error.title, "" if _REST.search(error.remedy) else error.remedy)
    text = str(GatewayError(error.status, error.title, error.detail, error.field, remedy))
    if error.status == 401 and error.title not in _BY_TITLE:  # a proxy in between answered
        text += "; check that HARVESTER_TOKEN is the token of this gateway"
    return text
