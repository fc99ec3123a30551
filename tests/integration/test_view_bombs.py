"""Views that grow in each other are refused when they are made; those that an older version let in stop nobody."""

import asyncio
import json
import time
import uuid
from typing import Any

import pytest

from freehold.migrate.apply import apply
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.types import Migration
from freehold.sql import facts
from tests.integration.profile_parts import DOORS, through
from tests.support.gateway_app import Caller, Served

BOUND_S = 10.0
CLOSE = {"type": "close"}
DOUBLING = [
    "create view w0 as select 1 x",
    *(f"create view w{i} as select a.x from w{i - 1} a, w{i - 1} b" for i in range(1, 24)),
]
IN_PAIRS = [
    "create view w0 as select 1 x",
    "create view u0 as select 1 x",
    *(f"create view {name}{i} as select a.x from w{i - 1} a, u{i - 1} b" for i in range(1, 24) for name in ("w", "u")),
]
COPYING = ["create view w0 as select a as x from t"] + [
    f"create view w{i} as select x || x || x || x as x from w{i - 1}" for i in range(1, 24)
]
FROM_BELOW = [f"create view w{i} as select a.x from w{i - 1} a, w{i - 1} b" for i in range(23, 0, -1)] + [
    "create view w0 as select 1 x"
]
BOMBS = {"doubling": DOUBLING, "in pairs": IN_PAIRS, "copying columns": COPYING, "from below": FROM_BELOW}
LOOKS = (
    "pragma table_list",
    "PRAGMA main.table_list",
    "select count(*) from pragma_table_list",
    "select * from w23 limit 1",
    "select 1 where 1 in w23",
    "select (select x from w23)",
    "explain select * from w22, w23",
    "with c as (select * from w22) select * from c",
    "insert into t select * from w23",
    "create table copy as select * from w23",
    "create view further as select * from w23",
    "pragma table_info(w23)",
    "select * from pragma_table_xinfo('w23')",
    "select m.name, x.name from sqlite_schema m, pragma_table_info(m.name) x",
    "alter table t rename to t2",
    "alter table t add column more",
    "alter table t rename column a to b",
    "pragma integrity_check",
    "pragma foreign_key_check",
)


async def new_database(gateway: Served) -> Caller:
    caller = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    await caller.run("create table t(a)")
    return caller


async def is_refused(caller: Caller, sql: str) -> bool:
    """Whether the guard said no; however the engine took it otherwise."""
    status, body = await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]})
    text = json.dumps(body)
    return (status == 403 and body["code"] == "REFUSED_SQL") or "too large" in text


async def put_by_force(gateway: Served, name: str, sqls: list[str]) -> None:
    """As an older version would have let it in: past the guard."""
    if gateway.provider.name == "sqld":
        posted = {"requests": [*({"type": "execute", "stmt": {"sql": sql}} for sql in sqls), CLOSE]}
        answer = await gateway.provider._namespaces.post(name, "full", "/v3/pipeline", json.dumps(posted).encode())
        assert answer.status == 200
        assert b'"error"' not in await answer.read()
    else:
        import apsw

        connection = apsw.Connection(str(gateway.provider._files.path_of(name)))
        for sql in sqls:
            connection.execute(sql)
        connection.close()


@pytest.mark.parametrize("name", BOMBS)
async def test_views_that_grow_are_not_made(gateway: Served, name: str) -> None:
    caller = await new_database(gateway)
    began = time.monotonic()
    refused = [await is_refused(caller, sql) for sql in BOMBS[name]]
    assert any(refused)
    for sql in LOOKS:
        await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]})
    assert time.monotonic() - began < 3 * BOUND_S
    # As one request, and as one text.
    other = await new_database(gateway)
    requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in BOMBS[name]]
    status, body = await other.post("v3/pipeline", {"requests": [*requests, CLOSE]})
    assert status == 403 or "too large" in json.dumps(body)
    third = await new_database(gateway)
    text = "; ".join(BOMBS[name])
    status, body = await third.post("v3/pipeline", {"requests": [{"type": "sequence", "sql": text}, CLOSE]})
    assert status == 403 or "too large" in json.dumps(body)


@pytest.mark.parametrize("name", ["doubling", "copying columns"])
async def test_views_that_are_there_stop_nobody(gateway: Served, name: str) -> None:
    caller = await new_database(gateway)
    bystander = await new_database(gateway)
    await put_by_force(gateway, caller.name, BOMBS[name])

    async def look(sql: str) -> Any:
        requests = [{"type": "execute", "stmt": {"sql": sql}}, CLOSE]
        return await caller.post("v3/pipeline", {"requests": requests})

    began = time.monotonic()
    looking = asyncio.gather(*map(look, LOOKS))
    while not looking.done():
        at = time.monotonic()
        assert await bystander.rows("select 1") == [[1]]
        assert time.monotonic() - at < BOUND_S
        await asyncio.sleep(0.05)
    await looking
    assert time.monotonic() - began < BOUND_S
    assert await is_refused(caller, "select * from w23")
    # What is not about them goes on, and whoever has them gets rid of them.
    assert (await caller.run("insert into t values ('x')"))["affected_row_count"] == 1
    assert await caller.rows("select a from t") == [["x"]]
    for number in range(23, -1, -1):
        assert "rows" in await caller.run(f"drop view w{number}")
    assert "rows" in await caller.run("alter table t add column more")
    tables = [row[1] for row in await caller.rows("pragma table_list")]
    assert "t" in tables


GROWN = "create table g (a, g0 as (a + a), " + ", ".join(f"g{i} as (g{i - 1} + g{i - 1})" for i in range(1, 30)) + ")"
GROWING = [
    "create table g (a)",
    "alter table g add g0 INTEGER as (a + a)",
    *(f"alter table g add column g{i} generated always as/**/(g{i - 1} + g{i - 1})" for i in range(1, 30)),
]


@pytest.mark.parametrize("sqls", [[GROWN], GROWING, [GROWN.upper().replace(" AS (", "\nAS(")]])
async def test_generated_columns_that_grow_are_not_made(gateway: Served, sqls: list[str]) -> None:
    for is_at_once in (False, True):
        caller = await new_database(gateway)
        if is_at_once:
            assert await is_refused(caller, "; ".join(sqls)) or len(sqls) > 1
            requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in sqls]
            status, body = await caller.post("v3/pipeline", {"requests": [*requests, CLOSE]})
            assert status == 403 or "too large" in json.dumps(body)
        else:
            assert any([await is_refused(caller, sql) for sql in sqls])
        began = time.monotonic()
        await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": "select * from g"}}]})
        assert time.monotonic() - began < BOUND_S


async def test_generated_columns_that_are_there_are_not_used(gateway: Served) -> None:
    caller = await new_database(gateway)
    await put_by_force(gateway, caller.name, GROWING[:24])
    for sql in (
        "select * from g",
        "select g21 from g",
        "insert into g(a) values (1) returning *",
        "select * from t, g",
    ):
        assert await is_refused(caller, sql), sql
    assert (await caller.run("insert into t values ('x')"))["affected_row_count"] == 1
    assert "rows" in await caller.run("drop table g")
    assert "rows" in await caller.run("create table g (a)")
    assert await caller.rows("select * from g") == []


async def test_generated_columns_of_an_ordinary_app_are_made(gateway: Served) -> None:
    caller = await new_database(gateway)
    for sql in (
        "create table people (id integer primary key, first text, last text, born text, data text,"
        " name as (first || ' ' || last) stored, year integer as (cast(strftime('%Y', born) as integer)),"
        " label as (name || ' (' || year || ')'), check (cast(year as text) <> ''))",
        "alter table people add column initials as (substr(first, 1, 1) || substr(last, 1, 1))",
        "alter table people rename column name to full_name",
        "alter table people rename to persons",
        "alter table persons add column tag as (initials || '-' || id)",
        "insert into persons (first, last, born) values ('Ada', 'Lovelace', '1815-12-10')",
    ):
        assert "rows" in await caller.run(sql), sql
    assert await caller.rows("select label, tag from persons") == [["Ada Lovelace (1815)", "AL-1"]]


async def test_views_beyond_what_is_looked_at_are_not_made(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else those that are not looked at could grow in each other. With a few: each costs more than the last."""
    assert facts._MOST_MADE == 2000
    monkeypatch.setattr(facts, "_MOST_MADE", 60)
    caller = await new_database(gateway)
    for start in range(0, 60, 30):
        made = "; ".join(f"create view v{number} as select 1 as x" for number in range(start, start + 30))
        status, body = await caller.post("v3/pipeline", {"requests": [{"type": "sequence", "sql": made}, CLOSE]})
        assert (status, '"error"' in json.dumps(body)) == (200, False), body
    for sql in (
        "create view more as select 1 as x",
        "create trigger more after insert on t begin select 1; end",
        "create virtual table more using fts5(a)",
        "create table more (a, b as (a))",
    ):
        status, body = await caller.post("v3/pipeline", {"requests": [{"type": "execute", "stmt": {"sql": sql}}]})
        assert "at most 60 views" in json.dumps(body), sql
    assert "rows" in await caller.run("create table more (a)")
    assert "rows" in await caller.run("drop view v7")
    assert "rows" in await caller.run("create view v7 as select 2 as x")


async def test_views_of_an_ordinary_app_are_made_and_used(gateway: Served) -> None:
    caller = await new_database(gateway)
    sqls = [
        "create table orders(id integer primary key, user_id, amount, at)",
        "create view totals as select user_id, sum(amount) as amount, count(*) as n from orders group by user_id",
        "create view ranked as select user_id, amount, rank() over (order by amount) as place from totals",
        "create view best as select r.user_id, r.amount, t.n from ranked r join totals t on t.user_id = r.user_id",
        "create view report as select b.*,"
        " (select count(*) from best) as of_all from best b join ranked r using (user_id)",
        "create trigger g instead of insert on totals begin insert into orders(user_id, amount) values (1, 2); end",
        "insert into totals values (1, 2, 3)",
        "select * from report, best, ranked",
        "pragma table_list",
        "pragma table_info(report)",
        "alter table orders add column more",
        "alter table orders rename column at to day",
        "pragma integrity_check",
    ]
    for sql in sqls:
        assert "rows" in await caller.run(sql), sql
    again = await new_database(gateway)
    body = await again.pipeline({"type": "sequence", "sql": "; ".join(sqls[:5])}, CLOSE)
    assert body["results"][0]["type"] == "ok", body
    assert len(await again.rows("pragma table_info(report)")) == 4


async def test_a_migration_that_alters_a_table_tells_of_them(gateway: Served) -> None:
    caller = await new_database(gateway)
    sqls = ("CREATE TABLE more (a);\n", "ALTER TABLE t ADD COLUMN b;\n")
    migrations = [Migration(version=version, name=f"step_{version}", sql=sql) for version, sql in enumerate(sqls, 1)]
    target = await gateway.provider.open(caller.name)
    assert (await apply(target, migrations, to=1)).version == 1
    await put_by_force(gateway, caller.name, DOUBLING)
    began = time.monotonic()
    with pytest.raises(MigrationFailed, match="view `w"):
        await apply(target, migrations, distrusts=True)
    assert time.monotonic() - began < BOUND_S
    for number in range(23, -1, -1):
        await caller.run(f"drop view w{number}")
    await caller.run("create view fair as select 1 from t")
    assert (await apply(target, migrations, distrusts=True)).version == 2


# One statement ---------------------------------------------------------------------------------------

SHORT = {
    "joins": "select a.x from {c} a, {c} b",
    "unions": "select x from {c} union all select x from {c}",
    "scalar queries": "select (select x from {c}) + (select x from {c}) x",
    "columns": "select x || x as x from {c}",
}


@pytest.mark.parametrize("name", SHORT)
async def test_a_short_statement_that_grows_reaches_no_engine(gateway: Served, name: str) -> None:
    """One of 700 bytes took gigabytes, and went on when its client was gone."""
    caller = await new_database(gateway)
    later = (f", c{i} as ({SHORT[name].format(c=f'c{i - 1}')})" for i in range(1, 19))
    sql = f"with c0 as (select 1 x){''.join(later)} select x from c18"
    began = time.monotonic()
    for door in DOORS:
        code, message = await through(caller, door, sql)
        assert (door, code in {"SQLITE_AUTH", "REFUSED_SQL"}) == (door, True), (code, message)
        assert "too large" in message
    assert time.monotonic() - began < BOUND_S
