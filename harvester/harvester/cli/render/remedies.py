"""What to do about a refusal, as commands: the gateway tells it in the words of its REST API.

Pure. A refusal without words of its own here keeps the gateway's.
"""

from __future__ import annotations

import re

from harvester.sdk.errors import GatewayError

_BY_WHICH = "with --token or HARVESTER_TOKEN; `harvester up` says where it lies"
_BY_TITLE = {
    "Unknown function": "`harvester functions` lists what you may call, `harvester functions register` registers more",
    "Unknown version": "leave --version out for the newest one",
    "Unknown invocation": "`harvester invocations` lists yours, newest first",
    "Unknown pilot": "`harvester pilots` lists those that are alive, with --all the others too",
    "Pilot ended": "`harvester pilots` lists those that are alive",
    "Admin only": f"use the admin's token, {_BY_WHICH}",
    "Unauthorized": f"give the token of this gateway, {_BY_WHICH}",
}
_REST = re.compile(r"\b(GET|POST|PUT|DELETE) /|/openapi\.json")


def told(error: GatewayError) -> str:
    """Return a refusal as one line: what was wrong, and which command helps."""
    remedy = _BY_TITLE.get(error.title, "" if _REST.search(error.remedy) else error.remedy)
    text = str(GatewayError(error.status, error.title, error.detail, error.field, remedy))
    if error.status == 401 and error.title not in _BY_TITLE:  # somebody in between says so
        text += "; is HARVESTER_TOKEN the one of this gateway?"
    return text
