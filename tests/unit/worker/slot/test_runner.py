import functools
import pickle
import sys

import cloudpickle
import pytest

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import FailureKind
from harvester.domain.payload import calls
from harvester.domain.payload.shipped import label
from harvester_worker.devices import allocation
from harvester_worker.slot import loaded_function, payloads, runner
from harvester_worker.slot.checkpointing import Evicted, SlotContext
from harvester_worker.slot.failures import LONGEST_TRACEBACK, RunFailed
from harvester_worker.slot.loaded_function import Loaded


def version(kind, body, **more):
    return FunctionVersion(function_id="f@1", name="f", version=1, kind=kind, body=body, **more)


def context(restored=None):
    return SlotContext(
        invocation_id="i",
        attempt=1,
        restored=restored,
        send=lambda _: None,
        interval_s=5.0,
        limit_bytes=1000,
        leave_in_s=60.0,
    )


def failure_of(call, *args, **kwargs):
    with pytest.raises(RunFailed) as caught:
        call(*args, **kwargs)
    return caught.value.failure


def test_the_three_kinds_of_functions_load():
    pickled = version(FunctionKind.PICKLE, cloudpickle.dumps(lambda: 1))
    module = version(FunctionKind.MODULE, b"os.path:join")
    source = version(FunctionKind.SOURCE, b"def f():\n    return 3\n", entry="f")
    assert loaded_function.load(pickled).function() == 1
    assert loaded_function.load(module).function("a", "b") == "a/b"
    assert loaded_function.load(source).function() == 3


def test_a_pickle_of_another_python_is_refused_with_both_versions():
    failure = failure_of(loaded_function.load, version(FunctionKind.PICKLE, b"", python="2.7"))
    assert failure.kind is FailureKind.FUNCTION
    assert "Python 2.7" in failure.message
    assert sys.version.split(".")[1] in failure.message


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (version(FunctionKind.PICKLE, b"rubbish", cloudpickle="3.1"), "cloudpickle 3.1"),
        (version(FunctionKind.PICKLE, pickle.dumps(7)), "int"),
        (version(FunctionKind.MODULE, b"no_such_module:f"), "no_such_module"),
        (version(FunctionKind.MODULE, b"os:no_such_name"), "no_such_name"),
        (version(FunctionKind.SOURCE, b"def f(:\n", entry="f"), "SyntaxError"),
        (version(FunctionKind.SOURCE, b"import sys; sys.exit(1)", entry="f"), "SystemExit"),
        (version(FunctionKind.SOURCE, b"x = 1", entry="f"), "f"),
    ],
)
def test_what_cannot_be_loaded_is_a_failure_that_says_why(function, named):
    failure = failure_of(loaded_function.load, function)
    assert failure.kind is FailureKind.FUNCTION
    assert named in failure.message


BY_REFERENCE = b"\x80\x02cmine_alone.deeper\nf\n."  # what pickle writes for a function of an importable module
ARGUMENT_BY_REFERENCE = b"\x80\x02(cmine_alone.deeper\nf\nt}\x86."


@pytest.mark.parametrize(
    "failure",
    [
        lambda: failure_of(loaded_function.load, version(FunctionKind.PICKLE, BY_REFERENCE)),
        lambda: failure_of(payloads.decode_arguments, Encoding.PICKLE, ARGUMENT_BY_REFERENCE),
    ],
    ids=["function", "arguments"],
)
def test_a_pickle_that_needs_a_module_that_is_not_here_names_module_and_remedies(failure):
    message = failure().message
    assert "'mine_alone' is not importable on the compute node" in message
    assert "@harvester.function(ship_module=True)" in message
    assert "install it" in message
    assert "\n" not in message


def test_a_module_that_is_not_here_and_cannot_be_shipped_is_to_be_installed():
    for kind, body in ((FunctionKind.MODULE, b"no_such_module:f"), (FunctionKind.SOURCE, b"import no_such_module")):
        message = failure_of(loaded_function.load, version(kind, body, entry="f")).message
        assert "'no_such_module' is not importable on the compute node: install it" in message
        assert "ship_module" not in message


def shipped(name, packages):
    """Return what the SDK sends of a function of this module that went with these packages: both, and the label."""
    text = label(packages, "").encode()
    return b"\x80\x02X" + len(text).to_bytes(4, "little") + text + b"0c" + name.encode() + b"\nf\n."


@pytest.mark.parametrize(
    ("name", "packages", "words"),
    [
        (
            "mine_alone.deeper",
            {"mine_alone"},
            "its package was shipped by value, but part of it is referred to by name: install",
        ),
        ("others", {"mine_alone"}, "cloudpickle.register_pickle_by_value(others), if it is your own"),
        ("others", {"__main__"}, "cloudpickle.register_pickle_by_value(others), if it is your own"),
    ],
)
@pytest.mark.parametrize("is_argument", [False, True])
def test_nobody_is_told_to_ship_what_they_have_shipped(name, packages, words, is_argument):
    if is_argument:
        named = ARGUMENT_BY_REFERENCE.replace(b"mine_alone.deeper", name.encode())
        message = failure_of(payloads.decode_arguments, Encoding.PICKLE, named, frozenset(packages)).message
    else:
        message = failure_of(loaded_function.load, version(FunctionKind.PICKLE, shipped(name, packages))).message
    assert words in message
    assert "ship_module" not in message
    assert message.endswith("install it for the Python that runs the pilots")


def test_a_function_knows_what_was_shipped_with_it():
    body = shipped("os.path", {"mine_alone"}).replace(b"\nf\n.", b"\njoin\n.")
    loaded = loaded_function.load(version(FunctionKind.PICKLE, body))
    assert loaded.shipped == {"mine_alone"}
    for encoding, arguments in [
        (Encoding.PICKLE, ARGUMENT_BY_REFERENCE),
        (Encoding.CALLS, calls.encode_calls([ARGUMENT_BY_REFERENCE])),
    ]:
        try:
            found = runner.run(loaded, encoding, arguments, context(), limit_bytes=1000, interval_s=5.0)
            message = calls.decode_outcomes(b"".join(found))[0].message
        except RunFailed as error:
            message = error.failure.message
        assert "its package was shipped by value" in message


def test_what_was_pickled_by_its_name_in_main_is_to_be_put_into_a_module():
    message = failure_of(loaded_function.load, version(FunctionKind.PICKLE, b"\x80\x02c__main__\nnot_here\n.")).message
    assert "put it into a module that the compute node can import" in message


@pytest.mark.parametrize(
    ("encoding", "arguments"),
    [
        (Encoding.JSON, b"[1, 2]"),
        (Encoding.JSON, b"{"),
        (Encoding.JSON, b'{"arguments": []}'),
        (Encoding.JSON, b'{"args": 7}'),
        (Encoding.PICKLE, b""),
        (Encoding.PICKLE, pickle.dumps(7)),
        (Encoding.PICKLE, pickle.dumps(((), {}, "more"))),
    ],
)
def test_arguments_that_cannot_be_decoded_are_a_failure(encoding, arguments):
    assert failure_of(payloads.decode_arguments, encoding, arguments).kind is FailureKind.ARGUMENTS


def test_arguments_are_decoded():
    assert payloads.decode_arguments(Encoding.JSON, b"") == ((), {})
    assert payloads.decode_arguments(Encoding.JSON, b'{"args": [1], "kwargs": {"a": 2}}') == ((1,), {"a": 2})
    assert payloads.decode_arguments(Encoding.PICKLE, pickle.dumps(([1], {"a": 2}))) == ((1,), {"a": 2})


def test_results_that_cannot_be_encoded_name_type_and_remedy():
    as_json = failure_of(payloads.encode_result, Encoding.JSON, object(), 100)
    as_pickle = failure_of(payloads.encode_result, Encoding.PICKLE, (i for i in ()), 100)
    large = failure_of(payloads.encode_result, Encoding.JSON, "x" * 200, 100)
    assert {as_json.kind, as_pickle.kind, large.kind} == {FailureKind.RESULT}
    assert "a object" in as_json.message
    assert "pickle" in as_json.message
    assert "generator" in as_pickle.message
    assert "202 bytes" in large.message
    assert "100" in large.message


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), RecursionError()])
def test_whatever_a_function_raises_is_a_failure(error):
    def raises():
        raise error

    failure = failure_of(runner.call, Loaded(raises), (), {}, context())
    assert failure.kind is FailureKind.EXCEPTION
    assert failure.error_type == type(error).__name__


def test_an_error_whose_text_cannot_be_read_is_a_failure_all_the_same():
    class Rude(Exception):
        def __str__(self):
            raise RuntimeError

    def raises():
        raise Rude

    assert failure_of(runner.call, Loaded(raises), (), {}, context()).error_type == "Rude"


def test_a_generator_function_gets_its_state_and_yields_checkpoints():
    def count(to, state=None):
        start = 0 if state is None else state
        for number in range(start, to):
            yield number + 1
        return start

    assert runner.call(Loaded(count), (3,), {}, context()) == 0
    assert runner.call(Loaded(count), (3,), {}, context(pickle.dumps(2))) == 2
    assert runner.call(Loaded(count), (3,), {"state": 1}, context()) == 1
    assert runner.call(Loaded(count), (3,), {"state": 1}, context(pickle.dumps(2))) == 2


def test_a_state_that_is_given_by_position_is_an_argument():
    def count(state, to, *more):
        yield from range(to)
        return f"{state}:{to}"

    for loaded in (Loaded(count), Loaded(functools.partial(count, "CA"))):
        args = ("CA", 3)[-2 if loaded.function is count else -1 :]
        assert runner.call(loaded, args, {}, context()) == "CA:3"
        assert runner.call(loaded, args, {}, context(pickle.dumps(2))) == "CA:3"
    assert runner.call(Loaded(count), (), {"to": 3}, context(pickle.dumps(2))) == "2:3"


def test_the_default_is_the_first_runs_state():
    def count(to, state="begun"):
        yield from range(to)
        return state

    assert runner.call(Loaded(count), (1,), {}, context()) == "begun"
    assert runner.call(Loaded(count), (1,), {}, context(pickle.dumps(2))) == 2


class Squares:
    def __call__(self, n):
        yield from (i * i for i in range(n))


async def _stream(n):
    for i in range(n):
        yield i


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n: (i * i for i in range(n)), "returned a generator"),
        (Squares(), "returned a generator"),
        (_stream, "returned an async generator"),
    ],
)
@pytest.mark.parametrize("encoding", [Encoding.PICKLE, Encoding.JSON])
def test_a_generator_that_is_returned_is_refused_and_never_run(function, words, encoding):
    arguments = pickle.dumps(((3,), {})) if encoding is Encoding.PICKLE else b'{"args": [3]}'
    failure = failure_of(runner.run, Loaded(function), encoding, arguments, context(), limit_bytes=1000, interval_s=1.0)
    assert failure.kind is FailureKind.RESULT
    assert f"{words}, which cannot leave the pilot: return list(" in failure.message


def test_a_generator_function_is_driven_through_what_is_around_it():
    def count(to):
        yield from range(to)
        return to

    @functools.wraps(count)
    def logged(*args):
        return count(*args)

    for function in (functools.partial(count, 3), functools.partial(logged, 3)):
        assert runner.call(Loaded(function), (), {}, context()) == 3


def test_a_generator_function_without_state_keeps_its_arguments():
    def count(to):
        yield from range(to)
        return "done"

    assert runner.call(Loaded(count), (3,), {}, context(pickle.dumps(2))) == "done"


def test_a_generator_is_closed_when_it_is_evicted():
    closed = []

    def forever():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    leaving = context()
    leaving.hand_over(1.0)
    with pytest.raises(Evicted):
        runner.call(Loaded(forever), (), {}, leaving)
    assert closed


def test_a_function_that_the_sdk_decorates_is_run_plain_so_that_its_yields_are_checkpoints():
    body = b"""
import harvester

@harvester.function
def count(to, state=None):
    start = state or 0
    for number in range(start, to):
        yield number + 1
    return start
"""
    function = loaded_function.load(version(FunctionKind.SOURCE, body, entry="count"))
    assert runner.call(function, (3,), {}, context(pickle.dumps(2))) == 2


def fails_with(error):
    def fail():
        raise error

    return fail


def failure_of_run(encoding, error):
    empty = b"" if encoding is Encoding.JSON else pickle.dumps(((), {}))
    how = {"limit_bytes": 10**6, "interval_s": 5.0}
    if encoding is not Encoding.CALLS:
        with pytest.raises(RunFailed) as caught:
            runner.run(Loaded(fails_with(error)), encoding, empty, context(), **how)
        return caught.value.failure
    (body,) = runner.run(Loaded(fails_with(error)), encoding, calls.encode_calls([empty]), context(), **how)
    return calls.decode_outcomes(body)[0]


@pytest.mark.parametrize("encoding", [Encoding.PICKLE, Encoding.CALLS])
def test_what_a_function_raises_travels_as_a_pickle_to_those_who_read_pickles(encoding):
    failure = failure_of_run(encoding, ValueError("no", 3))
    assert repr(pickle.loads(failure.exception)) == "ValueError('no', 3)"  # noqa: S301 - made here
    assert failure_of_run(encoding, KeyboardInterrupt()).exception == b""
    assert failure_of_run(encoding, Leaves()).exception == b""


def test_readers_of_json_get_text_only():
    failure = failure_of_run(Encoding.JSON, ValueError("no"))
    assert (failure.exception, failure.error_type) == (b"", "ValueError")


def test_a_call_among_many_tells_where_it_failed():
    failure = failure_of_run(Encoding.CALLS, ValueError())
    assert (failure.node, failure.attempt) == (allocation.this_node(), 1)


class Leaves(Exception):
    def __reduce__(self):
        raise SystemExit(3)


@pytest.mark.parametrize("length", [10, 10_000, 1_000_000])
def test_the_frames_are_kept_however_long_the_text_is(length):
    def deeper(left):
        if left == 0:
            raise ValueError("<" + "x" * length + ">")
        deeper(left - 1)

    failure = failure_of(runner.call, Loaded(deeper), (2,), {}, context())
    assert failure.traceback.count("in deeper") == 3
    assert failure.traceback.startswith("Traceback (most recent call last)")
    assert failure.traceback.rstrip().endswith("x>")
    assert len(failure.traceback) < LONGEST_TRACEBACK
    assert failure.message.startswith("ValueError: <x")
    assert failure.message.endswith("x>")
    assert len(failure.message) < 600


def test_of_too_many_frames_the_first_and_the_last_are_kept():
    def even(left):
        return odd(left - 1)

    def odd(left):
        if left < 0:
            raise ValueError("the end")
        return even(left - 1)

    trace = failure_of(runner.call, Loaded(even), (300,), {}, context()).traceback
    assert len(trace) < LONGEST_TRACEBACK + 100
    assert "in even" in trace[:300]
    assert "characters left out" in trace
    assert trace.endswith("ValueError: the end\n")


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {3}, b"x", {1: 2}])
def test_a_result_that_json_would_change_is_refused_by_name(value):
    failure = failure_of(payloads.encode_result, Encoding.JSON, value, 100)
    assert failure.kind is FailureKind.RESULT
    assert "the result" in failure.message
    assert "JSON" in failure.message
    assert "encoding='pickle'" in failure.message


class Rude(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class Unwound(Exception):
    def __str__(self):
        raise Evicted

    __repr__ = __str__


def test_an_exception_whose_text_ends_the_process_fails_its_invocation_and_not_the_slot():
    def rude():
        raise Rude

    failure = failure_of(runner.call, Loaded(rude), (), {}, context())
    assert (failure.kind, failure.error_type) == (FailureKind.EXCEPTION, "Rude")
    assert "cannot be read" in failure.message


def test_who_is_unwound_while_an_exception_is_put_into_words_is_unwound():
    def unwound():
        raise Unwound

    with pytest.raises(Evicted):
        runner.call(Loaded(unwound), (), {}, context())


def test_outcomes_that_cannot_be_read_any_more_are_made_again():
    of_another_version = context(b"cno_such_module\nOutcome\n.")
    bodies = calls.encode_calls([pickle.dumps(((n,), {})) for n in (-1, 2)])
    (body,) = runner.run(Loaded(abs), Encoding.CALLS, bodies, of_another_version, limit_bytes=1000, interval_s=5.0)
    assert [pickle.loads(outcome) for outcome in calls.decode_outcomes(body)] == [1, 2]  # noqa: S301 - made here
