"""Who may import whom (docs/architecture.md). Read from the source, so that lazy imports count too."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "harvester": ROOT / "harvester/harvester",
    "harvester_adapters": ROOT / "scheduler_adapters/harvester_adapters",
    "harvester_worker": ROOT / "worker/harvester_worker",
    "harvester_api": ROOT / "api/harvester_api",
}
OURS = tuple(PACKAGES)

# Rooms and what of ours they may import, themselves aside; and the libraries of others that some must never see.
ARROWS = {
    "harvester.domain": (),
    "harvester.store": ("harvester.domain",),
    "harvester.sdk": ("harvester.domain", "harvester"),
    "harvester.simulator": ("harvester.domain",),
    "harvester.daemon": ("harvester.domain", "harvester.store", "harvester.config"),
    "harvester_adapters": ("harvester.domain",),
    "harvester_worker": ("harvester.domain",),
    "harvester_api": ("harvester.domain", "harvester.store"),
}
FORBIDDEN = {
    "harvester_worker": {
        "fastapi",
        "sqlmodel",
        "sqlalchemy",
        "psij",
        "pyslurm",
        "typer",
        "rich",
        "httptools",
        "httpx2",
    },
    "harvester_api": {"psij", "pyslurm"},
    "harvester.sdk": {"fastapi", "sqlmodel", "sqlalchemy", "psij", "uvicorn"},
}


def modules():
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            yield node.module
            if node.module in OURS:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, room):
    return name == room or name.startswith(room + ".")


def room_of(module):
    return next((room for room in ARROWS if within(module, room)), None)


MODULES = list(modules())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_a_module_imports_only_what_its_room_may(module, path):
    room = room_of(module)
    if room is None:
        return  # the CLI and the top of the SDK build concrete objects from everything
    for name in imports(path):
        if within(name, room):
            continue
        if any(within(name, package) for package in OURS):
            exact = {allowed for allowed in ARROWS[room] if allowed == "harvester"}
            assert name in exact or any(within(name, allowed) for allowed in ARROWS[room] if allowed != "harvester"), (
                f"{module} imports {name}"
            )
        assert name.split(".")[0] not in FORBIDDEN.get(room, ()), f"{module} imports {name}"


def test_the_domain_imports_the_standard_library_and_msgspec_only():
    for module, path in MODULES:
        if within(module, "harvester.domain"):
            for name in imports(path):
                top = name.split(".")[0]
                assert top in {"msgspec", "harvester"} or top in sys.stdlib_module_names, f"{module} imports {name}"


def test_there_is_no_import_cycle():
    names = {name for name, _ in MODULES}
    graph = {}
    for module, path in MODULES:
        runtime = top_level_imports(path)
        graph[module] = {name for name in runtime if name in names and name != module}
    state = {}

    def visit(module, trail):
        if state.get(module) == "done":
            return
        assert module not in trail, "cycle: " + " -> ".join([*trail[trail.index(module) :], module])
        for other in graph[module]:
            visit(other, [*trail, module])
        state[module] = "done"

    for module in graph:
        visit(module, [])


def top_level_imports(path):
    """What runs when the module is imported: not inside functions, not under TYPE_CHECKING."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
