"""Quiet hours: a stretch of the day, in a zone, on some days, over midnight too."""

from datetime import UTC, datetime

import pytest

from harvester.domain.harvest import quiet_hours


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_hours_of_every_day():
    hours = quiet_hours.parse("08:00-18:00", "UTC")
    assert [hours.holds(at(f"2026-11-22T{clock}")) for clock in ("07:59", "08:00", "17:59", "18:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin():
    hours = quiet_hours.parse("fri 22:00-06:00", "UTC")  # 20 November 2026 is a Friday
    assert hours.holds(at("2026-11-20T22:00"))
    assert hours.holds(at("2026-11-21T05:59"))
    assert not hours.holds(at("2026-11-21T22:00"))
    assert not hours.holds(at("2026-11-20T05:00"))


def test_days_may_run_over_the_end_of_the_week():
    assert quiet_hours.parse("sat-mon 0:00-24:00", "UTC").days == (0, 5, 6)


def test_a_zone_moves_the_hours_with_its_summer_time():
    hours = quiet_hours.parse("08:00-09:00", "Europe/Warsaw")
    assert hours.holds(at("2026-01-15T07:30"))
    assert hours.holds(at("2026-07-15T06:30"))
    assert not hours.holds(at("2026-07-15T07:30"))


@pytest.mark.parametrize(
    ("text", "zone", "words"),
    [
        ("always", "", '"always" names no hours; write for example'),
        ("25:00-26:00", "", "names no hours of a day"),
        ("08:00-08:00", "", "names no hours of a day"),
        ("xyz 08:00-09:00", "", '"xyz" is not a day; the days are mon'),
        ("08:00-09:00", "Mars/Olympus", 'no time zone "Mars/Olympus"'),
    ],
)
def test_what_cannot_be_read_is_told_with_an_example(text, zone, words):
    with pytest.raises(ValueError, match=words):
        quiet_hours.parse(text, zone)
