"""Each message of a pilot is understood; the name of a file in one never leads out of the directory of payloads."""

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dispatching import new

from harvester.domain.model.invocations import ActivationEnd, FailureKind
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources
from harvester.domain.payload.blobs import BlobRef, blob_name, is_blob_name
from harvester.domain.protocol import wire
from harvester.store.store import StoreError
from harvester_api.runtime.absent_pilots import Absent
from harvester_api.runtime.pilot_messages import PilotMessages
from harvester_api.runtime.pilot_presence import Sightings
from harvester_api.storage.blobs import Blobs
from harvester_worker.ipc import blob_files

SECOND = timedelta(seconds=1)

ID, OTHER = "0198c0de-0000-7000-8000-00000000003f", "0198c0de-0000-7000-8000-00000000004f"
MINE = blob_name(ID, "r7")
HOSTILE = [
    "/etc/passwd", "../3f/x", "3f/../../etc/passwd", "3f/..", f"3f/{ID}-r7/../../x", f"./{MINE}", f"{MINE}\n",
    f"{MINE}\0", f"drafts/{ID}", "MARK", "", "3f/", f"3F/{ID}-r7", f"3f//{ID}", f"3f\\{ID}",
]  # fmt: skip


class Dispatcher:
    """Notes what it is told of an end."""

    def __init__(self) -> None:
        self.failures = []

    def finished(self, _pilot_id, _invocation_id, _fence, failure, _now, *, duration_s):
        self.failures.append(failure)
        return []


class Performer:
    """Keeps the payloads that come with effects."""

    def __init__(self) -> None:
        self.payloads = []

    def perform(self, _effects, _now, payload=b""):
        self.payloads.append(payload)


class Link:
    """A connection that keeps what is sent."""

    def __init__(self, *, shares: bool = False) -> None:
        self.shares_blobs = shares
        self.sent = []

    def send(self, message):
        self.sent.append(message)


class Daemon:
    """Notes which pilots it is told of."""

    def __init__(self) -> None:
        self.told = []

    def age_s(self, _now):
        return 2.5

    def evicted(self, pilot_id, _now):
        self.told.append(("evicted", pilot_id))

    def broken(self, pilot_id, _now):
        self.told.append(("broken", pilot_id))


def hearing_of(dispatcher, performer, links, daemon):
    return PilotMessages(
        dispatcher=dispatcher,
        performer=performer,
        sightings=Sightings(interval=SECOND),
        absent=Absent(SECOND),
        daemon=daemon,
        links=links,
        result_limit_bytes=1000,
        clock=lambda: 1.0,
    )


def heard(name: str, *, shares: bool = True):
    """The failure, and the value, of a run whose result a pilot says lies under `name`."""
    dispatcher, performer = Dispatcher(), Performer()
    hearing = hearing_of(dispatcher, performer, {"p1": Link(shares=shares)}, Daemon())
    value = BlobRef(name=name, size=10)
    hearing.received("p1", [wire.Finished(invocation_id=ID, fence=7, value=value)])
    return dispatcher.failures[0], performer.payloads[0]


HELLO = wire.Hello(
    protocol=wire.PROTOCOL_VERSION,
    pilot_id="p1",
    python="3.11",
    node="n1",
    batch_job_id="7",
    capacity=Resources(cpus=2),
    time_left_s=3600.0,
)
EVERY = [
    HELLO,
    wire.Heartbeat(time_left_s=3600.0),
    wire.Started(invocation_id=ID, fence=7),
    wire.Waits(invocation_id=ID, fence=7, is_lent=True),
    wire.GoesOn(invocation_id=ID, fence=7),
    wire.Checkpoint(invocation_id=ID, fence=7, seq=1, state=b"s"),
    wire.Finished(invocation_id=ID, fence=7),
    wire.GivenBack(invocation_id=ID, fence=7, end=ActivationEnd.EVICTED),
    wire.SharesBlobs(),
    wire.Draining(reason=DrainReason.EVICTED),
    wire.Goodbye(reason=DrainReason.EVICTED),
]


def test_every_message_of_a_pilot_is_understood():
    link, daemon, performer = Link(), Daemon(), Performer()
    hearing = hearing_of(new(), performer, {"p1": link}, daemon)
    assert {type(message) for message in EVERY} == set(get_args(wire.ToGateway))
    hearing.received("p1", EVERY)
    assert len(performer.payloads) == len(EVERY) - 1, "all but SharesBlobs, which is of the connection"
    assert link.shares_blobs
    assert link.sent == [wire.Heard(daemon_age_s=2.5)], "the answer to the heartbeat"
    assert daemon.told == [("evicted", "p1")]


def test_a_connection_that_was_replaced_ends_without_a_word_to_anybody():
    first, second, links, daemon = Link(), Link(), {}, Daemon()
    hearing = hearing_of(new(), Performer(), links, daemon)
    assert hearing.attach("p1", first) is None
    hearing.received("p1", [HELLO])
    assert hearing.attach("p1", second) is first
    hearing.detach("p1", first)
    assert links == {"p1": second}
    assert daemon.told == []
    hearing.detach("p1", second)
    assert links == {}
    assert daemon.told == [("broken", "p1")]


def test_a_result_under_its_own_name_is_taken():
    assert heard(MINE) == (None, BlobRef(name=MINE, size=10))


@pytest.mark.parametrize("name", [*HOSTILE, blob_name(OTHER, "r7"), blob_name(ID, "r8"), blob_name(ID, "args")])
def test_a_result_under_any_other_name_is_none(name):
    failure, value = heard(name)
    assert failure.kind is FailureKind.RESULT
    assert value == b""


def test_a_pilot_that_does_not_see_the_directory_has_no_file_in_it():
    failure, value = heard(MINE, shares=False)
    assert failure.kind is FailureKind.RESULT
    assert value == b""


@given(st.text(alphabet="0123456789abcdef/.-\\\n\0 ~*", max_size=60) | st.sampled_from(HOSTILE))
def test_what_passes_for_a_name_has_one_folder_and_no_dots(name):
    if is_blob_name(name):
        folder, _, rest = name.partition("/")
        assert len(folder) == 2
        assert rest
        assert not set(rest) & set("/.\\\n\0")


@pytest.mark.parametrize("name", HOSTILE)
def test_neither_gateway_nor_pilot_opens_what_is_no_name(tmp_path, name):
    (tmp_path / "blobs").mkdir()
    blobs = Blobs(tmp_path / "blobs", 1)
    blob = BlobRef(name=name, size=1)
    for use in (blobs.path, blobs.read_now, blobs.secure):
        with pytest.raises(StoreError, match="not the name of a payload"):
            use(blob)
    with pytest.raises(blob_files.BlobMissing, match="name of a payload"):
        blob_files.mapped(str(tmp_path / "blobs"), "mark", blob)


def test_deleting_what_is_no_name_deletes_nothing(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    (tmp_path / "blobs").mkdir()
    Blobs(tmp_path / "blobs", 1).delete([BlobRef(name="../outside", size=1), BlobRef(name=str(outside), size=1)])
    assert outside.exists()
