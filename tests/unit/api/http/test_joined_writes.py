"""The head of an answer and its body leave in one write, and nothing is kept back, doubled or put out of order."""

from hypothesis import given
from hypothesis import strategies as st

from harvester_api.http.joined_writes import MOST_BYTES, JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Handle:
    def __init__(self, call):
        self.call = call

    def cancel(self):
        self.call = None


class Turn:
    """An event loop: what is called soon is called when its turn is over."""

    def __init__(self):
        self.soon = []

    def call_soon(self, call):
        self.soon.append(Handle(call))
        return self.soon[-1]

    def over(self):
        handles, self.soon = self.soon, []
        for handle in handles:
            if handle.call is not None:
                handle.call()


class Transport:
    def __init__(self):
        self.said = []

    def write(self, data):
        self.said.append(bytes(data))

    def close(self):
        self.said.append("closed")

    def is_closing(self):
        return "closed" in self.said


def begun():
    transport, turn = Transport(), Turn()
    return JoinedWrites(transport, turn), transport, turn


def test_a_body_leaves_with_its_head():
    joined, transport, turn = begun()
    joined.write(HEAD)
    assert transport.said == []
    joined.write(b"body")
    assert transport.said == [HEAD + b"body"]
    turn.over()
    assert transport.said == [HEAD + b"body"]


def test_a_head_whose_body_comes_later_leaves_at_the_end_of_the_turn():
    joined, transport, turn = begun()
    joined.write(HEAD)
    turn.over()
    assert transport.said == [HEAD]
    joined.write(b"body")
    assert transport.said == [HEAD, b"body"]


def test_a_large_body_is_not_copied_behind_its_head():
    joined, transport, _ = begun()
    large = bytes(MOST_BYTES + 1)
    joined.write(HEAD)
    joined.write(large)
    assert transport.said == [HEAD, large]


def test_what_is_closed_has_sent_its_head():
    joined, transport, turn = begun()
    joined.write(HEAD)
    joined.close()
    turn.over()
    assert transport.said == [HEAD, "closed"]
    assert joined.is_closing()


PIECES = st.sampled_from([HEAD, b"body", b"", b"HTTP/", bytes(MOST_BYTES + 1)])


@given(st.lists(st.one_of(PIECES, st.none())))
def test_every_byte_is_sent_once_and_in_order(steps):
    joined, transport, turn = begun()
    for step in steps:
        if step is None:
            turn.over()
        else:
            joined.write(step)
    turn.over()
    assert b"".join(transport.said) == b"".join(step for step in steps if step is not None)
