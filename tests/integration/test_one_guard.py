"""One guard gives one answer: on files, on sqld and on the twin, whichever way the statement is sent.

A refused statement is an error of that statement, and the rest of its call goes on; the plain errors of SQL have the
codes that SQLite has for them.
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from testbed.sqld import Sqld
from testbed.twin import ORGANIZATION, Twin, running_twin

from tests.integration.test_view_bombs import DOUBLING, put_by_force
from tests.support.gateway_app import Caller, Served, served, served_by_sqld

CLOSE = {"type": "close"}
READ_ONLY = {"full": "full-access", "read_only": "read-only"}
# What nobody may run, wherever and with whatever token.
REFUSED = (
    "SELECT readfile('/etc/passwd')",
    "PRAGMA writable_schema = ON",
    "PRAGMA recursive_triggers = ON",
    "EXPLAIN PRAGMA database_list",
    "SELECT * FROM pragma_database_list(1)",
    "ATTACH 'x' AS y",
    "VACUUM",
    'SELECT 1 -- ;\n; SELECT writefile(\'x\', """y")',
    "SELECT \"load_extension\"('it''s \"quoted\" \\ é')",
)
WRITES = ("INSERT INTO t VALUES (3)", "DELETE FROM t", "PRAGMA user_version = 9", "CREATE TABLE mine (a)")
# sqld 0.24 tells most of these as SQLITE_UNKNOWN or SQL_INPUT_ERROR.
PLAIN = {
    "SELECT * FROM nix": "SQLITE_ERROR",
    "SELECT nix FROM t": "SQLITE_ERROR",
    "SELECT nix()": "SQLITE_ERROR",
    "SELECT abs()": "SQLITE_ERROR",
    "SELECT sum(sum(1))": "SQLITE_ERROR",
    "SELECT json('{')": "SQLITE_ERROR",
    "SELECT abs(-9223372036854775808)": "SQLITE_ERROR",
    "SELECT 1 UNION SELECT 1, 2": "SQLITE_ERROR",
    "INSERT INTO t VALUES (1, 2)": "SQLITE_ERROR",
    "CREATE TABLE t (a)": "SQLITE_ERROR",
    "CREATE TABLE twice (a, a)": "SQLITE_ERROR",
    "DROP TABLE nix": "SQLITE_ERROR",
    "ALTER TABLE t DROP COLUMN nix": "SQLITE_ERROR",
    "COMMIT": "SQLITE_ERROR",
    "RELEASE nix": "SQLITE_ERROR",
    "INSERT INTO u VALUES (1), (1)": "SQLITE_CONSTRAINT",
    "INSERT INTO s VALUES ('x')": "SQLITE_CONSTRAINT",
    "INSERT INTO u VALUES ('x')": "SQLITE_MISMATCH",
    "SELEC 1": "SQL_PARSE_ERROR",
    "SELECT (": "SQL_PARSE_ERROR",
    "SELECT 'open": "SQL_PARSE_ERROR",
    "SELECT 1a": "SQL_PARSE_ERROR",
    "": "SQL_NO_STATEMENT",
    "SELECT 1; SELECT 2": "SQL_MANY_STATEMENTS",
    "SELECT ?": "ARGS_INVALID",
    "CREATE TEMP TABLE x (a)": "SQLITE_AUTH",
    "ANALYZE": "SQLITE_AUTH",
}


MANY_ROWS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000) SELECT x FROM n"


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with running_twin() as running:
        yield running


class GuardedDatabase:
    """One of the three, with a database in it and what was said there."""

    def __init__(self, kind: str, of_level: dict[str, Caller]) -> None:
        self.kind = kind
        self.writer, self.reader = of_level["full"], of_level["read_only"]


@pytest.fixture(params=["files", "sqld", "twin"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[GuardedDatabase]:
    kind = request.param
    if kind == "twin":
        twin: Twin = request.getfixturevalue("twin")
        twin.create("guarded")
        async with aiohttp.ClientSession() as http:
            at: Any = Served(twin.url, None, None, http)  # type: ignore[arg-type]
            callers = {
                level: Caller(at, f"guarded-{ORGANIZATION}", twin.token("guarded", authorization=word))
                for level, word in READ_ONLY.items()
            }
            yield await prepared(GuardedDatabase(kind, callers))
        twin.clear()
        return
    sqld: Sqld | None = request.getfixturevalue("sqld") if kind == "sqld" else None
    async with served(tmp_path) if sqld is None else served_by_sqld(tmp_path, sqld) as running:
        name = f"t-{abs(hash(tmp_path)) % 10**9}"
        await running.provider.create(name)
        yield await prepared(GuardedDatabase(kind, {level: await running.caller(name, level) for level in READ_ONLY}))


async def prepared(place: GuardedDatabase) -> GuardedDatabase:
    for sql in (
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE u (a INTEGER PRIMARY KEY)",
        "CREATE TABLE s (a INT) STRICT",
    ):
        assert "rows" in await place.writer.run(sql)
    return place


def execute(sql: str) -> dict[str, Any]:
    return {"type": "execute", "stmt": {"sql": sql}}


async def cursor(caller: Caller, *sqls: str) -> list[Any]:
    async with caller.served.http.post(
        f"{caller.url}v3/cursor",
        json={"batch": {"steps": [{"stmt": {"sql": sql}} for sql in sqls]}},
        headers={"authorization": f"Bearer {caller.token}"},
    ) as reply:
        assert reply.status == 200, await reply.text()
        return [json.loads(line) for line in (await reply.text()).splitlines()][1:]


async def told(caller: Caller, sql: str) -> dict[str, tuple[str, str]]:
    """What becomes of the statement by each door between two that are fine, which must not notice."""
    found: dict[str, tuple[str, str]] = {}

    def put(door: str, error: Any) -> None:
        found[door] = (error["code"], error["message"])

    fine = execute("SELECT 7")
    steps = {"steps": [{"stmt": {"sql": each}} for each in ("SELECT 7", sql, "SELECT 8")]}
    for version in (2, 3):
        requests = [
            *(fine, execute(sql), {"type": "sequence", "sql": sql}, {"type": "describe", "sql": sql}),
            *({"type": "batch", "batch": steps}, {"type": "store_sql", "sql_id": 1, "sql": sql}),
            *({"type": "execute", "stmt": {"sql_id": 1}}, fine, CLOSE),
        ]
        status, body = await caller.post(f"v{version}/pipeline", {"requests": requests})
        assert status == 200, (sql, body)
        first, executed, sequence, described, batch, _stored, by_number, last, _ = body["results"]
        assert [first["type"], last["type"]] == ["ok", "ok"], body
        put(f"v{version} execute", executed["error"])
        put(f"v{version} sequence", sequence["error"])
        put(f"v{version} describe", described["error"])
        put(f"v{version} stored", by_number["error"])
        put(f"v{version} batch", _of_batch(batch))
    put("cursor", next(each["error"] for each in await cursor(caller, "SELECT 7", sql) if "error" in each))
    status, body = await caller.post("v1/execute", {"stmt": {"sql": sql}})
    assert status == 400, body
    put("v1 execute", body)
    status, body = await caller.post("v1/batch", {"batch": steps})
    put("v1 batch", body if status != 200 else body["result"]["step_errors"][1])
    return found


def _of_batch(result: Any) -> Any:
    if result["type"] == "error":
        return result["error"]
    outcome = result["response"]["result"]
    assert [bool(each) for each in outcome["step_results"]] == [True, False, True], outcome
    return outcome["step_errors"][1]


async def test_a_refused_statement_is_an_error_of_that_statement_by_every_door(place: GuardedDatabase) -> None:
    for caller in (place.writer, place.reader):
        for sql in REFUSED:
            answers = await told(caller, sql)
            assert {code for code, _ in answers.values()} == {"SQLITE_AUTH"}, (sql, answers)
            assert len({message for _, message in answers.values()}) == 1, (sql, answers)
            assert "freehold refused" not in str(answers), answers


async def test_a_token_for_reading_is_told_so_statement_by_statement(place: GuardedDatabase) -> None:
    for sql in WRITES:
        answers = await told(place.reader, sql)
        assert {code for code, _ in answers.values()} == {"PROFILE_NEEDED"}, (sql, answers)
        assert all("reading only" in message for _, message in answers.values()), answers
    assert await place.writer.rows("SELECT a FROM t") == [[1]]


async def test_a_step_that_is_refused_counts_as_one_that_failed(place: GuardedDatabase) -> None:
    """As official clients send a transaction: each step if the one before went well, ROLLBACK if not."""
    refused = "SELECT readfile('/x')"
    texts = ["BEGIN", "INSERT INTO t VALUES (2)", refused, "COMMIT", "ROLLBACK"]
    steps: list[dict[str, Any]] = [{"stmt": {"sql": texts[0]}}]
    steps += [
        {"stmt": {"sql": sql, "args": [{"type": "null"}] if sql is refused else []}, "condition": condition}
        for sql, condition in zip(
            texts[1:],
            [*({"type": "ok", "step": at} for at in range(3)), {"type": "not", "cond": {"type": "ok", "step": 3}}],
            strict=True,
        )
    ]
    body = await place.writer.pipeline({"type": "batch", "batch": {"steps": steps}}, CLOSE)
    outcome = body["results"][0]["response"]["result"]
    assert [bool(each) for each in outcome["step_results"]] == [True, True, False, False, True]
    assert [each and each["code"] for each in outcome["step_errors"]] == [None, None, "SQLITE_AUTH", None, None]
    assert await place.writer.rows("SELECT a FROM t") == [[1]]


async def test_the_stream_goes_on_after_a_refusal(place: GuardedDatabase) -> None:
    body = await place.writer.pipeline("BEGIN", "INSERT INTO t VALUES (2)")
    for _ in range(2):
        body = await place.writer.pipeline("SELECT readfile('/x')", "SELECT count(*) FROM t", baton=body["baton"])
        assert [each["type"] for each in body["results"]] == ["error", "ok"]
    await place.writer.pipeline("COMMIT", CLOSE, baton=body["baton"])
    assert await place.writer.rows("SELECT a FROM t ORDER BY a") == [[1], [2]]


async def test_plain_errors_of_sql_have_the_codes_of_sqlite(place: GuardedDatabase) -> None:
    for sql, code in PLAIN.items():
        error = await place.writer.run(sql)
        assert (sql, error.get("code")) == (sql, code), error
    for sql in ("SELECT * FROM nix", "SELECT nix FROM t"):
        answers = await told(place.writer, sql)
        assert {code for code, _ in answers.values()} == {"SQLITE_ERROR"}, answers
        entries = await cursor(place.writer, "SELECT 7", sql, MANY_ROWS)
        assert [each["error"]["code"] for each in entries if "error" in each] == ["SQLITE_ERROR"]
    # Rows that hold such words are rows.
    word = '{"message":"x","code":"SQLITE_UNKNOWN"}'
    assert await place.writer.rows("SELECT ?, 'SQLITE_UNKNOWN' AS \"code\"", word) == [[word, "SQLITE_UNKNOWN"]]


async def test_what_the_schema_makes_too_large_is_an_error_of_that_statement(gateway: Served) -> None:
    name = "too-large"
    caller = await gateway.database(name)
    await caller.run("CREATE TABLE t (a)")
    await put_by_force(gateway, name, DOUBLING)
    body = await caller.pipeline("SELECT 7", "SELECT * FROM w23", "SELECT 8", "PRAGMA table_info(w23)", CLOSE)
    assert [each["type"] for each in body["results"]] == ["ok", "error", "ok", "error", "ok"]
    assert {each["error"]["code"] for each in body["results"] if "error" in each} == {"SQLITE_AUTH"}
