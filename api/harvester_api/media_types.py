"""How arguments and results are written, as HTTP names it: media types, and the encodings that they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from harvester.domain.model.functions import Encoding

JSON_TYPE = "application/json"
LINES_TYPE = "application/x-ndjson"  # a batch: a JSON arguments object a line
PICKLE_TYPE = "application/x-python-pickle"
MSGPACK_TYPE = "application/vnd.msgpack"  # a batch: an array of bin, each a pickle
CALLS_TYPE = "application/vnd.harvester.calls+msgpack"  # many calls in one invocation
CALLS_BATCH_TYPE = "application/vnd.harvester.calls-batch+msgpack"  # a batch of those

OF_ONE = {JSON_TYPE: Encoding.JSON, "": Encoding.JSON, PICKLE_TYPE: Encoding.PICKLE, CALLS_TYPE: Encoding.CALLS}
"""What the arguments of one invocation may come as."""

OF_BATCH = {
    JSON_TYPE: Encoding.JSON,
    "": Encoding.JSON,
    LINES_TYPE: Encoding.JSON,
    MSGPACK_TYPE: Encoding.PICKLE,
    CALLS_BATCH_TYPE: Encoding.CALLS,
}
"""What the arguments of a batch may come as."""

RESULT_TYPES = {Encoding.JSON: JSON_TYPE, Encoding.PICKLE: PICKLE_TYPE, Encoding.CALLS: CALLS_TYPE}
"""What a result that is answered alone comes as."""


def media_type(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()
