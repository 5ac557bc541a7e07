"""The whole story, step by step, for somebody who sees it for the first time.

Owns its order and its words. Each step says what happens, shows the command as one would type it on the login node, and
what that printed: nothing goes on behind the reader's back.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from machine import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from compose.stack import Stack

ROUNDS = 300  # of examples/pi.py: half a minute or less
PRIME_S = 30
ASK = """
import json, sys
import harvester
with harvester.Client() as client:
    document = client.invocation(sys.argv[1])
    pilots = {pilot["pilot_id"]: pilot["node"] for pilot in client.pilots(all=True)}
document["node"] = pilots[document["activations"][-1]["pilot_id"]] if document["activations"] else ""
print(json.dumps(document))
"""
SETTLED = {"succeeded", "failed", "cancelled", "expired"}


class Teller:
    """Says things, and runs commands in sight of the reader."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._begun_at = time.monotonic()
        self._bold, self._plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")

    def say(self, text: str) -> None:
        """Print a sentence, with the seconds since the start."""
        print(f"\n{time.monotonic() - self._begun_at:6.1f} s  {self._bold}{text}{self._plain}", flush=True)

    def show(self, user: str, *argv: str) -> str:
        """Run a command on the login node as `user`, and print both."""
        words = " ".join(f"'{word}'" if " " in word else word for word in argv)
        print(f"          {user}@login$ {words}", flush=True)
        told = self._stack.tell("login", *argv, user=user)
        for line in told.splitlines():
            print(f"          {line}".rstrip(), flush=True)
        return told

    def invocation(self, invocation_id: str) -> dict[str, Any]:
        """Return what is known of one of alice's invocations; `node`: where its newest activation is."""
        told = self._stack.tell("login", "/venv/bin/python", "-c", ASK, invocation_id, user="alice")
        document: dict[str, Any] = json.loads(told)
        return document

    def seconds_until_it_runs(self, batch_job: str) -> float:
        """Wait for a batch job's start; return what Slurm has as its time in the queue."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            told = self._stack.tell("login", "squeue", "-h", "-t", "all", "-j", batch_job, "-o", "%T %V %S").split()
            if told[0] == "RUNNING":
                submitted_at, started_at = map(datetime.fromisoformat, told[1:])
                return (started_at - submitted_at).total_seconds()
            time.sleep(0.3)
        raise ClusterError(f"batch job {batch_job} did not start within 90 s")

    def wait(self, what: str, invocation_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until an invocation is as the story wants it."""
        deadline = time.monotonic() + 120
        while not is_so(document := self.invocation(invocation_id)):
            if document["state"] in SETTLED or time.monotonic() > deadline:
                raise ClusterError(f"waited for {what}, but the invocation is {document['state']}")
            time.sleep(0.3)
        return document


def tell(stack: Stack) -> int:
    """Bring the cluster up, play the story, take it down; return the exit code."""
    stack.begin_afresh()
    try:
        print(stack.up(), flush=True)
        play(Teller(stack))
    finally:
        stack.down()
    return 0


def play(teller: Teller) -> None:
    """Play the story. Raises `ClusterError` where it goes another way."""
    teller.say("A Slurm cluster: four nodes, a partition for prime batch jobs and one that they may evict from.")
    teller.show("alice", "sinfo")
    teller.say("The login node's harvester keeps a pilot ready: a batch job like others, in the harvest partition.")
    teller.show("alice", "squeue")

    teller.say("Alice registers a function that saves checkpoints, and invokes it. Nobody waits in a queue.")
    teller.show("alice", "harvester", "functions", "register", "/project/examples/pi.py:pi", "--checkpoints")
    invocation_id = teller.show("alice", "harvester", "invoke", "pi", str(ROUNDS), "--no-wait").split()[-1]
    first = teller.wait("a first checkpoint", invocation_id, lambda document: bool(document["checkpoint_at"]))
    node = first["node"]
    teller.say(f"It runs on {node}, and has saved its first checkpoint.")
    teller.show("alice", "harvester", "status")

    teller.say(f"Bob submits a prime batch job that wants {node}, all of it.")
    wrap = f"--wrap=sleep {PRIME_S}"
    where = ("--partition=prime", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--job-name=prime")
    prime = teller.show("bob", "sbatch", "--parsable", *where, wrap)
    waited_s = teller.seconds_until_it_runs(prime)
    teller.say(f"It runs {waited_s:.0f} s after its submission: the pilot has handed its work over and left.")
    teller.show("bob", "squeue")

    again = teller.wait("the function to resume", invocation_id, lambda document: document["attempts"] > 1)
    teller.say(f"The function goes on from its checkpoint on {again['node']}; Alice need not know.")
    teller.show("alice", "harvester", "explain", invocation_id)
    teller.say("The result, as if nothing had happened:")
    teller.show("alice", "harvester", "result", invocation_id)
    teller.say("The same from your own terminal: make compose-up, and the README of slurm-test tells the rest.")
