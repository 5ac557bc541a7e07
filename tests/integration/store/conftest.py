"""A store on a fresh SQLite file, and the same on PostgreSQL.

HARVESTER_TEST_POSTGRES names the URL of an empty database; each test gets a schema of its own in it. Where it is not
set and PostgreSQL's server programs are installed, a throwaway server is started on a socket in a temporary folder.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.store.records import PilotRecord
from harvester.store.store import Store, open_store
from harvester.store.writes.changes import CheckpointKept, Concluded, Granted, NewInvocation, Requeued, Started

HOW = (
    "no PostgreSQL to test with: set HARVESTER_TEST_POSTGRES to the URL of an empty database "
    "(postgresql+psycopg://user:password@host/database), or install a server (Debian: apt-get install postgresql)"
)


def _programs() -> Path | None:
    found = shutil.which("pg_ctl")
    if found and shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


def _owner() -> str | None:
    """The user that a throwaway server runs as; the server refuses to run as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty PostgreSQL database."""
    given = os.environ.get("HARVESTER_TEST_POSTGRES")
    if given:
        yield given
        return
    programs, owner = _programs(), _owner()
    if programs is None or owner is None:
        if os.environ.get("CI") == "true":
            pytest.fail(HOW)
        pytest.skip(HOW)
    with tempfile.TemporaryDirectory(prefix="harvester-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        as_owner = ["runuser", "-u", owner, "--"] if os.geteuid() == 0 else []
        if as_owner:
            shutil.chown(folder, owner)

        def run(program: str, *arguments: str) -> None:
            # Output to a file: the server inherits it, and a pipe would stay open as long as the server lives.
            with (folder / "commands.log").open("ab") as log:
                subprocess.run(
                    [*as_owner, str(programs / program), *arguments], check=True, stdout=log, stderr=log, cwd="/"
                )

        data = str(folder / "data")
        run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", str(folder / "server.log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """URL of an empty schema in the PostgreSQL database."""
    schema = f"test_{uuid4().hex}"
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    url = make_url(postgres).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/harvester.db"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """URL of a database without tables, once a kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def opened() -> Iterator[Callable[[str], Store]]:
    """Opens stores that are closed at the end."""
    stores: list[Store] = []

    def open_it(url: str) -> Store:
        stores.append(open_store(url))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def store(url: str, opened: Callable[[str], Store]) -> Store:
    """An empty store."""
    return opened(url)


class Make:
    """Writes and records with everything filled in that a test does not care about."""

    def function(self, name: str = "fib", **fields: Any) -> FunctionVersion:
        body = fields.pop("body", b"body")
        return FunctionVersion(function_id="", name=name, version=0, kind=FunctionKind.PICKLE, body=body, **fields)

    def new(self, invocation_id: str, **fields: Any) -> NewInvocation:
        defaults = {"function_id": "fib@1", "owner": "ann", "encoding": Encoding.JSON, "arguments": b"{}"}
        return NewInvocation(invocation_id=invocation_id, **{**defaults, "accepted_at": 1.0, **fields})

    def granted(self, invocation_id: str, fence: int = 1, **fields: Any) -> Granted:
        defaults = {"attempt": 1, "pilot_id": "p1", "resumed": False, "at": 2.0}
        return Granted(invocation_id=invocation_id, fence=fence, **{**defaults, **fields})

    def started(self, invocation_id: str, fence: int = 1, at: float = 3.0) -> Started:
        return Started(invocation_id=invocation_id, fence=fence, at=at)

    def kept(self, invocation_id: str, seq: int, state: bytes, fence: int = 1, at: float = 4.0) -> CheckpointKept:
        return CheckpointKept(invocation_id=invocation_id, fence=fence, seq=seq, state=state, at=at)

    def requeued(self, invocation_id: str, fence: int = 1, **fields: Any) -> Requeued:
        defaults = {"end": ActivationEnd.EVICTED, "retries_used": 0, "deaths": 0, "at": 5.0}
        return Requeued(invocation_id=invocation_id, fence=fence, **{**defaults, **fields})

    def concluded(self, invocation_id: str, fence: int = 1, **fields: Any) -> Concluded:
        defaults = {"state": InvocationState.SUCCEEDED, "at": 6.0}
        return Concluded(invocation_id=invocation_id, fence=fence, **{**defaults, **fields})

    def pilot(self, pilot_id: str, **fields: Any) -> PilotRecord:
        defaults = {
            "name": f"harvester-{pilot_id}",
            "shape": "small",
            "partition": "harvest",
            "resources": Resources(cpus=2),
            "walltime_s": 120.0,
            "token_sha256": f"digest of {pilot_id}",
            "state": PilotState.PLANNED,
            "planned_at": 1.0,
        }
        return PilotRecord(pilot_id=pilot_id, **{**defaults, **fields})


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
