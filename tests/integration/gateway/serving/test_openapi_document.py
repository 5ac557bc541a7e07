"""The gateway against its own OpenAPI document: whatever is sent, no 500, and no answer that the document denies.

schemathesis makes the requests, good ones and bad ones, from the document; a pilot runs what gets in.
"""

import asyncio
import contextlib
import re
from datetime import timedelta

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, strategies
from hypothesis import settings as bounds
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

ENDLESS = re.compile("/v1/streams/|/v1/events")  # these answer until the client goes
CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDS = bounds(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Anything(dict):
    """Functions of a pilot: whatever the name, what was given comes back."""

    def __missing__(self, name):
        return lambda *args, **kwargs: [args, kwargs]


@pytest.fixture
def settings(settings):
    return msgspec.structs.replace(settings, max_wait=timedelta(seconds=0.05))


def explore(url, token, document, known, mode):
    """Send requests to every operation, half of them to what is `known`; return which were tried."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = url
    tried = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if ENDLESS.search(operation.path):
            continue
        tried.append((operation.method, operation.path))

        @BOUNDS
        @given(case=operation.as_strategy(generation_mode=mode), is_known=strategies.booleans())
        def meets_the_document(case, is_known):
            if is_known:
                case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with a request that takes nothing
            meets_the_document()
    return tried


# Hypothesis warns of whoever draws from `random` while it makes an example. Here that is the process's other thread, in
# which the gateway's and the pilot's connections draw the bytes of their pings.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("token", ["ada-token", "root-token"])
async def test_no_request_is_answered_otherwise_than_the_document_says(rig, token, mode):
    await rig.register(share="all")
    pilot = await rig.pilot(cpus=8)
    pilot.work()
    pilot.functions = Anything()
    known = {"name": "double", "version": 1, "pilot_id": "p1", "invocation_id": await rig.accepted("double", 1)}
    tried = await asyncio.to_thread(explore, rig.url, token, rig.document, known, mode)
    described = sum(map(len, rig.document["paths"].values()))
    assert len(tried) == described - len([path for path in rig.document["paths"] if ENDLESS.search(path)])


async def test_the_page_of_the_document_needs_nobody_but_the_gateway(rig):
    page = (await rig.http.get("/docs")).text
    addresses = re.findall(r"""(?:src|href|url)\s*[:=]\s*["']([^"']+)["']""", page)
    assert len(addresses) >= 4
    for address in addresses:
        assert "//" not in address, "sites have no internet"
        assert (await rig.http.get(f"/{address}")).status_code == 200
