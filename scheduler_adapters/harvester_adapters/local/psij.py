"""PSI/J's local executor, with our step as its launcher.

Owns the one import of psij that the `local` scheduler needs. Stays apart because that import takes a tenth of a second,
and because it belongs off the main thread: there psij takes over SIGCHLD of the whole process, elsewhere it only says
that it cannot. It uses the signal to shorten its poll, on which nothing here waits.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from harvester_adapters.local import step

logging.getLogger("psij.executors.local").setLevel(logging.ERROR)  # its warning about the thread; see above

from psij import Job, JobExecutorConfig, JobSpec, Launcher  # noqa: E402 - after the line that keeps it quiet
from psij.executors.local import LocalJobExecutor  # noqa: E402 - as above


class _StepLauncher(Launcher):
    """Starts `step` in the place of psij's bash script.

    The script has the pilot's output as an unquoted word (a blank in the path breaks it), dies of the signals that a
    pilot survives, and loses the exit code with the daemon.
    """

    def get_launch_command(self, job: Any) -> list[str]:  # noqa: ANN401 - as psij has it
        return [job.spec.executable, *job.spec.arguments]

    def is_launcher_failure(self, output: str) -> bool:
        return bool(output)

    def get_launcher_failure_message(self, output: str) -> str:
        return output


class StepExecutor(LocalJobExecutor):
    """PSI/J's local executor for steps. One long-lived instance: each has a thread. It writes no work files."""

    def _get_launcher(self, name: str, version_constraint: str | None = None) -> Launcher:
        return _StepLauncher(self.config)

    def _process_done(self, entry: Any) -> None:  # noqa: ANN401 - as psij has it
        super()._process_done(entry)
        if entry.process is not None and entry.process.stdout is not None:
            entry.process.stdout.close()  # psij leaves it to the garbage collector, which warns


def executor(work_folder: Path) -> StepExecutor:
    """Return a new executor."""
    return StepExecutor(config=JobExecutorConfig(work_directory=work_folder))


def submit(to: StepExecutor, folder: Path, environment: dict[str, str]) -> None:
    """Start the step whose order lies in `folder`. Raises psij's `SubmitException` where no process can be started."""
    spec = JobSpec(
        executable=sys.executable,
        arguments=["-I", "-S", step.__file__, str(folder)],
        inherit_environment=False,
        environment={**environment},
    )
    to.submit(Job(spec))
