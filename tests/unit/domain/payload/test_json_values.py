import dataclasses
import datetime
import enum
import math
import uuid
from collections import OrderedDict
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.payload.json_values import NotJson, encode


@dataclasses.dataclass
class Point:
    x: int = 1


class Plain(enum.Enum):
    A = "a"


class Name(enum.StrEnum):
    A = "a"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
unfit = st.sampled_from([math.nan, math.inf, -math.inf, {1}, b"x", Decimal("1.5"), {1: 2}, Point(), uuid.UUID(int=1)])


@given(json_values)
def test_what_is_encoded_is_decoded_as_itself(value):
    assert msgspec.json.decode(encode(value, "it")) == value


@given(json_values, unfit, st.booleans())
def test_one_unfit_value_anywhere_is_refused(around, unfit, in_tuple):
    value = {"a": [around, (unfit,) if in_tuple else unfit]}
    with pytest.raises(NotJson, match=r"it\['a'\]\[1\]"):
        encode(value, "it")


def test_tuples_arrive_as_lists_and_what_equals_text_or_numbers_arrives_as_these():
    for value, arrives in [
        ((1, (2,)), [1, [2]]),
        ([Name.A], ["a"]),
        (OrderedDict(a=1), {"a": 1}),
        (10**30, 10**30),
        (-0.0, -0.0),
    ]:
        assert msgspec.json.decode(encode(value, "it")) == arrives


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "it is nan, which JSON has no number for"),
        ([1, {2}], "it[1] is a set, which JSON has no form for"),
        ({"a": b"x"}, "it['a'] is a bytes"),
        ({"a": {1: 2}}, "it['a'] has the key 1, and keys in JSON are text"),
        ((Point(),), "it[0] is a Point"),
        ([Plain.A], "it[0] is a Plain"),
        (datetime.date(2026, 11, 29), "it is a date"),
    ],
)
def test_the_refusal_names_value_and_place(value, said):
    with pytest.raises(NotJson) as caught:
        encode(value, "it")
    assert said in str(caught.value)
