"""This host's address, as compute nodes may call it."""

from __future__ import annotations

import ipaddress
import socket

from harvester.config import Config
from harvester.config_file import ConfigError

_ELSEWHERE = ("192.0.2.1", 9)  # reserved for documentation (RFC 5737): a route is looked up, nothing is sent


def own_address() -> str:
    """Return this host's name where it resolves, else the address that its packets leave with, else 127.0.0.1.

    A name is better, it survives a new address; but fresh machines and containers often cannot resolve their own.
    """
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return _outgoing()
    return name


def check_host(config: Config) -> None:
    """Refuse a gateway that compute nodes cannot reach. Raises `ConfigError`.

    With `gateway.url` set, pilots reach it some other way: a tunnel, a proxy, a cluster of this one machine.
    """
    gateway = config.gateway
    if config.scheduler.kind == "local" or gateway.url or not is_loopback(gateway.host):
        return
    raise ConfigError(
        "gateway.host",
        f'"{gateway.host}" is reachable from this machine only, and pilots run on compute nodes',
        "leave --host out to listen on all addresses, or set gateway.url to an address that compute nodes reach",
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`."""
    if host.rstrip(".").lower() in {"localhost", "ip6-localhost", "localhost.localdomain"}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _outgoing() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:  # no route: only this host can connect
            return "127.0.0.1"
        return str(probe.getsockname()[0])
