import math
from datetime import timedelta

import pytest

import harvester
from harvester.sdk.options import make_options
from harvester.sdk.registration.registry import Registry


@pytest.mark.parametrize("value", ["10min", "", [], math.nan, math.inf])
@pytest.mark.parametrize("field", ["ttl", "deadline"])
def test_what_is_no_duration_is_refused_by_the_name_of_its_parameter(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: .* is not a duration: write seconds, as in 600, or datetime"):
        make_options(**{field: value})


def test_a_walltime_that_is_no_duration_is_refused_at_the_decorator():
    with pytest.raises(ValueError, match=r"^walltime: '10min' is not a duration"):
        harvester.function(walltime="10min")(len)


def test_durations_are_seconds_or_timedeltas():
    assert make_options(ttl=timedelta(minutes=10), deadline=1.5).params() == {"ttl_s": "600", "deadline_s": "1.5"}
    with pytest.raises(ValueError, match="ttl must be longer than nothing"):
        make_options(ttl=0)


@pytest.mark.parametrize("thing", [42, None, ["f"], "x".join(map(str, range(999))).encode()])
def test_a_callable_that_is_none_is_refused_before_anything_is_sent(thing):
    registry = Registry()
    for refused in (registry.known, lambda fn: next(registry.register(fn))):
        with pytest.raises(
            TypeError, match=r"^.{1,80} is not callable: pass a function and its arguments apart"
        ) as told:
            refused(thing)
        assert repr(thing)[:5] in str(told.value)
