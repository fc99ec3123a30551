"""Deep, broken and odd things that end other servers do not end sqld: a fixed part of a wider search.

Whatever is answered is fine; that the process goes on is what counts.
"""

import base64
import random
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest
from testbed.sqld import Sqld

from tests.support.gateway_app import served_by_sqld

CLOSE = {"type": "close"}
JSON = ("json(?1)", "jsonb(?1)", "json_patch(?1, ?1)", "json_extract(?1, '$.a[0]')", "json_set(?1, '$.a', ?1)")
VECTORS = (
    "vector_extract(?1)",
    "vector_distance_cos(?1, ?1)",
    "vector_distance_cos(vector8(?1), vector8(?1))",
    "vector_slice(?1, -1, 100000000)",
    "vector1bit(?1)",
    "vector64(?1)",
)
SHAPES = ("geopoly_area(?1)", "geopoly_json(?1)", "geopoly_overlap(?1, ?1)", "rtreenode(2, ?1)", "rtreedepth(?1)")


def text(value: str) -> dict[str, str]:
    return {"type": "text", "value": value}


def blob(value: bytes) -> dict[str, str]:
    return {"type": "blob", "base64": base64.b64encode(value).decode().rstrip("=")}


def nested_jsonb(depth: int) -> bytes:
    """An array in an array, so many times."""
    found = b"\x0b"
    for _ in range(depth):
        size = len(found)
        head = bytes([size << 4 | 0xB]) if size <= 11 else b"\xdb" + struct.pack(">H", size)
        found = head + found
    return found


def odd_blobs(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    heads = (0x0B, 0x0C, 0xCB, 0xFF, 0xFB, 0x77, 0xE7, 0x00, 0x01)
    return [
        bytes([chance.choice(heads)])
        + chance.randbytes(chance.choice((0, 1, 3, 7, 16, 40, 257)))
        + bytes([chance.choice((0, 1, 2, 3, 4, 5, 6, 255))])
        for _ in range(40)
    ]


DEEP = (
    "select " + "(" * 50_000 + "1" + ")" * 50_000,
    "select " + "not " * 50_000 + "1",
    "select " + "- " * 100_000 + "1",
    "select 1" + " collate nocase" * 50_000,
    "select 1" + " isnull" * 50_000,
    "select '1'" + "->'$'" * 20_000,
    "select " + "case when 1 then " * 5000 + "1" + " end" * 5000,
    "select " + "exists(select " * 900 + "1" + ")" * 900,
    "select * from " + "(select * from " * 190 + "(select 1)" + ")" * 190,
    "select 1 in " + "(select 1 where 1 in " * 190 + "(1)" + ")" * 190,
    " union all ".join(["select 1"] * 5000),
    "select count(*) from (values " + ",".join(["(1)"] * 20_000) + ")",
    "select 1 where " + " or ".join(["'a' like 'b'"] * 20_000),
    "insert into t values (1) " + "on conflict do nothing " * 2000,
    "insert into t values (1) returning " + ",".join(["a"] * 1900),
    "select count(*) from " + ",".join(f"t a{i}" for i in range(64)),
    "select nth_value(1, 9223372036854775807) over ()",
    "select sum(9223372036854775807) over (rows between 9223372036854775807 preceding and current row)",
    "select -9223372036854775808 % -1, -9223372036854775808 / -1",
    "select length(printf('%!.999999999g', 1e300)), length(printf('%.*c', 100000000, 'x'))",
    "select value from generate_series(1, -5, -9223372036854775808)",
    "select date('now'" + ",'+1 day'" * 900 + ")",
)
MATCHES = (
    "(" * 20_000 + "x" + ")" * 20_000,
    " AND ".join(["x"] * 20_000),
    "NEAR(" + " ".join(["x"] * 20_000) + ", 99999999)",
    "a : (" * 5000 + "x" + ")" * 5000,
    '"' * 10_001,
)


@pytest.mark.parametrize("profile", ["read_only", "rows"])
async def test_what_is_deep_or_broken_ends_nobody(sqld: Sqld, tmp_path: Path, profile: str) -> None:
    async with served_by_sqld(tmp_path, sqld, query_timeout_s=2.0) as running:
        owner = await running.database(f"t-{uuid.uuid4().hex[:12]}")
        for sql in (
            "create table t(a unique)",
            "create virtual table ft using fts5(a)",
            "insert into ft values ('x y')",
        ):
            assert "rows" in await owner.run(sql)
        caller = await running.caller(owner.name, profile)

        async def ask(*stmts: dict[str, Any]) -> None:
            requests = [*({"type": "execute", "stmt": stmt} for stmt in stmts), CLOSE]
            status, _ = await caller.post("v3/pipeline", {"requests": requests})
            assert status < 500
            assert sqld.is_running, (profile, [str(stmt)[:200] for stmt in stmts])

        for sql in DEEP:
            await ask({"sql": sql})
        for match in MATCHES:
            await ask({"sql": "select count(*) from ft where ft match ?", "args": [text(match)]})
        for value in (
            blob(nested_jsonb(3000)),
            text("[" * 1_000_000 + "]" * 1_000_000),
            text('{"a":' * 200_000 + "1" + "}" * 200_000),
            text("[" + "1," * 65_536 + "1]"),
            *map(blob, odd_blobs(5)),
        ):
            await ask(*({"sql": f"select length({call})", "args": [value]} for call in JSON + VECTORS + SHAPES))
        assert await caller.rows("select 1") == [[1]]
