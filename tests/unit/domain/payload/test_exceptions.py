import asyncio
import pickle
import subprocess
import threading

import cloudpickle
import pytest

from harvester.domain.payload.exceptions import LIMIT_BYTES, pickled_exception, unpickled_exception


class Wants(Exception):
    """Its constructor wants other arguments than it keeps, as those of many libraries do."""

    def __init__(self, code, *, where):
        super().__init__(f"{code} at {where}")
        self.code, self.where = code, where


class Doubles(Exception):
    def __init__(self, name):
        super().__init__(f"no such name: {name}")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


class NeverAgain(Exception):
    def __reduce__(self):
        return _leave, ()


def _leave():
    raise SystemExit(4)


def again(error):
    return unpickled_exception(pickled_exception(error, cloudpickle.Pickler))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("k"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        subprocess.CalledProcessError(3, ["false"], output=b"o"),
        ModuleNotFoundError("no", name="a", path="b"),
        StopIteration(5),
        ExceptionGroup("several", [ValueError(1), KeyError(2)]),
        Doubles("x"),
        Wants(7, where="here"),
    ],
)
def test_an_exception_comes_out_as_it_went_in(error):
    made = again(error)
    assert type(made) is type(error)
    assert str(made) == str(error)
    assert repr(made.args) == repr(error.args)
    assert vars(made) == vars(error)


def test_notes_and_attributes_come_along():
    error = OSError(13, "denied", "f")
    error.add_note("look at the mode")
    error.mine = 3
    made = again(error)
    assert (made.errno, made.filename, made.mine, made.__notes__) == (13, "f", 3, ["look at the mode"])


def test_a_class_of_a_program_is_the_very_class_there():
    made_here = cloudpickle.loads(cloudpickle.dumps(type("Local", (Exception,), {"__module__": "__main__"})))
    assert type(again(made_here("x"))) is made_here


@pytest.mark.parametrize(
    ("error", "texts"),
    [
        (ValueError("<" + "x" * LIMIT_BYTES + ">", 7), lambda made: [made.args[0]]),
        (
            subprocess.CalledProcessError(3, ["f"], "<" + "o" * 10**6 + ">", b"<" + b"e" * 10**6 + b">"),
            lambda made: [made.output, made.stderr.decode()],
        ),
    ],
)
def test_of_long_texts_both_ends_come_along(error, texts):
    made = again(error)
    assert type(made) is type(error)
    assert len(made.args) == len(error.args)
    for text in texts(made):
        assert (text[0], text[-1]) == ("<", ">")
        assert "left out" in text
        assert len(text) < 10_000


def with_lock():
    error = ValueError("x")
    error.lock = threading.Lock()
    return error


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(2),
        GeneratorExit(),
        asyncio.CancelledError(),
        Unprintable(),
        with_lock(),
    ],
)
def test_what_must_not_or_cannot_travel_stays(error):
    assert pickled_exception(error, cloudpickle.Pickler) == b""


def test_what_exits_when_it_is_opened_is_the_slots_to_contain():
    with pytest.raises(SystemExit):
        pickled_exception(NeverAgain(), cloudpickle.Pickler)
    assert unpickled_exception(pickle.dumps(NeverAgain())) is None


def test_one_with_too_much_in_it_is_not_even_written_to_its_end():
    seen = []

    class Counting:
        def __reduce__(self):
            seen.append(1)
            return bytes, (100_000,)

    error = ValueError()
    error.first, error.second = [bytes(LIMIT_BYTES + 1)], Counting()
    assert pickled_exception(error, cloudpickle.Pickler) == b""
    assert seen == []


@pytest.mark.parametrize("text", ["x", "x" * LIMIT_BYTES])
def test_exceptions_within_an_exception_are_made_again_too(text):
    odd = Wants(7, where="here")
    odd.first = Doubles(text)
    made = again(ExceptionGroup("several", [ValueError(text), ExceptionGroup("inner", [odd])]))
    assert str(made) == "several (2 sub-exceptions)"
    assert type(made.exceptions[0]) is ValueError
    inner = made.exceptions[1].exceptions[0]
    assert (type(inner), inner.code, inner.where) == (Wants, 7, "here")
    assert type(inner.first) is Doubles


def test_exceptions_that_hold_one_another_are_no_endless_work():
    one, other = Wants(1, where="a"), Wants(2, where="b")
    one.others, other.others = [other] * 3, [one] * 3
    pickled_exception(one, cloudpickle.Pickler)
