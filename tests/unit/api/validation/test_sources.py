"""Source files are looked at, and never run."""

import sys
import warnings

import pytest

from harvester.domain.model.resources import Resources
from harvester_api.problems import Refusal
from harvester_api.settings import Offer
from harvester_api.validation.source_names import LARGEST, names_of
from harvester_api.validation.sources import check_source

ELIFS = "if 1:\n    pass\n" + "elif 1:\n    pass\n" * 5_000
NEWER = f"{sys.version_info.major}.{sys.version_info.minor + 1}"


def refused(text, entry="f", offers=()):
    with pytest.raises(Refusal) as raised:
        check_source(names_of(text), entry, offers)
    assert raised.value.problem.status == 422
    return raised.value.problem


@pytest.mark.parametrize(
    "text",
    [
        "def f(): pass",
        "async def f(): pass",
        "class f: pass",
        "f = lambda x: x",
        "f: object = len",
        "g, (f, h) = 1, (2, 3)",
        "from math import sqrt as f",
        "import f",
        "from math import *",
        "try:\n    from fast import f\nexcept ImportError:\n    def f(): pass",
        "try:\n    pass\nexcept ImportError:\n    def f(): pass",
        "if True:\n    pass\nelse:\n    def f(): pass",
        "match 1:\n    case 1:\n        def f(): pass",
        "with open('x') as f: pass",
        "for f in (): pass",
        "print(f := 1)",
        "x = 1\n" * (LARGEST // 6 + 1),
    ],
)
def test_a_file_that_binds_the_name_passes(text):
    check_source(names_of(text), "f", ())


def test_a_name_that_is_missing_is_refused_with_those_that_are_there():
    problem = refused("def area(w): pass\nclass Shape:\n    def f(self): pass\ndef outer():\n    f = 1", "aera")
    assert problem.field == "entry"
    assert "no 'aera' at its top level; it has area" in problem.detail
    assert "it has Shape, area, outer" in refused("def area(): pass\nclass Shape: pass\ndef outer(): pass").detail
    assert "nothing there" in refused("").detail


def test_a_syntax_error_is_refused_with_its_line():
    problem = refused("def f():\n    return 1 +\n")
    assert problem.field == "body"
    assert "line 2: invalid syntax" in problem.detail


@pytest.mark.parametrize("text", ["x = " + "(" * 50_000, "x = " + "-" * 100_000 + "1", ELIFS, "def f(): pass\0"])
def test_what_no_parser_takes_is_refused(text):
    assert refused(text).field == "body"


def test_nothing_of_the_file_runs_and_nobody_is_warned(tmp_path):
    trace = tmp_path / "trace"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_source(names_of(f"open({str(trace)!r}, 'w')\nx = '\\d'\ndef f(): pass"), "f", ())
    assert not trace.exists()


def test_what_may_be_newer_python_than_ours_is_left_to_the_pilot():
    newer = Offer(name="new", resources=Resources(), python=NEWER)
    unknown = Offer(name="any", resources=Resources())
    for offer in (newer, unknown):
        check_source(names_of("a new statement"), "f", (offer,))
    refused("a new statement", "f", (Offer(name="old", resources=Resources(), python="3.11"),))
