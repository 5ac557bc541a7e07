"""Which pilot an invocation goes to, and why another one cannot have it: each rule at its limit."""

import pytest
from support.dispatching import work

from harvester.domain.dispatch.leasing.placement import CANDIDATES, Obstacle, choose, is_kept_from, obstacle
from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.dispatch.queueing.lanes import Waiting, WorkShape
from harvester.domain.dispatch.queueing.queues import Queues
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources

NOW, MARGIN_S = 1000.0, 5.0
ROOM = Resources(cpus=4, gpus=1, memory_mb=1000)


def pilot(name="p", *, ends_in_s=3600.0, python="3.11", free=ROOM, capacity=ROOM, **changes):
    made = PilotEntry(name, capacity, free, python, NOW + ends_in_s, NOW, NOW + 60)
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def shape(cpus=1, gpus=0, memory_mb=0, python="", needs_s=0.0, *, is_alone=False):
    return WorkShape(Resources(cpus=cpus, gpus=gpus, memory_mb=memory_mb), python, needs_s, is_alone)


def waiting(kind, count=1):
    """Return work of a shape, for which so many groups wait."""
    made = Waiting(kind)
    for number in range(count):
        queues = Queues()
        made.groups.add(queues.lane(work(f"i{number}")))
    return made


def why(kind, on, *, in_line=False):
    return obstacle(kind, on, MARGIN_S, NOW, in_line)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"is_connected": False}, Obstacle.CUT_OFF),
        ({"drain": DrainReason.ASKED}, Obstacle.LEAVING),
        ({"drain": DrainReason.ASKED, "is_connected": False}, Obstacle.LEAVING),
    ],
)
def test_a_pilot_that_leaves_or_is_cut_off_takes_nothing(changes, found):
    assert why(shape(), pilot(**changes)) is found


@pytest.mark.parametrize("field", ["cpus", "gpus", "memory_mb"])
def test_what_just_fits_is_taken_and_one_more_is_not(field):
    most = getattr(ROOM, field)
    assert why(shape(**{"cpus": 1, field: most}), pilot()) is None
    assert why(shape(**{"cpus": 1, field: most + 1}), pilot()) is Obstacle.SMALL
    taken = Resources(**{name: getattr(ROOM, name) - (name == field) for name in ("cpus", "gpus", "memory_mb")})
    assert why(shape(**{"cpus": 1, field: most}), pilot(free=taken)) is Obstacle.BUSY
    assert why(shape(**{"cpus": 1, field: most}), pilot(free=taken), in_line=True) is None


@pytest.mark.parametrize("leases", [1, 2])
def test_what_runs_alone_shares_a_pilot_with_nothing_not_even_in_line(leases):
    neighbours = dict.fromkeys(map(str, range(leases)))
    assert why(shape(is_alone=True), pilot()) is None
    assert why(shape(is_alone=True), pilot(leases=neighbours)) is Obstacle.BUSY
    assert why(shape(is_alone=True), pilot(leases=neighbours), in_line=True) is Obstacle.BUSY
    assert why(shape(), pilot(leases=neighbours)) is None
    assert why(shape(), pilot(has_alone=True), in_line=True) is Obstacle.BUSY


def test_another_python_is_an_obstacle_where_the_shape_asks_for_one():
    assert why(shape(python="3.12"), pilot()) is Obstacle.PYTHON
    assert why(shape(python="3.11"), pilot()) is None
    assert why(shape(), pilot(python="3.13")) is None


def test_the_time_left_must_cover_the_run_and_the_margin():
    assert why(shape(needs_s=55.0), pilot(ends_in_s=60.0)) is None
    assert why(shape(needs_s=55.0), pilot(ends_in_s=59.9)) is Obstacle.TIME
    assert why(shape(), pilot(ends_in_s=4.9)) is Obstacle.TIME


def chosen(pilots, kind=None, function="f@1"):
    found = choose(waiting(kind or shape()), function, pilots, MARGIN_S, NOW)
    return None if found is None else found.pilot_id


def test_of_suitable_pilots_the_one_with_the_most_time_left_is_chosen_the_first_among_equals():
    assert chosen([pilot("a", ends_in_s=50), pilot("b", ends_in_s=90), pilot("c", ends_in_s=90)]) == "b"
    assert chosen([pilot("a", is_connected=False), pilot("b")]) == "b"
    assert chosen([pilot("a", is_connected=False)]) is None


def test_a_pilot_that_has_the_function_loaded_goes_before_those_with_more_time():
    warm = pilot("warm", ends_in_s=50, warm={"f@1": None})
    assert chosen([pilot("a"), warm, pilot("b")]) == "warm"
    assert chosen([pilot("a"), warm], function="g@1") == "a"


def test_only_so_many_suitable_pilots_are_looked_at():
    many = [pilot(str(number), ends_in_s=100) for number in range(CANDIDATES)]
    assert chosen([*many[1:], pilot("last", ends_in_s=200)]) == "last"
    assert chosen([*many, pilot("last", ends_in_s=200)]) == "0"
    unsuitable = pilot("no", is_connected=False)
    assert chosen([unsuitable, *many[1:], pilot("last", ends_in_s=200)]) == "last"


@pytest.mark.parametrize("count", [1, 2])
def test_room_that_is_kept_for_a_shape_that_waits_goes_to_no_other(count):
    kept, other = waiting(shape(cpus=4), count), waiting(shape())
    assert is_kept_from(other, pilot(kept_for=kept))
    assert not is_kept_from(kept, pilot(kept_for=kept))
    assert not is_kept_from(other, pilot())
    assert not is_kept_from(other, pilot(kept_for=waiting(shape(cpus=4), 0)))
    assert choose(other, "f@1", [pilot("kept", kept_for=kept), pilot("b", ends_in_s=9)], MARGIN_S, NOW).pilot_id == "b"
