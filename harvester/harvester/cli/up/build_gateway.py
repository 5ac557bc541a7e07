"""Settings of the gateway, made from a configuration, with the tokens of all users."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import cloudpickle

from harvester.cli.up import build
from harvester.config import Config
from harvester.config_file import ConfigError
from harvester.domain.harvest.planning import Shape
from harvester_adapters.scheduler_command import own_name
from harvester_api.connections import ConnectionLimits
from harvester_api.settings import GatewaySettings, Offer, Role, Token


def gateway_settings(config: Config, found: tuple[Shape, ...], token: Callable[[str], str]) -> GatewaySettings:
    """Return the settings of a gateway whose pilots have the shapes `found`.

    `token` returns the token of a name: "user" is the user who runs this, "admin" the admin, and the others are
    those of the configuration.
    """
    gateway = config.gateway
    limit = gateway.payload_limit_mb * 1024 * 1024
    longest_s = (_longest(config) - build.margin(config, found)).total_seconds()
    return GatewaySettings(
        tokens=_tokens(config, token),
        offers=tuple(
            Offer(
                name=shape.name,
                resources=shape.resources,
                python=shape.python,
                cloudpickle=cloudpickle.__version__ if build.is_own_python(config, shape) else "",
                longest_s=longest_s,
            )
            for shape in found
        ),
        payload_limit_bytes=limit,
        batch_limit_bytes=4 * limit,
        result_limit_bytes=limit,
        lease=timedelta(seconds=gateway.lease_s),
        heartbeat=timedelta(seconds=gateway.lease_s / 4),
        max_running=gateway.max_running_per_user,
        max_open=gateway.max_open,
        max_open_per_owner=gateway.max_open_per_user,
        connections=ConnectionLimits(
            head=timedelta(seconds=gateway.head_s),
            body=timedelta(seconds=gateway.body_s),
            idle=timedelta(seconds=gateway.idle_s),
            most=gateway.max_connections,
            strangers=gateway.max_strangers,
        ),
        blobs=build.state_dir(config) / "blobs",
        blob_bytes=gateway.blob_kb * 1024,
        result_ttl=timedelta(days=gateway.result_days),
        record_ttl=timedelta(days=gateway.record_days),
        unused_ttl=timedelta(days=gateway.unused_days),
    )


def _tokens(config: Config, token: Callable[[str], str]) -> tuple[Token, ...]:
    holders: dict[str, str] = {}
    for name in ("user", "admin", *(user.name for user in config.user)):
        other = holders.setdefault(token(name), name)
        if other != name:
            problem = f"both files contain the same token, so {other} and {name} would be one user"
            raise ConfigError(
                f"tokens/{other}, tokens/{name}",
                problem,
                "remove one of the two files; `harvester up` then makes a new token",
            )
    return (
        Token(name=own_name(), role=Role.USER, token=token("user")),
        Token(name="admin", role=Role.ADMIN, token=token("admin")),
        *(
            Token(
                name=user.name,
                role=Role.ADMIN if user.admin else Role.USER,
                token=token(user.name),
                weight=user.weight,
                max_running=user.max_running,
            )
            for user in config.user
        ),
    )


def _longest(config: Config) -> timedelta:
    """Return the longest walltime of a pilot that is submitted for waiting work, by any policy.

    `longest_min` may give longer ones, but only into windows that happen to be there: they cannot be relied on. A
    partition may allow less.
    """
    return timedelta(minutes=max(config.harvest.lengths_min))
