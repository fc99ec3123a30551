"""Everything by which a tenant of sqld could reach further than its own database, tried through the gateway."""

import asyncio
import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from testbed.sqld import Sqld

from freehold.providers.failures import NOT_UTF8
from freehold.providers.serving import REPLICA_METHODS
from tests.support.gateway_app import Caller, Served, codes_in, served_by_sqld


def fresh() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def mine(served: Served) -> Caller:
    return await served.database(fresh())


@pytest.fixture
async def theirs(served: Served) -> Caller:
    caller = await served.database(fresh())
    await caller.run("create table secrets(a)")
    await caller.run("insert into secrets values ('theirs')")
    return caller


def execute(sql: str) -> dict[str, Any]:
    return {"type": "execute", "stmt": {"sql": sql}}


CLOSE = {"type": "close"}


# Reaching out by SQL


def carriers(sql: str) -> dict[str, tuple[str, Any]]:
    """Every place of the protocol where SQL may stand."""
    steps = {"steps": [{"stmt": {"sql": "select 1"}}, {"stmt": {"sql": sql}}]}
    stored = {"type": "store_sql", "sql_id": 1, "sql": sql}
    return {
        "execute": ("v3/pipeline", {"requests": [execute("select 1"), execute(sql), CLOSE]}),
        "execute, v2": ("v2/pipeline", {"requests": [execute(sql), CLOSE]}),
        "batch": ("v3/pipeline", {"requests": [{"type": "batch", "batch": steps}, CLOSE]}),
        "sequence": ("v3/pipeline", {"requests": [{"type": "sequence", "sql": f"select 1; {sql}"}, CLOSE]}),
        "describe": ("v3/pipeline", {"requests": [{"type": "describe", "sql": sql}, CLOSE]}),
        "store_sql": ("v3/pipeline", {"requests": [stored, {"type": "sequence", "sql_id": 1}, CLOSE]}),
        "store_sql, left open": ("v3/pipeline", {"requests": [stored, {"type": "sequence", "sql_id": 1}]}),
        "cursor": ("v3/cursor", {"batch": steps}),
        "v1 execute": ("v1/execute", {"stmt": {"sql": sql}}),
        "v1 batch": ("v1/batch", {"batch": steps}),
    }


ATTACKS = [
    "select writefile('{file}', 'x')",
    "select \"WriteFile\"('{file}', 'x')",
    "select [writefile]/**/('{file}', 'x')",
    "create view v as select readfile('{other}')",
    "create trigger g after insert on t begin select writefile('{file}', new.a); end",
    "create table x(a default (writefile('{file}', 'x')))",
    "select * from fsdir('/')",
    "select data from sqlite_dbpage",
    "select sha3_query('select writefile(''{file}'', ''x'')')",
    "create virtual table f using fts5(path, data, content='fsdir')",
    "select load_extension('x')",
    "attach '{other}' as other",
    "select file from pragma_database_list(1)",
    "vacuum into '{file}'",
]


@pytest.mark.parametrize("level", ["full", "read_only"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_sql_reaches_a_file(
    served: Served, sqld: Sqld, tmp_path: Path, theirs: Caller, attack: str, level: str
) -> None:
    caller = await served.database(fresh(), level)
    target = tmp_path / "written"
    other = sqld.folder / "data" / "dbs" / theirs.name / "data"
    assert other.exists()
    for place, (endpoint, body) in carriers(attack.format(file=target, other=other)).items():
        status, answer = await caller.post(endpoint, body)
        assert codes_in(answer) == ["SQLITE_AUTH"], (place, status, answer)
    assert not target.exists()


async def test_text_that_is_read_in_two_ways_is_sent_on_as_it_was_checked(mine: Caller, tmp_path: Path) -> None:
    target = tmp_path / "written"
    attack = json.dumps(f"select writefile('{target}', 'x')")
    for body in (
        f'{{"requests":[{{"type":"execute","stmt":{{"sql":{attack},"sql":"select 1"}}}}]}}',
        f'{{"requests":[{{"type":"execute","stmt":{{"sql":"select 1"}},"sql":{attack}}}]}}',
        f'{{"requests":[{{"type":"sequence","sql":{attack}}}],"requests":[{{"type":"close"}}]}}',
    ):
        status, _ = await mine.post("v3/pipeline", body.encode())
        assert status in {200, 400, 403}
    assert not target.exists()


@pytest.mark.parametrize(
    "text", ["cast(x'ff' as text)", "cast(x'61e282' as text)", "char(55296)", """json_extract('["\\ud800"]', '$[0]')"""]
)
async def test_a_text_that_is_no_utf_8_is_a_fault_of_the_statement(mine: Caller, text: str) -> None:
    await mine.run("create table if not exists texts (a)")
    assert await mine.run(f"insert into texts values ({text})")
    for sql in (f"select {text}", "select a from texts"):
        told = await mine.post("v3/pipeline", {"requests": [execute("select 1"), execute(sql), CLOSE]})
        assert told == (400, {"message": NOT_UTF8, "code": "INVALID_UTF8"}), sql
    assert await mine.rows("select typeof(cast(a as blob)) from texts") == [["blob"]]


# Reaching out by addresses


async def test_host_and_namespace_headers_of_clients_count_for_nothing(mine: Caller, theirs: Caller) -> None:
    await mine.run("create table secrets(a)")
    theirs_bin = base64.b64encode(theirs.name.encode()).decode().rstrip("=")
    for headers in (
        {"host": f"{theirs.name}.db.internal"},
        {"x-namespace-bin": theirs_bin},
        {"x-namespace": theirs.name, "x-namespace-bin": theirs_bin, "host": f"{theirs.name}.x"},
        {"x-proxy-authorization": "Bearer x", "x-authorization": f"Bearer {theirs.token}"},
    ):
        status, body = await mine.post(
            "v3/pipeline", {"requests": [execute("select * from secrets"), CLOSE]}, **headers
        )
        assert status == 200
        assert body["results"][0]["response"]["result"]["rows"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/db/{mine}/dev/{theirs}/v3/pipeline",
        "/db/{mine}/../{theirs}/v3/pipeline",
        "/db/{mine}/..%2F{theirs}/v3/pipeline",
        "/db/{theirs}/v3/pipeline",
        "/db/{mine}%2F..%2F{theirs}/v3/pipeline",
        "/db/..%2F{theirs}/v3/pipeline",
        "/db//v3/pipeline",
        "/db/{mine}/v3/pipeline/../../dump",
        "/db/{mine}/dump",
        "/db/{mine}/beta/listen",
        "/db/{mine}/v1/jobs",
        "/db/{mine}/v3-protobuf/pipeline",
        "/db/{mine}/v1/namespaces/{theirs}/config",
        "/db/{mine}/proxy.Proxy/StreamExec",
        "/dev/{theirs}/v3/pipeline",
        "/dump",
        "/proxy.Proxy/StreamExec",
        "/v1/namespaces/{theirs}/config",
    ],
)
async def test_no_other_path_leads_to_sqld(served: Served, mine: Caller, theirs: Caller, path: str) -> None:
    target = path.format(mine=mine.name, theirs=theirs.name)
    body = {"requests": [execute("select * from secrets"), CLOSE]}
    async with httpx.AsyncClient() as http:
        url = httpx.URL(served.url).copy_with(raw_path=target.encode())
        reply = await http.post(url, json=body, headers={"authorization": f"Bearer {mine.token}"})
    assert reply.status_code == 404
    assert b"theirs" not in reply.content


async def test_sqld_itself_takes_no_token_of_a_client(sqld: Sqld, mine: Caller, theirs: Caller) -> None:
    for path in ("/v3/pipeline", f"/dev/{theirs.name}/v3/pipeline"):
        reply = httpx.post(
            sqld.url + path,
            json={"requests": [execute("select 1")]},
            headers={"host": f"{mine.name}.x", "authorization": f"Bearer {mine.token}"},
        )
        assert reply.status_code == 401


async def test_a_token_of_another_signer_opens_nothing(sqld: Sqld, mine: Caller) -> None:
    """Not even one that the key given to sqld itself would accept."""
    mine.token = jwt.encode({"id": mine.name, "a": "rw", "exp": 9_999_999_999}, sqld.key, algorithm="EdDSA")
    assert (await mine.post("v3/pipeline", {"requests": [execute("select 1")]}))[0] == 401


# Batons


async def test_a_baton_is_good_for_its_token_and_database_only(served: Served, mine: Caller, theirs: Caller) -> None:
    opened = await theirs.pipeline("begin", "select * from secrets")
    for thief in (
        mine,
        await served.caller(theirs.name, "read_only"),
        await served.caller(theirs.name),  # the same database and rights, another token
    ):
        status, body = await thief.post(
            "v3/pipeline", {"baton": opened["baton"], "requests": [execute("select * from secrets")]}
        )
        assert (status, body["code"]) == (400, "BAD_BATON")
        assert "theirs" not in str(body)
    rows = (await theirs.pipeline("select * from secrets", CLOSE, baton=opened["baton"]))["results"][0]
    assert rows["response"]["result"]["rows"] == [[{"type": "text", "value": "theirs"}]]


@pytest.mark.parametrize("baton", ["", "x", "é", "a" * 5000, "AAAA" * 20, "\ud800"])
async def test_a_made_up_baton_is_refused(mine: Caller, baton: str) -> None:
    status, body = await mine.post("v3/pipeline", {"baton": baton, "requests": [execute("select 1")]})
    assert status == 400
    assert body["code"] in {"BAD_BATON", "INVALID_INPUT"}


async def test_a_baton_works_once(mine: Caller) -> None:
    opened = await mine.pipeline("begin")
    await mine.pipeline("select 1", baton=opened["baton"])
    status, body = await mine.post("v3/pipeline", {"baton": opened["baton"], "requests": [CLOSE]})
    assert (status, body["code"]) == (400, "BAD_BATON")


# Replication


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


async def grpc(caller: Caller, method: str, body: bytes, *, root: bool = True, **headers: Any) -> Any:
    base = caller.served.url if root else caller.url.rstrip("/")
    async with caller.served.http.post(
        f"{base}/{method}",
        data=body,
        headers={"authorization": f"Bearer {caller.token}", "content-type": "application/grpc-web", **headers},
    ) as reply:
        return reply.status, reply.headers.get("grpc-status"), await reply.read()


HELLO = "wal_log.ReplicationLog/Hello"
_LOG_ID = slice(45, 81)  # in the answer to it: the log's own id


async def test_replication_follows_the_token_and_no_header(mine: Caller, theirs: Caller) -> None:
    log_of_theirs = (await grpc(theirs, HELLO, frame(b"\x08\x01")))[2][_LOG_ID]
    log_of_mine = (await grpc(mine, HELLO, frame(b"\x08\x01")))[2][_LOG_ID]
    assert len({log_of_mine, log_of_theirs}) == 2
    theirs_bin = base64.b64encode(theirs.name.encode()).decode().rstrip("=")
    forged: dict[str, Any] = {"x-namespace-bin": theirs_bin, "host": f"{theirs.name}.x"}
    assert (await grpc(mine, HELLO, frame(b"\x08\x01"), **forged))[2][_LOG_ID] == log_of_mine


async def test_replication_at_anothers_path_is_refused(served: Served, mine: Caller, theirs: Caller) -> None:
    for method in (HELLO, "wal_log.ReplicationLog/BatchLogEntries", "proxy.Proxy/Describe"):
        caller = Caller(served, theirs.name, mine.token)
        status, grpc_status, body = await grpc(caller, method, frame(b""), root=False)
        assert (status, grpc_status, body) == (200, "5", b"")


async def test_replication_needs_a_valid_token(mine: Caller) -> None:
    mine.token += "x"
    assert (await grpc(mine, HELLO, frame(b"\x08\x01")))[:2] == (200, "16")


def program(sql: str, client_id: str = "a66e2296-4e2f-470f-9854-2c71c00f72be") -> bytes:
    step = field(1, field(2, field(1, sql.encode()) + field(2, b"")))
    return field(1, client_id.encode()) + field(2, step)


async def test_a_delegated_write_is_guarded(mine: Caller, tmp_path: Path) -> None:
    target = tmp_path / "w"
    sql = f"select writefile('{target}', 1)"[-120:] if len(str(target)) > 60 else f"select writefile('{target}',1)"
    _, grpc_status, _ = await grpc(mine, "proxy.Proxy/Execute", frame(program(f"select 1; {sql}"[:110])))
    assert grpc_status in {"3", "7"}
    _, grpc_status, _ = await grpc(
        mine, "proxy.Proxy/Describe", frame(field(1, b"a") + field(2, b"select readfile('/x')"))
    )
    assert grpc_status == "7"
    _, grpc_status, _ = await grpc(mine, "proxy.Proxy/Execute", frame(program("create table t(a)")))
    assert grpc_status is None
    assert await mine.rows("select * from t") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0\0\5ab",
        b"\1" + frame(program("select 1"))[1:],  # compressed
        frame(b"\xff" * 30),
        frame(program("select 1") + program("select readfile('/x')")),  # merged by sqld
        frame(program("select 1") + field(9, b"x")),
        frame(field(2, b"")),
        frame(field(1, b"a")),
        frame(field(1, b"a") + field(2, field(1, field(2, field(1, b"select 1"))))),  # without parameters
        frame(b"\x0a\x7f"),
        frame(program("select 1")) * 2,
    ],
)
async def test_a_delegated_write_that_is_not_understood_is_refused(mine: Caller, body: bytes) -> None:
    assert (await grpc(mine, "proxy.Proxy/Execute", body))[:2] == (200, "3")


async def test_a_replicas_connection_is_its_own(served: Served, mine: Caller, theirs: Caller) -> None:
    """sqld knows a connection by an id that the replica chose: the same id must not lead to another's."""
    _, status, _ = await grpc(theirs, "proxy.Proxy/Execute", frame(program("begin immediate")))
    assert status is None
    _, status, body = await grpc(mine, "proxy.Proxy/Execute", frame(program("select * from secrets")))
    assert b"theirs" not in body
    assert b"no such table" in body
    _, status, _ = await grpc(theirs, "proxy.Proxy/Execute", frame(program("rollback", "not a uuid at all")))
    assert status is None  # sqld's worker would have died of that id


# Suspended and read-only


async def test_a_read_only_token_cannot_write(served: Served, mine: Caller) -> None:
    await mine.run("create table t(a)")
    reader = await served.caller(mine.name, "read_only")
    for endpoint, body in carriers("insert into t values (1)").values():
        if "describe" in str(body) or "store_sql" in str(body):
            continue
        status, answer = await reader.post(endpoint, body)
        assert codes_in(answer) == ["PROFILE_NEEDED"], (endpoint, status, answer)
        assert mine.name not in str(answer)
    await grpc(reader, "proxy.Proxy/Execute", frame(program("insert into t values (1)")))
    assert await mine.rows("select * from t") == []


@contextlib.asynccontextmanager
async def cutting_cursors(sqld: Sqld) -> AsyncIterator[str]:
    """The URL of what stands before sqld and closes a cursor's connection before its answer, as busy machines do."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if data.startswith(b"POST /v3/cursor"):
                cut.set()
            elif cut.is_set():
                break
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", sqld.port)
        cut = asyncio.Event()
        await asyncio.gather(pass_on(reader, forth, cut), pass_on(back, writer, cut))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_read_only_cursor_that_writes_is_forbidden_even_if_sqld_closes_before_it_answers(
    sqld: Sqld, tmp_path: Path
) -> None:
    endpoint, body = carriers("insert into t values (1)")["cursor"]
    async with cutting_cursors(sqld) as url, served_by_sqld(tmp_path, sqld, by_way_of=url) as served:
        mine = await served.database(fresh())
        await mine.run("create table t(a)")
        reader = await served.caller(mine.name, "read_only")
        assert (await reader.post(endpoint, body))[0] == 403
        assert (await mine.post(endpoint, body))[0] == 503  # whether it ran is unknown


async def test_a_suspended_database_answers_nothing_until_it_is_resumed(served: Served, mine: Caller) -> None:
    await mine.run("create table t(a)")
    await served.provider.suspend(mine.name, "unpaid")
    assert (await mine.run("select * from t"))["code"] == "BLOCKED"
    for method in REPLICA_METHODS:  # sqld itself would go on replicating
        body = b"" if method.startswith("wal_log") else program("select * from t")
        refused = await grpc(mine, method, frame(body))
        assert refused == (200, "7", b"") or (method.endswith(("Describe", "Disconnect")) and refused[1] == "3")
    await served.provider.resume(mine.name)
    assert await mine.rows("select * from t") == []
