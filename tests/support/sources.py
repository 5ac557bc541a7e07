"""The packages' sources, for tests that read them."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "harvester": ROOT / "harvester/harvester",
    "harvester_adapters": ROOT / "scheduler_adapters/harvester_adapters",
    "harvester_worker": ROOT / "worker/harvester_worker",
    "harvester_api": ROOT / "api/harvester_api",
}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield every module's name and file."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


@functools.cache
def tree(path: Path) -> ast.Module:
    """Return a module's syntax tree, parsed once in a session."""
    return ast.parse(path.read_text())
