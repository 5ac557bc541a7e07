"""The command that a batch job runs: `python -m harvester_worker --pilot-file PATH`.

Exit codes: 0 left when its work was done or handed over, 2 the pilot file cannot be used, 3 the gateway refuses the
pilot, 4 its zygote is gone.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from harvester.domain.payload.decoding import UNREADABLE
from harvester.domain.protocol import pilot_file
from harvester_worker.isolation.temporary_folders import TemporaryFolders
from harvester_worker.pool import processes, session_guard, zygote
from harvester_worker.pool.output_limit import Outlet

EXIT_UNUSABLE = 2
END_S = 1.0
"""Time to end what has been forked, when a signal comes before the agent begins."""


def main() -> int:
    """Read the orders, fork the zygote, run the agent; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="harvester_worker", description="A pilot: runs functions on a harvested node."
    )
    parser.add_argument("--pilot-file", type=Path, required=True, metavar="PATH", help="the pilot's orders, as JSON")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args()
    try:
        pilot = pilot_file.decode(options.pilot_file.read_bytes())
    except OSError as error:
        return _unusable(f"cannot read the pilot file {options.pilot_file}: {error.strerror}")
    except UNREADABLE as error:
        return _unusable(f"{options.pilot_file} is not a pilot file, it cannot be decoded: {error}")
    if not pilot.gateways or any(not url.lower().startswith(("http://", "https://")) for url in pilot.gateways):
        return _unusable(f"{options.pilot_file}: `gateways` has to list http:// or https:// addresses")
    # First of all, while this process is small and has one thread. What follows is imported on both sides at once.
    processes.keep_memory()
    processes.adopt_orphans()  # the zygote's, if it dies
    leave_at_once_if_signalled()
    session_guard.start_where_needed()
    outlet, folders = Outlet(to=1), TemporaryFolders()
    zygote_pid, to_zygote = zygote.start(outlet, folders)
    processes.allow_descriptors()  # after the fork: programs of functions may not expect it
    outlet.open()
    folders.sweep()
    import asyncio  # noqa: PLC0415 - after the fork
    import logging  # noqa: PLC0415 - after the fork

    from harvester_worker import agent  # noqa: PLC0415 - after the fork

    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        return asyncio.run(agent.run(pilot, to_zygote, zygote_pid, folders))
    finally:
        processes.end_descendants(within_s=agent.END_S)  # again, for an agent that did not even begin
        outlet.close()
        folders.close()


def leave_at_once_if_signalled() -> None:
    """Until the agent hears signals, let each of its signals end this process's descendants first and then itself.

    PBS looks for what is left of a batch job when its first process ends, and next at a poll, 10 to 40 s later: a
    zygote that outlives this process by a moment would hold the node, and the scheduler, for so long.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _leave_at_once)


def _leave_at_once(number: int, _frame: FrameType | None) -> None:
    processes.end_descendants(within_s=END_S)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _unusable(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - before there is a log
    return EXIT_UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
