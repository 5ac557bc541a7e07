"""What a blocking client has behind its methods.

Owns what belongs together for one program: the connections, the registered functions, and the engine's thread, which is
started by the first submission.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, cast

from harvester.domain.model.invocations import InvocationState
from harvester.sdk.errors import ClientClosed, HarvesterError
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.http.drivers import BlockingDriver
from harvester.sdk.operations import views
from harvester.sdk.payload.shipping import Shipment
from harvester.sdk.registration.registry import Invocable, Registry
from harvester.sdk.registration.request import Registration
from harvester.sdk.registration.target import Target
from harvester.sdk.settings import Settings
from harvester.sdk.submit.background import Engine
from harvester.sdk.submit.batching import Holds

_ENDED_OTHERWISE = frozenset({"succeeded", "failed", "expired"})


class Desk:
    """Shared by a client and its views. Safe to use from many threads."""

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self.settings = settings
        self.gateway = BlockingDriver(settings, patience_s)
        self._patience_s = patience_s
        self._registry = Registry()
        self._registering = threading.RLock()
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False

    def register(
        self, fn: Callable[..., Any] | Shipment, name: str | None = None, *, ship_module: bool = False
    ) -> Registration:
        """See `Client.register`."""
        self._check_usable()
        with self._registering:
            return self.gateway.run(self._registry.register(fn, name, ship_module=ship_module))

    def target(self, fn: Invocable) -> Target:
        """Return where invocations of `fn` go; registers a callable that is new, or has changed."""
        self._check_usable()
        known = self._registry.known(fn)
        if known is None:
            with self._registering:  # of many threads that submit a new function, one registers it
                known = self._registry.known(fn)
                if known is None:
                    known = self.gateway.run(self._registry.target(cast("Callable[..., Any]", fn)))
        return known

    def engine(self) -> Engine:
        """Return the engine; starts it, also anew where it has broken down."""
        with self._lock:
            self._check_usable()
            if self._engine is None or self._engine.is_broken:
                self._engine = Engine(
                    self.settings, self._patience_s, self._registry.renewals, self.gateway.connections
                )
            return self._engine

    def wait_for_callbacks(self) -> None:
        """See `Submissions.wait_for_callbacks`."""
        with self._lock:
            engine = self._engine
        if engine is not None:
            engine.wait_for_callbacks()

    def future(self) -> InvocationFuture[Any]:
        """Return a future whose cancellation reaches the gateway."""
        return InvocationFuture(self)

    def close(self) -> None:
        """See `Client.close`."""
        with self._lock:
            engine, self._engine, self._is_closed = self._engine, None, True
        if engine is not None and os.getpid() == self._pid:
            engine.close()
        self.gateway.close()

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise HarvesterError(
                f"this client was made in process {self._pid} and its connections stayed there: "
                "make a harvester.Client in each process"
            )
        if self._is_closed:
            raise ClientClosed("the client is closed; make another harvester.Client")

    def cancel(self, invocation_id: str) -> bool:
        """Cancel an invocation, and tell whether it is cancelled now."""
        return str(self.gateway.run(views.cancel(invocation_id)).get("state")) not in _ENDED_OTHERWISE

    def state(self, invocation_id: str) -> InvocationState:
        """Return the state of an invocation."""
        return InvocationState(self.gateway.run(views.invocation(invocation_id))["state"])

    def cancel_waiting(self, throttle: Holds) -> None:
        """Cancel what waits here for room."""
        with self._lock:
            engine = self._engine
        if engine is not None:
            engine.cancel_waiting(throttle)
