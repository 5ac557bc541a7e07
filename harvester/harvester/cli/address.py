"""This host's address, as compute nodes may call it."""

from __future__ import annotations

import socket

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


def _outgoing() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:  # no route: nobody but this host itself can call
            return "127.0.0.1"
        return str(probe.getsockname()[0])
