"""Which functions this client has registered, so that each travels once.

Owns the memory and the one request that registers, as an operation. A function object is pickled at its first use and
then remembered; another object with the same code is recognised by the hash of its content.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any

import msgspec

from harvester.domain import hosting
from harvester.sdk.exchange import Operation, json_request, wrong_answer
from harvester.sdk.functions import Function
from harvester.sdk.outbox import Target
from harvester.sdk.shipping import Shipment, Traits, default_name, pickled


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A function version as the gateway has it."""

    function_id: str  # "name@version"
    name: str
    version: int

    @property
    def target(self) -> Target:
        """Where its invocations go."""
        return Target(name=self.name, version=self.version)


Invocable = str | Registration | Function[..., Any] | Callable[..., Any]


def traits_of(fn: Callable[..., Any]) -> Traits:
    """Return what is known of a callable: its decorator's word, or what can be seen."""
    if isinstance(fn, Function):
        return fn.traits
    return Traits(name=default_name(fn), checkpoints=inspect.isgeneratorfunction(fn))


def is_memorable(fn: object) -> bool:
    """Whether `fn` stays what it is. Other callables may be equal without being the same, or change meanwhile."""
    return isinstance(fn, (Function, types.FunctionType, types.BuiltinFunctionType))


class Registry:
    """The functions of one client at one gateway, each content once. Its user lets one registration run at a time."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Registration] = {}
        self._targets: weakref.WeakKeyDictionary[Any, Target] = weakref.WeakKeyDictionary()

    def known(self, fn: Invocable) -> Target | None:
        """Return where invocations of `fn` go; None for a callable that is new. A name means its newest version."""
        if isinstance(fn, str):
            return Target(name=fn)
        if isinstance(fn, Registration):
            return fn.target
        if not is_memorable(fn):
            return None
        return self._targets.get(_remembered_as(fn)) or _running_here(fn)

    def register(
        self, fn: Callable[..., Any] | Shipment, name: str | None = None, *, ship_module: bool = False
    ) -> Operation[Registration]:
        """Register a callable as it is now, or a shipment, unless this client has sent the same one before.

        Raises `HarvesterError` when it cannot be pickled, `GatewayError` when it is refused.
        """
        if isinstance(fn, Shipment):
            return (yield from self._ship(fn))
        traits = traits_of(fn)
        if name:
            traits = msgspec.structs.replace(traits, name=name)
        ship_module = ship_module or (isinstance(fn, Function) and fn.ship_module)
        registration = yield from self._ship(pickled(fn, traits, ship_module=ship_module))
        if is_memorable(fn):
            self._targets[_remembered_as(fn)] = registration.target
        return registration

    def _ship(self, shipment: Shipment) -> Operation[Registration]:
        digest = shipment.digest
        known = self._by_digest.get(digest)
        if known is None:
            answer = yield json_request("POST", "/v1/functions", shipment.request())
            try:
                known = msgspec.json.decode(answer.body, type=Registration)
            except msgspec.DecodeError as error:
                raise wrong_answer(answer.status, f"POST /v1/functions: {error}") from error
            self._by_digest[digest] = known
        return known


def _running_here(fn: Callable[..., Any]) -> Target | None:
    """Return where a function goes that this slot has loaded: a function that submits itself is no new version."""
    host = hosting.host()
    if host is None or (isinstance(fn, Function) and not fn.is_restored):
        return None
    name, _, version = (host.function_id(fn.__wrapped__ if isinstance(fn, Function) else fn) or "").rpartition("@")
    return Target(name=name, version=int(version)) if name else None


def _remembered_as(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn.origin if isinstance(fn, Function) else fn
