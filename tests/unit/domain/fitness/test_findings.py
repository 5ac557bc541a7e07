"""Findings as such: their order, the exit code, the sentence at the end."""

import pytest

from harvester.domain.fitness import findings
from harvester.domain.fitness.findings import Severity, Topic, error, exit_code, note, ok, ordered, verdict

OK = ok(Topic.NODES, "fine")
NOTE = note(Topic.CLOCK, "good to know")
WARNING = findings.warning(Topic.STORE, "slow", "make it fast")
ERROR = error(Topic.VERSIONS, "missing", "install it")


def test_only_an_error_forbids_a_start():
    assert exit_code([OK, NOTE, WARNING]) == 0
    assert exit_code([OK, ERROR]) == 1
    assert exit_code([]) == 0


def test_findings_are_told_by_topic_and_those_of_one_topic_stay_in_their_order():
    first, second = ok(Topic.STORE, "1"), ok(Topic.STORE, "2")
    assert ordered([OK, first, ERROR, second]) == (ERROR, first, second, OK)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([OK, NOTE], "nothing is in the way of `harvester up`"),
        ([WARNING], "1 warning: `harvester up` starts here, but see the remedies"),
        ([ERROR, ERROR], "2 errors: correct what is marked as an error before `harvester up`"),
        ([ERROR, WARNING, WARNING], "1 error, and 2 warnings: correct what is marked as an error"),
    ],
)
def test_the_verdict_counts_what_is_bad(found, words):
    assert verdict(found).startswith(words)


def test_the_words_in_json_are_these():
    # Programs read them: docs/cli.md lists them.
    assert [severity.value for severity in Severity] == ["ok", "note", "warning", "error"]
    assert [topic.value for topic in Topic] == [
        "versions", "configuration", "scheduler", "commands", "partitions", "eviction", "limits", "rights",
        "visibility", "windows", "state folder", "store", "tokens", "gateway", "clock", "nodes",
    ]  # fmt: skip
