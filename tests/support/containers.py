"""The cluster of containers, as tests know it: commands in them, and containers that are killed and started."""

import json
import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

T = TypeVar("T")

FUNCTIONS = "/project/tests/acceptance/compose/functions.py"
NODES = ("n1", "n2", "n3", "n4")
CPUS, GPUS = 2, 2
USABLE = {"idle", "mixed", "allocated"}
SETTLED = {"succeeded", "failed", "cancelled", "expired"}
# Where each activation was, beside what the gateway tells of the invocation.
DOCUMENT = """
import json, sys
import harvester
with harvester.Client() as client:
    document = client.invocation(sys.argv[1])
    pilots = {pilot["pilot_id"]: pilot["node"] for pilot in client.pilots(all=True)}
document["nodes"] = [pilots.get(activation["pilot_id"], "") for activation in document["activations"]]
print(json.dumps(document))
"""


def until(condition: Callable[[], T], what: str, timeout_s: float = 120.0) -> T:
    """Wait until `condition()` is true and return its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.3)
    return value


class Containers:
    """The containers, by their services' names."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._ids: dict[str, str] = {}
        self._killed: set[str] = set()

    def ask(self, service: str, *argv: str, user: str = "root", env: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run a command in a container; return its exit code and what it printed."""
        options = [word for pair in env for word in ("-e", pair)]
        return _run("docker", "exec", "-u", user, *options, self._id(service), *argv)

    def run(self, service: str, *argv: str, user: str = "root", env: tuple[str, ...] = ()) -> str:
        """Run a command in a container that has to succeed; return what it printed."""
        code, told = self.ask(service, *argv, user=user, env=env)
        assert code == 0, f"{shlex.join(argv)} as {user} on {service} ended with {code}: {told}"
        return told

    def begin(self, service: str, *argv: str, user: str) -> None:
        """Start a command in a container that goes on."""
        _must("docker", "exec", "-d", "-u", user, self._id(service), *argv)

    def kill(self, service: str) -> None:
        """SIGKILL for all that runs in a container; its network is gone too."""
        self._killed.add(service)
        _must("docker", "kill", self._id(service))

    def start(self, service: str) -> None:
        """Start a container that was killed."""
        _must("docker", "start", self._id(service))
        self._killed.discard(service)

    def start_all(self) -> None:
        """Start every container that was killed."""
        for service in sorted(self._killed):
            self.start(service)

    def restart(self, service: str) -> None:
        """Let a container end as it should, and start it again."""
        _must("docker", "restart", self._id(service))

    def cut_off(self, service: str) -> None:
        """Take a container's network away; all in it goes on."""
        _must("docker", "network", "disconnect", self._network(), self._id(service))

    def reconnect(self, service: str) -> None:
        """Give a container its network back, under its old name."""
        _must("docker", "network", "connect", f"--alias={service}", self._network(), self._id(service))

    def _network(self) -> str:
        """Return the network of them all, as a container has it that is never cut off."""
        networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
        return _must("docker", "inspect", "--format", networks, self._id("database")).split()[0]

    def _id(self, service: str) -> str:
        """Return a container's id, asked of compose once."""
        if service not in self._ids:
            self._ids[service] = _must(*self._command, "ps", "-q", service)
        return self._ids[service]


def _must(*argv: str) -> str:
    code, told = _run(*argv)
    assert code == 0, f"{shlex.join(argv)} ended with {code}: {told}"
    return told


def _run(*argv: str) -> tuple[int, str]:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip()


class Caller:
    """A Unix user on the login node, and the harvester that their commands reach."""

    def __init__(self, containers: Containers, user: str, env: tuple[str, ...] = ()) -> None:
        self._containers = containers
        self.user = user
        self._env = env  # none: as the user's own config.toml says

    def run(self, *argv: str) -> str:
        """Run a command that has to succeed; return what it printed."""
        return self._containers.run("login", *argv, user=self.user, env=self._env)

    def register(self, name: str, *options: str) -> None:
        """Register one of functions.py."""
        self.run("harvester", "functions", "register", f"{FUNCTIONS}:{name}", *options)

    def invoke(self, name: str, *arguments: object) -> str:
        """Invoke a function and return the invocation's id."""
        words = [json.dumps(argument) for argument in arguments]
        return self.run("harvester", "invoke", name, *words, "--no-wait").split()[-1]

    def together(self, name: str, size: int) -> list[Any]:
        """Invoke a `where` so often that all run at the same time; return the results."""
        party = uuid.uuid4().hex
        each = shlex.join(["harvester", "invoke", name, json.dumps(party), str(size), "--no-wait"])
        ids = self.run("bash", "-c", f"for _ in $(seq {size}); do {each} & done; wait").split()
        return [self.result(invocation_id) for invocation_id in ids]

    def document(self, invocation_id: str) -> dict[str, Any]:
        """Return what is known of an invocation; `nodes`: of its activations."""
        document: dict[str, Any] = json.loads(self.run("/venv/bin/python", "-c", DOCUMENT, invocation_id))
        return document

    def saved(self, invocation_id: str) -> dict[str, Any]:
        """Wait until an invocation runs and has saved a checkpoint; return what is known of it."""

        def has() -> dict[str, Any] | None:
            document = self.document(invocation_id)
            assert document["state"] not in SETTLED, document
            return document if document["checkpoint_at"] and document["state"] == "running" else None

        return until(has, f"invocation {invocation_id} to save a checkpoint") or {}

    def settled(self, invocation_id: str, timeout_s: float = 150.0) -> dict[str, Any]:
        """Wait until an invocation has ended; return what is known of it."""

        def ended() -> dict[str, Any] | None:
            document = self.document(invocation_id)
            return document if document["state"] in SETTLED else None

        return until(ended, f"invocation {invocation_id} to end", timeout_s) or {}

    def result(self, invocation_id: str) -> Any:
        """Wait for a result; functions of these tests return what JSON can say."""
        document = self.settled(invocation_id)
        assert document["state"] == "succeeded", document
        return json.loads(self.run("harvester", "result", invocation_id, "--json"))["result"]


class Site:
    """Slurm and the login node's harvester, as their users see them."""

    def __init__(self, containers: Containers) -> None:
        self.containers = containers
        self.alice, self.bob, self.admin = (Caller(containers, user) for user in ("alice", "bob", "root"))
        self.has_accounting = os.environ.get("ACCOUNTING", "yes") != "no"
        # What pilots run under where batch jobs are evicted by their QOS.
        self.qos = "scavenger" if os.environ.get("SITE") == "qos" else ""

    def slurm(self, *argv: str, user: str = "bob") -> str:
        """Run a command of Slurm's on the login node."""
        return self.containers.run("login", *argv, user=user)

    def node_states(self) -> dict[str, str]:
        """Return `{node: state}`; empty while the controller does not answer."""
        code, told = self.containers.ask("login", "sinfo", "-h", "-N", "-p", "prime", "-o", "%N %T")
        return dict(line.split() for line in told.splitlines()) if code == 0 else {}

    def is_in_use(self) -> bool:
        """Whether every node can be used."""
        states = self.node_states()
        return states.keys() == set(NODES) and USABLE.issuperset(states.values())

    def prime(self, *options: str, seconds: float) -> str:
        """Submit bob's prime batch job over whole nodes; return its id."""
        command = ("sbatch", "--parsable", "--partition=prime", "--exclusive", "--output=/dev/null", "--job-name=prime")
        return self.slurm(*command, *options, f"--wrap=sleep {seconds:.0f}")

    def prime_wait_s(self, batch_job: str) -> float:
        """Wait until a batch job has started; return how long Slurm says that it was in the queue, in whole seconds."""

        def started() -> list[str] | None:
            told = self.slurm("squeue", "-h", "-t", "all", "-j", batch_job, "-o", "%T %V %S").split()
            return told[1:] if told[0] in ("RUNNING", "COMPLETING", "COMPLETED") else None

        times = until(started, f"batch job {batch_job} to start", 90) or []
        submitted_at, started_at = map(datetime.fromisoformat, times)
        return (started_at - submitted_at).total_seconds()
