"""Attacks by SQL, with a token that opens the attacker's own database."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from testbed.hostile.attacks import Attack
from testbed.hostile.tenant import Hostile

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
SORT = (
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 100000) "
    "SELECT count(*) FROM (SELECT CAST(zeroblob(390000) AS TEXT) || n AS x FROM r ORDER BY x)"
)
GROUPED = (
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 1000000) "
    "SELECT length(json_group_array(hex(zeroblob(400)))), n % 1000000 AS g FROM r GROUP BY g"
)
_VECTOR = "vector('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]')"
_HUGE_STATEMENT = json.dumps(
    {"requests": [{"type": "execute", "stmt": {"sql": "select 1 as pragma" + ",1" * 4_700_000}}]}
).encode()
_MANY_STATEMENTS = json.dumps({"requests": [{"type": "sequence", "sql": "select 'pragma';" * 580_000}]}).encode()


def doubling_views(prefix: str, levels: int) -> list[str]:
    """Views of which each asks twice for the one before."""
    first = f"CREATE VIEW IF NOT EXISTS {prefix}0 AS SELECT 1 AS x"
    return [first] + [
        f"CREATE VIEW IF NOT EXISTS {prefix}{n} AS SELECT a.x FROM {prefix}{n - 1} AS a, {prefix}{n - 1} AS b"
        for n in range(1, levels)
    ]


def doubling_ctes(levels: int, form: str = "SELECT a.x FROM {0} AS a, {0} AS b") -> str:
    """The same in one statement."""
    parts = ["c0 AS (SELECT 1 AS x)"]
    parts += [f"c{n} AS ({form.format(f'c{n - 1}')})" for n in range(1, levels)]
    return f"WITH {', '.join(parts)} SELECT count(*) FROM c{levels - 1}"


def nested(depth: int, opening: str = "(SELECT ", closing: str = ")") -> str:
    """Subqueries in subqueries."""
    return f"SELECT {opening * depth}1{closing * depth}"


def _statement(*sql: str) -> Callable[[Hostile], Awaitable[str]]:
    """One of these statements, drawn by lot."""

    async def go(me: Hostile) -> str:
        return (await me.sql(me.random.choice(sql))).label

    return go


def _after(what: str, preparing: list[str], *sql: str) -> Callable[[Hostile], Awaitable[str]]:
    """The same once something is prepared."""

    async def go(me: Hostile) -> str:
        await me.once(what, *preparing)
        return (await me.sql(me.random.choice(sql))).label

    return go


def _raw(endpoint: str, body: bytes) -> Callable[[Hostile], Awaitable[str]]:
    async def go(me: Hostile) -> str:
        return (await me.post(endpoint, body)).label

    return go


async def _own_tables(me: Hostile) -> str:
    number = me.random.randrange(1_000)
    answer = await me.sql(
        f"CREATE TABLE own_{number} (a, b)",
        f"ALTER TABLE own_{number} ADD COLUMN c",
        f"CREATE TEMP TABLE gone_{number} AS SELECT 1",
        f"DROP TABLE own_{number}",
        me.random.choice(("DROP TABLE flashcards", "ALTER TABLE decks RENAME TO decks_2", "PRAGMA foreign_keys = OFF")),
    )
    return answer.label


async def _vector_shadow(me: Hostile) -> str:
    await me.sql("CREATE TABLE IF NOT EXISTS vt (id INTEGER PRIMARY KEY, e F32_BLOB(16))")
    await me.sql("CREATE INDEX IF NOT EXISTS vi ON vt (libsql_vector_idx(e))")
    await me.sql(f"INSERT OR REPLACE INTO vt VALUES (1, {_VECTOR}), (2, {_VECTOR})")
    written = await me.sql(
        me.random.choice(
            (
                "UPDATE vi_shadow SET data = randomblob(length(data))",
                'UPDATE "VI_SHADOW" SET data = randomblob(length(data))',
                "DELETE FROM [vi_shadow]",
                "INSERT INTO main.`vi_shadow` SELECT * FROM vi_shadow",
            )
        )
    )
    await me.sql(f"SELECT * FROM vector_top_k('vi', {_VECTOR}, 5)")
    return written.label


def _module_shadow(module: str, table: str, *writes: str) -> Callable[[Hostile], Awaitable[str]]:
    async def go(me: Hostile) -> str:
        await me.once(table, f"CREATE VIRTUAL TABLE IF NOT EXISTS {table} USING {module}")
        await me.sql(f"INSERT INTO {table} VALUES ({', '.join('1' for _ in module.split(','))})")
        written = await me.sql(me.random.choice(writes))
        await me.sql(f"SELECT * FROM {table} LIMIT 1", f"DELETE FROM {table}")
        return written.label

    return go


async def _reader_kept_alive(me: Hostile) -> str:
    """An old view is held while the same rows are written again and again: the log cannot be cut."""
    await me.once(
        "kept",
        "CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY, x)",
        "INSERT OR REPLACE INTO kept WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 500) "
        "SELECT n, randomblob(4000) FROM r",
    )
    reader = await me.sql("BEGIN", "SELECT count(*) FROM kept", close=False)
    baton, label = reader.baton, reader.label
    for _ in range(8):
        await me.sql("UPDATE kept SET x = randomblob(4000)")
        if baton is None:
            break
        again = await me.sql("SELECT count(*) FROM kept", baton=baton, close=False)
        baton, label = again.baton, again.label
    if baton is not None:
        await me.pipeline([], baton=baton)
    return label


async def _writer_kept_alive(me: Hostile) -> str:
    """The write lock is held, idle or not."""
    writer = await me.sql("BEGIN IMMEDIATE", "UPDATE settings SET updated_at = 1", close=False)
    baton, label = writer.baton, writer.label
    for _ in range(12):
        await asyncio.sleep(0.5)
        if baton is None:
            break
        again = await me.sql("SELECT 1", baton=baton, close=False)
        baton, label = again.baton, again.label
    return label


async def _streams(me: Hostile) -> str:
    """Thirty-two streams at once, each in a transaction, left open."""
    answers = await asyncio.gather(*(me.sql("BEGIN", "SELECT 1", close=False) for _ in range(32)))
    return answers[-1].label


async def _at_once(me: Hostile) -> str:
    """Thirty-two endless statements at once."""
    answers = await asyncio.gather(*(me.sql(ENDLESS) for _ in range(32)))
    return answers[-1].label


async def _cursor(me: Hostile) -> str:
    body = {"batch": {"steps": [{"stmt": {"sql": me.random.choice((ENDLESS, SORT, doubling_ctes(28)))}}]}}
    return (await me.post("v3/cursor", json.dumps(body).encode())).label


async def _filling(me: Hostile) -> str:
    await me.once("filled", "CREATE TABLE IF NOT EXISTS filled (x)")
    await me.sql("DELETE FROM filled")
    answer = await me.sql(
        "INSERT INTO filled WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
        "SELECT randomblob(1000000) FROM r"
    )
    await me.sql("DELETE FROM filled")
    return answer.label


_ALLOWED = frozenset({"ok"})

ATTACKS = (
    # A1: what only the registry and Freehold may write.
    Attack("tables of one's own", _own_tables),
    Attack(
        "the ledger written",
        _statement(
            "UPDATE freehold_ledger SET version = version + 1",
            'DELETE FROM "freehold_ledger"',
            "INSERT INTO main.[FREEHOLD_LEDGER] SELECT * FROM freehold_ledger",
            "DROP TABLE freehold_ledger",
            "ALTER TABLE `freehold_ledger` RENAME TO mine",
            "CREATE TRIGGER no BEFORE INSERT ON freehold_ledger BEGIN SELECT raise(ABORT, 'no'); END",
        ),
        never=_ALLOWED,
    ),
    # A5: what is not the tenant's.
    Attack(
        "the central database from SQL",
        _statement(
            "ATTACH 'central.db' AS central",
            "SELECT count(*) FROM session",
            "SELECT token FROM main.session",
            "SELECT * FROM central.user",
            "UPDATE user SET role = 'admin'",
            "VACUUM INTO 'central.db'",
        ),
        never=_ALLOWED,
    ),
    # A2: shadow tables of modules.
    Attack("shadow table of a vector index", _vector_shadow, never=_ALLOWED),
    Attack(
        "shadow table of FTS5",
        _module_shadow(
            "fts5(a)",
            "ft",
            "UPDATE ft_data SET block = randomblob(200)",
            'INSERT INTO "ft_idx" VALUES (1, 2, 3)',
            "DELETE FROM main.[ft_content]",
            "UPDATE FT_DOCSIZE SET sz = randomblob(9)",
        ),
        never=_ALLOWED,
    ),
    Attack(
        "shadow table of an R-tree",
        _module_shadow(
            "rtree(id, x0, x1)",
            "rt",
            "UPDATE rt_node SET data = randomblob(1200)",
            "DELETE FROM `rt_rowid`",
            'INSERT INTO main."rt_parent" VALUES (9, 9)',
        ),
        never=_ALLOWED,
    ),
    # A3: what grows before an engine can be stopped.
    Attack(
        "views that double",
        _after(
            "views",
            doubling_views("w", 24),
            "PRAGMA table_list",
            "SELECT count(*) FROM pragma_table_list",
            "PRAGMA table_info(w23)",
            "SELECT * FROM w23 LIMIT 1",
            "PRAGMA table_xinfo(w23)",
            "ALTER TABLE settings RENAME TO settings",
            "SELECT * FROM pragma_table_info('w23')",
        ),
    ),
    Attack(
        "common table expressions that double",
        _statement(
            doubling_ctes(28),
            doubling_ctes(28, "SELECT x FROM {0} UNION ALL SELECT x FROM {0}"),
            doubling_ctes(28, "SELECT (SELECT max(x) FROM {0}) + (SELECT max(x) FROM {0}) AS x"),
            f"EXPLAIN {doubling_ctes(28)}",
            f"INSERT INTO settings {doubling_ctes(28)}",
        ),
        never=_ALLOWED,
    ),
    Attack(
        "subqueries in subqueries",
        _statement(nested(400), nested(3_000), nested(200, "(SELECT * FROM (SELECT ", " AS x))"), nested(90_000)),
    ),
    Attack(
        "functions that nothing interrupts",
        _statement(
            "SELECT length(replace(hex(zeroblob(2000000)), '0', 'ab'))",
            # On files none of these is stopped; they are of a size that ends by itself before the campaign looks at
            # what is left. This one took two minutes with two megabytes.
            "SELECT instr(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1')",
            "SELECT length(unhex(hex(zeroblob(4000000)), hex(zeroblob(2000))))",
            "SELECT length(json_patch('{' || substr(replace(hex(zeroblob(40000)), '00', ',\"a\":1'), 2) || '}',"
            " '{' || substr(replace(hex(zeroblob(40000)), '00', ',\"a\":1'), 2) || '}'))",
            "SELECT count(*) FROM (SELECT 'x' LIKE '%' || replace(hex(zeroblob(20000)), '00', '_%') AS y)",
            "SELECT hex(randomblob(4000000)) GLOB replace(hex(zeroblob(200)), '00', '*[0-9A-F]') || 'x'",
        ),
    ),
    Attack("SQL of nine megabytes", _raw("v3/pipeline", _HUGE_STATEMENT)),  # A6
    Attack("half a million statements", _raw("v3/pipeline", _MANY_STATEMENTS)),
    # A4: time, memory, disk and places.
    Attack("an endless statement", _statement(ENDLESS)),
    Attack("endless statements at once", _at_once),
    Attack("a statement by cursor", _cursor),
    Attack("a great sort", _statement(SORT)),
    Attack("great groups", _statement(GROUPED)),
    Attack("a great answer", _statement("SELECT hex(randomblob(7000000)), hex(randomblob(7000000))")),
    Attack("a reader kept alive", _reader_kept_alive),
    Attack("a writer kept alive", _writer_kept_alive),
    Attack("streams left open", _streams),
    Attack("the database filled", _filling),
)
