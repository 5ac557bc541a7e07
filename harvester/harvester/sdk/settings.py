"""Where the gateway is and which token opens it: arguments, then the environment, then the user's config file.

In a function on a pilot it is the run's own instead of the file's.

Owns the config file's format. Opens no connection.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from harvester.domain.model.hosting import Access
from harvester.sdk.errors import ConfigurationError


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway and the token for it."""

    url: str  # "http://host:port", without a slash at its end
    token: str
    parent: str = ""  # the invocation whose function asks
    is_direct: bool = False  # no proxy is between: as a pilot reaches its gateway
    tls_ca: str = ""  # PEM file by which the gateway's certificate is verified; empty: by the system's authorities
    authorities: str = ""  # the same as a PEM text: a run's, from its pilot


class _ConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's config.toml."""

    url: str = ""
    token: str = ""
    token_file: str = ""  # relative to the config file's folder
    tls_ca: str = ""  # as above


def config_path() -> Path:
    """Return where the user's config file is looked for."""
    return Path(platformdirs.user_config_dir("harvester")) / "config.toml"


def find_settings(
    url: str | None = None,
    token: str | None = None,
    *,
    environ: Mapping[str, str],
    config: Path,
    run: Access | None = None,
) -> Settings:
    """Return the gateway's address and the token.

    An explicit value beats HARVESTER_URL and HARVESTER_TOKEN, which beat the config file; so does HARVESTER_TLS_CA. The
    file's token goes to the file's gateway only: another address given by hand must not be handed a secret that was not
    meant for it. The same holds for the credential of a `run`, where the function finds that in the place of the file.

    Raises `ConfigurationError`, which names all the places when nothing is found.
    """
    if run is not None:
        return _of_run(url, token, environ, config, run)
    file = _read_config(config)
    found_url = _clean_url(url or environ.get("HARVESTER_URL", "") or file.url, config)
    if not found_url:
        raise ConfigurationError(
            "no gateway is known: give url=…, set HARVESTER_URL and HARVESTER_TOKEN, "
            f'or write url = "http://host:port" and token = "…" into {config}'
        )
    found_token = (token or environ.get("HARVESTER_TOKEN", "")).strip()
    if not found_token and found_url == _clean_url(file.url, config):
        found_token = _file_token(file, config)
    if not found_token:
        raise ConfigurationError(
            f"no token is known for the gateway {found_url}: give token=…, set HARVESTER_TOKEN, "
            f"or write url, and token or token_file, for this gateway into {config}"
        )
    tls_ca = environ.get("HARVESTER_TLS_CA", "") or _file_ca(file, config)
    return Settings(url=found_url, token=found_token, tls_ca=tls_ca)


def _of_run(url: str | None, token: str | None, environ: Mapping[str, str], config: Path, run: Access) -> Settings:
    own_url = run.url.rstrip("/")
    found_url = _clean_url(url or environ.get("HARVESTER_URL", ""), config) or own_url
    found_token = (token or environ.get("HARVESTER_TOKEN", "")).strip()
    if not found_token and found_url != own_url:
        raise ConfigurationError(
            f"no token is known for the gateway {found_url}: give token=…, or leave url=… out: the function has "
            "a credential of its own for its own gateway"
        )
    is_own = found_url == own_url
    return Settings(
        url=found_url,
        token=found_token or run.token,
        parent=run.invocation_id,
        is_direct=is_own,
        tls_ca="" if is_own else environ.get("HARVESTER_TLS_CA", ""),
        authorities=run.tls_ca if is_own else "",
    )


def _read_config(path: Path) -> _ConfigFile:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _ConfigFile()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the config file {path} cannot be read: {error}") from error
    try:
        return msgspec.convert(tomllib.loads(text), _ConfigFile)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the config file {path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"the config file {path} is wrong: {error}; it may have url, token, token_file and tls_ca, each a string"
        ) from error


def _file_ca(file: _ConfigFile, config: Path) -> str:
    return str(config.parent / Path(file.tls_ca).expanduser()) if file.tls_ca else ""


def _file_token(file: _ConfigFile, config: Path) -> str:
    if file.token or not file.token_file:
        return file.token.strip()
    path = config.parent / Path(file.token_file).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"token_file in {config} names {path}, which cannot be read: {error}") from error


def _clean_url(url: str, config: Path) -> str:
    url = url.strip().rstrip("/")
    scheme, separator, rest = url.partition("://")
    if url and (not separator or scheme.lower() not in {"http", "https", "http+unix"}):
        raise ConfigurationError(
            f"the gateway's address {url!r} (from url=…, HARVESTER_URL or {config}) must begin with http:// or https://"
        )
    return f"{scheme.lower()}{separator}{rest}"
