"""Survival: what is learned of gaps, and what it says of the next one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.cluster import survival
from harvester.domain.cluster.survival import Survival

LENGTHS = st.lists(st.floats(0, 1e6), max_size=40)


def learned(*lengths: float, still: tuple[float, ...] = ()) -> Survival:
    known = Survival()
    for length in lengths:
        known = known.observe(length)
    for length in still:
        known = known.observe(length, is_over=False)
    return known


def test_nothing_learned_expects_everything_to_last():
    assert Survival().share_longer(1e6) == 1.0
    assert Survival().quantile(0.5) is None
    assert Survival().foreseen_quantiles([0.5]) == []


def test_the_share_that_outlasts_a_time_is_that_of_the_gaps_seen():
    known = learned(*[100.0] * 50, *[1000.0] * 50)
    assert abs(known.share_longer(400) - 0.5) < 0.02
    assert known.share_longer(2000) < 0.01
    assert 80 < (known.quantile(0.25) or 0) < 125


def test_a_gap_that_was_not_seen_to_end_is_not_taken_for_a_short_one():
    short = learned(*[100.0] * 50, *[1000.0] * 50)
    censored = learned(*[100.0] * 50, still=(1000.0,) * 50)
    assert censored.share_longer(2000) > 0.45 > short.share_longer(2000)
    as_short = learned(*[100.0] * 50, *[50.0] * 50)
    assert learned(*[100.0] * 50, still=(50.0,) * 50).share_longer(90) > as_short.share_longer(90)


def test_what_happened_long_ago_fades():
    known = learned(*[100.0] * 500, *[10_000.0] * 8000)
    assert known.share_longer(1000) > 0.95


def test_what_was_learned_is_told_in_figures():
    told = survival.figures(learned(*[100.0] * 50, *[1000.0] * 50).opened([None, 60.0, 60.0]))
    assert told.seen in range(95, 101)
    assert 90 < (told.ninth_decile_s or 0) < 1300
    assert (told.burst, round(told.foreseen_share, 2)) == (3, 0.67)
    assert survival.figures(Survival()).median_s is None


def test_the_ladder_follows_the_lengths_that_windows_had_when_they_opened():
    known = Survival().opened([600.0] * 50 + [None] * 50)
    assert abs(known.foreseen_share - 0.5) < 0.02
    assert all(500 < length < 700 for length in known.foreseen_quantiles([0.1, 0.5, 0.9]))


def test_a_burst_is_remembered_and_forgotten_again():
    known = Survival().opened([None] * 300)
    assert known.burst == 300
    for _ in range(4000):
        known = known.opened([None])
    assert known.burst < 100


@given(LENGTHS, LENGTHS)
def test_a_share_is_one_at_the_beginning_and_never_grows(ended, still):
    known = learned(*ended, still=tuple(still))
    shares = [known.share_longer(seconds) for seconds in (0, 5, 10, 60, 300, 3600, 86_400, 1e6)]
    assert shares[0] == 1.0
    assert all(0 <= later <= earlier <= 1 for earlier, later in pairwise(shares))


@given(LENGTHS)
def test_what_was_learned_survives_a_restart(lengths):
    known = learned(*lengths).opened(lengths)
    assert survival.decode(survival.encode(known)) == known


def test_a_note_of_another_shape_is_forgotten_not_fatal():
    for text in (None, b"{", b'{"ended": [1.0]}', b'{"burst": "x"}'):
        assert survival.decode(text) == Survival()
