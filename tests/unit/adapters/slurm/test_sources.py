"""Two sources, one snapshot: the commands' text and what pyslurm shows of the same cluster; and which is asked."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import NodeState
from harvester_adapters.oddities import Oddities
from harvester_adapters.slurm.sources.pyslurm_reader import job_words, node_line
from harvester_adapters.slurm.sources.pyslurm_source import seen_in, why_unusable
from harvester_adapters.slurm.sources.source import ChosenSource, SlurmLook, SourceKind, SourceUnusable
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.config import SiteConfig
from harvester_adapters.slurm.text.excluded import ExcludedNodes, excluded_nodes
from harvester_adapters.slurm.text.nodes import nodes
from harvester_adapters.slurm.text.squeue import batch_jobs

# Recorded at one moment from one Slurm 22.05.8: running, pending, held, arrays, heterogeneous, names of every kind.
SAMPLES = Path(__file__).parent / "samples" / "22.05.8"
SITE = SiteConfig(version="22.05.8", preempt_type="preempt/none", preempt_mode="OFF")
NOTHING = SlurmLook(nodes=(), batch_jobs=())
PENDING = {
    "array_task_id": None, "array_task_str": "1-20%3", "cpus_per_task": 1, "end_time": 0, "eligible_time": 1795940887,
    "exc_nodes": [], "features": [], "job_id": 7, "job_state": "PENDING", "name": "a", "nodes": None,
    "ntasks_per_node": 2, "num_cpus": 8, "num_nodes": 1, "partition": "prime", "pn_min_cpus": 1, "pn_min_memory": 100,
    "preempt_time": "None", "priority": 5, "req_nodes": [], "resv_name": None, "sched_nodes": None, "shared": "USER",
    "start_time": 0, "state_reason": "Nodes_required_for_job_are_DOWN", "submit_time": 1795940887, "time_limit": 90,
    "tres_alloc_str": None, "tres_per_job": None, "tres_per_node": "gres:gpu:1", "tres_per_task": None,
    "tres_req_str": "cpu=8,mem=800M,node=1", "user_id": 4_000_000,
}  # fmt: skip


def read(name: str) -> str:
    return (SAMPLES / name).read_bytes().decode()


def test_both_sources_show_the_same_of_the_same_recorded_cluster():
    shown = seen_in(read("both.pyslurm.json"))
    known = ExcludedNodes()
    known.learn(excluded_nodes(read("both.excluded.txt"), "nonce"))
    queue = known.added(batch_jobs(read("both.squeue.txt"), squeue.not_ended("nonce")))
    assert shown.nodes == nodes(read("both.node.txt"))
    by_id = {batch.batch_job_id: batch for batch in shown.batch_jobs}
    assert by_id == {batch.batch_job_id: batch for batch in queue}
    assert len(by_id) == 16
    assert {batch.elements for batch in queue} == {1, 3}
    assert ("n1", "n2") in {batch.excluded_nodes for batch in queue}


def test_fields_that_pyslurm_leaves_unset_are_as_squeue_leaves_them():
    words = job_words(PENDING)
    assert words["UserName"] == "4000000"  # nobody of that number has a name here
    assert (words["StartTime"], words["EndTime"], words["SubmitTime"]) == ("N/A", "N/A", "2026-11-29T08:28:07")
    assert (words["NumNodes"], words["ArrayTaskID"], words["TimeLimit"]) == ("4", "1-20%3", "90:00")
    assert (words["OverSubscribe"], words["Reason"]) == ("USER", "Nodes required for job are DOWN")
    one = job_words(PENDING | {"array_task_str": None, "array_task_id": 0xFFFFFFFE, "time_limit": "UNLIMITED"})
    assert (one["ArrayTaskID"], one["TimeLimit"]) == ("N/A", "UNLIMITED")
    named = job_words(PENDING | {"req_nodes": ["n1", "n2"], "num_cpus": 1, "job_state": "RUNNING"})
    assert (named["NumNodes"], named["tres-alloc"]) == ("1", "")


def test_a_node_that_is_part_used_is_mixed_for_pyslurm_too():
    node = SimpleNamespace(
        name="n1", state="ALLOCATED+DRAIN", effective_cpus=4, total_cpus=4, allocated_cpus=1, active_features=["a"],
        configured_gres={}, real_memory=1000, allocated_memory=None, memory_reserved_for_system=None,
        partitions=["prime"], reason="bad disk",
    )  # fmt: skip
    [found] = nodes(node_line(node))
    assert (found.state, found.leaving) == (NodeState.DRAINED, "it is being drained: bad disk")
    node.state, node.reason = "ALLOCATED", None
    [found] = nodes(node_line(node))
    assert (found.state, found.free.cpus, found.features) == (NodeState.MIXED, 3, ("a",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "not json",
        '{"nodes": "", "batch_jobs": []}',
        '{"nodes": 1}',
        '{"nodes": "NodeName=n", "batch_jobs": [{}]}',
    ],
)
def test_what_is_no_document_is_no_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        seen_in(text)


def test_pyslurm_is_not_started_where_it_could_not_work(tmp_path):
    conf = tmp_path / "slurm.conf"
    named = {"SLURM_CONF": str(conf)}
    assert why_unusable("22.05.8", "", named) == "pyslurm is not installed"
    assert "not for Slurm 24.11.5" in why_unusable("24.11.5", "22.5.3", named)
    assert "no slurm.conf can be read" in why_unusable("22.05.8", "22.5.3", named)
    conf.write_text("ClusterName=t\n")
    assert why_unusable("22.05.8", "22.5.3", named) == ""
    assert why_unusable("24.11.5", "24.11.0", named) == ""


class Scripted:
    """A source that answers as it is told, and counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.looks = error, 0

    def look(self, site: SiteConfig, give_up_at: float) -> SlurmLook:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return NOTHING


@pytest.mark.parametrize(("is_wanted", "level"), [(True, logging.WARNING), (False, logging.INFO)])
def test_a_library_that_cannot_be_used_is_given_up_at_once_and_said_once(caplog, is_wanted, level):
    caplog.set_level(logging.INFO)
    commands, library = Scripted(), Scripted(SourceUnusable("pyslurm is not installed"))
    source = ChosenSource(commands, library, is_wanted=is_wanted)
    assert source.in_use is SourceKind.PYSLURM
    for _ in range(3):
        assert source.look(SITE, 0.0) is NOTHING
    assert (commands.looks, library.looks, source.in_use) == (3, 1, SourceKind.COMMANDS)
    assert source.why_commands == "pyslurm is not installed"
    assert [record.levelno for record in caplog.records] == [level]


def test_a_controller_that_does_not_answer_the_library_is_no_reason_to_give_it_up():
    library = Scripted(SchedulerUnavailable("no answer"))
    source = ChosenSource(Scripted(), library, is_wanted=True)
    with pytest.raises(SchedulerUnavailable):
        source.look(SITE, 0.0)
    library.error = None
    assert source.look(SITE, 0.0) is NOTHING
    assert (library.looks, source.in_use) == (2, SourceKind.PYSLURM)


def test_odd_records_are_said_once_until_there_are_none(caplog):
    odd = Oddities("slurm")
    for found in (["n1 is odd", "n2"], ["n1 is odd"], [], ["n3"]):
        odd.tell(found)
    assert [record.args for record in caplog.records] == [("slurm", 2, "n1 is odd"), ("slurm", 1, "n3")]
