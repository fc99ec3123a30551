"""Chance writes SQL by a grammar, in many spellings, and sends it by all ways: the guard reads it as the engines do.

What is refused never reaches them, what is allowed means the same there. `FUZZ_ROUNDS` makes it longer.
"""

import json
import os
import random
import uuid
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from freehold.sql.guard import RefusedSql, check_sql
from freehold.sql.shape import shapes_of
from tests.support.gateway_app import Caller, Served

SEED = int(os.environ.get("FUZZ_SEED", "20"))
ROUNDS = max(int(os.environ.get("FUZZ_ROUNDS", "150")) // 150, 1)
CLOSE = {"type": "close"}
SCHEMA = (
    "create table marker (id integer primary key, a, b)",
    "create table plain (id integer primary key, a, b)",
    "create view seen as select id, a, b from marker",
    "create virtual table ft using fts5(a)",
    "insert into marker values (1, 'x', 10), (2, 'y', 20)",
    "insert into plain values (1, 'p', 1)",
    "insert into ft values ('some words')",
)
TABLES = ("marker", "plain")
SHADOWS = ("ft_data", "ft_idx", "ft_content", "ft_docsize", "ft_config")
_WRITTEN = {apsw.SQLITE_INSERT: 0, apsw.SQLITE_UPDATE: 0, apsw.SQLITE_DELETE: 0, apsw.SQLITE_ALTER_TABLE: 1}


class Writer:
    """SQL by chance. A text in braces stays as it is; all else is spelled again."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def pick(self, *options: str) -> str:
        return self.chance.choice(options)

    def one_of(self, *forms: Callable[[], str]) -> str:
        return self.chance.choice(forms)()

    def space(self) -> str:
        return self.pick(" ", " ", "\n", "\t", "  ", "/**/", "/* ' */ ", ' -- "\n', "/*;*/", " /* select */ ")

    def word(self, text: str) -> str:
        return self.pick(text, text, text.upper(), text.title(), "".join(map(self._either, text)))

    def _either(self, letter: str) -> str:
        return self.pick(letter.upper(), letter)

    def name(self, text: str, *, may_be_schema: bool = True, may_be_string: bool = False) -> str:
        found = self.word(text)
        spelled = self.pick(found, found, f'"{found}"', f"[{found}]", f"`{found}`")
        if may_be_string and self.chance.random() < 0.15:
            spelled = f"'{found}'"
        if may_be_schema and self.chance.random() < 0.3:
            spaced = self.pick("", "", " ", "/*.*/")
            spelled = f"{self.pick('main', '[main]', 'MAIN')}{spaced}.{spaced}{spelled}"
        return spelled

    def words(self, text: str) -> str:
        """The words of a text, spelled by chance; what is in `{}` is kept."""
        return self.space().join(each[1:-1] if each.startswith("{") else self.word(each) for each in text.split(" "))

    def value(self) -> str:
        return self.pick("1", "'it''s; -- no'", "x'00ff'", "null", "-2.5e3", "(select 1)", "'update plain'", "?1")

    def source(self, depth: int = 0) -> str:
        """What stands after FROM."""
        if depth > 2 or self.chance.random() < 0.5:
            table = self.name(self.pick(*TABLES, "seen"), may_be_string=True)
            return f"{table}{self.pick('', ' as t', ' x')}"
        return self.one_of(
            lambda: f"({self.query(depth + 1)}) q",
            lambda: f"({self.source(depth + 1)})",
            lambda: f"{self.source(depth + 1)}{self.space()}{self.word('cross')} {self.word('join')} plain p{depth}",
            lambda: f"{self.name('marker')} m{depth}, {self.source(depth + 1)}",
        )

    def query(self, depth: int = 0) -> str:
        tail = self.pick(
            "",
            "",
            f" {self.word('where')} 1 {self.word('in')} (select id from {self.name('plain')})",
            f" {self.word('where')} {self.word('exists')} (select 1 from {self.name('seen')})",
            " limit 3",
            " where 1 is distinct from 2",
        )
        columns = self.pick("1", "count(*)", "1 as a, 2 as b", "(select max(id) from plain) as m", "'from ft_data'")
        first = f"{self.word('select')}{self.space()}{columns}"
        return f"{first} {self.word('from')}{self.space()}{self.source(depth)}{tail}"

    def with_clause(self) -> str:
        if self.chance.random() < 0.6:
            return ""
        name = self.pick("c", "marker2", "[with]", '"select"')
        head = f"{self.word('with')} {name}{self.pick('', '(z)')} {self.word('as')}"
        return f"{head} (select 1 as z from plain){self.space()}"

    def write(self, table: str) -> str:
        """A statement that changes rows of the table."""
        name: Callable[..., str] = lambda: self.name(table, may_be_string=True)  # noqa: E731
        forms = (
            lambda: f"{self.words('insert into')} {name()} {self.words('default values')}",
            lambda: f"{self.words('insert or ignore into')} {name()} select * from {self.name('plain')}",
            lambda: f"{self.words('replace into')} {name()}{self.space()}values ({self.value()}, 2, 3)",
            lambda: f"{self.words('update or replace')} {name()} {self.word('set')} rowid = rowid",
            lambda: f"{self.word('update')}{self.space()}{name()} {self.word('set')} rowid = rowid where 1 in (1)",
            lambda: f"{self.words('delete from')} {name()}{self.space()}where rowid = 77",
            lambda: f"{self.words('delete from')} {name()} where rowid in (select id from {self.source()})",
        )
        return self.with_clause() + self.one_of(*forms)


def authorized(connection: apsw.Connection, sql: str) -> tuple[set[str], set[str]] | None:
    """The tables that SQLite says a statement writes and reads itself; None if it does not take it."""
    written: set[str] = set()
    read: set[str] = set()

    def note(action: int, first: str | None, second: str | None, _schema: str | None, inside: str | None) -> int:
        if inside is None and action in _WRITTEN:
            written.add(str(second if _WRITTEN[action] else first).lower())
        if inside is None and action == apsw.SQLITE_READ:
            read.add(str(first).lower())
        return apsw.SQLITE_OK

    connection.authorizer = note
    try:
        connection.execute(f"EXPLAIN {sql}", {"1": 1} if "?1" in sql else None).fetchall()
    except apsw.Error:
        return None
    finally:
        connection.authorizer = None
    return {name for name in written if not name.startswith("sqlite_")}, read


def test_the_guard_sees_every_table_that_sqlite_sees() -> None:
    writer = Writer(random.Random(SEED))
    connection = apsw.Connection(":memory:")
    for sql in SCHEMA:
        connection.execute(sql)
    taken = 0
    for _ in range(1500 * ROUNDS):
        table = writer.pick(*TABLES, *SHADOWS)
        sql = writer.pick(writer.write(table), writer.write(table), writer.with_clause() + writer.query())
        found = authorized(connection, sql.replace("?1", "1"))
        if found is None:
            continue
        taken += 1
        written, read = found
        shapes = shapes_of(sql)
        assert len(shapes) == 1, sql
        assert written <= shapes[0].writes, sql
        assert read - {"seen"} <= shapes[0].reads | shapes[0].writes | {"marker"} or "seen" in shapes[0].reads, sql
        check_sql(sql)  # none of these grows
    assert taken > 700 * ROUNDS


# Through the gateway ---------------------------------------------------------------------------------


async def new_database(gateway: Served) -> Caller:
    caller = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    for sql in SCHEMA:
        assert "rows" in await caller.run(sql), sql
    return caller


def ways(sql: str) -> dict[str, tuple[str, Any]]:
    """All ways in which a statement is run."""
    stmt = {"sql": sql}
    stored = {"type": "store_sql", "sql_id": 7, "sql": sql}
    batch = {"steps": [{"stmt": {"sql": "select 1"}}, {"stmt": stmt}]}
    return {
        "execute": ("v3/pipeline", {"requests": [{"type": "execute", "stmt": stmt}, CLOSE]}),
        "execute v2": ("v2/pipeline", {"requests": [{"type": "execute", "stmt": stmt}, CLOSE]}),
        "batch": ("v3/pipeline", {"requests": [{"type": "batch", "batch": batch}, CLOSE]}),
        "sequence": ("v3/pipeline", {"requests": [{"type": "sequence", "sql": f"select 1;{sql}"}, CLOSE]}),
        "stored": ("v3/pipeline", {"requests": [stored, {"type": "execute", "stmt": {"sql_id": 7}}, CLOSE]}),
        "cursor": ("v3/cursor", {"batch": batch}),
        "v1 execute": ("v1/execute", {"stmt": stmt}),
        "v1 batch": ("v1/batch", {"batch": batch}),
    }


async def send(caller: Caller, endpoint: str, body: Any) -> tuple[int, str]:
    async with caller.served.http.post(
        caller.url + endpoint, json=body, headers={"authorization": f"Bearer {caller.token}"}
    ) as reply:
        status, text = reply.status, (await reply.read()).decode()
    if endpoint == "v3/cursor" and status == 200:  # it leaves a stream, of which a database has so many
        baton = json.loads(text.partition("\n")[0])["baton"]
        await caller.post("v3/pipeline", {"baton": baton, "requests": [CLOSE]})
    return status, text


def is_refusal(status: int, text: str) -> bool:
    """By the guard, or on files by SQLite in its defensive mode."""
    return (status == 403 and "REFUSED_SQL" in text) or "SQLITE_AUTH" in text or "may not be modified" in text


async def content(caller: Caller) -> Any:
    """All that is in the database."""
    tables = (*TABLES, *SHADOWS)
    return [await caller.rows(f"select * from {name} order by 1, 2") for name in tables], await caller.rows(
        "select type, name, sql from sqlite_schema order by 1, 2"
    )


FORBIDDEN = (
    "select {}readfile('/etc/passwd')",
    "select * from {}fsdir('/')",
    "attach{}'x' as y",
    "pragma{}journal_mode = off",
    "pragma {}writable_schema = on",
    "vacuum{}",
    "create{}virtual table z using csv(filename='/etc/passwd')",
    "with c0 as (select 1 x), "
    + ", ".join(f"c{i} as (select a.x from{{}}c{i - 1} a, c{i - 1} b)" for i in range(1, 20))
    + " select * from c19",
)  # fmt: skip


async def test_what_is_forbidden_reaches_no_engine_by_any_way(gateway: Served) -> None:
    writer = Writer(random.Random(SEED + 1))
    caller = await new_database(gateway)
    before = await content(caller)
    for number in range(60 * ROUNDS):
        if number % 3:
            sql = writer.write(writer.pick(*SHADOWS)).replace("?1", "1")
        else:
            text = str(writer.pick(*FORBIDDEN))
            sql = text.replace("{}", writer.space())
        for way, (endpoint, body) in ways(sql).items():
            status, text = await send(caller, endpoint, body)
            assert is_refusal(status, text), (way, sql, status, text[:300])
    assert await content(caller) == before


def results_of(text: str) -> Any:
    """Rows and counts in an answer, without times and batons."""
    found = []
    for line in text.splitlines():
        body = json.loads(line)
        pieces = [body, *body.get("results", ())] if isinstance(body, dict) else [body]
        for piece in pieces:
            result = piece.get("response", {}).get("result") or piece.get("result")
            if isinstance(result, dict):
                found.append([result.get("rows"), result.get("affected_row_count")])
    return found


async def test_what_is_allowed_means_the_same_there(gateway: Served) -> None:
    """Against SQLite itself, which runs the same statements in memory."""
    writer = Writer(random.Random(SEED + 2))
    caller = await new_database(gateway)
    model = apsw.Connection(":memory:")
    for sql in SCHEMA:
        model.execute(sql)
    compared = 0
    for _ in range(80 * ROUNDS):
        sql = writer.pick(writer.write(writer.pick(*TABLES)), writer.with_clause() + writer.query()).replace("?1", "1")
        way, (endpoint, body) = writer.chance.choice(list(ways(sql).items()))
        try:
            model.execute(sql).fetchall()
            is_taken = True
        except apsw.Error:
            is_taken = False
        try:
            check_sql(sql)
        except RefusedSql:
            pytest.fail(f"refused: {sql}")
        status, text = await send(caller, endpoint, body)
        assert not is_refusal(status, text), (way, sql, text[:300])
        if is_taken:
            assert status == 200, (way, sql, text[:300])
            assert '"error":{' not in text, (way, sql, text[:300])
            compared += 1
        for name in TABLES:
            here = [list(row) for row in model.execute(f"select id, a is null, typeof(b) from {name} order by 1")]
            assert await caller.rows(f"select id, a is null, typeof(b) from {name} order by 1") == here, (way, sql)
    assert compared > 40 * ROUNDS
