"""The four walks of docs/architecture.md, counted: which modules ("rooms") each enters, in the order in which it does.

    python -m benchmarks.walks            # print each walk and its rooms
    python -m benchmarks.walks --write    # write them into docs/architecture.md as well

A real `harvester up` with one pilot is watched by a profiler in each of its processes (`sitecustomize`). Each walk is
made several times on a warm system; a room counts when most of these enter it, so that clocks that happen to tick
beside them do not. Decorators, properties and list comprehensions count as the module that they stand in.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
from scripts.house import DOCUMENT, placed

TIMES = 9
MARKERS = ("<!-- walks: written by `python -m benchmarks.walks --write` -->", "<!-- walks: end -->")
FRAME = "PilotLink._write"  # where the gateway hands a frame to the pilot's connection
CONFIG = """
state = {state!r}
[scheduler]
kind = "local"
[scheduler.local]
nodes = 1
cpus = 2
[gateway]
port = 0
[harvest]
look_s = 0.3
rest_look_s = 0.3
[[pilot]]
name = "cpu"
partition = "harvest"
cpus = 2
python = {python!r}
"""


class Step(NamedTuple):
    """A function that a process entered."""

    walk: int
    process: int
    thread: str
    module: str
    function: str


class Watch:
    """A folder in which the watched processes say what they enter."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._walk = folder, 0
        if not (folder / "flag").exists():  # it is mapped by those who watch: never made anew
            (folder / "flag").write_bytes(b"\0")

    @contextmanager
    def walking(self) -> Iterator[int]:
        """Watch what is entered meanwhile."""
        self._walk += 1
        self._say(self._walk)
        yield self._walk
        self._say(0)

    def _say(self, walk: int) -> None:
        with (self.folder / "flag").open("r+b") as file:
            file.write(bytes([walk]))

    def steps(self) -> list[Step]:
        """Return what was entered, in the order in which it was written down."""
        lines = (line.split("\t") for line in (self.folder / "entered").read_text().splitlines())
        return [Step(int(walk), int(process), *rest) for walk, process, *rest in lines]


@contextmanager
def watched_system(watch: Watch) -> Iterator[tuple[str, str]]:
    """Yield URL and token of a fresh system whose processes are watched."""
    folder = watch.folder
    hook = {"HARVESTER_WALKS": str(folder), "PYTHONPATH": str(Path(__file__).parent)}
    wrapper = folder / "python"
    exports = " ".join(f"{name}={value}" for name, value in hook.items())
    wrapper.write_text(f'#!/bin/sh\nexec env {exports} {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    state = folder / "state"
    (folder / "site.toml").write_text(CONFIG.format(state=str(state), python=str(wrapper)))
    command = [sys.executable, "-m", "harvester.cli", "up", "--config", str(folder / "site.toml")]
    process = subprocess.Popen(command, env={**os.environ, **hook}, stdout=subprocess.DEVNULL)
    try:
        while not (state / "endpoint.json").exists():
            assert process.poll() is None, "`harvester up` ended"
            time.sleep(0.05)
        url = json.loads((state / "endpoint.json").read_text())["url"]
        yield url, (state / "tokens/user").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def nothing() -> None:
    """Do nothing: the function that is called."""


def usual(steps: list[Step], walks: list[int], belongs: Callable[[Step], bool]) -> list[str]:
    """Return the modules that most of `walks` enter, in the order of the first walk that enters all of them."""
    seen: Counter[str] = Counter()
    order: dict[str, None] = {}
    for walk in walks:
        entered = dict.fromkeys(step.module for step in steps if step.walk == walk and belongs(step))
        seen.update(list(entered))
        order |= entered
    return [module for module in order if seen[module] > len(walks) / 2]


def until_frame(steps: list[Step], walks: list[int], gateway: int) -> list[Step]:
    """Return the gateway's steps of each walk before its first frame to a pilot."""
    kept: list[Step] = []
    for walk in walks:
        for step in (step for step in steps if step.walk == walk and step.process == gateway):
            if step.module.startswith("harvester.daemon"):
                continue
            kept.append(step)
            if step.function.startswith(FRAME):
                break
    return kept


def measured(watch: Watch) -> dict[str, list[str]]:
    """Make all walks, and return the rooms of each."""
    with watched_system(watch) as (url, token):
        from harvester.sdk.client import Client  # noqa: PLC0415 - this process is watched from here on

        with Client(url, token) as client, httpx2.Client(base_url=url, trust_env=False) as http:
            client.submit(nothing).result()
            headers = {"Authorization": f"Bearer {token}"}
            path = "/v1/functions/nothing/invocations?wait_s=30"

            def post() -> None:
                http.post(path, json={}, headers=headers).raise_for_status()

            posts = _walked(watch, post)
            calls = _walked(watch, lambda: client.submit(nothing).result())
            looks = _walked(watch, lambda: time.sleep(2.5))
    steps = watch.steps()
    gateway = next(step.process for step in steps if step.module.startswith("harvester_api.routes"))
    pilot = {step.process for step in steps if step.module.startswith("harvester_worker.")}
    runs = [step for step in steps if step.process in pilot]
    daemon = {(step.process, step.thread) for step in steps if step.module.startswith("harvester.daemon.observing")}
    return {
        "POST to the pilot's frame": usual(until_frame(steps, posts, gateway), posts, lambda _: True),
        "SDK submit to its result": usual(steps, calls, lambda step: step.process == os.getpid()),
        "a pilot's run": usual(runs, posts, lambda _: True),
        "the daemon's tick, with a look": usual(steps, looks, lambda step: (step.process, step.thread) in daemon),
    }


def _walked(watch: Watch, walk: Callable[[], object]) -> list[int]:
    for _ in range(3):
        walk()  # warm
    made = []
    for _ in range(TIMES):
        time.sleep(0.3)  # what follows a call, such as its acknowledgement, is over
        with watch.walking() as number:
            walk()
        made.append(number)
    return made


def told(walks: dict[str, list[str]]) -> str:
    """Return the walks as Markdown: a table of their numbers, then the rooms of each."""
    rows = []
    for name, rooms in walks.items():
        pure = sum(room.startswith("harvester.domain.") for room in rooms)
        rows.append(f"| {name} | {len(rooms)} | {len(rooms) - pure} |")
    lists = (f"**{name}**: {', '.join(f'`{room}`' for room in rooms)}." for name, rooms in walks.items())
    head = ("| walk | modules | outside `harvester.domain` |", "|---|---|---|")
    return "\n".join((*head, *rows, "", "\n\n".join(lists)))


def main() -> None:
    """Print the walks and their rooms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write them into docs/architecture.md as well")
    is_written = parser.parse_args().write
    if not os.environ.get("HARVESTER_WALKS"):
        with tempfile.TemporaryDirectory(prefix="harvester-walks-") as folder:
            Watch(Path(folder))  # the flag is there before the next process is watched
            environment = {**os.environ, "HARVESTER_WALKS": folder, "PYTHONPATH": str(Path(__file__).parent)}
            command = [sys.executable, "-m", "benchmarks.walks", *sys.argv[1:]]
            raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
    text = told(measured(Watch(Path(os.environ["HARVESTER_WALKS"]))))
    if is_written:
        DOCUMENT.write_text(placed(DOCUMENT.read_text(), text, MARKERS))
    print(text)


if __name__ == "__main__":
    main()
