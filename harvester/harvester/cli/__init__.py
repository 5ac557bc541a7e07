"""The command line: the only place that builds concrete objects of every part.

This file is the console script's door and stays cheap; each command imports what it needs when it runs.
"""


def main() -> None:
    """Run the command line."""
    import sys  # noqa: PLC0415 - as below
    from io import TextIOWrapper  # noqa: PLC0415 - as below

    from harvester.cli.app import app  # noqa: PLC0415 - `import harvester.cli.options` must not cost a command line

    for stream in (sys.stdout, sys.stderr):  # a terminal of latin-1 has no arrows; that is no reason to fail
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
