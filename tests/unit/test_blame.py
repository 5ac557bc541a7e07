"""Blame: one bad node is left alone; the queue is not."""

from harvester.domain.blame import Blame

NOW = 1_000_000.0
HOUR = 3600.0


def failed(times: int, node: str = "n1", at: float = NOW) -> Blame:
    blame = Blame()
    for _ in range(times):
        blame = blame.failed(node, "no python3", at)
    return blame


def test_a_node_is_left_alone_after_three_failures_and_it_is_said_why():
    assert failed(2).excluded(NOW) == {}
    why = failed(3).excluded(NOW)
    assert list(why) == ["n1"]
    assert "3 pilots in a row failed on it" in why["n1"]
    assert "no python3" in why["n1"]


def test_it_is_tried_again_and_the_next_failure_doubles_the_time():
    blame = failed(3)
    assert blame.excluded(NOW + HOUR + 1) == {}
    again = blame.failed("n1", "still", NOW + HOUR + 1)
    assert "n1" in again.excluded(NOW + 2.9 * HOUR)
    assert again.excluded(NOW + 3.1 * HOUR) == {}


def test_a_pilot_that_registers_clears_its_node_and_no_other():
    blame = failed(3).failed("n2", "x", NOW)
    assert blame.cleared("n1", NOW + 1).suspects.keys() == {"n2"}
    assert blame.cleared("n1", NOW - 1) == blame, "it had registered before the failures"


def test_failures_far_apart_have_nothing_to_do_with_each_other():
    assert failed(2).failed("n1", "x", NOW + 7 * HOUR).suspects["n1"].failures == 1


def test_a_resume_forgives_what_is_older():
    assert failed(3).forgiven(NOW + 1).excluded(NOW + 1) == {}
    assert failed(3).forgiven(NOW - 1).excluded(NOW) != {}
