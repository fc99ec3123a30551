"""`libsql-client` of PyPI, or Freehold's own client, which has its interface."""

import asyncio
import importlib
import os
from collections.abc import Callable, Coroutine
from typing import Any

from tests.e2e.clients.python.parts import TOKEN, URL, failure, is_told, play

client: Any = importlib.import_module(os.environ["MODULE"])


def on_client(work: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def run() -> None:
        async with client.create_client(URL, auth_token=TOKEN) as db:
            await work(db)

    return lambda: asyncio.run(run())


async def write_and_read(db: Any) -> None:
    await db.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, half REAL)")
    await db.execute("INSERT INTO things (name, half) VALUES (:name, :half)", {"name": "كتاب", "half": 0.5})
    found = await db.execute("SELECT * FROM things WHERE name = ?", ["كتاب"])
    assert tuple(found.rows[0]) == (1, "كتاب", 0.5)


async def batches(db: Any) -> None:
    await db.batch(["INSERT INTO things (name) VALUES ('one')", "SELECT 1"])
    twice = ["INSERT INTO things (name) VALUES ('two')", "INSERT INTO things (name) VALUES ('one')"]
    found = await asyncio.gather(db.batch(twice), return_exceptions=True)
    error: Any = found[0]
    assert isinstance(error, client.LibsqlError)
    assert error.code.startswith("SQLITE_CONSTRAINT"), error.code
    assert (await db.execute("SELECT count(*) FROM things")).rows[0][0] == 2


async def transactions(db: Any) -> None:
    undone = db.transaction()
    await undone.execute("INSERT INTO things (name) VALUES ('undone')")
    await undone.rollback()
    kept = db.transaction()
    await kept.execute("INSERT INTO things (name) VALUES ('kept')")
    await kept.commit()
    assert (await db.execute("SELECT count(*) FROM things")).rows[0][0] == 3


def errors() -> None:
    async def run(sql: str) -> None:
        async with client.create_client(URL, auth_token=TOKEN) as db:
            await db.execute(sql)

    is_told(lambda sql: asyncio.run(run(sql)))
    assert failure(lambda: asyncio.run(run("SELEC 1")))


play(
    {
        "create, write, read": on_client(write_and_read),
        "batch, all or nothing": on_client(batches),
        "transaction": on_client(transactions),
        "errors": errors,
    }
)
