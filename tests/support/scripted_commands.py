"""A scheduler's commands that answer from a script."""

from collections.abc import Sequence
from datetime import timedelta

from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.scheduler_command import CommandResult


class ScriptedCommands(SchedulerCommands):
    """Answers with one (exit code, stdout, stderr) after the other, the last one again and again."""

    def __init__(self, *answers: tuple[int, str] | tuple[int, str, str]) -> None:
        super().__init__(timeout=timedelta(seconds=1), asking=dict, exported=())
        self._answers = list(answers)
        self.asked: list[list[str]] = []

    def answer(self, argv: Sequence[str], give_up_at: float) -> CommandResult:
        return self.act(argv)

    def act(self, argv: Sequence[str]) -> CommandResult:
        self.asked.append(list(argv))
        code, stdout, *rest = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return CommandResult(argv=tuple(argv), exit_code=code, stdout=stdout, stderr=rest[0] if rest else "")
