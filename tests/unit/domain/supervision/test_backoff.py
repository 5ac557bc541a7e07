"""Back-off: each ladder's steps, and when it pauses."""

import pytest

from harvester.domain.supervision.backoff import ANSWERS, CLEAR, LIMITS, SUBMISSIONS, URGENT, Backoff

NOW = 1_000.0


@pytest.mark.parametrize(
    ("ladder", "waits", "pauses_after"),
    [
        (SUBMISSIONS, [5, 15, 60, 300, 300], 5),  # docs/operations.md says so
        (ANSWERS, [2, 4, 8, 15, 30, 60, 60, 60], None),
        (URGENT, [1, 2, 5, 5, 5, 5], None),
    ],
)
def test_each_failure_in_a_row_waits_as_its_ladder_says(ladder, waits, pauses_after):
    state = CLEAR
    for failures, wait in enumerate(waits, 1):
        state = state.failed(ladder, "no", NOW)
        assert (state.failures, state.until_at, state.failed_at, state.reason) == (failures, NOW + wait, NOW, "no")
        assert state.is_paused is (failures == pauses_after)
        assert not state.allows(NOW + wait - 0.001)
        assert state.allows(NOW + wait) is not state.is_paused


def test_a_pause_begins_with_the_failure_that_brought_it_and_stays():
    state = CLEAR
    for second in range(7):
        state = state.failed(SUBMISSIONS, "no", NOW + second)
    assert (state.paused_at, state.failed_at) == (NOW + 4, NOW + 6)


def test_full_limits_bring_no_pause_nearer():
    state = CLEAR
    for _ in range(9):
        state = state.failed(LIMITS, "full", NOW)
    for _ in range(4):
        state = state.failed(SUBMISSIONS, "no", NOW)
    assert not state.is_paused
    assert state.failed(SUBMISSIONS, "no", NOW).is_paused


def test_nothing_has_failed_at_first():
    assert Backoff(failures=0, until_at=0.0, failed_at=0.0, reason="", is_paused=False, paused_at=None) == CLEAR
    assert CLEAR.allows(0.0)


def test_a_success_that_may_not_last_holds_nothing_back_and_the_next_failure_goes_on_counting():
    state = CLEAR
    for _ in range(5):
        state = state.failed(SUBMISSIONS, "no", NOW)
    answered = state.answered()
    assert (answered.is_answered, answered.allows(NOW), answered.paused_at, answered.failures) == (True, True, None, 5)
    assert not state.is_answered
    again = answered.failed(SUBMISSIONS, "no", NOW + 1)
    assert (again.failures, again.is_paused, again.paused_at) == (6, True, NOW + 1)
