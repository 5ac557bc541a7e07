"""Classes of this program that travel by value: what comes back brings new instances, and leaves the class as it is."""

import enum
import subprocess
import sys

import cloudpickle
import pytest

from harvester.sdk.payload import pickler
from harvester.sdk.payload.payloads import decode_pickle


class Counter:
    seen = 0

    def __init__(self, value):
        self.value = value


class Color(enum.Enum):
    RED = 1


class Odd(Exception):
    seen = 0


@pytest.fixture(autouse=True)
def by_value(monkeypatch):
    """As in a program: its classes are in `__main__`."""
    for kind in (Counter, Color, Odd):
        monkeypatch.setattr(kind, "__module__", "__main__")


def sent(value):
    return b"".join(pickler.pieces(value))


def test_a_class_that_comes_back_keeps_its_attributes_and_methods(monkeypatch):
    body, method = sent([Counter(1), Color.RED]), Counter.__init__
    monkeypatch.setattr(Counter, "seen", 5)
    monkeypatch.setattr(Color, "label", "here", raising=False)
    counter, color = decode_pickle("i", body)
    assert (type(counter), counter.value, color) == (Counter, 1, Color.RED)
    assert (Counter.seen, Counter.__init__) == (5, method)
    assert Color.label == "here"


def test_so_does_the_class_of_an_exception(monkeypatch):
    sent(Odd)
    body = cloudpickle.dumps(Odd("x"))
    monkeypatch.setattr(Odd, "seen", 5)
    assert isinstance(decode_pickle("i", body), Odd)
    assert Odd.seen == 5


def test_a_class_that_was_made_elsewhere_comes_whole():
    sent(Counter)  # something was sent
    assert decode_pickle("i", _made_elsewhere()).double() == 4


def _made_elsewhere():
    """Return the pickle of an instance whose class this process has never had."""
    program = (
        "import sys, cloudpickle\n"
        "class Made:\n"
        "    def double(self): return 4\n"
        "sys.stdout.buffer.write(cloudpickle.dumps(Made()))\n"
    )
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout


def test_a_class_is_the_same_pickle_after_an_instance_was_written():
    class Fresh:
        pass

    Fresh.__module__ = "__main__"
    before = sent(Fresh)
    sent(Fresh())
    assert sent(Fresh) == before
