"""Who may import whom (docs/architecture.md). Read from the source, so that lazy imports count too."""

import ast
import sys

import pytest
from support.sources import PACKAGES, modules, tree

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
    "harvester_api": ("harvester.domain", "harvester.store", "harvester.config"),
    "harvester.config": (),
    "harvester.config_file": ("harvester.domain", "harvester.config"),
    "harvester.joblib": ("harvester.sdk",),
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


def imports(path):
    for node in ast.walk(tree(path)):
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


def ours(path):
    """What of ours a module imports, wherever it does: also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in full}
    return found & NAMES


NAMES = {name for name, _ in MODULES}
PATHS = dict(MODULES)
IMPORTS = {module: ours(path) - {module} for module, path in MODULES}

# What is made of rooms of its own: a module right there is one, and so is each folder.
PARTS = {*OURS, *(f"harvester.{part}" for part in ("cli", "daemon", "domain", "sdk", "simulator", "store"))}


def folder_of(module):
    """A module's room: its folder, or itself where the folder is a whole part."""
    if PATHS[module].name == "__init__.py":
        return module
    folder = module.rpartition(".")[0]
    return module if folder in PARTS else folder


def first_cycle(graph):
    done = set()

    def visit(node, trail):
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return None
        for other in sorted(graph.get(node, ())):
            found = visit(other, [*trail, node])
            if found:
                return found
        done.add(node)
        return None

    return next(filter(None, (visit(node, []) for node in sorted(graph))), None)


def test_no_module_imports_itself_over_others_not_even_lazily_or_for_types():
    assert first_cycle(IMPORTS) is None


def test_no_folder_imports_itself_over_others():
    graph = {}
    for module, imported in IMPORTS.items():
        if module not in PARTS:
            graph.setdefault(folder_of(module), set()).update(
                folder_of(name) for name in imported if name not in PARTS and folder_of(name) != folder_of(module)
            )
    assert first_cycle(graph) is None


def test_dispatching_and_harvesting_know_nothing_of_each_other():
    harvesting = ("harvest", "cluster", "contention", "supervision")
    for module, imported in IMPORTS.items():
        if within(module, "harvester.domain.dispatch"):
            assert not any(within(name, f"harvester.domain.{part}") for name in imported for part in harvesting), module
        if any(within(module, f"harvester.domain.{part}") for part in harvesting):
            assert not any(within(name, "harvester.domain.dispatch") for name in imported), module


def test_a_folder_has_at_most_a_baker_s_dozen_of_modules_and_says_where_to_begin():
    folders = {}
    for module, path in MODULES:
        if path.name not in {"__init__.py", "__main__.py"}:
            folders.setdefault(path.parent, []).append(module)
    for folder, held in folders.items():
        assert len(held) <= 13, f"{folder} has {len(held)} modules"
        assert len(ast.get_docstring(tree(folder / "__init__.py")) or "") > 60, folder
