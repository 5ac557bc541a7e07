"""Credentials of runs: made by who has the owner's key, for that owner and pilot only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.run_tokens import is_genuine, make_token, owner_key, read_token

SECRET = b"s" * 32
KEY = owner_key(SECRET, "p1", "ann")
TOKEN = make_token(KEY, "p1", "i1", (7 << 32) + 3)


def test_a_token_says_whose_run_it_is_of_and_is_genuine_under_its_key():
    token = read_token(TOKEN)
    assert (token.pilot_id, token.invocation_id, token.fence) == ("p1", "i1", (7 << 32) + 3)
    assert is_genuine(token, KEY)


@pytest.mark.parametrize(("pilot", "owner"), [("p1", "bob"), ("p2", "ann"), ("p1a", "nn"), ("p", "1ann")])
def test_a_key_signs_for_no_other_owner_and_no_other_pilot(pilot, owner):
    other = owner_key(SECRET, pilot, owner)
    assert not is_genuine(read_token(TOKEN), other)
    assert not is_genuine(read_token(make_token(other, "p1", "i1", 1)), KEY)


@pytest.mark.parametrize("part", range(1, 5))
def test_a_token_with_another_word_in_it_is_not_genuine(part):
    words = TOKEN.split(".")
    words[part] = words[part][:-1] + ("0" if words[part][-1] != "0" else "1")
    assert not is_genuine(read_token(".".join(words)), KEY)


@given(st.text(max_size=500))
def test_any_other_text_is_no_token_or_not_genuine(text):
    for candidate in (text, f"run.{text}", f"run.p1.i1.1.{text}"):
        token = read_token(candidate)
        assert token is None or not is_genuine(token, KEY)
