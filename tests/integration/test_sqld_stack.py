"""SQLite goes one call deeper for each wildcard of a pattern, and sqld has the stack for it, whoever sends what."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway_app import Served, served_by_sqld
from tests.sqld import Sqld

WILDCARDS = 24_900
CLOSE = {"type": "close"}


@pytest.fixture
async def served(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_by_sqld(tmp_path, sqld) as running:
        yield running


def text(value: str) -> dict[str, str]:
    return {"type": "text", "value": value}


@pytest.mark.parametrize(
    ("sql", "wildcard"),
    [("SELECT ? LIKE ?", "%"), ("SELECT ? GLOB ?", "*"), ("SELECT ? LIKE '' || ? ESCAPE '!'", "%")],
)
@pytest.mark.parametrize("access", ["read_only", "full"])
async def test_a_pattern_of_wildcards_ends_nobody(
    served: Served, sqld: Sqld, sql: str, wildcard: str, access: str
) -> None:
    caller = await served.database(f"t-{uuid.uuid4().hex[:12]}", access)
    arguments = [text("a" * (WILDCARDS + 50)), text(f"{wildcard}a" * WILDCARDS + "b")]
    statement = {"sql": sql, "args": arguments}
    status, body = await caller.post(
        "v3/pipeline", {"requests": [{"type": "execute", "stmt": statement}, CLOSE]}
    )
    assert status == 200, body
    assert body["results"][0]["response"]["result"]["rows"] == [[{"type": "integer", "value": "0"}]]
    assert sqld._process is not None
    assert sqld._process.poll() is None
