"""Where the gateway listens and how pilots reach it, out of a configuration."""

from __future__ import annotations

import ssl
from pathlib import Path

from harvester.cli.up.address import own_address
from harvester.config import Config
from harvester.config_file import ConfigError
from harvester.domain import tls

_ALL = "0.0.0.0"  # noqa: S104 - pilots on other hosts must reach the gateway; tokens guard it


def host(config: Config) -> str:
    """Return the address to listen on."""
    return config.gateway.host or ("127.0.0.1" if config.scheduler.kind == "local" else _ALL)


def pilots_url(config: Config, port: int) -> str:
    """Return the gateway's address as pilots reach it. `port`: where it listens."""
    gateway = config.gateway
    if gateway.url:
        return gateway.url.rstrip("/")
    name = own_address() if host(config) in {_ALL, "::"} else host(config)
    name = f"[{name}]" if ":" in name else name
    return f"{'https' if gateway.tls_certificate else 'http'}://{name}:{port}"


def authorities(config: Config) -> str:
    """Return the certificates that pilots trust, in PEM; empty for the system's. Raises `ConfigError`."""
    if not config.gateway.tls_ca:
        return ""
    path = Path(config.gateway.tls_ca)
    try:
        text = path.read_text(encoding="ascii", errors="replace")
        tls.trusting(text)
    except ssl.SSLError as error:
        raise ConfigError(
            "gateway.tls_ca", f"{path} contains no certificate in PEM format", "name a PEM file"
        ) from error
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise ConfigError("gateway.tls_ca", problem, "name a readable file") from error
    return text
