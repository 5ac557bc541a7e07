"""One word, one meaning: no public class name is defined twice, but where two records mirror each other."""

import ast
from collections import defaultdict

from support.sources import PACKAGES, modules, tree

# What one program tells another, as both sides keep it: the same thing on its way, in memory and on disk.
MIRRORS = {
    "Function": "the decorated function, and the message that brings its code to a pilot",
    "HandOver": "the core's effect, and the message to the slot that it becomes",
    "Lease": "the message, and the dispatcher's side of it",
    "Recall": "the dispatcher's effect, and the message that it becomes",
    "Started": "the pilot's message, and the write that it becomes",
    "TimeMin": "the command's word, and the simulator's, which the command line must not import to show its help",
    "Waits": "the slot's message to its agent, and the agent's to the gateway",
}


def test_a_public_class_name_is_defined_once_or_is_a_listed_mirror():
    defined = defaultdict(list)
    for module, path in modules():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(module)
    assert len(PACKAGES) == 4
    assert {name: where for name, where in defined.items() if len(where) > 1}.keys() == MIRRORS.keys()
