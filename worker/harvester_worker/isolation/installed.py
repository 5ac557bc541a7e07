"""Installed code: files of Python and of installed packages, as against those that somebody edits.

The pilot's own packages are installed wherever they are: they stay what they are for as long as it lives.
"""

import os
import sysconfig
from functools import lru_cache
from pathlib import Path

import harvester.domain

_PYTHONS_OWN = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_OURS = tuple(str(folder) + os.sep for folder in (Path(harvester.domain.__path__[0]).parent, Path(__file__).parents[1]))
_NOBODY_EDITS = (*_PYTHONS_OWN, *_OURS)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@lru_cache(maxsize=4096)
def is_installed(filename: str) -> bool:
    """Tell whether code of this file belongs to Python or to an installed package."""
    if filename.startswith("<frozen "):
        return True
    return filename.startswith(_NOBODY_EDITS) or any(folder in filename for folder in _PACKAGES)
