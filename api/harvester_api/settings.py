"""The gateway's settings: who may call, what pilots can be had, limits and patience.

Owns the record only; whoever builds the gateway reads files and makes tokens. A default that a site may change is the
configuration's.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from harvester.config import GatewayConfig
from harvester.domain.dispatch.settings import DispatcherSettings
from harvester.domain.model.resources import Resources
from harvester_api.connections import ConnectionLimits

_SITE = GatewayConfig()
_PAYLOAD_BYTES = _SITE.payload_limit_mb * 1024 * 1024


class Role(StrEnum):
    """What a caller may do."""

    USER = "user"  # register and invoke, see and cancel what is theirs
    ADMIN = "admin"  # all of that for everybody's, and send pilots away


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One bearer token."""

    name: str  # of the caller: the owner of what is invoked with it
    role: Role
    token: str
    weight: float = 1.0  # of the caller's share when slots are scarce
    max_running: int | None = None  # activations at a time; None: as the settings say for everybody


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A configured pilot shape: what can ever be had."""

    name: str
    resources: Resources
    python: str = ""  # the minor version of its worker, "3.11"; empty where nobody has said
    cloudpickle: str = ""  # the version that its worker has; empty where nobody has said
    longest_s: float | None = None  # the longest run that such a pilot ever has time for; None where nobody knows


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a gateway is told."""

    tokens: tuple[Token, ...]
    offers: tuple[Offer, ...] = ()  # empty: nothing is known of the pilots, so nothing is refused for them
    payload_limit_bytes: int = _PAYLOAD_BYTES  # arguments of one invocation, or the body of one function
    batch_limit_bytes: int = 4 * _PAYLOAD_BYTES  # the whole body of one batch
    batch_limit: int = 100_000  # invocations in one batch
    result_limit_bytes: int = _PAYLOAD_BYTES
    max_wait: timedelta = timedelta(seconds=60)  # the longest that a long poll may last
    heartbeat: timedelta = timedelta(seconds=_SITE.lease_s / 4)  # pilots are told to send one this often
    lease: timedelta = timedelta(seconds=_SITE.lease_s)  # silence after which a pilot is LOST
    margin: timedelta = timedelta(seconds=5)  # time a pilot must have left beyond what a run needs
    recovery: timedelta = timedelta(seconds=15)  # after a restart, how long pilots have to come back
    max_running: int | None = _SITE.max_running_per_user  # activations of one owner at a time; None: no limit
    max_open: int = _SITE.max_open  # invocations that have not ended; above it new ones are refused for the moment
    max_open_per_owner: int = _SITE.max_open_per_user  # the same of one caller
    in_flight_bytes: int = 1024 * 1024 * 1024  # bodies of requests that are being read or accepted
    connections: ConnectionLimits = ConnectionLimits()
    blobs: Path | None = None  # directory of large payloads, best where the pilots see it; None: they go to the store
    blob_bytes: int = _SITE.blob_kb * 1024  # arguments and results from this size on lie there
    result_ttl: timedelta = timedelta(days=_SITE.result_days)  # after the end; then arguments and result are deleted
    record_ttl: timedelta = timedelta(days=_SITE.record_days)  # and then the record of the invocation
    unused_ttl: timedelta = timedelta(days=_SITE.unused_days)  # older versions of functions go when not called so long
    poison_deaths: int = 3  # slot processes or pilots that one invocation may take down
    tick: timedelta = timedelta(seconds=0.25)
    seen_interval: timedelta = timedelta(seconds=2)  # a pilot's heartbeat is written down this often
    retry: timedelta = timedelta(seconds=0.5)  # a commit that failed is tried again after this
    memory_bytes: int = 256 * 1024  # payloads up to this size stay in memory while they wait, larger in the store only


def dispatcher_settings(settings: GatewaySettings) -> DispatcherSettings:
    """Return what the dispatcher is told of them."""
    return DispatcherSettings(
        lease=settings.lease,
        margin=settings.margin,
        recovery=settings.recovery,
        poison_deaths=settings.poison_deaths,
        weights={token.name: token.weight for token in settings.tokens},
        max_running_per_owner=settings.max_running,
        owner_limits={token.name: token.max_running for token in settings.tokens if token.max_running is not None},
    )
