"""A decorated function where programs pickle or copy it, and what of it reaches a pilot."""

import copy
import functools
import pickle
import subprocess
import sys
import types
import typing

import cloudpickle
import pytest

import harvester
from harvester.sdk.errors import HarvesterError
from harvester.sdk.options import make_options
from harvester.sdk.payload.shipping import Traits, default_name, pickled
from harvester.sdk.registration.callables import callee, whole
from harvester.sdk.registration.registry import traits_of

PROGRAM = """
import functools, sys, threading, typing
import harvester
from harvester.sdk.payload.shipping import Traits, pickled

@functools.lru_cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def uses(n):
    return fib(n)

@harvester.function
@functools.cache
def decorated(n):
    return n * n

class Mill:
    factor = 2

    @functools.cached_property
    def three(self):
        return 3

    @functools.lru_cache
    def four(self):
        return 4

    @harvester.function(cpus=2)
    def grind(self, n):
        return n * self.factor * self.three * self.four()

Count = typing.NewType("Count", int)

def counts(n: Count):
    return Count(n)

lock = threading.Lock()

def locked(n):
    with lock:
        return n

@functools.singledispatch
def kind(n):
    return n

def kinds(n):
    return kind(n)

sys.stdout.buffer.write(pickled(eval(sys.argv[1]), Traits(name="tried")).body)
"""

READER = """
import sys, pickle
sys.modules["harvester"] = None  # importing it would fail
function = pickle.loads(sys.stdin.buffer.read())
print(function(4), function(4))
"""


@harvester.function
def area(width, height=2):
    return width * height


class Field:
    def __init__(self, width):
        self.width = width

    @harvester.function(cpus=3)
    def area(self, height, self_=None):
        return self.width * height

    @staticmethod
    @harvester.function
    def of(width, height):
        return width * height

    @classmethod
    def wide(cls, height):
        return cls(9).width * height


@harvester.function
def loop(steps, state=None):
    yield from range(state or 0, steps)
    return steps


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize(
    ("what", "result"),
    [
        ("fib", "3 3"),
        ("uses", "3 3"),
        ("decorated", "16 16"),
        ("lambda n: decorated(n)", "16 16"),
        ("functools.partial(lambda a, b: decorated(a) + b, 1)", "5 5"),
        ("Mill().grind", "96 96"),
        ("counts", "4 4"),
    ],
)
def test_what_cloudpickle_alone_would_look_up_in_main_runs_where_that_main_is_not(program, what, result):
    body = subprocess.run([sys.executable, program, what], capture_output=True, check=True).stdout
    said = subprocess.run([sys.executable, "-c", READER], input=body, capture_output=True, check=True).stdout
    assert said.decode().strip() == result


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("locked", "its global 'lock', of _thread.lock, cannot be: make it inside the function"),
        ("kinds", "its global 'kind', the function kind, cannot be: put it into a module"),
    ],
)
def test_what_cannot_be_pickled_is_named_with_a_remedy(program, what, words):
    ended = subprocess.run([sys.executable, program, what], capture_output=True, check=False)
    assert words in ended.stderr.decode()


def test_a_cached_function_of_a_module_travels_by_its_name():
    cached = pickled(functools.lru_cache(typing.get_type_hints), Traits(name="hints")).body
    by_name = pickled(_cached_at_import, Traits(name="cached")).body
    assert pickle.loads(by_name) is _cached_at_import  # noqa: S301 - made above
    assert pickle.loads(cached)(area.__wrapped__) == {}  # noqa: S301 - made above


@functools.lru_cache
def _cached_at_import(n):
    return n


def test_a_decorated_function_pickles_and_copies_as_itself():
    assert pickle.loads(pickle.dumps(area)) is area  # noqa: S301 - made here, as are all below
    assert copy.copy(area) is area
    assert copy.deepcopy({"f": area})["f"] is area
    urgent = pickle.loads(pickle.dumps(area.options(priority=3)))  # noqa: S301
    assert (urgent.asked, urgent.origin, urgent(2)) == (make_options(3), area, 4)


def test_one_that_has_no_name_is_pickled_by_cloudpickle_as_its_parts():
    @harvester.function(cpus=2, ship_module=True)
    def inner(n):
        return n + 1

    again = cloudpickle.loads(cloudpickle.dumps(inner.options(priority=3)))
    assert (again(1), again.traits, again.packages, again.asked) == (2, inner.traits, inner.packages, make_options(3))
    assert again.submit.__self__ is again
    with pytest.raises((AttributeError, pickle.PicklingError), match="inner"):
        pickle.dumps(inner)


def test_a_decorated_function_of_a_program_is_one_in_another_program_too(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        "import sys, cloudpickle, harvester\n"
        "@harvester.function\n"
        "def even(n): return n == 0 or odd(n - 1)\n"
        "@harvester.function\n"
        "def odd(n): return n != 0 and even(n - 1)\n"
        "sys.stdout.buffer.write(cloudpickle.dumps(even))\n"
    )
    even = cloudpickle.loads(subprocess.run([sys.executable, path], capture_output=True, check=True).stdout)
    assert (type(even), even(10), even(7)) == (harvester.Function, True, False)


def test_it_is_a_method_whose_instance_travels_with_the_arguments():
    field = Field(5)
    assert (field.area(4), Field.area(field, 4), Field.of(2, 3), field.of(2, 3)) == (20, 20, 6, 6)
    assert whole(field.area, (4,), {"self_": 1}) == ((field, 4), {"self_": 1})
    assert field.area.origin is Field.__dict__["area"]
    assert field.area.options(priority=1).bound_to == (field,)
    again = pickle.loads(pickle.dumps(field.area))  # noqa: S301 - made here
    assert (again(4), again.bound_to[0] is field) == (20, False)
    copied = copy.deepcopy(field.area)
    copied.bound_to[0].width = 7
    assert (copied(4), field.area(4)) == (28, 20)


def test_an_attribute_that_binds_nothing_as_a_plain_function_binds_nothing_decorated():
    class Tools:
        size = harvester.function(len)

    assert Tools().size([1, 2]) == 2


def test_a_call_of_what_is_around_a_function_is_a_call_of_the_function():
    partial = functools.partial(functools.partial(area, 3), height=5)
    assert callee(partial) is area
    assert whole(partial, (), {}) == ((3,), {"height": 5})
    assert whole(partial, (), {"height": 6}) == ((3,), {"height": 6})
    assert (callee(Field(2).area), whole(Field(2).wide, (4,), {})) == (Field.area, ((4,), {}))
    method = types.MethodType(area, 3)  # what `@classmethod` above the decorator makes, from Python 3.13 on
    assert (callee(method), whole(method, (4,), {})) == (area, ((3, 4), {}))
    assert traits_of(functools.partial(Field(1).area, 2)).resources.cpus == 3
    assert traits_of(functools.partial(loop.__wrapped__, 2)).checkpoints


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_what_binds_by_itself_goes_above_the_decorator(kind):
    with pytest.raises(TypeError, match=f"write @{kind.__name__} above @harvester.function"):
        harvester.function(kind(len))


def test_an_argument_may_have_any_name():
    @harvester.function
    def named(self, fn, instance=0):
        return self, fn, instance

    assert named(self=1, fn=2) == (1, 2, 0)


def test_state_by_position_is_an_argument_and_its_default_is_the_first_state():
    @harvester.function
    def count(state, n):
        yield from range(n)
        return f"{state}:{n}"

    @harvester.function
    def begin(n, state=7):
        yield n
        return state

    assert (count("CA", 3), count(n=3), begin(1), begin(1, state=2)) == ("CA:3", "None:3", 7, 2)
    assert (loop(3), loop(3, 2)) == (3, 3)


def test_an_async_generator_is_refused_at_submission_too():
    async def stream():
        yield 1

    with pytest.raises(TypeError, match="stream is an async generator"):
        pickled(stream, Traits(name="stream"))


def test_a_partial_is_named_by_what_it_calls():
    assert default_name(functools.partial(area, 1)) == "area.partial"


def test_a_function_that_is_refused_says_why():
    generator = (i for i in range(3))
    with pytest.raises(HarvesterError, match="closure's variable 'generator', of generator, cannot be"):
        pickled(lambda: generator, Traits(name="held"))
