"""Which functions this client has registered, so that each travels once.

A function object is pickled at its first use and then remembered
until it changes (`sent_functions`); another object with the same code is recognised by the hash of its content.
"""

from __future__ import annotations

import functools
import reprlib
import time
import types
from collections.abc import Callable
from typing import Any

import msgspec

from harvester.domain.model import hosting
from harvester.domain.model.callables import is_generator_function
from harvester.sdk.http.messages import Operation
from harvester.sdk.payload.labels import packages_of
from harvester.sdk.payload.pickler import NO_PACKAGES
from harvester.sdk.payload.references import references_of
from harvester.sdk.payload.shipping import Shipment, Traits, default_name, pickled
from harvester.sdk.registration.callables import callee, innermost_function
from harvester.sdk.registration.footprint import footprint_of
from harvester.sdk.registration.functions import Function
from harvester.sdk.registration.renewals import Renewals
from harvester.sdk.registration.request import Registration, registered
from harvester.sdk.registration.sent_functions import Sent, SentFunctions
from harvester.sdk.registration.target import Target

_MEMORABLE = frozenset({Function, types.FunctionType, types.BuiltinFunctionType})
Invocable = str | Registration | Function[..., Any] | Callable[..., Any]


def traits_of(fn: Callable[..., Any]) -> Traits:
    """Return what is known of a callable: its decorator's word, or what can be seen."""
    beneath = innermost_function(fn)
    if not isinstance(beneath, Function):
        return Traits(name=default_name(fn), checkpoints=is_generator_function(fn))
    if isinstance(fn, functools.partial):  # which is no version of what it calls
        return msgspec.structs.replace(beneath.traits, name=f"{beneath.name}.partial")
    return beneath.traits


def packages_along(fn: Callable[..., Any]) -> frozenset[str]:
    """Return the packages that the decorator of a callable wants sent along.

    Of an undecorated one, those of the decorated functions that it finds in modules, `module.decorated(x)`: of a module
    only the name travels, so that they would not be met on the way.
    """
    beneath = innermost_function(fn)
    if type(beneath) is Function:
        return beneath.packages
    if type(beneath) is not types.FunctionType:
        return NO_PACKAGES
    modules = [value for each in references_of(beneath) if isinstance(value := each.of(beneath), types.ModuleType)]
    found = [vars(module).get(name) for module in modules for name in beneath.__code__.co_names]
    return NO_PACKAGES.union(*(each.packages for each in found if type(each) is Function))


def is_memorable(fn: object) -> bool:
    """Whether it can be seen that `fn` stays what it is. Other callables may be equal without being the same."""
    return type(fn) in _MEMORABLE


class Registry:
    """The functions of one client at one gateway, each content once. Its user lets one registration run at a time."""

    def __init__(self) -> None:
        self.renewals = Renewals()
        self._by_digest: dict[str, Registration] = {}
        self._memory = SentFunctions()

    def known(self, fn: Invocable) -> Target | None:
        """Return where invocations of `fn` go; None for a callable that is new, or has changed.

        A name means its newest version. Raises `TypeError` for what is none of these.
        """
        if isinstance(fn, types.FunctionType):  # as nearly always, and at each call
            return self._sent(fn) or _running_here(fn)
        if isinstance(fn, Function):
            return self._sent(fn.origin) or _running_here(fn.origin)
        if isinstance(fn, str):
            return Target(name=fn)
        if isinstance(fn, Registration):
            return fn.target
        check_callable(fn)
        beneath = callee(fn)
        return (self._sent(beneath) or _running_here(beneath)) if is_memorable(beneath) else None

    def target(self, fn: Callable[..., Any]) -> Operation[Target]:
        """Return where invocations of a callable go that is not known.

        Raises as `register`.
        """
        beneath = callee(fn)
        before = self._memory.before(beneath) if is_memorable(beneath) else None
        traits, packages = (before.traits, before.packages) if before else (traits_of(beneath), packages_along(beneath))
        return self._target((yield from self._send(beneath, traits, packages)))

    def register(
        self, fn: Callable[..., Any] | Shipment, name: str | None = None, *, ship_module: bool = False
    ) -> Operation[Registration]:
        """Register a callable as it is now, or a shipment. The gateway is asked, whatever it was sent before.

        Raises `TypeError` for what cannot be called, `HarvesterError` when it cannot be pickled, `GatewayError` when
        it is refused.
        """
        if isinstance(fn, Shipment):
            return (yield from self._ship(fn))
        check_callable(fn)
        traits = traits_of(fn)
        if name:
            traits = msgspec.structs.replace(traits, name=name)
        packages = packages_of(fn) if ship_module else packages_along(fn)
        if type(fn) is Function:
            fn = fn.__wrapped__ if fn.bound_to else fn.origin
        return (yield from self._send(fn, traits, packages, anew=True))

    def _sent(self, fn: Callable[..., Any]) -> Target | None:
        target = self._memory.target(fn)
        return None if target is None else self.renewals.current(target)

    def _send(
        self, fn: Callable[..., Any], traits: Traits, packages: frozenset[str], *, anew: bool = False
    ) -> Operation[Registration]:
        began_at = time.monotonic()
        footprint = footprint_of(fn)  # before it is pickled: what changes meanwhile is then seen
        shipment = pickled(fn, traits, packages)
        took_s = time.monotonic() - began_at
        digest = shipment.digest
        known = self._by_digest.get(digest)
        if known is None:
            self._memory.count(fn)
        is_there = known is not None and self.renewals.current(known.pinned) is not None
        registration = known if known is not None and is_there and not anew else (yield from self._ship(shipment))
        if is_memorable(fn):
            sent = Sent(
                target=self._target(registration), traits=traits, packages=packages, footprint=footprint, digest=digest
            )
            self._memory.remember(fn, sent, took_s=took_s)
        return registration

    def _ship(self, shipment: Shipment) -> Operation[Registration]:
        registration = yield from registered(shipment)
        self._by_digest[shipment.digest] = registration
        self.renewals.keep(registration.pinned, shipment)
        return registration

    def _target(self, registration: Registration) -> Target:
        return self.renewals.current(registration.pinned) or registration.pinned


def check_callable(fn: object) -> None:
    """Raise `TypeError`, in words for who submits, unless `fn` can be called."""
    if not callable(fn):
        raise TypeError(
            f"{reprlib.repr(fn)} is not callable: pass a function and its arguments apart, as in submit(f, 1), "
            "not what it returned, as in submit(f(1))"
        )


def _running_here(fn: Callable[..., Any]) -> Target | None:
    """Return where a function goes that this slot has loaded: a function that submits itself is not a new version."""
    host = hosting.host()
    if host is None or (isinstance(fn, Function) and not fn.is_restored):
        return None
    name, _, version = (host.function_id(fn.__wrapped__ if isinstance(fn, Function) else fn) or "").rpartition("@")
    return Target(name=name, version=int(version)) if name else None
