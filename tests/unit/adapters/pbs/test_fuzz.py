"""Whatever PBS's commands print, an answer is records or `SchedulerUnavailable`: no other exception, and no hang.

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
from harvester_adapters.pbs.jobs import batch_jobs
from harvester_adapters.pbs.nodes import hosts, nodes, vnode_list
from harvester_adapters.pbs.partitions import partitions, partitions_of, queue_list
from harvester_adapters.pbs.reservations import reservations
from harvester_adapters.pbs.site import scheds, server
from harvester_adapters.pbs.words import chunks, duration, instant, megabytes, plain_id, vnodes, whole

SAMPLES = Path(__file__).parent / "samples"
SERVER = server((SAMPLES / "server.qmgr.txt").read_text())
SCHEDS = scheds((SAMPLES / "soft-limit.sched.txt").read_text())
VNODES = vnode_list((SAMPLES / "mixed.nodes.json").read_text())


def read_nodes(text: str) -> object:
    found = vnode_list(text)
    return hosts(found), nodes(found, partitions_of((), found))


def read_queues(text: str) -> object:
    return partitions(queue_list(text, "alice"), VNODES, SERVER, SCHEDS, "alice")


# What reads an answer, and the recorded answers to it.
READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "batch jobs": (batch_jobs, "*.qstat.txt"),
    "nodes": (read_nodes, "*.nodes.json"),
    "queues": (read_queues, "*.queues.txt"),
    "server": (server, "*.qmgr.txt"),
    "schedulers": (scheds, "*.sched.txt"),
    "reservations": (lambda text: reservations(text, {}), "*.rstat.txt"),
}
EVERY_READER = pytest.mark.parametrize("name", sorted(READERS))
# Pieces that mean something to PBS or to Python's own parsers.
TOKENS = [
    b"0", b"-1", b"9" * 30, b"1e999", b"nan", b"Infinity", b"-29", b"(n1:ncpus=4)+(", b"999999999999:ncpus=1", b"[",
    b"]", b"{", b"}", b'"', b"null", b"99999999:00:00", b"Sat Feb 31 25:61:61 9999", b"Fri Dec 31 23:59:60 2100",
    b"ncpus=", b"gb", b"<various>", b"|", b",", b"=", b" = ", b"\n", b"Job Id: ", b"Queue: ", b"\x1f",
    b"\\\x1f", b"\\", "٣".encode(), "²".encode(), b"\xff", b"\0"
]  # fmt: skip
CHANGE = changes(TOKENS)


def recorded(name: str) -> list[bytes]:
    found = [path.read_bytes() for path in sorted(SAMPLES.glob(READERS[name][1]))]
    assert found
    return found


def read(name: str, answer: bytes) -> None:
    told = ""
    try:
        READERS[name][0](answer.decode(errors="replace"))  # as `scheduler_command.run` does
    except SchedulerUnavailable as error:
        told = str(error)
    assert len(told) < 1000  # it goes into a note


@EVERY_READER
def test_the_recorded_answers_are_understood(name):
    for answer in recorded(name):
        READERS[name][0](answer.decode(errors="replace"))


@EVERY_READER
@given(data=st.data())
def test_a_damaged_answer_is_records_or_the_documented_error(name, data):
    answer = data.draw(st.sampled_from(recorded(name)))
    for change in data.draw(st.lists(CHANGE, min_size=1, max_size=6)):
        answer = damaged(answer, change)
    read(name, answer)


@EVERY_READER
@given(answer=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_are_records_or_the_documented_error(name, answer):
    read(name, answer)


@pytest.mark.parametrize(
    ("reader", "word"),
    [
        (whole, "9" * 30), (whole, "-1"), (whole, "٣"), (whole, ""), (megabytes, "infgb"), (megabytes, "1.5gb"),
        (megabytes, "999999999999999999pb"), (duration, "9" * 30), (duration, "1:-1"), (instant, "yesterday"),
        (instant, "Sat Feb 31 25:00:00 2026"), (instant, "Sat Foo 01 00:00:00 2026"), (chunks, "999999999:ncpus=1"),
        (chunks, "x:ncpus=1"), (plain_id, "x.vm"), (plain_id, "--all"),
    ],
)  # fmt: skip
def test_what_no_cluster_has_is_a_word_that_is_not_understood(reader, word):
    with pytest.raises(ValueError):  # noqa: PT011 - which word it was is all that it says
        reader(word)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("16gb", 16384), ("4194304kb", 4096), ("1000b", 0), ("1000", 0), ("1gw", 8192), ("1GB", 1024), ("0kb", 0)],
)
def test_sizes_are_read_in_every_unit(word, expected):
    assert megabytes(word) == expected


def test_times_beyond_2038_and_durations_of_any_form_are_read():
    assert instant("Fri Dec 31 23:59:59 2100") == 4133980799.0
    assert instant("Sun Nov  1 00:00:00 2026") == 1793491200.0
    assert duration("100:00:00").total_seconds() == 360_000
    assert duration("90").total_seconds() == 90


def test_the_vnodes_of_a_batch_job_are_told_each_once():
    assert vnodes("(pn4[0]:ncpus=2+pn4[1]:ncpus=2)+(pn1:ncpus=1)+(pn1:ncpus=1:mem=1gb)") == ("pn4[0]", "pn4[1]", "pn1")


def test_reservations_are_told_with_their_nodes_and_times():
    found = {one.name: one for one in reservations((SAMPLES / "running.rstat.txt").read_text(), {"pn3": "host3"})}
    assert set(found) == {"R5172", "M5173", "S5174", "R5175"}
    assert found["M5173"].nodes == ("host3",)
    assert (found["R5172"].start_at, found["R5172"].end_at) == (1795628924.0, 1795628984.0)
    assert reservations("", {}) == ()
    unconfirmed = "Resv ID: R1.vm\nreserve_state = RESV_UNCONFIRMED\nreserve_start = Wed Nov 25 17:48:44 2026\n"
    assert reservations(unconfirmed, {}) == ()
