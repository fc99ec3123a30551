"""Hrana over HTTP as clients see it: results, errors, statuses."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.gateway_app import Caller, Served, plain, served, value

CLOSE = {"type": "close"}


pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def db(running: Served) -> Caller:
    """A database of its own for each test."""
    return await running.database(f"t-{next(_numbers)}")


def stmt(sql: str, **more: Any) -> dict[str, Any]:
    return {"type": "execute", "stmt": {"sql": sql, **more}}


def outcomes(body: Any) -> list[str]:
    """`ok`, or the error's code, for each result."""
    return [each["error"]["code"] if each["type"] == "error" else "ok" for each in body["results"]]


async def test_a_result_has_columns_rows_counts_and_the_last_row_id(db: Caller) -> None:
    await db.run("create table t(a integer primary key, b varchar(5))")
    made = await db.run("insert into t(b) values ('x'), ('y')")
    assert (made["affected_row_count"], made["last_insert_rowid"]) == (2, "2")
    assert (made["cols"], made["rows"]) == ([], [])
    found = await db.run("select a, b, a + 1 as c from t order by a")
    assert found["cols"] == [
        {"name": "a", "decltype": "INTEGER"},
        {"name": "b", "decltype": "varchar(5)"},
        {"name": "c", "decltype": None},
    ]
    assert [[plain(cell) for cell in row] for row in found["rows"]] == [[1, "x", 2], [2, "y", 3]]
    assert (found["affected_row_count"], found["last_insert_rowid"]) == (0, None)
    assert (await db.run("update t set b = 'z'"))["affected_row_count"] == 2
    assert (await db.run("delete from t where a = 9"))["affected_row_count"] == 0
    returned = await db.run("with n as (select 'q' as v) insert into t(b) select v from n returning a, b")
    assert returned["rows"] == [[value(3), value("q")]]
    assert (returned["affected_row_count"], returned["last_insert_rowid"]) == (1, "3")


async def test_values_come_back_as_they_were(db: Caller) -> None:
    for each in (None, 0, -(2**63), 2**63 - 1, 0.1, -1e300, "", "é\0ü", "a" * 100_000):
        assert await db.rows("select ?", each) == [[each]]
    assert await db.rows("select 1e999, -1e999, typeof(?)", {"type": "float", "value": 2}) == [[None, None, "real"]]
    for text in ("AQI=", "AQI"):
        assert await db.rows("select ?, typeof(?1)", {"type": "blob", "base64": text}) == [["AQI", "blob"]]
    assert await db.rows("select x'', length(x'00ff')") == [["", 2]]


async def test_text_that_is_not_utf8_is_an_error_and_changes_nothing(db: Caller) -> None:
    await db.run("create table t(a)")
    assert (await db.run("select cast(x'ff' as text)"))["code"] == "INVALID_UTF8"
    assert (await db.run("insert into t values (cast(x'ff' as text)) returning a"))["code"] == "INVALID_UTF8"
    assert await db.rows("select count(*) from t") == [[0]]


async def test_arguments_go_by_position_or_by_name(db: Caller) -> None:
    body = await db.pipeline(
        stmt("select ?2, ?1", args=[value(1), value(2)]),
        stmt("select :a, @a, $b", named_args=[{"name": "a", "value": value(1)}, {"name": "$b", "value": value(2)}]),
        stmt("select ?"),
        stmt("select ?", args=[value(1), value(2)]),
        stmt("select 1", args=[value(1)]),
        stmt("select :a", named_args=[{"name": "b", "value": value(1)}]),
        stmt("select :a", named_args=[{"name": "a", "value": value(1)}, {"name": "b", "value": value(1)}]),
        stmt("select :a", args=[value(1)], named_args=[{"name": "a", "value": value(1)}]),
        CLOSE,
    )
    assert outcomes(body) == ["ok"] * 2 + ["ARGS_INVALID"] * 5 + ["ARGS_BOTH_POSITIONAL_AND_NAMED", "ok"]
    rows = [each["response"]["result"]["rows"][0] for each in body["results"][:2]]
    assert [[plain(cell) for cell in row] for row in rows] == [[2, 1], [1, 1, 2]]


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("selec 1", "SQL_PARSE_ERROR", "syntax error"),
        ("select (", "SQL_PARSE_ERROR", "incomplete"),
        ("", "SQL_NO_STATEMENT", "no statement"),
        (" -- nothing", "SQL_NO_STATEMENT", "no statement"),
        ("select 1; select 2", "SQL_MANY_STATEMENTS", "more than one"),
        ("select 1\0", "SQLITE_AUTH", "NUL"),
        ("select * from nope", "SQLITE_ERROR", "no such table: nope"),
        ("select nope", "SQLITE_ERROR", "no such column"),
        ("insert into t values (1)", "SQLITE_CONSTRAINT", "UNIQUE constraint failed: t.a"),
        ("insert into u values (9)", "SQLITE_CONSTRAINT", "FOREIGN KEY"),
        ("commit", "SQLITE_ERROR", "no transaction"),
        ("insert into s values ('x')", "SQLITE_CONSTRAINT", "cannot store TEXT"),
    ],
)
async def test_a_failure_has_a_code_and_the_words_of_sqlite(db: Caller, sql: str, code: str, words: str) -> None:
    body = await db.pipeline(
        {
            "type": "sequence",
            "sql": "create table t(a unique); insert into t values (1); create table s(a int) strict;"
            "create table u(a references t(a))",
        },
        stmt(sql),
        stmt("select 1"),
        CLOSE,
    )
    assert outcomes(body) == ["ok", code, "ok", "ok"]
    assert words in body["results"][1]["error"]["message"]


async def test_a_statement_may_end_in_semicolons_and_comments(db: Caller) -> None:
    assert await db.rows("/* a */ ; select 1 ; -- b\n ;; /* c") == [[1]]


async def test_a_batch_follows_its_conditions(db: Caller) -> None:
    def ok(step: int) -> dict[str, Any]:
        return {"type": "ok", "step": step}

    steps = [
        {"stmt": {"sql": "begin"}},
        {"stmt": {"sql": "create table t(a unique)"}, "condition": ok(0)},
        {"stmt": {"sql": "insert into t values (1), (1)"}, "condition": ok(1)},
        {"stmt": {"sql": "commit"}, "condition": ok(2)},
        {"stmt": {"sql": "select 'e'"}, "condition": {"type": "error", "step": 2}},
        {"stmt": {"sql": "rollback"}, "condition": {"type": "not", "cond": ok(3)}},
        {"stmt": {"sql": "select 'a'"}, "condition": {"type": "and", "conds": [ok(0), {"type": "is_autocommit"}]}},
        {"stmt": {"sql": "select 'o'"}, "condition": {"type": "or", "conds": [ok(3), ok(2)]}},
    ]
    body = await db.pipeline({"type": "batch", "batch": {"steps": steps}}, CLOSE)
    result = body["results"][0]["response"]["result"]
    assert [each is not None for each in result["step_results"]] == [True, True, False, False, True, True, True, False]
    assert [each and each["code"] for each in result["step_errors"]] == [None] * 2 + ["SQLITE_CONSTRAINT"] + [None] * 5
    assert (await db.run("select * from t"))["code"] == "SQLITE_ERROR"


async def test_a_condition_on_a_later_step_fails_the_call(db: Caller) -> None:
    steps = [{"stmt": {"sql": "select 1"}, "condition": {"type": "ok", "step": 0}}]
    status, body = await db.post("v3/pipeline", {"requests": [{"type": "batch", "batch": {"steps": steps}}]})
    assert status == 400
    assert "step 0" in body["message"]


async def test_a_sequence_stops_at_its_first_error_and_keeps_what_went_before(db: Caller) -> None:
    body = await db.pipeline(
        {
            "type": "sequence",
            "sql": "create table t(a); create trigger g after insert on t begin select 1; select ';'; end;"
            "insert into t values (1); select * from t; insert into nope values (1); insert into t values (2);",
        },
        stmt("select count(*) from t"),
        CLOSE,
    )
    assert outcomes(body) == ["SQLITE_ERROR", "ok", "ok"]
    assert plain(body["results"][1]["response"]["result"]["rows"][0][0]) == 1


async def test_describe_tells_and_runs_nothing(db: Caller) -> None:
    await db.run("create table t(a integer, b)")
    body = await db.pipeline(
        {"type": "describe", "sql": "insert into t values (:a, ?5) returning a"},
        {"type": "describe", "sql": "explain select ?, @x, $y from t"},
        {"type": "describe", "sql": "selec"},
        {"type": "describe", "sql": "select 1; select 2"},
        CLOSE,
    )
    first, second = (each["response"]["result"] for each in body["results"][:2])
    assert [each["name"] for each in first["params"]] == [":a", None, None, None, "?5"]
    assert first["cols"] == [{"name": "a", "decltype": "INTEGER"}]
    assert (first["is_explain"], first["is_readonly"]) == (False, False)
    assert [each["name"] for each in second["params"]] == [None, "@x", "$y"]
    assert (second["is_explain"], second["is_readonly"]) == (True, True)
    assert outcomes(body)[2:4] == ["SQL_PARSE_ERROR", "SQL_MANY_STATEMENTS"]
    assert await db.rows("select count(*) from t") == [[0]]


async def test_sql_can_be_stored_on_a_stream(db: Caller) -> None:
    body = await db.pipeline(
        {"type": "store_sql", "sql_id": 1, "sql": "select 7"},
        {"type": "execute", "stmt": {"sql_id": 1}},
        {"type": "batch", "batch": {"steps": [{"stmt": {"sql_id": 1}}]}},
        {"type": "sequence", "sql_id": 1},
        {"type": "describe", "sql_id": 1},
    )
    assert outcomes(body) == ["ok"] * 5
    body = await db.pipeline(
        {"type": "execute", "stmt": {"sql_id": 1}}, {"type": "close_sql", "sql_id": 1}, baton=body["baton"]
    )
    assert outcomes(body) == ["ok", "ok"]
    status, error = await db.post(
        "v3/pipeline", {"baton": body["baton"], "requests": [{"type": "execute", "stmt": {"sql_id": 1}}]}
    )
    assert status == 400
    assert "sql_id" in error["message"]
    many = [{"type": "store_sql", "sql_id": number, "sql": "select 1"} for number in range(151)]
    assert outcomes(await db.pipeline(*many, CLOSE))[-2:] == ["SQL_STORE_TOO_MANY", "ok"]
    large = {"type": "store_sql", "sql_id": 1, "sql": "x" * 1_000_001}
    assert outcomes(await db.pipeline(large, CLOSE)) == ["SQL_STORE_TOO_LARGE", "ok"]


async def test_get_autocommit_is_for_version_3(db: Caller) -> None:
    body = await db.pipeline({"type": "get_autocommit"}, "begin", {"type": "get_autocommit"}, CLOSE)
    states = [body["results"][place]["response"]["is_autocommit"] for place in (0, 2)]
    assert states == [True, False]
    status, _ = await db.post("v2/pipeline", {"requests": [{"type": "get_autocommit"}]})
    assert status == 400
    assert outcomes(await db.pipeline("select 1", CLOSE, version=2)) == ["ok", "ok"]


async def test_rows_that_nobody_wants_are_not_sent(db: Caller) -> None:
    body = await db.pipeline(stmt("select 1", want_rows=False), CLOSE)
    assert body["results"][0]["response"]["result"]["rows"] == []


async def test_version_1_is_stateless(db: Caller) -> None:
    assert (await db.post("v1/execute", {"stmt": {"sql": "select 1"}}))[1]["result"]["rows"] == [[value(1)]]
    status, body = await db.post("v1/execute", {"stmt": {"sql": "selec"}})
    assert (status, body["code"]) == (400, "SQL_PARSE_ERROR")
    await db.post("v1/execute", {"stmt": {"sql": "create table t(a)"}})
    await db.post("v1/batch", {"batch": {"steps": [{"stmt": {"sql": "begin"}}, {"stmt": {"sql": "drop table t"}}]}})
    assert await db.rows("select count(*) from t") == [[0]]


async def test_a_cursor_gives_a_line_for_each_entry(db: Caller) -> None:
    batch = {"steps": [{"stmt": {"sql": "select 1 as a union select 2"}}, {"stmt": {"sql": "selec"}}]}
    async with db.served.http.post(
        db.url + "v3/cursor", json={"batch": batch}, headers={"authorization": f"Bearer {db.token}"}
    ) as reply:
        lines = [json.loads(line) for line in (await reply.text()).splitlines()]
    assert [line.get("type") for line in lines] == [None, "step_begin", "row", "row", "step_end", "step_error"]
    assert lines[1] == {"type": "step_begin", "step": 0, "cols": [{"name": "a", "decltype": None}]}
    assert lines[2]["row"] == [value(1)]
    assert lines[5]["error"]["code"] == "SQL_PARSE_ERROR"
    assert outcomes(await db.pipeline(CLOSE, baton=lines[0]["baton"])) == ["ok"]


BAD_BODIES: list[bytes] = [
    *(b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b'"x"', b'{"requests": 1}', b'{"requests": [1]}'),
    b'{"requests": [{"type": "explode"}]}',
    b'{"requests": [{"type": "execute"}]}',
    b'{"requests": [{"type": "execute", "stmt": {}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": "select 1", "sql_id": 1}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": 1}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": "select ?", "args": [1]}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": "select ?", "args": [{"type": "integer", "value": 1}]}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": "select ?", "args": [{"type": "integer", "value": "x"}]}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": "select ?", "args": [{"type": "blob", "base64": "?"}]}}]}',
    b'{"requests": [{"type": "execute", "stmt": {"sql": "select \'\\ud800\'"}}]}',
    b'{"baton": 1, "requests": []}',
    b'{"requests": [{"type": "batch", "batch": {"steps": [{"stmt": {"sql": "select 1"}, "condition": '
    + b'{"type": "not", "cond": ' * 3000
    + b'{"type": "is_autocommit"}'
    + b"}" * 3000
    + b"}]}}]}",
    b'{"requests": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_body_of_another_form_is_a_clear_400(db: Caller, body: bytes) -> None:
    for endpoint in ("v2/pipeline", "v3/pipeline", "v3/cursor", "v1/execute", "v1/batch"):
        status, error = await db.post(endpoint, body)
        assert status == 400, error
        assert set(error) == {"message", "code"}
    assert await db.rows("select 1") == [[1]]


async def test_versions_can_be_probed_and_other_paths_are_none(running: Served, db: Caller) -> None:
    for path, status in [("v2", 200), ("v3", 200), ("v3-protobuf", 404), ("", 404), ("dump", 404), ("v4", 404)]:
        async with running.http.get(db.url + path) as reply:
            assert reply.status == status, path
    for path in (
        "v3-protobuf/pipeline",
        "v3/pipeline/x",
        "../v3/pipeline",
        "v3//pipeline/..",
        "dev/theirs/v3/pipeline",
    ):
        assert (await db.post(path, {}))[0] == 404, path
    async with running.http.get(db.url + "v3/pipeline") as reply:
        assert reply.status == 405
        assert (await reply.json())["code"] == "METHOD_NOT_ALLOWED"
    async with running.http.get(f"{running.url}/dbx/theirs/v3") as reply:
        assert reply.status == 404


async def test_the_content_type_does_not_matter_and_the_answers_is_exact(running: Served, db: Caller) -> None:
    async with running.http.post(
        db.url + "v3/pipeline",
        data=b'{"requests":[]}',
        headers={"authorization": f"bearer {db.token}", "content-type": "text/plain"},
    ) as reply:
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"


async def test_a_body_over_the_limit_is_refused(db: Caller) -> None:
    huge = b'{"requests":[' + b" " * 10_000_000 + b"]}"
    status, error = await db.post("v3/pipeline", huge)
    assert (status, error["code"]) == (413, "TOO_LARGE")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 1_000_000

    async with db.served.http.post(
        db.url + "v3/pipeline", data=chunks(), headers={"authorization": f"Bearer {db.token}"}
    ) as reply:
        assert reply.status == 413


async def test_a_large_body_within_the_limit_is_taken(db: Caller) -> None:
    await db.run("create table t(a)")
    text = "x" * 7_000_000
    assert (await db.run("insert into t values (?)", text))["affected_row_count"] == 1
    assert await db.rows("select length(a) from t") == [[7_000_000]]


async def test_without_a_good_token_nothing_is_told(running: Served, db: Caller) -> None:
    for header in (None, "", "Bearer", "Bearer ", "Basic abc", "Bearer x", f"Bearer {db.token}x", db.token):
        for name in (db.name, "missing", "..", "T%2f1"):
            headers = {} if header is None else {"authorization": header}
            async with running.http.post(
                f"{running.url}/db/{name}/v3/pipeline", json={"requests": []}, headers=headers
            ) as reply:
                body = await reply.json()
                if name in {"..", "T%2f1"}:
                    assert reply.status in {401, 404}
                    continue
                assert (reply.status, body["code"]) == (401, "BAD_DATABASE_TOKEN"), header
                assert reply.headers["www-authenticate"] == "Bearer"
                assert name not in body["message"]


async def test_a_token_of_another_database_is_no_probe(running: Served, db: Caller) -> None:
    await running.database("theirs")
    answers = set()
    for name in ("theirs", "missing"):
        status, body = await Caller(running, name, db.token).post("v3/pipeline", {"requests": []})
        answers.add((status, body["message"].replace(name, "*"), body["code"]))
    assert answers == {(404, "database `*` does not exist", "NOT_FOUND")}


async def test_a_read_only_token_writes_nothing(running: Served, db: Caller) -> None:
    await db.run("create table t(a)")
    await db.run("create virtual table f using fts5(a)")
    await db.run("insert into f values ('word')")
    reader = await running.caller(db.name, "read_only")
    for sql in (
        *("insert into t values (1)", "update t set a = 1", "delete from t", "create table x(a)", "drop table t"),
        *("alter table t add column b", "reindex", "pragma user_version = 3", "create index i on t(a)"),
        *("insert into f values ('x')", "insert into t values (1) returning a", "with x as (select 1) delete from t"),
        *("create view v as select 1", "explain insert into t values (1)"),
    ):
        status, body = await reader.post("v3/pipeline", {"requests": [stmt("select 1"), stmt(sql), CLOSE]})
        assert status == 200, body
        assert [each["type"] for each in body["results"]] == ["ok", "error", "ok"], sql
        assert body["results"][1]["error"]["code"] == "PROFILE_NEEDED", sql
        assert "reading only" in body["results"][1]["error"]["message"]
        body = await reader.pipeline({"type": "sequence", "sql": sql}, CLOSE)
        assert body["results"][0]["error"]["code"] == "PROFILE_NEEDED", sql
    for sql in ("select * from t", "pragma table_info(t)", "pragma user_version", "explain select 1"):
        assert "rows" in await reader.run(sql), sql
    assert await reader.rows("select a from f where f match 'word'") == [["word"]]
    assert await db.rows("select count(*) from t") == [[0]]


async def test_a_readers_transaction_never_holds_the_write_lock(running: Served, db: Caller) -> None:
    await db.run("create table t(a)")
    reader = await running.caller(db.name, "read_only")
    for begin in ("begin immediate", "BEGIN EXCLUSIVE TRANSACTION", "begin transaction readonly"):
        body = await reader.pipeline(begin, "select * from t")
        assert outcomes(body) == ["ok", "ok"]
        assert (await db.run("insert into t values (1)"))["affected_row_count"] == 1
        await reader.pipeline(CLOSE, baton=body["baton"])


async def test_a_read_transaction_of_a_writer_does_not_write(db: Caller) -> None:
    await db.run("create table t(a)")
    body = await db.pipeline(
        "begin transaction readonly", "insert into t values (1)", "commit", "insert into t values (2)", CLOSE
    )
    assert outcomes(body) == ["ok", "SQLITE_READONLY", "ok", "ok", "ok"]
    assert (await db.run("begin readonly; drop table t"))["code"] != "ok"
    assert await db.rows("select a from t") == [[2]]


async def test_a_suspended_database_refuses_each_statement_with_the_reason(running: Served, db: Caller) -> None:
    await db.run("create table t(a)")
    other = await running.database("t-other")
    opened = await db.pipeline("begin immediate", "insert into t values (1)")
    await running.provider.suspend(db.name, "unpaid")
    body = await db.pipeline("insert into t values (2)", "commit", CLOSE, baton=opened["baton"])
    assert outcomes(body) == ["BLOCKED", "BLOCKED", "ok"]
    stored = {"type": "store_sql", "sql_id": 1, "sql": "select 1"}
    for request in (
        {"type": "execute", "stmt": {"sql": "select * from t"}},
        {"type": "sequence", "sql": "insert into t values (3)"},
        {"type": "describe", "sql": "select * from t"},
        {"type": "execute", "stmt": {"sql": "pragma table_info(t)"}},
    ):
        assert outcomes(await db.pipeline(stored, request, CLOSE)) == ["ok", "BLOCKED", "ok"]
    status, error = await db.post("v1/execute", {"stmt": {"sql": "select 1"}})
    assert (status, error["code"]) == (400, "BLOCKED")
    assert "unpaid" in error["message"]
    assert await other.rows("select 1") == [[1]]
    await running.provider.resume(db.name)
    assert await db.rows("select * from t") == []


async def test_many_large_bodies_at_once_are_told_to_come_back(db: Caller) -> None:
    await db.run("create table t(a)")
    text = "x" * 6_000_000
    requests = [{"type": "execute", "stmt": {"sql": "insert into t values (?)", "args": [value(text)]}}, CLOSE]
    body = json.dumps({"requests": requests}).encode()
    answers = await asyncio.gather(*(db.post("v3/pipeline", body) for _ in range(12)))
    statuses = [status for status, _ in answers]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 6
    assert await db.rows("select count(*) from t") == [[statuses.count(200)]]
    assert (await db.post("v3/pipeline", body))[0] == 200  # the room is given back


async def test_a_call_of_too_many_parts_is_refused_before_it_runs(db: Caller) -> None:
    many = b",".join([b'{"type":"get_autocommit"}'] * 20_001)
    status, error = await db.post("v3/pipeline", b'{"requests":[' + many + b"]}")
    assert (status, error["code"]) == (400, "INVALID_INPUT")
    steps = b",".join([b'{"stmt":{"sql":"select 1"}}'] * 20_001)
    status, _ = await db.post("v1/batch", b'{"batch":{"steps":[' + steps + b"]}}")
    assert status == 400


async def test_a_web_socket_is_declined(running: Served, db: Caller) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await running.http.ws_connect(db.url, protocols=("hrana3",))
