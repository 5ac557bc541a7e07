"""Findings for a terminal."""

from rich.console import Console

from harvester.cli.render import findings as render
from harvester.domain.fitness import findings
from harvester.domain.fitness.findings import Topic

FOUND = (
    findings.ok(Topic.VERSIONS, "harvester 0.1.0"),
    findings.error(Topic.NODES, 'a node of "gpu[1-4]" has no Python ' + 8 * "that could be used ", "install one"),
    findings.note(Topic.NODES, "it has 4 CPUs"),
)


def shown(width: int = 80, **options) -> str:
    console = Console(width=width, highlight=False, **options)
    with console.capture() as capture:
        console.print(render.table_of(FOUND, "as ann on login1"))
        console.print(render.summary(FOUND))
    return capture.get()


def test_no_line_is_longer_than_the_terminal_and_a_topic_is_named_once():
    lines = shown().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("nodes")] == ["nodes"]
    assert lines[0] == "harvester check as ann on login1"


def test_the_remedy_stands_below_what_it_is_for_and_the_verdict_is_last():
    lines = [line.strip() for line in shown().splitlines()]
    assert lines.index("→ install one") < next(number for number, line in enumerate(lines) if "4 CPUs" in line)
    assert lines[-1].startswith("1 error: correct what is marked as an error")


def test_names_in_brackets_are_words_and_a_pipe_gets_no_colour():
    assert "gpu[1-4]" in shown()
    assert "\x1b" not in shown()
    assert "\x1b[" in shown(force_terminal=True)
