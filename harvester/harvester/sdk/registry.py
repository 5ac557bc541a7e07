"""Which functions this client has registered, so that each travels once.

Owns the memory and the one request that registers. A function object is pickled at its first use and then remembered;
another object with the same code is recognised by the hash of its content.
"""

from __future__ import annotations

import inspect
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import msgspec

from harvester.sdk.functions import Function
from harvester.sdk.gateway import Gateway, json_request
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


class Registry:
    """Registers functions at one gateway, each content once."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = threading.RLock()
        self._by_digest: dict[str, Registration] = {}
        self._by_object: weakref.WeakKeyDictionary[Any, Registration] = weakref.WeakKeyDictionary()

    def target(self, fn: Invocable) -> Target:
        """Return where invocations of `fn` go; registers a callable that is new. A name means its newest version."""
        if isinstance(fn, str):
            return Target(name=fn)
        if isinstance(fn, Registration):
            return fn.target
        with self._lock:
            known = self._by_object.get(fn) if _is_memorable(fn) else None
            return (known or self.register(fn)).target

    def register(self, fn: Callable[..., Any], name: str | None = None, *, ship_module: bool = False) -> Registration:
        """Register a callable as it is now. Raises `HarvesterError` when it cannot be pickled, `GatewayError`."""
        if isinstance(fn, Function):
            traits, ship_module = fn.traits, ship_module or fn.ship_module
        else:
            traits = Traits(name=default_name(fn), checkpoints=inspect.isgeneratorfunction(fn))
        if name:
            traits = msgspec.structs.replace(traits, name=name)
        with self._lock:
            registration = self.ship(pickled(fn, traits, ship_module=ship_module))
            if _is_memorable(fn):
                self._by_object[fn] = registration
        return registration

    def ship(self, shipment: Shipment) -> Registration:
        """Register a shipment, unless this client has sent the same one before. Raises `GatewayError`."""
        with self._lock:
            digest = shipment.digest
            if digest not in self._by_digest:
                answer = self._gateway.send(json_request("POST", "/v1/functions", shipment.request()))
                self._by_digest[digest] = msgspec.json.decode(answer.content, type=Registration)
            return self._by_digest[digest]


def _is_memorable(fn: object) -> bool:
    # Other callables may be equal without being the same, or change between two submissions.
    return isinstance(fn, (Function, types.FunctionType, types.BuiltinFunctionType))
