"""The adapter to a scheduler behind PSI/J: what its looks contain, and that each executor says what it loses."""

from datetime import timedelta

import pytest

from harvester.domain.cluster.knowledge import EVERYTHING
from harvester.domain.cluster.ports import knowledge_of
from harvester_adapters.psij.adapter import PsijAdapter
from harvester_adapters.psij.carrier import PsijSite
from harvester_adapters.psij.executors import KINDS


@pytest.mark.parametrize("name", KINDS)
def test_every_executor_declares_that_it_sees_no_nodes_and_believes_no_states(name):
    knowledge = KINDS[name].knowledge()
    assert (knowledge.nodes, knowledge.states) == (False, False)
    assert KINDS[name].title in knowledge.lost[0]
    assert any("cannot be found by its name" in words for words in knowledge.lost) is not knowledge.names


def test_a_look_without_pilots_costs_nothing_and_shows_the_configured_queues(tmp_path):
    adapter = PsijAdapter(
        PsijSite(executor="pbs_classic", work_dir=tmp_path),
        queues=["idle", "idle", "gpu"],
        preemptible=True,
        grace=timedelta(seconds=20),
    )
    look = adapter.snapshot()
    assert (look.nodes, look.batch_jobs, look.knowledge) == ((), (), adapter.knowledge)
    assert [(queue.name, queue.is_preemptible, queue.grace_time) for queue in look.partitions] == [
        ("idle", True, timedelta(seconds=20)),
        ("gpu", True, timedelta(seconds=20)),
    ]
    assert adapter.ended([]) == ()
    adapter.cancel()
    adapter.hold("1")
    adapter.release("1")
    assert adapter.commands == 0


def test_an_adapter_that_declares_nothing_knows_everything(tmp_path):
    assert knowledge_of(object()) is EVERYTHING
    adapter = PsijAdapter(PsijSite(executor="cobalt", work_dir=tmp_path), queues=["idle"], preemptible=True)
    assert knowledge_of(adapter) is adapter.knowledge
