"""Whatever Slurm's commands print, an answer is records or `SchedulerUnavailable`: no other exception, and no hang.

Recorded answers are damaged as a disk, a pipe or a new version would: bytes lost, repeated, swapped, replaced, numbers
that no cluster has. The same for text that no command ever printed.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import changes, damaged

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester_adapters.slurm.sources.pyslurm_source import seen_in
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.access import Submitter
from harvester_adapters.slurm.text.config import SiteConfig, site_config
from harvester_adapters.slurm.text.excluded import excluded_nodes
from harvester_adapters.slurm.text.nodes import nodes
from harvester_adapters.slurm.text.partitions import partitions
from harvester_adapters.slurm.text.preemption import PilotQos
from harvester_adapters.slurm.text.qos import default_qos, qos_table
from harvester_adapters.slurm.text.reservations import reservations
from harvester_adapters.slurm.text.squeue import batch_jobs, glimpses
from harvester_adapters.slurm.text.words import duration, elements, megabytes, tres
from harvester_adapters.slurm.text.words import node_names as nodes_of_a_list

SAMPLES = Path(__file__).parent / "samples"
SITE = SiteConfig(version="22.05.8", preempt_type="preempt/partition_prio", preempt_mode="CANCEL")
ME = Submitter(user="eva", account="lab", qos="low", groups=frozenset({"eva"}))
QUEUE, GLANCE = squeue.not_ended("nonce"), squeue.at_a_glance("nonce")
MADE_UP = {
    "qos": (b"normal||cluster|00:00:00\nprime|harvest,normal|cancel|\nharvest||cancel|00:01:00\n",),
    "associations": (b"root|||normal\nhpc|prime|high|high,low\n",),
    "excluded": (b"JOBID\x1fnonceEXC_NODES\x1enonce\n7\x1fnoncen[1-2],gpu03\x1enonce\n8\x1fnonce\x1enonce\n",),
}
# What reads an answer, and the recorded or made up answers to it.
READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "squeue": (lambda text: batch_jobs(text, QUEUE), "*squeue.txt"),
    "glance": (lambda text: glimpses(text, GLANCE), "*glance.txt"),
    "node": (nodes, "*node.txt"),
    "partition": (lambda text: partitions(text, SITE, PilotQos(), ME), "*partition.txt"),
    "pyslurm": (seen_in, "*pyslurm.json"),
    "reservation": (reservations, "*reservation.txt"),
    "config": (lambda text: (site := site_config(text), site.cuts_time_min, site.shows_excluded), "config.txt"),
    "qos": (qos_table, ""),
    "associations": (lambda text: default_qos(text, "root"), ""),
    "excluded": (lambda text: excluded_nodes(text, "nonce"), ""),
}
EVERY_READER = pytest.mark.parametrize("name", sorted(READERS))
# Pieces that mean something to Slurm or to Python's own parsers.
TOKENS = [
    b"0", b"-1", b"9" * 30, b"1e999", b"nan", b"inf", b"n[1-999999999]", b"n[1-3]r[001-999]c[1-99999]", b"n[3-1]",
    b"[", b"]", b"1-2:0", b"%0", b"99999999-00:00:00", b"9999-12-31T23:59:60", b"0001-01-01T00:00:00", b"cpu=", b"G",
    b"N/A", b"(null)", b"|", b",", b"=", b"\n", b"\x1enonce", b"\x1fnonce", "٣".encode(), "²".encode(), b"\xff", b"\0"
]  # fmt: skip
CHANGE = changes(TOKENS)


def recorded(name: str) -> list[bytes]:
    pattern = READERS[name][1]
    found = [path.read_bytes() for path in sorted(SAMPLES.rglob(pattern))] if pattern else list(MADE_UP[name])
    assert found
    return found


def read(name: str, answer: bytes) -> None:
    told = ""
    try:
        READERS[name][0](answer.decode(errors="replace"))  # as `scheduler_command.run` does
    except SchedulerUnavailable as error:
        told = str(error)
    assert len(told) < 1000  # it goes into a note


def is_understood(reader: Callable[[str], object], word: str) -> bool:
    try:
        reader(word)
    except ValueError:
        return False
    return True


@EVERY_READER
def test_the_recorded_answers_are_understood(name):
    for answer in recorded(name):
        READERS[name][0](answer.decode())


@EVERY_READER
@given(data=st.data())
def test_a_damaged_answer_is_records_or_the_documented_error(name, data):
    answer = data.draw(st.sampled_from(recorded(name)))
    for change in data.draw(st.lists(CHANGE, min_size=1, max_size=6)):
        answer = damaged(answer, change)
    read(name, answer)


@pytest.mark.parametrize(
    ("reader", "answer"),
    [
        (nodes_of_a_list, "n[1-999999999]"),
        (nodes_of_a_list, "r[1-3]n[001-999]c[1-99999]"),
        (nodes_of_a_list, "n[" + "1-9," * 50_000 + "1-999999]"),
        (elements, "1-9:0"),
        (duration, "999999999999-00:00:00"),
        (duration, "9" * 30),
        (megabytes, "infG"),
        (megabytes, "nanG"),
        (tres, "cpu=" + "9" * 30),
    ],
)
def test_what_no_cluster_has_is_a_word_that_is_not_understood(reader, answer):
    assert not is_understood(reader, answer)


def test_an_answer_with_very_long_lines_is_read_in_time_that_grows_with_its_length():
    spaces = " " * 200_000
    text = f"SLURM_VERSION = 24.11.5{spaces}x\nPreemptType = preempt/none{spaces}\nPreemptMode{spaces} = OFF"
    assert site_config(text).preempt_mode == "OFF"


@EVERY_READER
@given(answer=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_are_records_or_the_documented_error(name, answer):
    read(name, answer)
