"""The look before a start: who is waited for, who is not, and what is said meanwhile."""

import pytest

from harvester.cli.up.first_look import check_knowledge, first_look
from harvester.config_file import ConfigError, load_config
from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.cluster.ports import SchedulerAbsent, SchedulerUnavailable
from harvester.domain.cluster.snapshot import ClusterSnapshot

BLIND = Knowledge(nodes=False)
SLURM = {"scheduler.kind": "slurm"}
SHAPE = {"pilot": [{"name": "a", "partition": "p", "cpus": 1}]}
LOOK = ClusterSnapshot(taken_at=0.0, scheduler="fake", nodes=(), batch_jobs=(), partitions=())
DOWN, TIMEOUT = SchedulerUnavailable("Connection refused"), SchedulerUnavailable("no answer within 10 s")


class Answering:
    """A scheduler that gives these answers, one after the other."""

    def __init__(self, *answers: ClusterSnapshot | Exception) -> None:
        self.answers = list(answers)

    def snapshot(self) -> ClusterSnapshot:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def look(fields, *answers):
    said, waits = [], []
    found = first_look(load_config(None, fields), Answering(*answers), said.append, wait=waits.append)
    return found, said, [round(seconds) for seconds in waits]


def test_a_scheduler_that_must_tell_what_pilots_are_is_asked_until_it_answers():
    found, said, waits = look(SLURM, DOWN, DOWN, TIMEOUT, DOWN, LOOK)
    assert found is LOOK
    assert waits == [2, 4, 8, 15]
    assert [words.partition(";")[0] for words in said] == [
        "the scheduler does not answer, trying again: Connection refused",
        "the scheduler does not answer, trying again: no answer within 10 s",
    ]
    assert "nothing starts until it answers, because no [[pilot]] table is configured" in said[0]


@pytest.mark.parametrize(
    ("fields", "error"),
    [(SLURM | SHAPE, DOWN), (SLURM, SchedulerAbsent("scontrol cannot be run")), ({"scheduler.kind": "local"}, DOWN)],
    ids=["pilots are configured", "no such command", "local"],
)
def test_nobody_waits_for_an_answer_that_is_not_needed_or_cannot_come(fields, error):
    found, said, waits = look(fields, error)
    assert (found, waits) == (None, [])
    assert said == [f"the scheduler does not answer, trying again: {error}"]


NEEDS_NODES = [
    ({"harvest.policy": "gap"}, "policy"),
    ({"harvest.policy": "fib"}, "policy"),
    ({"harvest.policy": "var"}, "policy"),
    ({"harvest.mode": "strict"}, "mode"),
    ({"harvest.mode": "yielding"}, "mode"),
    ({"harvest.excluded_nodes": ["n1"]}, "excluded_nodes"),
    ({"harvest.max_share": 0.5}, "max_share"),
]


@pytest.mark.parametrize(("fields", "name"), NEEDS_NODES)
def test_what_needs_nodes_is_refused_by_an_adapter_that_sees_none_and_by_no_other(fields, name):
    config = load_config(None, SLURM | SHAPE | fields)
    with pytest.raises(ConfigError) as refused:
        check_knowledge(config, BLIND)
    assert refused.value.field == f"harvest.{name}"
    assert "does not show its nodes" in refused.value.problem
    check_knowledge(config, EVERYTHING)


def test_an_adapter_that_sees_no_nodes_needs_configured_pilots():
    check_knowledge(load_config(None, SLURM | SHAPE), BLIND)
    with pytest.raises(ConfigError, match=r"write a \[\[pilot\]\] table"):
        check_knowledge(load_config(None, SLURM), BLIND)
