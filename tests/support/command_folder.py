"""A folder of fake commands for PATH: small scripts that answer what a test says, so that bad days can be played."""

from pathlib import Path


class CommandFolder:
    """Fake commands, and a log of their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"

    def answers(self, command: str, script: str) -> None:
        """Let `command` run a bash script; every call is logged, an argument with control characters too."""
        path = self.folder / command
        path.write_text(f'#!/bin/bash\necho "{command} $*" >> {self.log}\n{script}\n')
        path.chmod(0o755)

    def change(self, command: str, old: str, new: str) -> None:
        """Change a word of a command's script."""
        text = (self.folder / command).read_text()
        assert old in text
        (self.folder / command).write_text(text.replace(old, new))

    def calls(self, command: str) -> list[str]:
        """Return the arguments of every call of `command`."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(command + " ") for line in lines if line.startswith(command + " ")]
