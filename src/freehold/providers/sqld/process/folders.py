"""The namespaces of an sqld as its data folder shows them: one folder for each below `dbs`.

Source: sqld 0.24.32, by running it. A folder may be left over from a namespace that is gone, so what is found here
still has to be looked up.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from freehold.errors import ProviderUnavailable

_PAGE = 1_000


async def namespace_pages(data_dir: Path) -> AsyncIterator[Sequence[str]]:
    """The names, a page at a time. Raises `ProviderUnavailable` when the folder cannot be read."""
    try:
        found = await asyncio.to_thread(_entries, data_dir)
        while page := await asyncio.to_thread(lambda: list(islice(found, _PAGE))):
            yield page
    except OSError as error:
        raise ProviderUnavailable(
            f"SQLD_DATA_DIR: sqld's folder cannot be read: {error.strerror} ({error.filename})"
        ) from error


def _entries(data_dir: Path) -> Iterator[str]:
    if not (data_dir / "metastore").is_dir():
        raise ProviderUnavailable(f"SQLD_DATA_DIR: `{data_dir}` is not an sqld's folder")
    folder = data_dir / "dbs"
    if not folder.is_dir():  # it is made with the first namespace
        return iter(())
    with os.scandir(folder) as entries:
        return iter([entry.name for entry in entries if entry.is_dir()])
