"""Back-pressure: how long callers are asked to stay away, and that bytes are given back."""

import pytest

from harvester.domain.dispatch.ledger.sharded import ShardedDict
from harvester_api.invoking.limits import Pressure, Rate
from harvester_api.problems import Refusal
from harvester_api.runtime.open_invocations import Book
from harvester_api.settings import GatewaySettings


def test_the_rate_is_that_of_the_last_window():
    rate = Rate()
    assert rate.of(0, 1000.0) == 0.0
    assert rate.of(50, 1005.0) == 10.0  # within the first window: what there is
    assert rate.of(1000, 1010.0) == 100.0
    assert rate.of(1000, 1010.5) == 100.0
    assert rate.of(1000, 1020.0) == 0.0


@pytest.mark.parametrize(("rate", "wait"), [(0, "60"), (0.01, "60"), (1, "20"), (7, "3"), (1000, "1")])
def test_who_is_refused_is_told_when_there_will_be_room(rate, wait):
    book = Book()
    pressure = Pressure(GatewaySettings(tokens=(), max_open=10), book)
    pressure.tick(1000.0)
    book.ended = int(rate * 100)
    pressure.tick(1100.0)
    for number in range(20):
        book.open[str(number)] = None
    with pytest.raises(Refusal) as raised:
        pressure.check("ada", 10, 1100.0)
    assert raised.value.headers == {"Retry-After": wait}
    book.open = ShardedDict()
    pressure.check("ada", 10, 1100.0)


def test_bytes_are_given_back_also_after_a_refusal():
    pressure = Pressure(GatewaySettings(tokens=(), in_flight_bytes=100), Book())
    with pressure.holding() as held, pressure.holding() as other:
        held.grow(40)
        held.grow(60)
        with pytest.raises(Refusal):
            other.grow(41)
    assert pressure.bytes == 0


def test_a_batch_that_never_fits_is_told_so_instead_of_asked_to_come_again():
    pressure = Pressure(GatewaySettings(tokens=(), max_open=10, max_open_per_owner=5), Book())
    pressure.check("ada", 5, 1000.0)
    with pytest.raises(Refusal) as raised:
        pressure.check("ada", 6, 1000.0)
    assert raised.value.problem.status == 413
    assert "the limit is 5" in raised.value.problem.detail
