"""Names in a query: those that are declared, and no others."""

import pytest

from harvester_api.http.routing import check_query
from harvester_api.problems import Refusal

KNOWN = {"version", "wait_s", "raw"}


@pytest.mark.parametrize("query", [b"", b"version=1", b"version=1&wait_s=&raw", b"%76ersion=1"])
def test_declared_names_pass(query):
    check_query(query, KNOWN)


@pytest.mark.parametrize(
    ("query", "field", "remedy"),
    [
        (b"vers=1", "vers", "Do you mean version?"),
        (b"raw=1&wait=3", "wait", "Do you mean wait_s?"),
        (b"Version=1", "Version", "Do you mean version?"),
        (b"colour=red", "colour", "This takes raw, version, wait_s."),
        (b"=1", "", "This takes raw, version, wait_s."),
        (b"\xff=1", "\xff", "This takes raw, version, wait_s."),
    ],
)
def test_another_name_is_refused_with_the_nearest_one(query, field, remedy):
    with pytest.raises(Refusal) as raised:
        check_query(query, KNOWN)
    problem = raised.value.problem
    assert (problem.status, problem.field, problem.remedy) == (422, field, remedy)


def test_where_nothing_is_declared_the_remedy_says_so():
    with pytest.raises(Refusal) as raised:
        check_query(b"x=1", ())
    assert raised.value.problem.remedy == "This takes no parameters in the query."
