import pytest

from harvester.sdk.http.response_parser import OWN_BYTES, BadAnswer, ResponseParser

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n"
)


def hear(hearing, data, step):
    """Receive `data`, at most `step` bytes at a time; return what was left when the answer was whole."""
    while data and not hearing.is_done:
        room = hearing.room()
        size = min(step, len(room), len(data))
        room[:size] = data[:size]
        hearing.took(size)
        data = data[size:]
    return data


def make(**said):
    return ResponseParser(memoryview(bytearray(1000)), **said)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_answer_is_read_however_it_is_cut(step):
    hearing = make()
    assert hear(hearing, CHUNKED, step) == b""
    answer = hearing.answer()
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"abcdefgh")
    assert answer.headers["content-type"] == "a/b"
    assert hearing.may_stay


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_a_large_body_is_received_where_it_stays(step):
    body = bytes(range(256)) * (OWN_BYTES // 256)
    hearing = make()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert hear(hearing, head + body, step) == b""
    answer = hearing.answer()
    assert isinstance(answer.body, bytearray)
    assert answer.body == body
    assert hearing.may_stay
    answer.body.extend(b"it may be resized: nobody looks at it any more")


def test_pieces_are_passed_on_but_a_refusal_is_kept():
    pieces = []
    hearing = make(on_piece=pieces.append)
    hear(hearing, CHUNKED, 1000)
    assert b"".join(pieces) == b"abcdefgh"
    hearing = make(on_piece=pieces.append)
    hear(hearing, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 1000)
    assert hearing.answer().body == b"no"
    assert len(pieces) == 2


def test_an_interim_answer_is_not_the_answer():
    hearing = make()
    hear(hearing, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED, 9)
    answer = hearing.answer()
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"abcdefgh")
    assert "link" not in answer.headers


def test_a_body_of_unknown_length_ends_with_the_connection():
    hearing = make()
    hear(hearing, b"HTTP/1.1 200 OK\r\n\r\nabc", 1000)
    assert not hearing.is_done
    hearing.ended()
    assert hearing.is_done
    assert not hearing.may_stay
    assert hearing.answer().body == b"abc"


@pytest.mark.parametrize(("part", "why"), [(b"", "without an answer"), (CHUNKED[:-4], "in the middle of the answer")])
def test_a_connection_that_ends_early_is_an_error(part, why):
    hearing = make()
    hear(hearing, part, 1000)
    with pytest.raises(ConnectionError, match=why):
        hearing.ended()


def test_who_does_not_speak_http_is_told_apart():
    with pytest.raises(BadAnswer, match="does not speak HTTP"):
        hear(make(), b"SSH-2.0-OpenSSH_9.9\r\n", 1000)


def test_a_connection_that_is_to_be_closed_does_not_stay():
    hearing = make()
    hear(hearing, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 1000)
    assert hearing.is_done
    assert not hearing.may_stay


def test_a_tunnel_has_no_body():
    hearing = make(is_tunnel=True)
    hear(hearing, b"HTTP/1.1 200 Connection established\r\n\r\n", 1000)
    assert hearing.is_done
    assert hearing.status == 200
