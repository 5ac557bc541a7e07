"""The command line: the only place that builds concrete objects of every part.

This file is the console script's door and stays cheap; each command imports what it needs when it runs.
"""


def main() -> None:
    """Run the command line."""
    from harvester.cli.app import app  # noqa: PLC0415 - `import harvester.cli.options` must not cost a command line

    app()
