"""Datasette on the file of an export."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from datasette.app import Datasette

from tests.e2e.clients.python.parts import play

FILE = "export.db"


def on_export(work: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(work(Datasette([FILE])))


async def tables(served: Any) -> None:
    found = await served.client.get("/export.json")
    assert found.status_code == 200, found.text
    counts = {each["name"]: each["count"] for each in found.json()["tables"]}
    assert counts["things"] == 2, counts
    assert (await served.client.get("/export/things")).status_code == 200


async def queries(served: Any) -> None:
    found = await served.client.get("/export.json", params={"sql": "SELECT name FROM things ORDER BY id"})
    assert [row[0] for row in found.json()["rows"]] == ["كتاب", "قلم"], found.text
    rows = await served.client.get("/export/things.json", params={"_shape": "array", "name": "قلم"})
    assert [row["id"] for row in rows.json()] == [2], rows.text


async def search(served: Any) -> None:
    found = await served.client.get("/export/found.json", params={"_search": "pen", "_shape": "array"})
    assert found.status_code == 200, found.text
    assert [row["words"] for row in found.json()] == ["a pen"], found.text


play(
    {
        "tables and their pages": on_export(tables),
        "queries as JSON": on_export(queries),
        "full-text search": on_export(search),
    }
)
