"""The database behind a cluster whose site kind needs QOS: a mariadbd of its own, and slurmdbd before it.

Owns their configuration, command lines and first tables; cluster.py starts and ends them. The database asks for no
password and listens on a socket in a folder that is root's alone.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from machine import ClusterError

SYSTEM_TABLES = tuple(Path(f"/usr/share/{name}/{name}_system_tables.sql") for name in ("mysql", "mariadb"))


def slurmdbd_conf(folder: Path, port: int, **other: str) -> str:
    """Return slurmdbd.conf, with `other` settings in place of ours; its mode has to be 0600, as Slurm wants it."""
    settings: dict[str, object] = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/munge.socket",
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": port,
        "SlurmUser": "root",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",  # by the socket that `environment` names
        "StorageUser": "root",
        "StorageLoc": "slurm",
        "LogFile": folder / "log" / "slurmdbd",
        "PidFile": folder / "pid" / "slurmdbd",
    }
    return "".join(f"{key}={value}\n" for key, value in (settings | other).items())


def database(folder: Path, *, port: int | None = None) -> list[str]:
    """Return mariadbd's command line; without a port it listens on its socket only."""
    here = folder / "database"
    network = ["--skip-networking"] if port is None else [f"--port={port}", "--skip-name-resolve"]
    return [
        "mariadbd", "--no-defaults", "--user=root", f"--datadir={here}/data", f"--socket={here}/socket",
        f"--pid-file={folder}/pid/mariadbd", f"--log-error={folder}/log/mariadbd.err", "--skip-grant-tables",
        "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=16M", *network,
    ]  # fmt: skip


def fill(folder: Path) -> None:
    """Make MariaDB's own tables: slurmdbd keeps procedures in them. mariadb-install-db would need more packages."""
    found = [path for path in SYSTEM_TABLES if path.exists()]
    if not found:
        raise ClusterError(f"MariaDB's system tables are in none of {', '.join(map(str, SYSTEM_TABLES))}")
    sql = f"CREATE DATABASE mysql;\nUSE mysql;\n{found[0].read_text()}"
    done = subprocess.run([*database(folder), "--bootstrap"], input=sql, text=True, capture_output=True, check=False)
    if done.returncode:
        raise ClusterError(f"mariadbd --bootstrap ended with {done.returncode}: {done.stderr[-2000:]}")


def environment(folder: Path) -> tuple[str, ...]:
    """Return what slurmdbd needs in its environment: where MariaDB's library finds the database."""
    return (f"MYSQL_UNIX_PORT={folder}/database/socket",)
