"""Installed code: files of Python and of installed packages, in contrast to those that users edit.

The pilot's own packages count as installed wherever they are: they do not change while it lives.
"""

import os
import sysconfig
from functools import lru_cache
from pathlib import Path

import harvester.domain

_PYTHONS_OWN = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_OURS = tuple(str(folder) + os.sep for folder in (Path(harvester.domain.__path__[0]).parent, Path(__file__).parents[1]))
_NEVER_EDITED = (*_PYTHONS_OWN, *_OURS)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@lru_cache(maxsize=4096)
def is_installed(filename: str) -> bool:
    """Return whether the code of this file belongs to Python or to an installed package."""
    if filename.startswith("<frozen "):
        return True
    return filename.startswith(_NEVER_EDITED) or any(folder in filename for folder in _PACKAGES)
