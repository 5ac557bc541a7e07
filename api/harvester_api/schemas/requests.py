"""The JSON documents that callers send. `openapi` draws its schemas from these very records.

Owns their fields and bounds; what else must hold is `functions`'s to say.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from harvester.domain.model import function_names
from harvester.domain.model.functions import FunctionKind, Sharing
from harvester.domain.model.resources import Resources

MOST = 2**31 - 1  # of any resource: what every database holds in an integer
LONGEST_S = 366 * 86_400  # of a walltime: more than any partition gives, and less than a timedelta takes

# `functions` holds to these in its own words; here they are for the OpenAPI document.
_BOUNDS = {
    "properties": {
        "cpus": {"minimum": 1, "maximum": MOST},
        "gpus": {"minimum": 0, "maximum": MOST},
        "memory_mb": {"minimum": 0, "maximum": MOST},
    }
}


class JsonArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of an invocation, as JSON. Both parts may be left out."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class FunctionDraft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function to register."""

    name: Annotated[str, Meta(extra_json_schema={"pattern": function_names.PATTERN})]
    kind: FunctionKind
    body: Annotated[
        str,
        Meta(
            description="pickle: standard base64 of the whole pickle. module: `package.module:function`. source: the "
            "file, which has to parse and define `entry`. Anything else is refused with 400 or 422.",
            extra_json_schema={"minLength": 1},  # `functions` says what else is missing
        ),
    ]
    entry: str = ""  # of a source file: the function to call
    python: Annotated[str, Meta(extra_json_schema={"pattern": r"^(\d+\.\d+)?$"})] = ""  # a pickle needs it
    cloudpickle: Annotated[str, Meta(extra_json_schema={"pattern": r"^[0-9A-Za-z.+_-]{0,40}$"})] = ""
    resources: Annotated[Resources, Meta(extra_json_schema=_BOUNDS)] = Resources()
    walltime_s: Annotated[float, Meta(gt=0, le=LONGEST_S)] | None = None
    checkpoints: bool = False
    max_retries: Annotated[int, Meta(ge=0, le=1000)] = 0
    max_running: Annotated[int, Meta(ge=1, le=MOST)] | None = None  # activations of this version at a time
    share: Sharing | None = None  # of the whole name; left out or null: as it is, "none" at first


class SharingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call a function, beside its owner and admins."""

    share: Sharing


class WaitRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which invocations to wait for, and for how long."""

    invocation_ids: Annotated[list[str], Meta(min_length=1, max_length=1000)]
    wait_s: Annotated[float, Meta(ge=0)] = 0.0
    results: bool = False  # send the results along, in base64


class PauseRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why nothing is to be submitted."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


class NodesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes to drain, or to use again: a node list such as `n[1-4,7]`, or an array of them."""

    nodes: str | list[str]
