"""A function that is named as a question answers it and changes nothing."""

import ast
import re

import pytest
from support.sources import modules

QUESTION = re.compile(r"_?(is|has|have|are|may|can|lacks|was|were|does|needs|should)_")
LISTS = {
    "append",
    "add",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popleft",
    "popitem",
    "remove",
    "setdefault",
    "update",
}
OURS = ("harvester_worker", "harvester.domain.protocol", "harvester.domain.payload", "harvester.domain.model")


def questions():
    for module, path in modules():
        if module.startswith(OURS):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and QUESTION.match(node.name):
                    yield f"{module}.{node.name}", node


def owner(node):
    """Return the name that an attribute or an item hangs on."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def changes(function):
    """Return what a function assigns to, deletes from or adds to beyond its own variables."""
    own = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(function):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                yield ast.unparse(node)
            case ast.Global() | ast.Nonlocal():
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr=name, value=of)) if name in LISTS and owner(of) not in own:
                yield ast.unparse(node)


def test_a_question_changes_nothing():
    found = dict(questions())
    assert len(found) > 20
    assert {name: list(changes(node)) for name, node in found.items() if list(changes(node))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "def is_due(self):\n    self._at = 1\n    return True",
        "def has_room(self):\n    self._queue.append(1)\n    return True",
        "def may_go(table):\n    del table[1]\n    return True",
    ],
)
def test_a_change_in_a_question_is_seen(text):
    assert list(changes(ast.parse(text).body[0]))
