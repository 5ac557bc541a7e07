"""The name of a file that a pilot says is never a way out of the directory, nor to another invocation's result."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.invocations import FailureKind
from harvester.domain.payload.blobs import BlobRef, blob_name, is_blob_name
from harvester.domain.protocol import wire
from harvester.store.store import StoreError
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


def heard(name: str, *, shares: bool = True):
    """The failure, and the value, of a run whose result a pilot says lies under `name`."""
    dispatcher, performed = Dispatcher(), []
    hearing = PilotMessages(
        dispatcher,
        lambda _effects, _now, payload: performed.append(payload),
        Sightings(interval=SECOND),
        1000,
        lambda _pilot_id: shares,
        on_evicted=lambda *_: None,
    )
    value = BlobRef(name=name, size=10)
    hearing.hear("p1", wire.Finished(invocation_id=ID, fence=7, value=value), 1.0)
    return dispatcher.failures[0], performed[0]


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
        with pytest.raises(StoreError, match="name of a payload"):
            use(blob)
    with pytest.raises(blob_files.BlobMissing, match="name of a payload"):
        blob_files.mapped(str(tmp_path / "blobs"), "mark", blob)


def test_deleting_what_is_no_name_deletes_nothing(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    (tmp_path / "blobs").mkdir()
    Blobs(tmp_path / "blobs", 1).delete([BlobRef(name="../outside", size=1), BlobRef(name=str(outside), size=1)])
    assert outside.exists()
