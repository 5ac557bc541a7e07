import pickle
import subprocess
import sys
from datetime import timedelta

import cloudpickle
import pytest

import harvester
from harvester.domain.model.functions import FunctionKind
from harvester.domain.model.resources import Resources
from harvester.sdk.errors import HarvesterError
from harvester.sdk.options import NO_OPTIONS, make_options
from harvester.sdk.payload.labels import packages_of
from harvester.sdk.payload.shipping import PYTHON, Traits, default_name, from_reference, from_source, pickled


def test_a_decorated_function_is_called_here_and_keeps_its_name():
    @harvester.function
    def double(x):
        """Twice."""
        return 2 * x

    assert double(4) == 8
    assert (double.name, double.__name__, double.__doc__) == ("double", "double", "Twice.")


def test_a_generator_is_run_to_its_result_and_checkpoints_by_default():
    @harvester.function(name="sum-to", cpus=2, gpus=1, memory_mb=5, walltime=timedelta(minutes=1), max_retries=3)
    def sum_to(n, *, state):
        done, total = state or (0, 0)
        for number in range(done, n):
            total += number
            yield number + 1, total
        return total

    assert sum_to(5) == 10
    assert sum_to(5, state=(4, 100)) == 104
    assert sum_to.traits == Traits(
        name="sum-to",
        resources=Resources(cpus=2, gpus=1, memory_mb=5),
        walltime_s=60.0,
        checkpoints=True,
        max_retries=3,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cpus": 0}, "cpus must be at least 1, not 0"),
        ({"gpus": -1}, "gpus must be at least 0"),
        ({"walltime": 0}, "walltime must be longer"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_running": 0}, "max_running must be at least 1, not 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_where_they_are_written(options, said):
    with pytest.raises(ValueError, match=said):
        harvester.function(**options)(len)


async def _async_generator():
    yield 1


@pytest.mark.parametrize("thing", [int, 5, harvester.function(len), _async_generator])
def test_only_plain_functions_are_decorated(thing):
    with pytest.raises(TypeError):
        harvester.function(thing)


def test_what_is_shipped_needs_cloudpickle_only_even_where_decorated_functions_call_each_other(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, harvester\n"
        "from harvester.sdk.payload.shipping import pickled\n"
        "@harvester.function\n"
        "def even(n): return n == 0 or odd(n - 1)\n"
        "@harvester.function\n"
        "def odd(n): return n != 0 and even(n - 1)\n"
        "sys.stdout.buffer.write(pickled(even, even.traits).body)\n"
    )
    body = subprocess.run([sys.executable, program], capture_output=True, check=True).stdout
    reader = (
        "import sys, pickle\n"
        "sys.modules['harvester'] = None\n"  # importing it would fail
        "even = pickle.loads(sys.stdin.buffer.read())\n"
        "assert type(even).__name__ == 'function', even\n"
        "print(even(10), even(7))\n"
    )
    said = subprocess.run([sys.executable, "-c", reader], input=body, capture_output=True, check=True).stdout
    assert said == b"True False\n"


def pickled_on_a_node(body):
    """Return the pickle of a function that came as one. In a process of its own: it depends on interned strings."""
    program = (
        "import pickle, sys\n"
        "from harvester.sdk.payload.shipping import pickled\n"
        "found = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickled(found, found.traits).body)\n"
    )
    return subprocess.run([sys.executable, "-c", program], input=body, capture_output=True, check=True).stdout


def test_a_decorated_function_arrives_decorated_where_the_sdk_is_and_nodes_make_the_same_pickle_of_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, harvester\n"
        "from harvester.sdk.payload.shipping import pickled\n"
        "@harvester.function(cpus=2, ship_module=True)\n"
        "def tree(n): return tree.options(priority=3)\n"
        "sys.stdout.buffer.write(pickled(tree, tree.traits).body)\n"
    )
    body = subprocess.run([sys.executable, program], capture_output=True, check=True).stdout
    tree = pickle.loads(body)  # noqa: S301 - made above
    assert isinstance(tree, harvester.Function)
    assert tree.__wrapped__.__globals__["tree"] is tree
    assert (tree.traits.resources.cpus, tree.ship_module, tree(1).asked.priority) == (2, True, 3)
    on_node = pickled_on_a_node(body)  # cloudpickle shares other strings there than on the laptop
    assert pickled_on_a_node(on_node) == on_node
    assert b"/sdk/functions.py" not in body


def test_ship_module_sends_a_module_that_the_compute_node_lacks(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def helper(x): return x + 1\ndef work(x): return helper(x)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    by_reference = pickled(only_here.work, Traits(name="work")).body
    by_value = pickled(only_here.work, Traits(name="work"), packages_of(only_here.work)).body
    assert cloudpickle.list_registry_pickle_by_value() == set()
    monkeypatch.delitem(sys.modules, "only_here")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    assert pickle.loads(by_value)(1) == 2  # noqa: S301 - made above
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(by_reference)  # noqa: S301 - made above


def test_a_shipment_is_stamped_and_the_same_code_has_the_same_digest():
    first, second = (pickled(lambda: 7, Traits(name="seven")) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != pickled(lambda: 7, Traits(name="seven", max_retries=1)).digest
    said = first.request()
    assert (said["kind"], said["python"], said["cloudpickle"]) == ("pickle", PYTHON, cloudpickle.__version__)


def test_a_limit_of_runs_is_told_where_there_is_one():
    limited = harvester.function(max_running=4)(len)
    assert pickled(len, limited.traits).request()["max_running"] == 4
    assert "max_running" not in pickled(len, Traits(name="len")).request()


def test_options_make_another_view_of_the_same_function():
    @harvester.function(cpus=2)
    def double(x):
        return 2 * x

    urgent = double.options(priority=3, ttl=timedelta(minutes=1))
    sooner = urgent.options(deadline=5)
    assert (urgent(4), urgent.traits, urgent.origin) == (8, double.traits, double)
    assert sooner.asked == make_options(3, 60, 5)
    assert double.asked == NO_OPTIONS
    assert sooner.origin is double
    for wrong in ({"priority": 1001}, {"ttl": 0}, {"deadline": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            double.options(**wrong)


def test_what_cannot_be_pickled_is_told_by_the_functions_name():
    lock = __import__("threading").Lock()
    with pytest.raises(HarvesterError, match=r"'guarded' cannot be pickled.*lock"):
        pickled(lambda: lock, Traits(name="guarded"))


def test_names_fit_into_a_path():
    assert default_name(lambda: 0) == "lambda"
    assert default_name(len) == "len"


def test_sources_and_references_are_checked_before_they_travel(tmp_path):
    file = tmp_path / "work.py"
    file.write_text("def a():\n    return [(yield) for _ in ()] if False else (lambda: (yield))\ndef b(): yield 1\n")
    with pytest.raises(HarvesterError, match="is not valid Python"):
        from_source(file, "a", Traits(name="a"))
    file.write_text("def a():\n    def inner(): yield\n    return inner\ndef b(): yield 1\n")
    assert from_source(file, "a", Traits(name="a")).traits.checkpoints is False
    assert from_source(file, "b", Traits(name="b")).traits.checkpoints is True
    with pytest.raises(HarvesterError, match="no function 'c' at its top level; it has a, b"):
        from_source(file, "c", Traits(name="c"))
    assert from_reference("pkg.mod:f", Traits(name="f")).kind is FunctionKind.MODULE
    for wrong in ("pkg.mod", ":f", "a b:f", "m:"):
        with pytest.raises(HarvesterError, match="names no function"):
            from_reference(wrong, Traits(name="f"))


def test_importing_harvester_imports_neither_http_nor_cloudpickle():
    heavy = ("httptools", "ssl", "cloudpickle", "typer", "importlib.metadata")
    code = f"import sys, harvester, harvester.domain.protocol.wire; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_all_public_names_are_there():
    for name in harvester.__all__:
        assert getattr(harvester, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = harvester.nothing
