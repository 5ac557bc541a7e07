"""Packages of others, installed by hand into a folder: a module, and the metadata that an installer would write.

Owns nothing that is installed for good: a test puts the folder on the path.
"""

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).parent / "outside_package"


def install(into: Path) -> Path:
    """Install the outside package as its `pyproject.toml` says, and return the folder to be put on the path."""
    into.mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGE / "harvester_outside.py", into)
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    return install_metadata(into, project["name"], project["version"], project["entry-points"])


def install_metadata(into: Path, name: str, version: str, groups: Mapping[str, Mapping[str, str]]) -> Path:
    """Write the metadata of a package with these groups of entry points; return the folder to be put on the path."""
    folder = into / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{point} = {value}" for point, value in points.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return into
