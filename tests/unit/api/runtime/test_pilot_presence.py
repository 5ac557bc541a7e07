"""Which heartbeats are worth a write."""

from datetime import timedelta

from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.model.resources import Resources
from harvester_api.runtime.pilot_presence import Sightings


def pilot(at: float, leases: int = 0) -> PilotEntry:
    room = Resources(cpus=4)
    entry = PilotEntry("p", room, room, "3.11", 3600.0, at, at + 4)
    entry.leases = {f"i{n}": object() for n in range(leases)}  # only counted here
    return entry


def test_a_heartbeat_is_written_when_the_one_before_is_old_enough():
    sightings = Sightings(timedelta(seconds=2))
    assert [seen.at for seen in sightings.due([pilot(10.0)], 10.0)] == [10.0]
    assert list(sightings.due([pilot(11.0)], 11.0)) == []
    assert [seen.at for seen in sightings.due([pilot(12.0)], 12.0)] == [12.0]


def test_a_pilot_that_becomes_busy_or_idle_is_written_at_once():
    sightings = Sightings(timedelta(seconds=2))
    (first,) = sightings.due([pilot(10.0)], 10.0)
    assert first.idle_since == 10.0
    (busy,) = sightings.due([pilot(10.1, leases=2)], 10.1)
    assert (busy.activations, busy.idle_since) == (2, None)
    sightings.worked("p", 10.2)
    (idle,) = sightings.due([pilot(10.3)], 10.3)
    assert idle.idle_since == 10.2


def test_short_work_between_two_looks_moves_the_beginning_of_idleness():
    sightings = Sightings(timedelta(seconds=2))
    list(sightings.due([pilot(10.0)], 10.0))
    sightings.worked("p", 11.5)
    (seen,) = sightings.due([pilot(12.0)], 12.1)
    assert seen.idle_since == 11.5


def test_a_pilot_that_only_the_store_told_of_is_not_seen():
    sightings = Sightings(timedelta(seconds=2))
    assert list(sightings.due([PilotEntry.remembered("p", 10.0, 25.0)], 10.0)) == []


def test_a_pilot_that_is_gone_is_forgotten():
    sightings = Sightings(timedelta(seconds=2))
    list(sightings.due([pilot(10.0)], 10.0))
    assert list(sightings.due([], 10.5)) == []
    (again,) = sightings.due([pilot(10.6)], 10.6)
    assert again.idle_since == 10.6
