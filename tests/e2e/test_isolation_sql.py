"""What SQL, batons and tokens for reading can do beyond what they are for: nothing.

As in `test_isolation`, the victim's rows are read again after each attack, and all answers are watched.
"""

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest

from tests.e2e.attack_wire import Answer
from tests.e2e.attack_world import HOMES, MINE, WAYS, Neighbours, pipeline, run_by, spliced, still_whole, world_in
from tests.e2e.people import sign_up

READ = json.dumps(pipeline("SELECT x FROM marker")).encode()


@pytest.fixture(scope="module", params=HOMES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    """With a short limit on time, as some of the SQL below never ends."""
    folder = tmp_path_factory.mktemp("isolation")
    with world_in(request.param, folder, TENANT_QUERY_TIMEOUT_S="0.4") as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_lost(world: Neighbours) -> Iterator[None]:
    before = world.files()
    yield
    still_whole(world)
    assert world.files() == before


# SQL -----------------------------------------------------------------------------------------------

REFUSED_SQL = [
    "ATTACH '{file}' AS b",
    "ATTACH DATABASE '{file}' AS b",
    'ATTACH "{file}" AS b',
    "ATTACH `{file}` AS b",
    "ATTACH [{file}] AS b",
    "attach 'file:{file}' as b",
    "attach 'file:{file}?mode=ro&immutable=1' as b",
    "ATTACH 'file://{file}' AS b",
    "ATTACH 'file://localhost{file}?vfs=unix-none' AS b",
    "ATTACH '{up}' AS b",
    "ATTACH '{central}' AS b",
    "ATTACH x'{hex}' AS b",
    "ATTACH CAST(x'{hex}' AS TEXT) AS b",
    "ATTACH '/' || substr('{file}', 2) AS b",
    "ATTACH (SELECT '{file}') AS b",
    "ATTACH ':memory:' AS b",
    "ATTACH '' AS b",
    "ATTACH ? AS b",
    "/**/aTtAcH/**/'{file}'/**/As/**/b",
    "--\nATTACH '{file}' AS b",
    ";;ATTACH '{file}' AS b",
    "\ufeffATTACH '{file}' AS b",
    "EXPLAIN ATTACH '{file}' AS b",
    "EXPLAIN QUERY PLAN ATTACH '{file}' AS b",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '{dir}/stolen.db'",
    "VACUUM main INTO 'file:{dir}/stolen.db'",
    "SELECT * FROM b.marker",
    'SELECT * FROM "{file}"',
    "SELECT * FROM '{file}'.marker",
    "CREATE TABLE '{file}'.x (a)",
    "SELECT readfile('{file}')",
    "SELECT \"readfile\"('{file}')",
    "SELECT [readfile]('{file}')",
    "SELECT `readfile` ('{file}')",
    "SELECT ReadFile/**/('{file}')",
    "SELECT writefile('{file}', 'x')",
    "SELECT * FROM fsdir('{dir}')",
    "SELECT * FROM fsdir WHERE path = '{dir}'",
    "SELECT lsmode(1)",
    "SELECT edit('x', 'cat {file}')",
    "SELECT load_extension('{dir}/x.so')",
    "SELECT load_extension('libc.so.6', 'system')",
    "SELECT fts3_tokenizer('simple', x'0000000000000000')",
    "SELECT sqlite_log(1, 'x')",
    "SELECT eval('ATTACH ''{file}'' AS b')",
    "CREATE VIRTUAL TABLE v USING csv(filename='{file}')",
    "CREATE VIRTUAL TABLE v USING vsv(filename='{file}')",
    "CREATE VIRTUAL TABLE v USING zipfile('{file}')",
    "CREATE VIRTUAL TABLE v USING fsdir",
    "CREATE VIRTUAL TABLE v USING unionvtab('{file}')",
    "CREATE VIRTUAL TABLE v USING swarmvtab('SELECT ''{file}'', ''marker'', 1, 9')",
    "CREATE VIRTUAL TABLE v USING sqlite_dbpage",
    "CREATE VIRTUAL TABLE v USING dbstat",
    "CREATE VIRTUAL TABLE v USING fts3(a, tokenize=icu)",
    'CREATE VIRTUAL TABLE v USING "{file}"(a)',
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM sqlite_dbdata('{file}')",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM completion('a')",
    "EXPLAIN PRAGMA database_list",
    "SELECT file FROM main.pragma_database_list",
    "SELECT file FROM pragma_database_list('main')",
    "INSERT INTO marker SELECT file FROM pragma_database_list",
    "PRAGMA temp_store_directory = '{dir}'",
    "PRAGMA data_store_directory = '{dir}'",
    "PRAGMA writable_schema = 1",
    "PRAGMA writable_schema = RESET",
    "PRAGMA trusted_schema = 1",
    "PRAGMA query_only = 0",
    "PRAGMA max_page_count = 4294967294",
    "PRAGMA soft_heap_limit",
    "PRAGMA hard_heap_limit",
    "PRAGMA key = 'x'",
    "PRAGMA b.table_list",
    "UPDATE sqlite_schema SET sql = 'x'",
    "DELETE FROM sqlite_master",
    "INSERT INTO sqlite_schema VALUES ('view', 'v', 'v', 0, 'CREATE VIEW v AS SELECT readfile(''{file}'')')",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP VIEW t AS SELECT 1",
    "CREATE TABLE temp.t (a)",
    "CREATE TEMP TRIGGER t AFTER INSERT ON marker BEGIN SELECT 1; END",
    "CREATE VIEW v AS SELECT readfile('{file}')",
    "CREATE VIEW v AS SELECT * FROM fsdir('{dir}')",
    "CREATE TRIGGER g AFTER INSERT ON marker BEGIN SELECT load_extension('x'); END",
    "CREATE TRIGGER g AFTER INSERT ON marker BEGIN INSERT INTO b.marker VALUES ('x'); END",
    "CREATE TABLE t (a DEFAULT (readfile('{file}')))",
    "CREATE TABLE t (a, b AS (readfile('{file}')))",
    "CREATE TABLE t (a CHECK (writefile('{file}', a)))",
    "CREATE INDEX i ON marker (readfile(x))",
    "SELECT x FROM marker ORDER BY readfile('{file}')",
    "WITH c AS (SELECT readfile('{file}') AS r) SELECT r FROM c",
    "SELECT count(*) FILTER (WHERE readfile('{file}') IS NOT NULL) FROM marker",
    "INSERT INTO marker VALUES (readfile('{file}')) RETURNING x",
    "SELECT 1\0; ATTACH '{file}' AS b",
]


@pytest.mark.parametrize("sql", REFUSED_SQL)
def test_no_sql_reaches_out_of_its_own_database(world: Neighbours, sql: str) -> None:
    for way in WAYS:
        if way == "describe" and any(name in sql for name in ("pragma_database_list", "TEMP", "temp.t")):
            continue  # preparing it does nothing and tells nothing: the columns are SQLite's own
        answer, errors = run_by(world, way, world.fill(sql))
        assert answer.status in {200, 400, 403}, (way, answer)
        assert errors, f"{way}: it ran: {answer}"
        assert not any(error.startswith("INTERNAL") for error in errors), (way, errors)
    assert _own_rows(world) == [MINE]


# What tools send as they connect: it is answered, tells nothing and changes nothing.
HARMLESS_SQL = [
    *("PRAGMA database_list", "SELECT * FROM pragma_database_list", "SELECT file FROM pragma_database_list()"),
    *("PRAGMA temp_store = 1", "PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = MEMORY"),
    *("PRAGMA mmap_size = 9223372036854775807", "PRAGMA cache_size = -9999999", "PRAGMA synchronous = OFF"),
    *("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_autocheckpoint = 0"),
    *("PRAGMA optimize", "PRAGMA read_uncommitted = 1", "PRAGMA temp.table_info('marker')"),
]


@pytest.mark.parametrize("sql", HARMLESS_SQL)
def test_what_tools_ask_and_set_tells_nothing_and_changes_nothing(world: Neighbours, sql: str) -> None:
    def state() -> list[object]:
        names = ("journal_mode", "temp_store", "cache_size", "synchronous", "locking_mode", "read_uncommitted")
        results = world.run(*(f"PRAGMA {name}" for name in names)).json["results"]
        return [each["response"]["result"]["rows"] for each in results[: len(names)]]

    before = state()
    for way in WAYS:
        answer, errors = run_by(world, way, sql)
        assert (answer.status, errors) == (200, []), (way, answer)
        for place in ("{dir}", "{file}"):
            assert world.fill(place).encode() not in answer.body, (way, answer)
    assert state() == before


SEQUENCES = [
    ["CREATE TABLE t1 (a)", "CREATE VIEW v1 AS SELECT * FROM pragma_database_list", "SELECT * FROM v1"],
    [
        "CREATE TABLE t2 (a)",
        "CREATE TRIGGER g2 AFTER INSERT ON t2 BEGIN SELECT file FROM pragma_database_list; END",
        "INSERT INTO t2 VALUES (1)",
    ],
    ["BEGIN", "ATTACH '{file}' AS b", "SELECT * FROM b.marker", "COMMIT"],
    ["PRAGMA writable_schema = 1", "UPDATE sqlite_master SET sql = replace(sql, 'x', 'y')"],
    ["SAVEPOINT s", "PRAGMA query_only = OFF", "RELEASE s"],
    [
        "CREATE VIRTUAL TABLE f1 USING fts5(a)",
        "INSERT INTO f1 VALUES ('x')",
        "INSERT INTO f1 (f1, rank) VALUES ('rank', 'readfile(''{file}'')')",
        "SELECT rank FROM f1 WHERE f1 MATCH 'x' ORDER BY rank",
    ],
    ["CREATE VIRTUAL TABLE f2 USING fts5(a, content='b.marker')", "SELECT * FROM f2"],
    ["CREATE VIRTUAL TABLE f3 USING fts5(x, content='marker', tokenize='{file}')"],
    ["CREATE VIRTUAL TABLE f4 USING fts5vocab('{file}', 'row')", "SELECT * FROM f4"],
    ["CREATE VIRTUAL TABLE f5 USING fts5vocab(b, marker, 'row')", "SELECT * FROM f5"],
    ["ALTER TABLE marker ADD COLUMN z DEFAULT (readfile('{file}'))"],
    ['ALTER TABLE marker RENAME TO "b.marker"', 'ALTER TABLE "b.marker" RENAME TO marker', "SELECT * FROM b.marker"],
]


@pytest.mark.parametrize("statements", SEQUENCES)
def test_no_sequence_of_statements_gets_out_either(world: Neighbours, statements: list[str]) -> None:
    answer = world.run(*map(world.fill, statements))
    assert answer.status in {200, 403}, answer
    assert answer.status == 403 or '"type":"error"' in answer.body.decode(), answer
    assert _own_rows(world) == [MINE]


@pytest.fixture(scope="module", params=HOMES)
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    """As tokens are by default: they change rows, and no schema."""
    with world_in(request.param, tmp_path_factory.mktemp("narrow"), "rows") as found:
        yield found


def test_nor_does_a_token_that_changes_rows_alone(narrow: Neighbours) -> None:
    for way in WAYS:
        for sql in (*REFUSED_SQL, *WRITES_OF_THE_SCHEMA):
            if way == "describe" and any(name in sql for name in ("pragma_database_list", "TEMP", "temp.t")):
                continue
            answer, errors = run_by(narrow, way, narrow.fill(sql))
            assert answer.status in {200, 400, 403}, (way, sql, answer)
            assert errors, f"{way}: it ran: {sql}: {answer}"
            assert not any(error.startswith("INTERNAL") for error in errors), (way, errors)
    for statements in SEQUENCES:
        answer = narrow.run(*map(narrow.fill, statements))
        assert answer.status == 403 or '"type":"error"' in answer.body.decode(), answer
    assert _own_rows(narrow) == [MINE]
    schema = narrow.run("SELECT count(*) FROM sqlite_schema WHERE tbl_name = 'marker'").json
    assert schema["results"][0]["response"]["result"]["rows"] == [[{"type": "integer", "value": "1"}]]
    still_whole(narrow)


GREEDY_SQL = [
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "WITH RECURSIVE r(n) AS (SELECT zeroblob(1000000) UNION ALL SELECT zeroblob(1000000) FROM r) SELECT n FROM r",
    "WITH RECURSIVE r(n) AS (SELECT randomblob(1000000) UNION ALL SELECT n || n FROM r) SELECT length(n) FROM r",
    "SELECT zeroblob(2147483647)",
    "SELECT randomblob(1000000000)",
    "SELECT hex(randomblob(1000000000))",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT printf('%1000000000d', 1)",
    "SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(1000000)))",
    "SELECT group_concat(hex(zeroblob(100000))) FROM generate_series(1, 1000000)",
    "SELECT json_group_array(hex(zeroblob(100000))) FROM json_each('[1,2,3]')",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT " + "-" * 100_001 + "1",
    "SELECT " + "1+" * 20_000 + "1",
    "SELECT " + "NOT " * 20_000 + "1",
    "SELECT " + " UNION ALL SELECT ".join(["1"] * 2000),
    "SELECT " + ", ".join(["1"] * 40_000),
    "SELECT json('" + "[" * 50_000 + "]" * 50_000 + "')",
    "SELECT 'a' LIKE '" + "%a" * 10_000 + "'",
    "SELECT hex(zeroblob(100000)) LIKE '" + "%0" * 100 + "1'",
    "SELECT hex(zeroblob(100000)) GLOB '" + "*0" * 100 + "1'",
    "SELECT count(*) FROM marker a, pragma_function_list b, pragma_function_list c, pragma_function_list d",
    "INSERT INTO greedy WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
    " SELECT randomblob(100000) FROM r",
]


@pytest.mark.parametrize("sql", GREEDY_SQL, ids=lambda sql: f"{sql[:60]}({len(sql)})")
def test_greedy_sql_ends_soon_and_answers_stay_small(world: Neighbours, sql: str) -> None:
    world.run("CREATE TABLE IF NOT EXISTS greedy (x)")
    answer, errors = run_by(world, "execute", sql)
    assert answer.status in {200, 400} or (answer.status == 403 and b"REFUSED_SQL" in answer.body), answer
    assert len(answer.body) < 11_000_000
    assert not any(error.startswith("INTERNAL") for error in errors)
    began = time.monotonic()
    still_whole(world)
    assert time.monotonic() - began < 4, "the other one waited"
    _drop_once_it_has_ended(world)


def _drop_once_it_has_ended(world: Neighbours) -> None:
    """What cannot be stopped has its database to itself until it has ended; on a busy machine that may be long."""
    until = time.monotonic() + 90
    while (dropped := world.run("DROP TABLE greedy")).status == 429:
        assert time.monotonic() < until, dropped
        time.sleep(0.1)
    assert dropped.status == 200, dropped


def _own_rows(world: Neighbours) -> list[str]:
    answer = world.run("SELECT x FROM marker")
    assert answer.status == 200, answer
    rows = answer.json["results"][0]["response"]["result"]["rows"]
    return [row[0]["value"] for row in rows]


# Streams -------------------------------------------------------------------------------------------


def _baton(answer: Answer) -> str:
    assert answer.status == 200, answer
    baton: str = answer.json["baton"]
    assert baton
    return baton


def test_anothers_stream_cannot_be_continued_nor_ended(world: Neighbours) -> None:
    b_token = world.b_credentials["access_token"]
    opened = world.run(
        "BEGIN IMMEDIATE", "INSERT INTO marker VALUES ('half')", token=b_token, name=world.b_name, closes=False
    )
    baton = _baton(opened)
    stream_id = baton.partition(".")[0]
    assert world.run("SELECT x FROM marker", baton=baton, name=world.b_name).status == 404
    for guess in (baton, stream_id, f"{stream_id}.", f"{stream_id}.{'A' * 24}", f"{baton}x", f".{baton}"):
        refused = world.run("SELECT x FROM marker", "COMMIT", baton=guess)
        assert refused.status == 400, refused
        assert "BATON" in refused.json["code"] or "STREAM" in refused.json["code"], refused
    goes_on = world.run("ROLLBACK", baton=baton, token=b_token, name=world.b_name)
    assert goes_on.json["results"][0]["type"] == "ok", goes_on


def test_a_baton_of_ones_own_opens_nothing_of_anothers_and_works_once(world: Neighbours) -> None:
    baton = _baton(world.run("SELECT 1", closes=False))
    assert world.run("SELECT x FROM marker", baton=baton, name=world.b_name).status == 404
    after = _baton(world.run("SELECT 1", baton=baton, closes=False))
    assert after != baton
    assert world.run("SELECT 1", baton=baton).status == 400
    assert world.run("SELECT 1", baton=after).status == 200
    assert world.run("SELECT 1", baton=after).status == 400


def test_a_stream_belongs_to_the_token_that_opened_it(world: Neighbours) -> None:
    reader = world.a.credentials(access_level="read_only")["access_token"]
    fresh = world.a.credentials()["access_token"]
    assert fresh != world.a_token
    baton = _baton(world.run("BEGIN", "INSERT INTO marker VALUES ('half')", closes=False))
    for token in (reader, fresh):
        assert world.run("COMMIT", baton=baton, token=token).status == 400
    assert world.run("ROLLBACK", baton=baton).json["results"][0]["type"] == "ok"
    baton = _baton(world.run("SELECT 1", token=reader, closes=False))
    assert world.run("DELETE FROM marker", baton=baton).status == 400
    refused = world.run("DELETE FROM marker", baton=baton, token=reader)
    assert refused.json["results"][0]["error"]["code"] == "PROFILE_NEEDED", refused
    assert _own_rows(world) == [MINE]


# Reading only --------------------------------------------------------------------------------------

WRITES_OF_ROWS = [
    "INSERT INTO marker VALUES ('x')",
    "INSERT INTO marker VALUES ('x') RETURNING x",
    "REPLACE INTO marker VALUES ('x')",
    "UPDATE marker SET x = 'x'",
    "DELETE FROM marker",
    "WITH c AS (SELECT 1) DELETE FROM marker",
    "WITH c AS (SELECT 1 AS n) INSERT INTO marker SELECT n FROM c RETURNING x",
    "INSERT INTO marker SELECT x FROM marker",
    "PRAGMA user_version = 99",
]
WRITES_OF_THE_SCHEMA = [
    "CREATE TABLE mine (a)",
    "CREATE TABLE IF NOT EXISTS mine (a)",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE INDEX i ON marker (x)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TRIGGER g AFTER INSERT ON marker BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE f USING fts5(a)",
    "CREATE TEMP TABLE mine (a)",
    "DROP TABLE marker",
    "ALTER TABLE marker RENAME TO other",
    "ALTER TABLE marker ADD COLUMN y",
    "ALTER TABLE marker RENAME COLUMN x TO y",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "PRAGMA query_only = 0",
    "PRAGMA incremental_vacuum(1)",
    "PRAGMA application_id = 9",
]


@pytest.fixture(scope="module")
def reader(world: Neighbours) -> str:
    credentials = world.a.credentials(access_level="read_only")
    assert credentials["access_level"] == "read_only"
    return str(credentials["access_token"])


@pytest.mark.parametrize("sql", [*WRITES_OF_ROWS, *WRITES_OF_THE_SCHEMA])
def test_a_reading_token_writes_nothing(world: Neighbours, reader: str, sql: str) -> None:
    for way in WAYS:
        answer, errors = run_by(world, way, sql, reader)
        assert answer.status in {200, 400, 403}, (way, answer)
        assert errors, f"{way}: it ran: {answer}"
    for begin in ("BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "SAVEPOINT s"):
        answer = world.run(begin, sql, "COMMIT", token=reader)
        assert answer.status == 403 or answer.json["results"][1]["type"] == "error", (begin, answer)
    assert _own_rows(world) == [MINE]


@pytest.mark.parametrize(
    "begin", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "begin/**/immediate transaction", "SAVEPOINT s"]
)
def test_a_reading_token_keeps_no_writer_waiting(world: Neighbours, reader: str, begin: str) -> None:
    held = world.run(begin, "SELECT x FROM marker", token=reader, closes=False)
    began = time.monotonic()
    written = world.run("INSERT INTO marker VALUES ('second')", "DELETE FROM marker WHERE x = 'second'")
    assert [each["type"] for each in written.json["results"]] == ["ok"] * 3, written
    assert time.monotonic() - began < 4
    if held.status == 200 and held.json["baton"]:
        world.run("ROLLBACK", token=reader, baton=held.json["baton"])


def test_a_reading_token_cannot_be_turned_into_a_full_one(world: Neighbours, reader: str) -> None:
    assert world.wire.get("/databases/user?access_level=full", reader).status == 401
    inside = jwt.decode(reader, options={"verify_signature": False})
    assert inside["a"] == "ro"
    for token in (
        spliced(reader, {**inside, "a": "rw"}),
        spliced(reader, {**inside, "p": {"rw": {"ns": [world.a_name]}}}),
    ):
        assert world.run("DELETE FROM marker", token=token).status == 401


# What is left behind ---------------------------------------------------------------------------------


def test_a_client_that_says_half_a_request_and_leaves_takes_nothing_along(world: Neighbours) -> None:
    for cut in (10, 200, len(READ)):
        with socket.create_connection(("127.0.0.1", world.service.port)) as peer:
            head = f"POST /db/{world.a_name}/v3/pipeline HTTP/1.1\r\nHost: x\r\n"
            head += f"Authorization: Bearer {world.a_token}\r\nContent-Length: {len(READ) + 10}\r\n\r\n"
            peer.sendall(head.encode() + READ[:cut])
    assert _own_rows(world) == [MINE]


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _garbled(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"garbage " * 2000)


def _replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("world", ["local"], indirect=True)  # sqld's files are its own
@pytest.mark.parametrize("spoil", [Path.unlink, _emptied, _garbled, _replaced])
def test_a_file_that_is_broken_tells_no_path(world: Neighbours, spoil: Callable[[Path], None]) -> None:
    person = sign_up(world.service.url, f"carol-{secrets.token_hex(6)}@example.com")
    found = person.credentials()
    path = world.file_of(found["db_name"])
    spoil(path)
    try:
        for sql in ("SELECT * FROM sqlite_schema", "CREATE TABLE x (a)", "PRAGMA integrity_check"):
            answer = world.run(sql, token=found["access_token"], name=found["db_name"])
            assert answer.status in {200, 404, 503}, answer
            assert world.wire.get("/databases/user", person.token).status in {200, 503}
    finally:
        for left in path.parent.glob(f"{path.name}*"):
            if left.is_dir():
                left.rmdir()
            else:
                left.unlink()
