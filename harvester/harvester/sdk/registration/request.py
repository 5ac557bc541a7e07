"""The one request that registers a function, and what it answers."""

from __future__ import annotations

import msgspec

from harvester.domain.model.functions import full_name
from harvester.domain.payload.decoding import UNREADABLE
from harvester.sdk.http.messages import Operation, json_request, wrong_answer
from harvester.sdk.payload.shipping import Shipment
from harvester.sdk.registration.target import Target


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A function version as the gateway has it."""

    function_id: str  # "owner/name@version"
    name: str
    version: int
    owner: str = ""  # empty: of a gateway from before functions had owners

    @property
    def full_name(self) -> str:
        """The name that means this function to everybody who may call it."""
        return full_name(self.owner, self.name)

    @property
    def target(self) -> Target:
        """Where its invocations go: to this very version, or nowhere."""
        return Target(name=self.full_name, version=self.version)

    @property
    def pinned(self) -> Target:
        """Where the invocations of the callable go that was registered so: to this content, under whatever number."""
        return Target(name=self.full_name, version=self.version, is_renewable=True)


def registered(shipment: Shipment) -> Operation[Registration]:
    """Register a function. Raises `GatewayError`."""
    answer = yield json_request("POST", "/v1/functions", shipment.request())
    try:
        return msgspec.json.decode(answer.body, type=Registration)
    except UNREADABLE as error:
        raise wrong_answer(answer.status, f"POST /v1/functions: {error}") from error
