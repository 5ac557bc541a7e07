"""Node lists as Slurm writes them, spelled out and folded again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.cluster import nodelist


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("p0016", ("p0016",)),
        ("p[0001-0003,0007],q1", ("p0001", "p0002", "p0003", "p0007", "q1")),
        ("a1,a2", ("a1", "a2")),
        ("", ()),
    ],
)
def test_node_lists_are_read_as_slurm_writes_them(text, names):
    assert nodelist.expand(text) == names


@pytest.mark.parametrize("text", ["p[", "p[3-1]", "p[a]", "p[1-99999999]", ",", "p]["])
def test_what_is_no_node_list_is_refused(text):
    with pytest.raises(ValueError, match=r"not a (list|range) of nodes"):
        nodelist.expand(text)


def test_a_list_of_more_nodes_than_any_cluster_has_is_refused():
    with pytest.raises(ValueError, match="not a list of nodes"):
        nodelist.expand(",".join(f"n{letter}[1-60000]" for letter in "ab"))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["n2", "n1", "n10", "n4"], "n[1-2,4,10]"),
        (["p0001", "p0002", "q7"], "p[0001-0002],q7"),
        (["login", "n1"], "n1,login"),
        (["n09", "n10"], "n09,n10"),
        ([], ""),
    ],
)
def test_names_are_folded(names, text):
    assert nodelist.fold(names) == text


names = st.from_regex(r"[a-z]{1,3}-?[0-9]{0,4}", fullmatch=True)


@given(st.sets(names))
def test_what_is_folded_is_the_same_nodes_spelled_out(nodes):
    assert sorted(nodelist.expand(nodelist.fold(nodes))) == sorted(nodes)
