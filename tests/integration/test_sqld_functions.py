"""No function that sqld offers ends it, whatever it is given; the ones that would are refused.

`FUZZ_ROUNDS` makes it try more.
"""

import os
import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from testbed.sqld import Sqld

from freehold.sql.guard import CALLS, NAMES
from tests.support.gateway_app import Caller, Served, codes_in, served_by_sqld

_ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))
_EACH = 12  # calls of a function, in one round
_AT_ONCE = 24
CLOSE = {"type": "close"}
# Numbers that are cut to 32 bits, blobs of vectors, JSON, patterns, formats, dates, texts that are none.
ODD = (
    *("NULL", "''", "'a'", "'abc'", "'é'", "x''", "x'00'", "x'ff00ff'", "-1", "0", "1", "2", "63", "1000", "100000"),
    *("2147483647", "2147483648", "-2147483648", "4294967296", "4294967297", "268435457", "1e308", "9e999", "0.5"),
    *("9223372036854775807", "-9223372036854775808", "char(1114111)", "cast(x'ff' as text)", "cast(x'f0' as text)"),
    *("'[1,2,3]'", "'{}'", "'{\"a\":[1]}'", "'$.a'", "'$[0]'", "jsonb('[1,[2]]')", "x'0103'", "x'cb0000000f'"),
    *(
        "vector('[1,2,3]')",
        "vector64('[1,2]')",
        "vector8('[1,2,3,4]')",
        "vector1bit('[1,2,3,4]')",
        "x'0100000400000000'",
    ),
    *("zeroblob(100)", "zeroblob(4095)", "randomblob(33)", "'%s'", "'%.*c'", "'%!.900f'", "'now'", "'+1 month'"),
    *("'a{1000}'", "'(a*)*b'", "geopoly_regular(0,0,1,8)", "replace(hex(zeroblob(500)),'00','[')"),
)


@pytest.fixture
async def db(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Caller]:
    async with served_by_sqld(tmp_path, sqld) as running:
        yield await _database(running)


async def _database(served: Served) -> Caller:
    return await served.database(f"t-{uuid.uuid4().hex[:12]}", "read_only")


async def _functions(db: Caller) -> list[str]:
    return [str(name) for [name] in await db.rows("select distinct name from pragma_function_list order by 1")]


@pytest.mark.timeout(300)
async def test_no_function_ends_the_server(db: Caller, sqld: Sqld) -> None:
    rounds = random.Random(20)
    names = [name for name in await _functions(db) if name not in NAMES | CALLS]
    assert len(names) > 150
    calls = [f'select "{name}"()' for name in names if name[0].isalpha()]
    calls += [_call(rounds, name) for _ in range(_ROUNDS) for name in names for _ in range(_EACH)]
    answered = 0
    for start in range(0, len(calls), _AT_ONCE):
        answered += await _run(db, sqld, calls[start : start + _AT_ONCE])
    assert answered > len(calls) / 2, "most are not refused"


async def _run(db: Caller, sqld: Sqld, calls: list[str]) -> int:
    """How many of them sqld ran, rightly or not."""
    requests = [*({"type": "execute", "stmt": {"sql": sql}} for sql in calls), CLOSE]
    status, body = await db.post("v3/pipeline", {"requests": requests})
    assert sqld.is_running, calls
    assert status in {200, 400, 403}, (status, body, calls)
    if status == 200 or len(calls) == 1:
        return len(calls) if status == 200 else 0
    # One of them had the whole call refused, or has a text in its result that is not UTF-8.
    return sum([await _run(db, sqld, [sql]) for sql in calls])


def _call(rounds: random.Random, name: str) -> str:
    count = rounds.choice((0, 1, 1, 2, 2, 2, 3, 3, 4))
    arguments = [rounds.choice(ODD) for _ in range(count)]
    if not name[0].isalpha():
        return f"select quote(substr({rounds.choice(ODD)} {name} {rounds.choice(ODD)}, 1, 9))"
    call = f'select quote(substr("{name}"({", ".join(arguments)})'
    form = rounds.random()
    if form < 0.8:
        return f"{call}, 1, 9))"
    if form < 0.9:
        return f"{call} over (), 1, 9)) from (select 1 union all select 2)"
    return f"{call}, 1, 9)) from (select 1 as x union all select 2) group by x"


@pytest.mark.parametrize(
    "sql",
    [
        "select json_extract('{}', cast(x'ff' as text))",
        "select json(cast(x'ff' as text))",
        "select abs(1, cast(x'ff' as text))",
    ],
)
async def test_an_error_that_repeats_what_is_no_utf_8_is_the_callers(db: Caller, sql: str) -> None:
    status, body = await db.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]})
    assert status in {200, 400}, body
    assert "PROVIDER_UNAVAILABLE" not in str(body)


def _text(value: str) -> dict[str, str]:
    return {"type": "text", "value": value}


async def test_a_pattern_that_the_engine_would_write_out_is_refused_wherever_it_comes_from(db: Caller) -> None:
    large, sql = _text("a{999999999}"), "select 'aaaa' regexp ?"
    by_number = {"type": "execute", "stmt": {"sql_id": 1, "args": [large]}}
    named = {"sql": "select regexp(:p, 'a')", "named_args": [{"name": "p", "value": large}]}
    for endpoint, body in (
        ("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql, "args": [large]}}, CLOSE]}),
        ("v3/pipeline", {"requests": [{"type": "execute", "stmt": named}, CLOSE]}),
        ("v3/pipeline", {"requests": [{"type": "store_sql", "sql_id": 1, "sql": sql}, by_number, CLOSE]}),
        ("v3/pipeline", {"requests": [{"type": "sequence", "sql": "select 'a' regexp 'a{1001}'"}, CLOSE]}),
        ("v3/pipeline", {"requests": [{"type": "batch", "batch": {"steps": [{"stmt": named}]}}, CLOSE]}),
        ("v1/execute", {"stmt": {"sql": sql, "args": [large]}}),
        ("v3/cursor", {"batch": {"steps": [{"stmt": {"sql": sql, "args": [large]}}]}}),
        ("v1/execute", {"stmt": {"sql": "select 'a' regexp printf('a{%d}', 999999999)"}}),
    ):
        status, told = await db.post(endpoint, body)
        assert codes_in(told) == ["SQLITE_AUTH"], (endpoint, body, status, told)
    assert await db.rows("select 'aaaa' regexp ?, 'b' regexp 'a{1000}'", "^a{4}$") == [[1, 0]]
