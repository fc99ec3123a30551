"""A central database at the newest schema, made once in each worker and copied: what migrations build is the same.

That they build it, also in many processes at once, is what `tests/integration/test_central.py` shows.
"""

import asyncio
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path

from freehold.central.engine import open_central
from freehold.central.upgrade import upgrade_central


def begin_file(path: Path) -> None:
    """Put it there, if nothing is."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(_template())


@cache
def as_sql() -> str:
    """A script that builds it."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(_template())
        return "\n".join(db.iterdump())


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory(prefix="template-") as folder:
        path = Path(folder) / "central.db"
        with ThreadPoolExecutor(1) as thread:  # for the caller may have an event loop of its own
            thread.submit(lambda: asyncio.run(_build(path))).result()
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()


async def _build(path: Path) -> None:
    central = open_central(path)
    await upgrade_central(central)
    await central.close()
