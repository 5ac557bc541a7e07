"""Whether a function still is what it was when it was sent."""

import functools
import gc
import weakref

import pytest

import harvester
from harvester.sdk.registration.footprint import MOST_FUNCTIONS, footprint_of

CELL = """
import functools, math
FACTOR = 2
LIMITS = {"low": [1, 2], "high": {3}}
ROWS = []
class Shape:
    sides = 3
shape = Shape()
def helper(x):
    return x * FACTOR
@functools.lru_cache
def cached(x):
    return helper(x)
def simple(x, y=2):
    return x * y
def by_global(x):
    return x * FACTOR
def by_helper(x):
    return [helper(y) for y in [x]]
def by_cached(x):
    return cached(x)
def by_limits(x):
    return LIMITS["low"]
def by_later(x):
    return later(x)
def by_class(x):
    return Shape().sides
def by_instance(x):
    return shape.sides
def by_rows(x):
    return ROWS, math.pi
def marked():
    pass
marked.calls, marked.seen = 1, []
def by_marked(x):
    return marked.calls
def recursive(x):
    return x and recursive(x - 1)
"""


@pytest.fixture
def cell():
    namespace = {"__name__": "__main__"}
    exec(CELL, namespace)  # noqa: S102 - as a notebook does it
    return namespace


def footprint(cell, name):
    return footprint_of(cell[name])


EDITS = [
    ("by_global", "FACTOR = 3"),
    ("by_global", "del FACTOR"),
    ("by_helper", "FACTOR = 3"),
    ("by_helper", "def helper(x): return -x"),
    ("by_helper", "helper.__code__ = (lambda x: x).__code__"),
    ("by_cached", "FACTOR = 3"),
    ("by_cached", "def helper(x): return -x"),
    ("by_limits", "LIMITS['low'].append(3)"),
    ("by_limits", "LIMITS['high'] = {4}"),
    ("by_limits", "LIMITS['low'][0] = 1.0"),
    ("by_later", "def later(x): return x"),
    ("by_class", "class Shape: sides = 4"),
    ("by_instance", "shape = Shape()"),
    ("by_rows", "ROWS.append(1)"),
    ("by_rows", "import cmath as math"),
    ("recursive", "recursive.__defaults__ = (3,)"),
    ("simple", "simple.__defaults__ = (3,)"),
    ("simple", "simple.calls = 1"),
    ("by_marked", "marked.calls = 2"),
    ("by_marked", "del marked.calls"),
    ("by_marked", "marked.seen.append(1)"),
    ("simple", "simple.__code__ = (lambda x, y: y).__code__"),
    ("recursive", "def recursive(x): return 5"),
]


@pytest.mark.parametrize(("name", "edit"), EDITS)
def test_an_edit_of_what_a_function_refers_to_is_seen(cell, name, edit):
    seen = footprint(cell, name)
    function = cell[name]  # noqa: F841 - kept, as whoever calls it keeps it
    assert seen.fits()
    exec(edit, cell)  # noqa: S102 - as above
    assert not seen.fits()


@pytest.mark.parametrize("name", [name for name in CELL.split() if name.startswith("by_")])
def test_an_edit_of_something_else_is_none(cell, name):
    name = name.partition("(")[0]
    seen = footprint(cell, name)
    exec("OTHER = 3\ndef unrelated(x): return FACTOR", cell)  # noqa: S102 - as above
    cell["cached"](3)
    assert seen.fits()


def test_a_closure_is_what_its_variables_are():
    factor, rows = 2, [1]

    def scaled(x, *, offset=[0]):  # noqa: B006 - seen, too
        return x * factor + rows[0] + offset[0]

    seen = footprint_of(scaled)
    assert seen.fits()
    factor = 3
    assert not seen.fits()
    factor = 2
    assert seen.fits()
    rows.append(2)
    assert not seen.fits()
    rows.pop()
    scaled.__kwdefaults__["offset"][0] = 1
    assert not seen.fits()


def test_what_may_change_in_place_unseen_is_named(cell):
    class Box:
        items = None

    box, large = Box(), list(range(10_000))
    bound = functools.partial(cell["by_instance"], [1])
    seen = footprint_of(lambda: (box, large, bound))
    assert set(seen.unseen) == {
        "its closure's variable 'box'",
        "its closure's variable 'large'",
        "its closure's variable 'bound'",
        "its global 'shape'",
    }
    assert footprint(cell, "by_class").unseen == ["its global 'Shape'"]
    assert [footprint(cell, name).unseen for name in ("by_cached", "by_limits", "by_rows", "by_later")] == [[]] * 4


def test_a_function_that_only_a_name_travels_of_has_none(cell):
    assert footprint_of(functools.reduce) is None
    assert footprint_of(footprint_of) is None
    assert footprint_of(harvester.function(footprint_of)) is None  # the module has it under its name
    assert footprint_of(harvester.function(cell["simple"])) is not None


def test_nothing_is_kept_alive():
    def make():
        class Big:
            pass

        big = Big()

        def recursive(x=big):
            return recursive, big

        return recursive, weakref.ref(big)

    function, big = make()
    seen = footprint_of(function)
    gone = weakref.ref(function)
    del function
    gc.collect()
    assert (gone(), big(), seen.fits()) == (None, None, False)


def test_a_value_that_took_the_place_of_one_that_is_gone_is_another_one():
    class Value:
        pass

    namespace = {"__name__": "__main__", "value": Value()}
    exec("def use(): return value", namespace)  # noqa: S102 - as above
    seen = footprint_of(namespace["use"])
    namespace["value"] = None
    assert not seen.fits()


def test_of_very_many_functions_only_some_are_looked_at_each_time():
    namespace = {"__name__": "__main__"}
    exec("\n".join(f"def f{n}(): return f{n + 1}()" for n in range(100)), namespace)  # noqa: S102 - as above
    seen = footprint_of(namespace["f0"])
    assert seen.unseen == [f"its global 'f{MOST_FUNCTIONS}'"]
    assert seen.fits()
    exec(f"def f{MOST_FUNCTIONS - 1}(): return 5", namespace)  # noqa: S102 - as above
    assert not seen.fits()
