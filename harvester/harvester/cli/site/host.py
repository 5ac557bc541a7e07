"""What is so on this host: versions, state folder, store, tokens, and the gateway's address. Changes nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sqlite3
import ssl
import tempfile
from pathlib import Path

import harvester
from harvester.cli.up import build_address
from harvester.cli.up.address import check_host
from harvester.cli.up.build import state_dir
from harvester.cli.up.state_folder import StateFolderError, is_there, read_token, why_refused
from harvester.config import Config
from harvester.config_file import ConfigError
from harvester.domain.fitness.host_findings import Answers, HostFacts
from harvester_adapters.scheduler_command import own_name

_NEEDED = ("fastapi", "uvicorn", "sqlmodel", "psij", "apscheduler", "psutil", "websockets")
_TOLD = (("PSI/J", "psij-python"), ("pyslurm", "pyslurm"))
_PATIENCE_S = 3.0
_ALL = ("0.0.0.0", "::")  # noqa: S104 - only compared with


def host_facts(config: Config) -> HostFacts:
    """Return what is so on this host."""
    state = state_dir(config)
    trouble = state_trouble(state)
    needed = (*_NEEDED, *(["ClusterShell"] if config.scheduler.kind == "slurm" else []))
    port = config.gateway.port
    answers, bind_trouble = _port(build_address.host(config), port, has_tls=bool(config.gateway.tls_certificate))
    return HostFacts(
        user=own_name(),
        host=socket.gethostname(),
        versions=_versions(),
        missing=tuple(name for name in needed if importlib.util.find_spec(name) is None),
        state=str(state),
        state_trouble=trouble,
        is_open=is_there(state) and bool(state.stat().st_mode & 0o077),
        running=running(state),
        filesystem=_filesystem(state),
        free_mb=None if trouble else shutil.disk_usage(_existing(state)).free // 2**20,
        store=_store(config),
        store_trouble=_store_trouble(config),
        token_trouble=_token_trouble(config, state),
        listens=f"{build_address.host(config)}:{port}",
        url=build_address.pilots_url(config, port),
        url_trouble=_url_trouble(config),
        port=answers,
        bind_trouble=bind_trouble,
    )


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("harvester", harvester.__version__), ("Python", platform.python_version())]
    for name, package in _TOLD:
        try:
            found.append((name, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


# ---- the state folder


def _existing(path: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(each for each in (path, *path.parents) if is_there(each))


def state_trouble(state: Path) -> str:
    """Return why the state folder cannot be used, empty where it can."""
    try:
        above = _existing(state)
        if not above.is_dir():
            return f"{above} is not a folder"
        if above != state:
            return "" if os.access(above, os.W_OK | os.X_OK) else f"{above} cannot be written by you"
        if why := why_refused(state):
            return why
        with tempfile.TemporaryFile(dir=state):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def running(state: Path) -> int | None:
    """Return the process of a `harvester up` that runs over a state folder; 0 where its number is not known."""
    try:
        lock = os.open(state / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two checks do not take each other for one
    except OSError:
        word = os.read(lock, 20).decode(errors="replace").strip()
        return int(word) if word.isdecimal() else 0
    finally:
        os.close(lock)
    return None


def _filesystem(state: Path) -> str:
    if importlib.util.find_spec("psutil") is None:
        return ""
    import psutil  # noqa: PLC0415 - a user's laptop does not have it

    where = _existing(state).resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if where.is_relative_to(part.mountpoint)]
    return str(max(mounts, key=lambda part: len(part.mountpoint)).fstype) if mounts else ""


# ---- store, tokens


def _store(config: Config) -> str:
    if not config.store.url:
        return "the store is SQLite in the state folder"
    return f"the store is {config.store.url.partition(':')[0]}, and answers"


def _store_trouble(config: Config) -> str:
    """Return why the store cannot be used."""
    if importlib.util.find_spec("sqlmodel") is None:
        return ""
    if not config.store.url:
        return _file_trouble(state_dir(config) / "harvester.db")
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - SQL is not needed by other commands

    from harvester.store.db.engine import make_engine  # noqa: PLC0415 - as above
    from harvester.store.db.errors import StoreError  # noqa: PLC0415 - as above

    try:
        engine = make_engine(config.store.url)
    except (StoreError, OSError, ModuleNotFoundError) as error:
        return str(error)
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        return " ".join(str(error).split())[:300]
    finally:
        engine.dispose()
    return ""


def _file_trouble(path: Path) -> str:
    """Return why a SQLite store that is there cannot be used: not ours to open, no store, or of a newer harvester."""
    from harvester.store.db.schema import VERSION  # noqa: PLC0415 - as above

    if not is_there(path):
        return ""
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} cannot be read and written by you"
    try:
        # Immutable: not even the files beside it are touched, which may be another user's, or in use.
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            rows = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
    except sqlite3.OperationalError:  # its tables may be on their way, in the file beside it
        return ""
    except sqlite3.DatabaseError as error:
        return f"{path}: {error}"
    found = next((str(value) for (value,) in rows), "")
    if found.isdecimal() and int(found) > VERSION:
        return f"{path} was written by a newer harvester (schema {found}; this one knows up to {VERSION})"
    return ""


def _token_trouble(config: Config, state: Path) -> str:
    holders: dict[str, str] = {}
    for name in ("user", "admin", *(user.name for user in config.user)):
        path = state / "tokens" / name
        try:
            if not is_there(path) or not path.stat().st_size:  # it is made at the start
                continue
            other = holders.setdefault(read_token(path), name)
        except StateFolderError as error:
            return str(error).partition(":")[0]
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        if other != name:
            return f"tokens/{other} and tokens/{name} contain the same token"
    return ""


# ---- the gateway's address


def _url_trouble(config: Config) -> str:
    try:
        check_host(config)
        build_address.authorities(config)
    except ConfigError as error:
        return f"{error.field}: {error.problem}"
    return ""


def _port(host: str, port: int, *, has_tls: bool) -> tuple[Answers, str]:
    """Return who answers where the gateway is to listen, and why nobody can listen there."""
    if not port:
        return Answers(), ""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Answers(is_taken=True, is_gateway=_is_gateway(host, port, has_tls=has_tls)), ""
        return Answers(), error.strerror or str(error)
    return Answers(), ""


def _is_gateway(host: str, port: int, *, has_tls: bool) -> bool:
    """Return whether a gateway answers there. Nothing secret is said to it, so any certificate will do."""
    near = "127.0.0.1" if host in _ALL else host
    connection = http.client.HTTPConnection(near, port, timeout=_PATIENCE_S)
    if has_tls:
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(near, port, timeout=_PATIENCE_S, context=anybody)
    try:
        connection.request("GET", "/healthz")
        return b"alive" in connection.getresponse().read(1000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
