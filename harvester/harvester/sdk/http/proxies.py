"""Which proxy the environment names for a gateway, if any. Opens nothing.

Owns who is excepted: what NO_PROXY names, networks included, and this machine itself, which no proxy reaches.
"""

from __future__ import annotations

import ipaddress
import os
import urllib.request
from typing import NamedTuple


class NamedProxy(NamedTuple):
    """A proxy, and by what it is named."""

    url: str
    variable: str


def named_proxy(scheme: str, host: str, port: int) -> NamedProxy | None:
    """Return the proxy for a gateway; None where it is to be reached without one."""
    proxies = urllib.request.getproxies()
    kind = scheme if proxies.get(scheme) else "all"
    url = proxies.get(kind)
    if not url or _is_here(host) or _is_excepted(host, port):
        return None
    return NamedProxy(url, _variable(f"{kind}_proxy"))


def _variable(name: str) -> str:
    """Return the variable as it is set; the name alone where the system's settings name the proxy."""
    return next((each for each in (name, name.upper()) if os.environ.get(each)), name)


def _is_here(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _is_excepted(host: str, port: int) -> bool:
    if urllib.request.proxy_bypass(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"):
        return True
    address = _address(host)
    excepted = urllib.request.getproxies().get("no", "").split(",")
    return address is not None and any(_holds(each.strip().strip("[]"), address) for each in excepted)


def _holds(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False  # it is a name


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
