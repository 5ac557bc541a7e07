"""`harvester demo`: the whole system at work on one machine, each event printed as it happens.

Owns the story's order: register, invoke, a prime batch job takes the nodes, the function's checkpoint is handed over,
it resumes on another pilot, one result. It starts a real `harvester up` in a process of its own and talks to it as any
user would; what the prime job is made of is `demo_stage`'s business.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from harvester.cli.commands.demo_stage import DemoError, Stage, open_stage
from harvester.cli.options import DemoOptions
from harvester.sdk.errors import HarvesterError

if TYPE_CHECKING:
    from harvester.sdk.client import Client
    from harvester.sdk.futures import InvocationFuture

T = TypeVar("T")

STEPS = 60
STEP_S = 0.1
PRIME_S = 3.0


def square(x: int) -> int:
    """Return the square of `x`: the demo's first function."""
    return x * x


def count(steps: int, step_s: float) -> dict[str, int]:
    """Count to `steps`, slowly, saving each step; tell how many steps this and earlier activations made in all."""
    import time  # noqa: PLC0415 - it runs on a pilot, where this module's imports are not there

    import harvester  # noqa: PLC0415 - as above

    ctx = harvester.context()
    done, made = ctx.restore((0, 0))
    while done < steps:
        time.sleep(step_s)
        done, made = done + 1, made + 1
        ctx.checkpoint((done, made))
    return {"counted": done, "steps_made": made, "activations": ctx.attempt}


def run_demo(options: DemoOptions) -> int:
    """Run the demo; return 0 when it ended as it should."""
    console = Console(stderr=options.as_json, highlight=False, soft_wrap=True)
    teller = Teller(console)
    folder = Path(tempfile.mkdtemp(prefix="harvester-demo-"))
    try:
        with open_stage(options.scheduler, folder, teller.say) as stage:
            outcome = tell(stage, teller)
            if options.keep:
                _keep(stage, console)
    except (DemoError, HarvesterError) as error:
        console.print(Text.assemble(("harvester demo:", "red"), f" {error}"))  # no markup: it names extras in brackets
        return 1
    except KeyboardInterrupt:
        return 130
    if options.as_json:
        sys.stdout.write(json.dumps(outcome, indent=2) + "\n")
    return 0


class Teller:
    """Prints each event with the time since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun_at = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun_at

    def say(self, text: str) -> None:
        """Print one event."""
        self._console.print(f"[dim]{self.elapsed_s:6.1f} s[/]  {text}")


def tell(stage: Stage, teller: Teller) -> dict[str, object]:
    """Play the story on `stage`; return its figures. Raises `DemoError` where it goes another way."""
    from harvester.sdk.client import Client  # noqa: PLC0415 - `harvester up` starts meanwhile

    with Client(url=stage.url, token=stage.token) as client:
        teller.say(f"registered [bold]square[/], version {client.register(square).version}")
        value = _result(client, client.submit(square, 7))
        first_result_s = teller.elapsed_s
        teller.say(f"[bold]square(7) = {value}[/], the first result")
        future = client.submit(count, STEPS, STEP_S)
        invocation_id = _wait(lambda: future.invocation_id, "the invocation to be accepted")
        document = _wait(lambda: _running(client, invocation_id), "the function to run and save a checkpoint")
        teller.say(f"[bold]count({STEPS})[/] runs on {_node(client, document)}, and saved its first checkpoint")
        time.sleep(10 * STEP_S)
        prime_wait_s = stage.reclaim(PRIME_S, teller.say)
        teller.say(
            f"the prime batch job runs, [bold]{prime_wait_s:.1f} s[/] after it was submitted; the pilots are gone"
        )
        teller.say(_explanation(client, invocation_id))
        again = _wait(lambda: _resumed(client, invocation_id), "the function to resume", timeout_s=120)
        teller.say(f"it resumes from its checkpoint on {_node(client, again)}")
        result = _result(client, future, timeout_s=120)
        teller.say(
            f"[bold]count({STEPS}) = {result['counted']}[/] after {result['activations']} activations, "
            f"with {result['steps_made']} steps made: no step was lost, none was done twice"
        )
    if result["counted"] != STEPS or result["activations"] < 2:
        raise DemoError(f"the function ended with {result}: it should have been evicted once and resumed")
    return {"first_result_s": round(first_result_s, 2), "prime_wait_s": round(prime_wait_s, 2), "result": result}


def _wait(condition: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (value := condition()) is not None:
            return value
        time.sleep(0.1)
    raise DemoError(f"waited {timeout_s:.0f} s for {what}")


def _result(client: Client, future: InvocationFuture[T], timeout_s: float = 60.0) -> T:
    try:
        return future.result(timeout=timeout_s)
    except TimeoutError:
        told = client.explain(future.invocation_id) if future.invocation_id else {}
        why = " ".join([str(told.get("summary", "")), *map(str, told.get("details", ()))])
        raise DemoError(f"no result within {timeout_s:.0f} s. {why}") from None


def _running(client: Client, invocation_id: str) -> dict[str, Any] | None:
    document = client.invocation(invocation_id)
    return document if document["state"] == "running" and document["checkpoint_at"] else None


def _resumed(client: Client, invocation_id: str) -> dict[str, Any] | None:
    document = client.invocation(invocation_id)
    return document if document["attempts"] > 1 and document["state"] in ("running", "succeeded") else None


def _node(client: Client, document: dict[str, Any]) -> str:
    """Return where the newest activation of an invocation runs."""
    pilot_id = document["activations"][-1]["pilot_id"]
    return next((f"node {pilot['node']}" for pilot in client.pilots(all=True) if pilot["pilot_id"] == pilot_id), "")


def _explanation(client: Client, invocation_id: str) -> str:
    return f"harvester explain: [italic]{escape(str(client.explain(invocation_id)['summary']))}[/]"


def _keep(stage: Stage, console: Console) -> None:
    console.print(f"\nIt runs until Ctrl-C:\n  export HARVESTER_URL={stage.url}")
    console.print(f"  export HARVESTER_TOKEN=$(cat {stage.token_file})\n  harvester status")
    try:
        while stage.is_alive:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("ending")
