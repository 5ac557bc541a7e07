"""Installed code: files of Python and of installed packages, as against those that somebody edits."""

import os
import sysconfig
from functools import lru_cache

_PYTHONS_OWN = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@lru_cache(maxsize=4096)
def is_installed(filename: str) -> bool:
    """Tell whether code of this file belongs to Python or to an installed package."""
    if filename.startswith("<frozen "):
        return True
    return filename.startswith(_PYTHONS_OWN) or any(folder in filename for folder in _PACKAGES)
