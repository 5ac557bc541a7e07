"""The daemon's notes, as they lie in the store."""

import pytest

from harvester.domain.model.resources import Resources
from harvester.domain.protocol import daemon_notes
from harvester.domain.protocol.daemon_notes import ClusterNote, DaemonNote, NodeNote

WHOLE = Resources(cpus=4, memory_mb=1024)
NODE = NodeNote(name="n1", state="idle", partitions=("harvest",), total=WHOLE, free=WHOLE)


def test_a_note_is_read_as_it_was_written():
    cluster = ClusterNote(scheduler="local", taken_at=5.0, nodes=(NODE,), others_pending=3)
    daemon = DaemonNote(last_tick_at=5.0, tick_s=0.1, errors=("the store failed",), paused=True, reason="maintenance")
    assert daemon_notes.decode_cluster(daemon_notes.encode(cluster)) == cluster
    assert daemon_notes.decode_daemon(daemon_notes.encode(daemon)) == daemon


def test_of_an_older_daemons_note_the_newer_fields_are_the_defaults_and_unknown_ones_are_passed_over():
    note = daemon_notes.decode_daemon(b'{"last_tick_at": 5, "tick_s": 1.0, "went": "away"}')
    assert note == DaemonNote(last_tick_at=5.0, tick_s=1.0)


@pytest.mark.parametrize("text", [None, b"", b"[]", b'{"tick_s": 1.0}', b'{"last_tick_at": "noon", "tick_s": 1.0}'])
def test_a_note_that_cannot_be_read_counts_as_absent(text):
    assert daemon_notes.decode_daemon(text) is None
    assert daemon_notes.decode_cluster(text) is None
