"""Harvester: functions on the node-time that batch jobs leave idle. What a user imports.

Owns the public names and nothing else. They are imported when they are first used, because a compute node imports this
package for `harvester.domain` alone and must not pay for an HTTP client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from harvester import former_names
from harvester.sdk.registration.default import CallingClient, provide

if TYPE_CHECKING:
    from harvester.domain.model.context import Context, context
    from harvester.sdk.async_client import AsyncClient
    from harvester.sdk.async_futures import AsyncInvocationFuture
    from harvester.sdk.client import Client, default_client
    from harvester.sdk.errors import (
        ClientClosed,
        ConfigurationError,
        GatewayError,
        GatewayUnreachable,
        HarvesterError,
        InvocationFailed,
    )
    from harvester.sdk.executor import Executor
    from harvester.sdk.futures import InvocationFuture
    from harvester.sdk.progress import progress
    from harvester.sdk.registration.decorator import function
    from harvester.sdk.registration.functions import Function

    __version__: str

_HOMES = {
    "AsyncClient": "harvester.sdk.async_client",
    "AsyncInvocationFuture": "harvester.sdk.async_futures",
    "Client": "harvester.sdk.client",
    "ClientClosed": "harvester.sdk.errors",
    "ConfigurationError": "harvester.sdk.errors",
    "Context": "harvester.domain.model.context",
    "Executor": "harvester.sdk.executor",
    "Function": "harvester.sdk.registration.functions",
    "GatewayError": "harvester.sdk.errors",
    "GatewayUnreachable": "harvester.sdk.errors",
    "HarvesterError": "harvester.sdk.errors",
    "InvocationFailed": "harvester.sdk.errors",
    "InvocationFuture": "harvester.sdk.futures",
    "context": "harvester.domain.model.context",
    "default_client": "harvester.sdk.client",
    "function": "harvester.sdk.registration.decorator",
    "progress": "harvester.sdk.progress",
}

__all__ = [
    "AsyncClient",
    "AsyncInvocationFuture",
    "Client",
    "ClientClosed",
    "ConfigurationError",
    "Context",
    "Executor",
    "Function",
    "GatewayError",
    "GatewayUnreachable",
    "HarvesterError",
    "InvocationFailed",
    "InvocationFuture",
    "__version__",
    "context",
    "default_client",
    "function",
    "progress",
]


def _make_default() -> CallingClient:
    # By its home, as with every public name: who only decorates functions imports no HTTP client.
    maker = importlib.import_module(_HOMES["Client"]).Client
    client: CallingClient = maker()
    return client


provide(_make_default)
former_names.install()


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - costs 15 ms, and few ask

        value: object = version("hpc-harvester")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'harvester' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
