"""Which functions are sent, when they are sent again, and what tells their versions apart."""

import base64
import functools
import importlib
import operator
import pickle
import sys
import threading
import time
import warnings

import msgspec
import pytest

import harvester
from harvester.domain.payload.shipped import label, packages_in
from harvester.sdk.http.messages import Response
from harvester.sdk.payload.labels import packages_of
from harvester.sdk.payload.shipping import Traits, pickled
from harvester.sdk.registration.callables import whole
from harvester.sdk.registration.registry import Registry, packages_along, traits_of
from harvester.sdk.registration.sent_functions import COST_SHARE, LOOK_AGAIN_S, MANY_VERSIONS, Sent, SentFunctions


class Gateway:
    """Gives each body of a name its own version, as the gateway does."""

    def __init__(self, clock=lambda: 0.0):
        self.registry = Registry()
        self.registry._memory = SentFunctions(clock)
        self.bodies = []

    def run(self, operation):
        try:
            request = next(operation)
            while True:
                request = operation.send(self.answer(msgspec.json.decode(request.content)))
        except StopIteration as end:
            return end.value

    def answer(self, said):
        key = said["name"], said["body"]
        if key not in self.bodies:
            self.bodies.append(key)
        version = [each for each in self.bodies if each[0] == said["name"]].index(key) + 1
        body = {"function_id": f"{said['name']}@{version}", "name": said["name"], "version": version}
        return Response(status=201, reason="", headers={}, body=msgspec.json.encode(body))

    def submit(self, fn):
        """Return the version that an invocation would be of."""
        target = self.registry.known(fn) or self.run(self.registry.target(fn))
        return target.name, target.version


@pytest.fixture
def gateway():
    return Gateway()


def test_a_function_runs_as_edited_and_is_sent_again_only_then(gateway):
    factor = 2

    def scaled(x):
        return x * factor

    assert [gateway.submit(scaled) for _ in range(3)] == [("scaled", 1)] * 3
    factor = 3
    assert gateway.submit(scaled) == ("scaled", 2)
    factor = 2
    assert gateway.submit(scaled) == ("scaled", 1)
    assert len(gateway.bodies) == 2


def test_whatever_is_around_a_function_it_is_registered_once(gateway):
    @harvester.function
    def area(width, height):
        return width * height

    class Field:
        decorated = area

    for number in range(3):
        assert gateway.submit(functools.partial(area, number)) == ("area", 1)
        assert gateway.submit(functools.partial(area, height=str(number))) == ("area", 1)
        assert gateway.submit(Field().decorated) == ("area", 1)
        assert gateway.submit(area.options(priority=number)) == ("area", 1)
    assert len(gateway.bodies) == 1


def test_what_is_bound_and_large_travels_once_with_the_function_and_its_decorators_word(gateway):
    @harvester.function(cpus=3, ship_module=True)
    def area(width, height):
        return width * height

    class Field:
        def plain(self, height):
            return height

    for _ in range(3):
        for large in ([1, 2], "x" * 5000, Field()):
            assert gateway.submit(functools.partial(area, large))[0] == "area.partial"
        assert gateway.submit(Field().plain) == ("plain", 1)
    assert len(gateway.bodies) == 4
    assert traits_of(functools.partial(area, [1])).resources.cpus == 3
    assert whole(functools.partial(area, [1]), (2,), {}) == ((2,), {})
    assert packages_along(functools.partial(area, [1])) == area.packages != frozenset()


def test_what_is_bound_is_part_of_a_function_that_is_registered_by_hand(gateway):
    class Field:
        width = 5

        @harvester.function(cpus=3)
        def area(self, height):
            return self.width * height

    assert gateway.run(gateway.registry.register(Field().area)).name == "area"
    assert pickle.loads(base64.b64decode(gateway.bodies[0][1]))(4) == 20  # noqa: S301 - made here
    assert gateway.submit(Field().area) == ("area", 2)


def test_a_name_and_a_module_that_were_asked_for_stay_when_it_is_sent_again(gateway):
    factor = 2

    def scaled(x):
        return x * factor

    gateway.run(gateway.registry.register(scaled, "chosen", ship_module=True))
    assert gateway.submit(scaled) == ("chosen", 1)
    factor = 3
    assert gateway.submit(scaled) == ("chosen", 2)


def test_register_asks_the_gateway_anew(gateway):
    def same():
        return 1

    assert gateway.submit(same) == ("same", 1)
    gateway.bodies.clear()  # it was deleted there
    assert gateway.submit(same) == ("same", 1)
    assert not gateway.bodies
    assert gateway.run(gateway.registry.register(same)).version == 1
    assert gateway.bodies


def test_what_may_change_unseen_is_looked_at_again_and_told_when_it_has_changed():
    now = [100.0]
    gateway = Gateway(lambda: now[0])

    class Box:
        content = 1

    box = Box()

    def opened():
        return box.__dict__, len(rows)

    rows = list(range(5000))
    assert gateway.submit(opened) == ("opened", 1)
    box.content = 2
    now[0] += LOOK_AGAIN_S - 0.1
    assert gateway.submit(opened) == ("opened", 1)
    now[0] += 0.2
    with pytest.warns(RuntimeWarning, match=r"'opened' is sent again.*'box'.*'rows'.*as an argument"):
        assert gateway.submit(opened) == ("opened", 2)
    now[0] += LOOK_AGAIN_S + 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gateway.submit(opened) == ("opened", 2)  # looked at, and the same
        rows = [1, 2]
        assert gateway.submit(opened) == ("opened", 3)  # another list: that was seen


def test_looking_takes_a_small_share_of_the_time():
    now = [0.0]
    memory = SentFunctions(lambda: now[0])
    box = object()

    def heavy():
        return box

    from harvester.sdk.registration.footprint import footprint_of

    seen = footprint_of(heavy)
    now[0] = 10.0
    sent = Sent(target="target", traits=Traits(name="heavy"), packages=frozenset(), footprint=seen, digest="")
    memory.remember(heavy, sent, took_s=10.0)
    now[0] += COST_SHARE * 10.0 - 1
    assert memory.target(heavy) == "target"
    now[0] += 2
    assert memory.target(heavy) is None


def test_a_slow_gateway_makes_no_look_rarer():
    later = [0.0]
    gateway = Gateway(lambda: time.monotonic() + later[0])
    answer, box = gateway.answer, [object()]
    gateway.answer = lambda said: time.sleep(0.1) or answer(said)

    def opaque():
        return box

    assert gateway.submit(opaque) == ("opaque", 1)
    box.append(1)
    later[0] = LOOK_AGAIN_S + 0.2
    with pytest.warns(RuntimeWarning, match="changed in place"):
        assert gateway.submit(opaque) == ("opaque", 2)


def test_a_new_closure_at_each_turn_is_told_of_once(gateway):
    def make(number):
        return lambda: number

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(MANY_VERSIONS - 1):
            gateway.submit(make(number))
        gateway.submit(make(0))  # the same content is no new version
    with pytest.warns(RuntimeWarning, match=r"<lambda> has been registered 100 times.*harvester\.Executor") as told:
        gateway.submit(make(MANY_VERSIONS))
    assert told[0].filename == __file__  # not a line of the SDK's
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(MANY_VERSIONS):
            gateway.submit(make(-1 - number))


# ---- modules and packages ------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose modules refer to one another, here only."""
    files = {
        "__init__.py": "from . import units\n",
        "units.py": (
            "import mine_only.deep.work\nfrom mine_only import deep\nSCALE = 10\ndef scaled(x): return x * SCALE\n"
        ),
        "late.py": "def work(x):\n    from . import units\n    return units.scaled(x)\n",
        "deep/__init__.py": "",
        "deep/work.py": (
            "import functools, harvester\n"
            "from .. import units\n"
            "from . import more\n"
            "from .more import Kind\n"
            "def plain(x): return units.scaled(x) + more.extra(x)\n"
            "@harvester.function(ship_module=True)\n"
            "def work(x, kind=Kind(1)): return plain(x) + kind.value\n"
            "partial = functools.partial(work, kind=Kind(2))\n"
            "@harvester.function(ship_module=True)\n"
            "def lazy(x):\n"
            "    from ..units import scaled\n"
            "    return scaled(x)\n"
            "@harvester.function(ship_module=True)\n"
            "def lazier(x):\n"
            "    import mine_only.late\n"
            "    return mine_only.late.work(x)\n"
            "@harvester.function(ship_module=True)\n"
            "def laziest(x):\n"
            "    from .. import late\n"
            "    return late.work(x)\n"
            "def deferred(f, x): return f(x)\n"
            "class Worker:\n"
            "    @harvester.function(ship_module=True)\n"
            "    def run(self, x): return work(x)\n"
        ),
        "deep/more.py": "class Kind:\n    def __init__(self, value): self.value = value\ndef extra(x): return 1\n",
    }
    for name, text in files.items():
        path = tmp_path / "mine_only" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("mine_only.deep.work")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine_only"]:
        del sys.modules[name]


def loaded_elsewhere(body, monkeypatch):
    """Return what was pickled, as a process loads it that has no such package."""
    with monkeypatch.context() as there:
        there.setattr(sys, "path", [place for place in sys.path if "pytest" not in place])
        for name in [name for name in sys.modules if name.partition(".")[0] == "mine_only"]:
            there.delitem(sys.modules, name)
        return pickle.loads(body)  # noqa: S301 - made here


def test_ship_module_ships_the_package(package, monkeypatch):
    body = pickled(package.work, package.work.traits, package.work.packages).body
    assert package.work.packages == {"mine_only"}
    assert packages_in(body) == {"mine_only"}
    assert loaded_elsewhere(body, monkeypatch)(2) == 22


def _using(work):
    return lambda x: work(x) + 1


@pytest.mark.parametrize("name", ["lazy", "lazier", "laziest"])
def test_what_it_imports_when_it_runs_goes_along(package, monkeypatch, name):
    lazy = getattr(package, name)
    body = pickled(lazy, lazy.traits, lazy.packages).body
    with monkeypatch.context() as there:
        there.setattr(sys, "path", [place for place in sys.path if "pytest" not in place])
        for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "mine_only"]:
            there.delitem(sys.modules, loaded)
        assert pickle.loads(body)(2) == 20  # noqa: S301 - made here
        for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "mine_only"]:
            del sys.modules[loaded]


def test_a_module_that_cannot_be_sent_is_left_out_where_only_a_running_function_would_import_it(package):
    package.units.lock = threading.Lock()
    assert packages_in(pickled(package.laziest, package.laziest.traits, package.laziest.packages).body)


@pytest.mark.parametrize(
    "what",
    [
        lambda module: module.partial,
        lambda module: _using(module.work),
        lambda module: module.Worker().run,
        lambda module: functools.partial(module.deferred, module.work),
    ],
    ids=["partial", "lambda", "method", "argument"],
)
def test_what_uses_a_function_that_ships_its_package_ships_it_too(package, monkeypatch, what):
    body = pickled(what(package), Traits(name="using")).body
    assert packages_in(body) == {"mine_only"}
    assert loaded_elsewhere(body, monkeypatch)(2) in (22, 23)


def test_a_function_that_finds_one_in_its_module_ships_the_package_too(package, gateway, monkeypatch):
    def through(x):
        return package.work(x)

    gateway.submit(through)
    assert loaded_elsewhere(base64.b64decode(gateway.bodies[0][1]), monkeypatch)(2) == 22


def test_arguments_of_a_package_that_is_shipped_go_by_value(package, monkeypatch):
    from harvester.sdk.payload.payloads import Encoding, encode_arguments

    sent = encode_arguments((package.more.Kind(3),), {}, Encoding.PICKLE, package.work.packages)
    assert loaded_elsewhere(sent, monkeypatch)[0][0].value == 3
    found = encode_arguments((package.more.Kind(3), package.partial), {}, Encoding.PICKLE)
    assert loaded_elsewhere(found, monkeypatch)[0][0].value == 3
    named = encode_arguments((package.more.Kind(3),), {}, Encoding.PICKLE)
    with pytest.raises(ModuleNotFoundError):
        loaded_elsewhere(named, monkeypatch)


def test_a_function_that_only_a_name_travels_of_is_a_new_version_when_its_package_is_edited(package, gateway, tmp_path):
    assert gateway.submit(package.plain) == ("plain", 1)
    assert gateway.run(gateway.registry.register(package.plain)).version == 1
    (tmp_path / "mine_only" / "units.py").write_text("def scaled(x): return x\n")
    assert gateway.run(gateway.registry.register(package.plain)).version == 2
    assert gateway.run(gateway.registry.register(lambda: package.plain)).version == 1
    (tmp_path / "mine_only" / "deep" / "more.py").write_text("")
    assert gateway.run(gateway.registry.register(package.plain)).version == 3


def test_what_a_function_imports_when_it_runs_is_part_of_its_version(package, gateway, tmp_path):
    def importing(x):
        def inner():
            import mine_only.units

            return mine_only.units

        return inner().scaled(x)

    assert gateway.submit(importing) == ("importing", 1)
    (tmp_path / "mine_only" / "units.py").write_text("def scaled(x): return x\n")
    assert gateway.run(gateway.registry.register(importing)).version == 2


def test_what_is_loaded_later_makes_no_new_version_and_a_very_large_package_is_told_by_its_own_file(
    package, gateway, tmp_path, monkeypatch
):
    assert gateway.submit(package.plain) == ("plain", 1)
    importlib.import_module("mine_only.late")
    assert gateway.run(gateway.registry.register(package.plain)).version == 1
    monkeypatch.setattr("harvester.sdk.payload.labels.MOST_FILES", 2)
    assert gateway.run(gateway.registry.register(package.plain)).version == 2
    (tmp_path / "mine_only" / "units.py").write_text("")
    assert gateway.run(gateway.registry.register(package.plain)).version == 2
    (tmp_path / "mine_only" / "__init__.py").write_text("# edited\n")
    assert gateway.run(gateway.registry.register(package.plain)).version == 3


def test_register_called_often_is_no_loop_of_closures(gateway):
    def same():
        return 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(MANY_VERSIONS + 1):
            gateway.run(gateway.registry.register(same))


def test_the_program_itself_is_never_put_in_the_place_of_the_slots(gateway):
    import __main__

    body = pickled(lambda: __main__, Traits(name="main"), frozenset({"__main__"})).body
    before = sys.modules["__main__"]
    assert pickle.loads(body)() is before is sys.modules["__main__"]  # noqa: S301 - made here


def test_what_is_installed_is_not_read(package):
    bodies = {pickled(fn, Traits(name="installed")).body for fn in (operator.attrgetter, pytest.raises, msgspec.field)}
    assert all(body.count(b"modules=\x94") or b"modules=" in body for body in bodies)
    assert not any(packages_in(body) for body in bodies)
    assert label((), "") == "harvester-label/1 packages= modules="
    assert all(label((), "").encode() + b"\x94" in body for body in bodies)


def test_the_package_of_a_function_is_the_top_one(package):
    assert packages_of(package.work) == {"mine_only"}
    assert packages_of(functools.partial(package.Worker().run, 1)) == {"mine_only"}
    assert packages_of(len) == frozenset()  # builtins have no file
    assert packages_of(operator.attrgetter) == {"operator"}


@pytest.mark.parametrize(("folder", "package"), [("lib", "mine_space"), ("site-packages", "mine_space.inner")])
def test_a_namespace_is_a_package_of_ones_own_unless_installed_packages_share_it(
    gateway, tmp_path, monkeypatch, folder, package
):
    space = tmp_path / folder / "mine_space" / "inner"
    space.mkdir(parents=True)
    (space / "__init__.py").write_text("def work(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path / folder)
    work = importlib.import_module("mine_space.inner").work
    try:
        assert packages_of(work) == {package}
        assert gateway.submit(work) == ("work", 1)
        (space.parent / "other.py").write_text("")
        assert gateway.run(gateway.registry.register(work)).version == (2 if folder == "lib" else 1)
    finally:
        for name in ("mine_space.inner", "mine_space"):
            del sys.modules[name]
