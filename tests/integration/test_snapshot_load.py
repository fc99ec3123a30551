"""A snapshot loaded into a fresh database gives what replaying gives; into any other it changes nothing."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from freehold.backoff import Backoff
from freehold.errors import Unavailable
from freehold.libsql.protocol import Batch, BatchResult, Stmt
from freehold.migrate.apply import Retries, apply
from freehold.migrate.dump import dump
from freehold.migrate.failures import DatabaseBusy
from freehold.migrate.schema import read_schema
from freehold.migrate.snapshot import Scratch, Snapshot, SnapshotUnfit, build_snapshot, load, sqlite_scratch
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.types import LedgerState, Migration, chains
from freehold.providers.sqlite.file_target import local_scratch
from tests.integration.migrate_parts import Counted, bahar, change, history, query

PATIENT = Retries(attempts=50, backoff=Backoff(base_s=0.001, cap_s=0.05, steady=0.5))
LEDGER = "SELECT version, previous, name, checksum, chain, previous_chain FROM freehold_ledger ORDER BY version"

SEEDED = history(
    """CREATE TABLE odd (rowid, x, y REAL);
    INSERT INTO odd VALUES (1, 9e999, -9e999), ('a' || char(0) || 'b', CAST(x'ff00' AS TEXT), 0.1),
      (-9223372036854775808, x'00', 1e300), (NULL, '', x''), ('it''s; -- no comment', 'كتاب', 1.0);
    DELETE FROM odd WHERE y = 0.1;
    CREATE TABLE word (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT UNIQUE, deck TEXT REFERENCES deck (name));
    CREATE TABLE deck (name TEXT PRIMARY KEY, size INT AS (length(name)) STORED) WITHOUT ROWID;
    INSERT INTO deck VALUES ('second'), ('first');
    INSERT INTO word VALUES (5, 'one', 'first'), (90, 'gone', NULL); DELETE FROM word WHERE id = 90;""",
    """CREATE TABLE log (text); CREATE TRIGGER b_first AFTER INSERT ON word BEGIN INSERT INTO log VALUES ('b'); END;
    CREATE TRIGGER a_second AFTER INSERT ON word BEGIN INSERT INTO log VALUES ('a'); END;
    INSERT INTO word (text) VALUES ('two');""",
    "CREATE VIEW words AS SELECT * FROM word; ALTER TABLE odd ADD COLUMN z TEXT DEFAULT 'late';"
    "CREATE UNIQUE INDEX word_of_deck ON word (deck, text) WHERE deck IS NOT NULL;",
    "-- foreign_keys: off\nCREATE TABLE deck_new (name TEXT PRIMARY KEY, note); "
    "INSERT INTO deck_new SELECT name, size FROM deck;"
    "DROP TABLE deck; ALTER TABLE deck_new RENAME TO deck;",
)
SEARCH = history(
    """CREATE VIRTUAL TABLE own USING fts5(x, y, prefix = '2 3');
    INSERT INTO own VALUES ('one', 'two'), ('three', '');
    DELETE FROM own WHERE x = 'one'; CREATE VIRTUAL TABLE bare USING fts5(content, content = '');
    CREATE TABLE word (id INTEGER PRIMARY KEY, text);
    CREATE VIRTUAL TABLE found USING fts5(text, content = 'word', content_rowid = 'id');
    CREATE TRIGGER word_added AFTER INSERT ON word BEGIN
      INSERT INTO found (rowid, text) VALUES (new.id, new.text); END;
    INSERT INTO word (text) VALUES ('kitab'), ('qalam');
    CREATE VIRTUAL TABLE place USING rtree(id, west, east); INSERT INTO place VALUES (7, 0.1, 0.2);
    CREATE VIEW long_word AS SELECT id, text FROM word WHERE text <> 'x';
    CREATE VIRTUAL TABLE long USING fts5(text, content = 'long_word', content_rowid = 'id');
    INSERT INTO long (long) VALUES ('rebuild');
    INSERT INTO own (own, rank) VALUES ('rank', 'bm25(2.0, 1.0)'), ('pgsz', 512);"""
)


@pytest.fixture(params=[sqlite_scratch, local_scratch], ids=["sqlite", "local"])
def scratch(request: pytest.FixtureRequest) -> Scratch:
    made: Scratch = request.param
    return made


@pytest.mark.parametrize("migrations", [SEEDED, SEARCH, bahar()], ids=["seeded", "search", "bahar"])
async def test_a_loaded_snapshot_equals_the_replayed_history(
    tmp_path: Path, scratch: Scratch, migrations: list[Migration]
) -> None:
    snapshot = await build_snapshot(migrations, scratch)
    async with scratch() as replayed, scratch() as loaded:
        await apply(replayed, migrations)
        assert await load(loaded, snapshot) == LedgerState(len(migrations), chains(migrations)[-1])
        assert (
            (await read_schema(loaded)).fingerprint == (await read_schema(replayed)).fingerprint == snapshot.fingerprint
        )
        assert await dump(loaded) == await dump(replayed)


async def test_the_ledger_and_everything_else_are_as_single_application_leaves_them(tmp_path: Path) -> None:
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    await apply(SqliteTarget(tmp_path / "replayed.db"), SEEDED)
    await load(SqliteTarget(tmp_path / "loaded.db"), snapshot)
    for sql in (
        LEDGER,
        "SELECT sql FROM sqlite_schema WHERE name = 'freehold_ledger'",
        "SELECT _rowid_, hex(rowid), typeof(rowid), hex(x), typeof(x), y, z FROM odd",
        "SELECT * FROM word",
        "SELECT * FROM deck",
        "SELECT rowid, * FROM log",
        "SELECT * FROM sqlite_sequence",
        "PRAGMA foreign_key_check",
        "PRAGMA integrity_check",
    ):
        assert query(tmp_path / "loaded.db", sql) == query(tmp_path / "replayed.db", sql), sql
    [(oldest,)] = query(tmp_path / "loaded.db", "SELECT min(applied_at) FROM freehold_ledger")
    assert query(tmp_path / "replayed.db", "SELECT max(applied_at) FROM freehold_ledger") <= [(oldest,)]
    for name in ("loaded", "replayed"):
        change(tmp_path / f"{name}.db", "INSERT INTO word (text) VALUES ('three')")
    fired = "SELECT text FROM log ORDER BY rowid"
    assert query(tmp_path / "loaded.db", fired) == query(tmp_path / "replayed.db", fired)
    assert query(tmp_path / "loaded.db", "SELECT id FROM word WHERE text = 'three'") == [(92,)]


async def test_search_works_in_a_loaded_database() -> None:
    snapshot = await build_snapshot(SEARCH, local_scratch)
    async with local_scratch() as target:
        await load(target, snapshot)
        more = history(
            SEARCH[0].sql,
            """CREATE TABLE hits AS SELECT (SELECT count(*) FROM found WHERE found MATCH 'qalam') AS found,
              (SELECT count(*) FROM own WHERE own MATCH 'thr*') AS own, (SELECT count(*) FROM own('one')) AS gone""",
        )
        await apply(target, more)
        rows = "".join((await dump(target)).rows)
    assert 'INSERT INTO "hits" (rowid, "found", "own", "gone") VALUES\n(1, 1, 1, 0)' in rows


async def test_loading_takes_one_round_trip_and_so_does_finding_that_it_is_not_needed(tmp_path: Path) -> None:
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    target = Counted(SqliteTarget(tmp_path / "tenant.db"))
    assert await load(target, snapshot) == LedgerState(4, snapshot.chain)
    assert await load(target, snapshot) == LedgerState(4, snapshot.chain)
    assert target.round_trips == 2
    assert len(query(tmp_path / "tenant.db", LEDGER)) == 4


async def test_a_database_that_is_not_fresh_is_left_alone(tmp_path: Path) -> None:
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    for number, sql in enumerate(
        ["CREATE TABLE mine (a)", "CREATE VIEW mine AS SELECT 1", "CREATE TABLE freehold_ledger (other)"]
    ):
        path = tmp_path / f"{number}.db"
        change(path, sql)
        before = path.read_bytes()
        assert await load(SqliteTarget(path), snapshot) is None
        assert path.read_bytes() == before
    path = tmp_path / "behind.db"
    await apply(SqliteTarget(path), SEEDED, to=2)
    before = path.read_bytes()
    assert await load(SqliteTarget(path), snapshot) == LedgerState(2, chains(SEEDED)[1])
    assert path.read_bytes() == before


async def test_an_empty_ledger_is_no_fresh_database(tmp_path: Path) -> None:
    path = tmp_path / "tenant.db"
    await apply(SqliteTarget(path), SEEDED)
    change(path, "DELETE FROM freehold_ledger")
    assert await load(SqliteTarget(path), await build_snapshot(SEEDED, sqlite_scratch)) == LedgerState(0, "")
    assert query(path, "SELECT count(*) FROM deck") == [(2,)]


async def test_foreign_keys_are_on_again_afterwards_and_nothing_is_left_open() -> None:
    snapshot = await build_snapshot(SEEDED, local_scratch)
    async with local_scratch() as target:
        for _ in range(2):
            await load(target, snapshot)
            orphan = history(*(each.sql for each in SEEDED), "INSERT INTO word (text, deck) VALUES ('x', 'none')")
            with pytest.raises(Exception, match="FOREIGN KEY"):
                await apply(target, orphan)


class Overtaken:
    """A target where somebody else applies version 1 just after it was found to be fresh."""

    def __init__(self, target: SqliteTarget, other: Sequence[Migration]) -> None:
        self.target = target
        self.other = other

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        [batch] = batches
        look, *rest = batch.steps
        [looked] = await self.target.run([Batch((look,))])
        await apply(self.target, self.other, to=1)
        # A step that fails like the look did, so that the others run as if no time had passed.
        failing = msgspec.structs.replace(look, stmt=Stmt(sql="SELECT 1 FROM nowhere"))
        [answer] = await self.target.run([Batch((failing, *rest))])
        return [BatchResult(answer.step_results, [*looked.step_errors, *answer.step_errors[1:]])]


async def test_who_is_overtaken_after_having_looked_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tenant.db"
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    assert await load(Overtaken(SqliteTarget(path), SEEDED), snapshot) is None
    assert [row[0] for row in query(path, LEDGER)] == [1]
    assert (await apply(SqliteTarget(path), SEEDED)).applied == (2, 3, 4)


@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_loaders_and_appliers_at_once_leave_each_version_there_once(tmp_path: Path, journal: str) -> None:
    migrations = history(*(f"CREATE TABLE IF NOT EXISTS log (step); INSERT INTO log VALUES ({n});" for n in range(4)))
    snapshot = await build_snapshot(migrations, sqlite_scratch)
    loaded = 0

    async def bring_up(target: SqliteTarget) -> int:
        try:
            state = await load(target, snapshot)
        except DatabaseBusy:
            state = None
        if state is not None and state.version == 4:
            return 4
        return (await apply(target, migrations, retries=PATIENT)).version

    async def go_step_by_step(target: SqliteTarget) -> int:
        for version in (1, 2, 3, 4):
            await apply(target, migrations, to=version, retries=PATIENT)
        return 4

    for number in range(60):
        path = tmp_path / f"{number}.db"
        change(path, f"PRAGMA journal_mode = {journal}")
        works = [bring_up, bring_up, go_step_by_step]
        random.shuffle(works)
        targets = [SqliteTarget(path, busy_timeout_s=random.choice([0.001, 1])) for _ in works]
        versions = await asyncio.gather(*(work(target) for work, target in zip(works, targets, strict=True)))
        assert versions == [4, 4, 4]
        assert [row[:2] for row in query(path, LEDGER)] == [(1, 0), (2, 1), (3, 2), (4, 3)]
        assert query(path, "SELECT step FROM log ORDER BY rowid") == [(n,) for n in range(4)]
        moments = query(path, "SELECT count(DISTINCT applied_at) FROM freehold_ledger")
        loaded += moments == [(1,)]
    assert loaded


async def test_an_answer_that_is_lost_costs_a_second_look_and_nothing_twice(tmp_path: Path) -> None:
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    target = Counted(SqliteTarget(tmp_path / "tenant.db"), lose=Unavailable("lost"))
    with pytest.raises(Unavailable):
        await load(target, snapshot)
    assert await load(target, snapshot) == LedgerState(4, snapshot.chain)
    assert len(query(tmp_path / "tenant.db", LEDGER)) == 4


async def test_a_statement_that_the_database_refuses_leaves_it_fresh(tmp_path: Path) -> None:
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    broken = Snapshot(
        version=4, chain=snapshot.chain, ledger=snapshot.ledger, fingerprint="", rows_fingerprint="",
        statements=(*snapshot.statements, "CREATE TABLE refused (x NO SUCH,,)"),
    )  # fmt: skip
    path = tmp_path / "tenant.db"
    with pytest.raises(SnapshotUnfit, match="syntax error"):
        await load(SqliteTarget(path), broken)
    assert query(path, "SELECT name FROM sqlite_schema") == []
    assert await load(SqliteTarget(path), snapshot) == LedgerState(4, snapshot.chain)


async def test_an_orphan_among_the_rows_stops_the_commit(tmp_path: Path) -> None:
    snapshot = await build_snapshot(SEEDED, sqlite_scratch)
    orphan = Snapshot(
        version=4, chain=snapshot.chain, ledger=snapshot.ledger, fingerprint="", rows_fingerprint="",
        statements=(*snapshot.statements, "INSERT INTO word (text, deck) VALUES ('x', 'none')"),
    )  # fmt: skip
    with pytest.raises(SnapshotUnfit):
        await load(SqliteTarget(tmp_path / "tenant.db"), orphan)
    assert query(tmp_path / "tenant.db", "SELECT name FROM sqlite_schema") == []
