"""Applying migrations to a real file: in order, once, all or nothing, and with words that help."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from freehold.errors import Forbidden, FreeholdError, InvalidInput, Unavailable
from freehold.libsql.protocol import Batch, BatchStep, Error, Stmt
from freehold.libsql.values import SqlValue, decode
from freehold.migrate.apply import Applied, apply, is_committed
from freehold.migrate.failures import DatabaseBusy, HistoryDiverged, LedgerUnreadable, MigrationFailed, circumstance
from freehold.migrate.faults import BadMigration
from freehold.migrate.ledger import FRESH, ledger_rows, read_ledger
from freehold.migrate.plan import plan
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.types import LedgerState, Migration, chains
from tests.integration.migrate_parts import QUICK, Counted, change, history, ledger_versions, numbers, query

PARENTS = "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT)"
CHILDREN = "CREATE TABLE children (id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES parents ON DELETE CASCADE)"
SEED = "INSERT INTO parents (name) VALUES ('a'), ('b')"
REBUILD = """-- foreign_keys: off
CREATE TABLE parents_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO parents_new SELECT id, name FROM parents{where};
DROP TABLE parents;
ALTER TABLE parents_new RENAME TO parents;"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenant.db"


@pytest.fixture
def target(path: Path) -> SqliteTarget:
    return SqliteTarget(path, busy_timeout_s=0.01)


# The way it should go ----------------------------------------------------------------------------


async def test_a_fresh_database_is_at_version_0_with_the_empty_chain(target: SqliteTarget) -> None:
    assert await read_ledger(target) == FRESH
    assert await ledger_rows(target) == []


async def test_all_migrations_go_in_one_round_trip_after_one_that_reads(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, CHILDREN, SEED)
    counted = Counted(target)
    assert await apply(counted, migrations) == Applied(3, (1, 2, 3))
    assert counted.round_trips == 2
    assert ledger_versions(path) == [1, 2, 3]
    assert await read_ledger(target) == LedgerState(3, chains(migrations)[2])


async def test_the_ledger_tells_what_was_applied(target: SqliteTarget) -> None:
    migrations = history(PARENTS, CHILDREN)
    await apply(target, migrations)
    rows = await ledger_rows(target)
    assert [(row.version, row.name, row.checksum, row.chain) for row in rows] == [
        (one.version, one.name, one.checksum, link) for one, link in zip(migrations, chains(migrations), strict=True)
    ]
    assert all(row.applied_at.endswith("Z") for row in rows)


async def test_applying_again_does_nothing(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, SEED)
    await apply(target, migrations)
    counted = Counted(target)
    assert await apply(counted, migrations) == Applied(2, ())
    assert counted.round_trips == 1
    assert query(path, "SELECT count(*) FROM parents") == [(2,)]


async def test_no_migrations_at_all_is_version_0(target: SqliteTarget) -> None:
    assert await apply(target, []) == Applied(0, ())


async def test_a_part_can_be_applied_and_the_rest_later(target: SqliteTarget) -> None:
    migrations = history(PARENTS, CHILDREN, SEED)
    assert await apply(target, migrations, to=1) == Applied(1, (1,))
    assert await apply(target, migrations, to=0) == Applied(1, ())
    assert await apply(target, migrations) == Applied(3, (2, 3))
    assert await apply(target, migrations, to=2) == Applied(3, ())


@pytest.mark.parametrize("to", [-1, 2])
async def test_a_version_that_does_not_exist_is_refused(target: SqliteTarget, to: int) -> None:
    with pytest.raises(InvalidInput, match="no version"):
        await apply(target, history(PARENTS), to=to)
    with pytest.raises(InvalidInput, match="recorded"):
        await apply(target, history(PARENTS), recorded=-1)


async def test_a_database_that_is_ahead_is_left_alone(target: SqliteTarget) -> None:
    migrations = history(PARENTS, CHILDREN, SEED)
    await apply(target, migrations)
    assert await apply(target, migrations[:1]) == Applied(3, ())


@pytest.mark.parametrize(("recorded", "round_trips"), [(1, 1), (0, 4), (2, 4), (3, 0), (99, 0)])
async def test_what_the_caller_believes_saves_the_reading_and_does_no_harm_when_wrong(
    target: SqliteTarget, path: Path, recorded: int, round_trips: int
) -> None:
    migrations = history(PARENTS, SEED, SEED)
    await apply(target, migrations, to=1)
    counted = Counted(target)
    done = await apply(counted, migrations, recorded=recorded)
    assert counted.round_trips <= round_trips
    if round_trips:
        assert done.version == 3
        assert query(path, "SELECT count(*) FROM parents") == [(4,)]
    else:
        assert done == Applied(recorded, ())


@pytest.mark.parametrize(("at", "recorded"), [(2, 0), (2, 3), (0, 2), (4, 1)])
async def test_a_wrong_belief_costs_one_round_trip_and_no_more(
    target: SqliteTarget, path: Path, at: int, recorded: int
) -> None:
    migrations = history(PARENTS, CHILDREN, SEED, "DELETE FROM parents", SEED)
    await apply(target, migrations, to=at)
    counted = Counted(target)
    done = await apply(counted, migrations, recorded=recorded)
    assert (done.version, counted.round_trips) == (5, 2)
    assert ledger_versions(path) == [1, 2, 3, 4, 5]
    assert query(path, "SELECT count(*) FROM parents") == [(2,)]


# Together, and one by one ------------------------------------------------------------------------


def transactions(counted: Counted) -> list[int]:
    """How many migrations each batch that was sent has."""
    inserts = [
        step.stmt.sql
        for batch in counted.sent
        for step in batch.steps
        if "INTO freehold_ledger" in (step.stmt.sql or "")
    ]
    return [1 + str(sql).count("UNION ALL") for sql in inserts]


async def test_short_migrations_in_a_row_share_a_transaction(target: SqliteTarget, path: Path) -> None:
    index = "CREATE INDEX by_name ON parents (name)"
    view = "CREATE VIEW named AS SELECT name FROM parents"
    migrations = history(PARENTS, CHILDREN, SEED, "UPDATE parents SET name = 'c'", index, view, "DROP VIEW named")
    counted = Counted(target)
    await apply(counted, migrations, recorded=0)
    assert transactions(counted) == [3, 1, 3]
    assert ledger_versions(path) == [1, 2, 3, 4, 5, 6, 7]
    assert query(path, "SELECT name FROM parents") == [("c",), ("c",)]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE parents SET name = 'x'",
        "DELETE FROM parents",
        "INSERT INTO parents (name) SELECT name FROM parents",
        "INSERT INTO parents (id) VALUES ((SELECT max(id) + 1 FROM parents))",
        "WITH n AS (SELECT 7 AS i) INSERT INTO parents (id) SELECT i FROM n",
        "CREATE TABLE copies AS SELECT * FROM parents",
        "DROP TABLE children",
        REBUILD.format(where=""),
    ],
)
async def test_one_that_may_take_long_has_a_transaction_of_its_own(target: SqliteTarget, path: Path, sql: str) -> None:
    migrations = history(PARENTS, CHILDREN, SEED, sql, "CREATE TABLE more (a)")
    counted = Counted(target)
    assert (await apply(counted, migrations, recorded=0)).version == 5
    assert transactions(counted) == [3, 1, 1]


async def test_nothing_is_put_together_where_constraints_wait_for_the_end(target: SqliteTarget, path: Path) -> None:
    """Alone the third fails; together with the fourth it would not, and devices would differ."""
    deferred = CHILDREN.replace("CASCADE", "CASCADE DEFERRABLE INITIALLY DEFERRED")
    migrations = history(PARENTS, deferred, "INSERT INTO children VALUES (1, 7)", "INSERT INTO parents VALUES (7, 'x')")
    with pytest.raises(MigrationFailed, match="FOREIGN KEY constraint failed at COMMIT"):
        await apply(target, migrations)
    assert ledger_versions(path) == [1, 2]


async def test_if_one_of_several_fails_those_before_it_stay_and_it_is_named(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, SEED, CHILDREN, "INSERT INTO children VALUES (1, 9)", "CREATE TABLE more (a)")
    counted = Counted(target)
    with pytest.raises(MigrationFailed, match=r"migration 4 \(step_4\), statement 1, line 1: FOREIGN KEY"):
        await apply(counted, migrations, recorded=0)
    assert transactions(counted) == [5, 1, 1, 1, 1, 1]
    assert ledger_versions(path) == [1, 2, 3]
    change(path, "INSERT INTO parents VALUES (9, 'x')")
    assert await apply(target, migrations) == Applied(5, (4, 5))


async def test_those_after_a_long_one_that_was_committed_are_not_sent_again(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, SEED, "UPDATE parents SET name = name || '!'", CHILDREN, "CREATE TABLE parents (a)")
    counted = Counted(target)
    with pytest.raises(MigrationFailed, match="parents already exists"):
        await apply(counted, migrations, recorded=0)
    assert transactions(counted) == [2, 1, 2, 1, 1]
    assert ledger_versions(path) == [1, 2, 3, 4]
    assert query(path, "SELECT name FROM parents") == [("a!",), ("b!",)]


async def test_whoever_meets_a_lock_goes_on_one_by_one(target: SqliteTarget, path: Path) -> None:
    await apply(target, history(PARENTS))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        counted = Counted(target)
        with pytest.raises(DatabaseBusy):
            await apply(counted, history(PARENTS, SEED, CHILDREN), recorded=1, retries=QUICK)
        assert transactions(counted) == [2, 1, 1, 1, 1]
        other.execute("ROLLBACK")


async def test_a_huge_history_is_sent_in_several_round_trips(target: SqliteTarget, path: Path) -> None:
    big = f"INSERT INTO parents (name) VALUES ('{'x' * 200_000}')"
    counted = Counted(target)
    assert (await apply(counted, history(PARENTS, *[big] * 7), recorded=0)).version == 8
    assert counted.round_trips == 4
    assert query(path, "SELECT count(*) FROM parents") == [(7,)]


async def test_a_huge_migration_is_still_one_transaction(target: SqliteTarget, path: Path) -> None:
    rows = ";".join(f"INSERT INTO parents VALUES ({n}, 'n')" for n in range(5_000))
    with pytest.raises(MigrationFailed, match="statement 5001"):
        await apply(target, history(PARENTS, f"{rows};INSERT INTO parents VALUES (1, 'again')"))
    assert query(path, "SELECT count(*) FROM parents") == [(0,)]
    assert (await apply(target, history(PARENTS, rows))).version == 2


async def test_rows_that_a_statement_returns_are_not_carried_home_but_all_are_written(
    target: SqliteTarget, path: Path
) -> None:
    await apply(
        target, history(PARENTS, f"{numbers(1000)} INSERT INTO parents SELECT i, 'x' FROM n RETURNING id, name")
    )
    assert query(path, "SELECT count(*) FROM parents") == [(1000,)]


# What must not get in ----------------------------------------------------------------------------


async def test_a_gap_is_refused_before_anything_is_sent(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, CHILDREN, SEED)
    with pytest.raises(BadMigration, match="version 2 is missing"):
        await apply(target, [migrations[0], migrations[2]])
    assert not path.exists()


async def test_the_database_itself_refuses_a_gap(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, CHILDREN, SEED)
    await apply(target, migrations, to=1)
    # The caller's belief is wrong, and no check before it can know.
    counted = Counted(target)
    await apply(counted, migrations, recorded=2)
    assert ledger_versions(path) == [1, 2, 3]
    assert query(path, "SELECT count(*) FROM parents") == [(2,)]
    for row in (
        "(9, 3, 'n', 'c', 'h', 'p', 't')",
        "(4, 4, 'n', 'c', 'h', 'p', 't')",
        "(2, 1, 'n', 'c', 'h', 'p', 't')",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            change(path, f"INSERT INTO freehold_ledger VALUES {row}")


async def test_bad_sql_is_refused_before_anything_is_sent(target: SqliteTarget, path: Path) -> None:
    with pytest.raises(BadMigration, match=r"migration 2 \(step_2\), statement 1, line 1: COMMIT"):
        await apply(target, history(PARENTS, "COMMIT"))
    assert query(path, "SELECT name FROM sqlite_schema") == []


@pytest.mark.parametrize("recorded", [None, 1, 2])
async def test_another_history_is_refused_and_named(target: SqliteTarget, path: Path, recorded: int | None) -> None:
    await apply(target, history(PARENTS, "CREATE TABLE other (a)"))
    with pytest.raises(HistoryDiverged, match=r"version 2 .* ledger has 2 `step_2`") as caught:
        await apply(target, history(PARENTS, CHILDREN, SEED), recorded=recorded)
    assert (caught.value.version, caught.value.code) == (2, "history_diverged")
    assert ledger_versions(path) == [1, 2]
    assert query(path, "SELECT count(*) FROM parents") == [(0,)]


async def test_another_history_is_refused_when_the_database_is_ahead(target: SqliteTarget) -> None:
    await apply(target, history(PARENTS, CHILDREN, SEED))
    with pytest.raises(HistoryDiverged, match="version 1"):
        await apply(target, history("CREATE TABLE other (a)"))


# When it fails -----------------------------------------------------------------------------------


async def test_a_failing_statement_leaves_the_version_before_and_can_be_mended(
    target: SqliteTarget, path: Path
) -> None:
    broken = "CREATE TABLE fine (a);\n\nINSERT INTO fine VALUES (1);\nINSERT INTO\n  missing VALUES (1);"
    with pytest.raises(MigrationFailed) as caught:
        await apply(target, history(PARENTS, broken, SEED))
    error = caught.value
    assert (error.code, error.version, error.name, error.statement, error.line) == (
        "migration_failed",
        2,
        "step_2",
        3,
        4,
    )
    assert error.sql == "INSERT INTO missing VALUES (1)"
    assert "no such table: missing" in error.reason
    assert "still at version 1" in str(error)
    assert ledger_versions(path) == [1]
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'fine'") == []
    mended = history(PARENTS, "CREATE TABLE fine (a)", SEED)
    assert await apply(target, mended) == Applied(3, (2, 3))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE fine (a UNIQUE); INSERT INTO fine VALUES (1); INSERT OR ROLLBACK INTO fine VALUES (1)",
        "CREATE TABLE fine (a CHECK (a > 1) ); INSERT INTO fine VALUES (2); INSERT OR FAIL INTO fine VALUES (3), (0)",
        "CREATE TABLE fine (a); CREATE TRIGGER r AFTER INSERT ON fine BEGIN SELECT RAISE(ROLLBACK, 'no'); END;"
        "INSERT INTO fine VALUES (1)",
    ],
)
async def test_a_statement_that_ends_the_transaction_by_itself_leaves_nothing_either(
    target: SqliteTarget, path: Path, sql: str
) -> None:
    with pytest.raises(MigrationFailed, match="statement 3"):
        await apply(target, history(PARENTS, f"{sql}; CREATE TABLE late (a)", "CREATE TABLE later (a)"))
    assert ledger_versions(path) == [1]
    names = "SELECT name FROM sqlite_schema WHERE name IN ('fine', 'late', 'later')"
    assert query(path, names) == []


async def test_an_error_message_does_not_carry_a_whole_script(target: SqliteTarget) -> None:
    with pytest.raises(MigrationFailed) as caught:
        await apply(target, history(f"INSERT INTO missing VALUES ('{'x' * 100_000}')"))
    assert len(str(caught.value)) < 600


async def test_a_deferred_foreign_key_that_fails_at_the_end_is_told_as_the_commit(target: SqliteTarget) -> None:
    deferred = f"PRAGMA defer_foreign_keys = ON; {CHILDREN}; INSERT INTO children VALUES (1, 7)"
    with pytest.raises(MigrationFailed, match="FOREIGN KEY constraint failed at COMMIT"):
        await apply(target, history(PARENTS, deferred))
    assert (await read_ledger(target)).version == 1


async def test_a_lost_answer_is_told_and_the_same_call_again_goes_on(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, SEED)
    with pytest.raises(Unavailable, match="gone"):
        await apply(Counted(target, lose=Unavailable("gone")), migrations)
    assert await apply(target, migrations) == Applied(2, ())
    assert await apply(target, migrations, recorded=0) == Applied(2, ())
    assert query(path, "SELECT count(*) FROM parents") == [(2,)]


async def test_a_lock_that_is_let_go_is_waited_for_and_one_that_is_kept_is_told(
    target: SqliteTarget, path: Path
) -> None:
    await apply(target, history(PARENTS))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        counted = Counted(target)
        with pytest.raises(DatabaseBusy) as caught:
            await apply(counted, history(PARENTS, SEED), retries=QUICK)
        assert isinstance(caught.value, Unavailable)
        assert counted.round_trips == 2 * QUICK.attempts
        other.execute("ROLLBACK")
    assert (await apply(target, history(PARENTS, SEED), retries=QUICK)).version == 2


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        await apply(SqliteTarget(tmp_path / "no" / "such.db"), history(PARENTS))


async def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "tenant.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerUnreadable, match="not a database"):
        await apply(SqliteTarget(path), history(PARENTS))
    assert path.read_bytes() == b"not a database at all" * 100


async def test_a_full_disk_is_no_fault_of_the_migration(path: Path) -> None:
    def small() -> sqlite3.Connection:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA max_page_count = 8")
        return connection

    fill = f"{numbers(999)} INSERT INTO parents SELECT i, hex(zeroblob(99)) FROM n"
    with pytest.raises(Unavailable, match="full"):
        await apply(SqliteTarget(small), history(PARENTS, fill))
    assert ledger_versions(path) == [1]
    assert await apply(SqliteTarget(path), history(PARENTS, fill)) == Applied(2, (2,))


async def test_a_database_that_may_only_be_read_is_forbidden(path: Path) -> None:
    await apply(SqliteTarget(path), history(PARENTS))

    def read_only() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    with pytest.raises(Forbidden):
        await apply(SqliteTarget(read_only), history(PARENTS, SEED))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Error("x", "SQLITE_BUSY"), DatabaseBusy),
        (Error("x", "SQLITE_BUSY_SNAPSHOT"), DatabaseBusy),
        (Error("SQLite error: database is locked", "SQLITE_UNKNOWN"), DatabaseBusy),
        (Error("x", "SQLITE_IOERR_WRITE"), Unavailable),
        (Error("x", "SQLITE_READONLY"), Forbidden),
        (Error("no such table: t", "SQLITE_UNKNOWN"), None),
        (Error("x"), None),
    ],
)
def test_the_circumstances_are_told_from_the_sql(error: Error, kind: type[FreeholdError] | None) -> None:
    assert type(circumstance(error)) is (kind or type(None))


# A ledger that is not what it should be ----------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE freehold_ledger (something TEXT)",
        "CREATE VIEW freehold_ledger AS SELECT * FROM missing",
        "CREATE VIEW freehold_ledger AS SELECT 'x' AS version, 'y' AS chain",
    ],
)
async def test_only_a_missing_ledger_means_a_fresh_database(target: SqliteTarget, path: Path, sql: str) -> None:
    change(path, sql)
    with pytest.raises(LedgerUnreadable):
        await apply(target, history(PARENTS))
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'parents'") == []


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW freehold_ledger AS SELECT 0 AS version, '' AS chain",
        "CREATE TABLE freehold_ledger (version INTEGER, chain TEXT)",
    ],
)
async def test_a_ledger_that_takes_no_rows_ends_in_an_error_and_not_in_a_loop(
    target: SqliteTarget, path: Path, sql: str
) -> None:
    change(path, sql)
    with pytest.raises(MigrationFailed, match="ledger refused it"):
        await apply(target, history(PARENTS))
    assert query(path, "SELECT name FROM sqlite_schema WHERE name = 'parents'") == []


async def test_a_dropped_ledger_does_not_apply_anything_twice(target: SqliteTarget, path: Path) -> None:
    await apply(target, history(PARENTS, SEED))
    change(path, "DROP TABLE freehold_ledger")
    with pytest.raises(MigrationFailed, match="parents already exists"):
        await apply(target, history(PARENTS, SEED))
    assert query(path, "SELECT count(*) FROM parents") == [(2,)]


# Foreign keys ------------------------------------------------------------------------------------


async def left_behind(target: SqliteTarget, migrations: list[Migration]) -> tuple[bool, SqlValue, bool]:
    """Run the last migration, then look on the same connection: committed, `foreign_keys`, no transaction open."""
    [planned] = plan(migrations, chains(migrations), len(migrations) - 1, len(migrations))
    look = Batch((BatchStep(Stmt(sql="PRAGMA foreign_keys")), BatchStep(Stmt(sql="BEGIN"))))
    answer, seen = await target.run([planned.batch, look])
    assert seen.step_results[0] is not None
    return is_committed(planned, answer), decode(seen.step_results[0].rows[0][0]), seen.step_errors[1] is None


async def test_a_rebuild_keeps_every_child_row(target: SqliteTarget, path: Path) -> None:
    migrations = history(PARENTS, CHILDREN, SEED, REBUILD.format(where=""))
    await apply(target, migrations, to=3)
    change(path, "INSERT INTO children (p) SELECT id FROM parents", "INSERT INTO children (p) VALUES (2)")
    assert await left_behind(target, migrations) == (True, 1, True)
    assert query(path, "SELECT p FROM children ORDER BY id") == [(1,), (2,), (2,)]
    with pytest.raises(sqlite3.IntegrityError):
        change(path, "INSERT INTO children (p) VALUES (3)")
    change(path, "DELETE FROM parents WHERE id = 2")
    assert query(path, "SELECT p FROM children") == [(1,)]


async def test_a_rebuild_that_leaves_an_orphan_is_refused_and_foreign_keys_are_on_afterwards(
    target: SqliteTarget, path: Path
) -> None:
    migrations = history(PARENTS, CHILDREN, SEED, REBUILD.format(where=" WHERE id > 1"))
    await apply(target, migrations, to=3)
    change(path, "INSERT INTO children (p) VALUES (1), (1), (2)")
    with pytest.raises(MigrationFailed, match=r"2 in children without a parent in parents") as caught:
        await apply(target, migrations)
    assert (caught.value.version, caught.value.statement) == (4, 0)
    assert await left_behind(target, migrations) == (False, 1, True)
    assert query(path, "SELECT p FROM children ORDER BY id") == [(1,), (1,), (2,)]
    assert query(path, "SELECT count(*) FROM parents") == [(2,)]
    assert ledger_versions(path) == [1, 2, 3]
    change(path, "DELETE FROM children WHERE p = 1")
    assert (await apply(target, migrations)).version == 4


async def test_a_rebuild_that_fails_half_way_leaves_foreign_keys_on(target: SqliteTarget) -> None:
    migrations = history(PARENTS, CHILDREN, SEED, REBUILD.format(where="; SELECT * FROM missing"))
    await apply(target, migrations, to=3)
    assert await left_behind(target, migrations) == (False, 1, True)


async def test_a_rebuild_that_comes_too_late_leaves_foreign_keys_on(target: SqliteTarget) -> None:
    migrations = history(PARENTS, CHILDREN, SEED, REBUILD.format(where=""))
    await apply(target, migrations)
    assert await left_behind(target, migrations) == (False, 1, True)


async def test_foreign_keys_are_on_for_all_others_whatever_the_connection_says(path: Path) -> None:
    def off() -> sqlite3.Connection:
        return sqlite3.connect(path)  # plain SQLite: off

    migrations = history(PARENTS, CHILDREN, SEED, "INSERT INTO children (p) VALUES (1)", "DELETE FROM parents")
    await apply(SqliteTarget(off), migrations)
    assert query(path, "SELECT count(*) FROM children") == [(0,)]
    with pytest.raises(MigrationFailed, match="FOREIGN KEY"):
        await apply(SqliteTarget(off), [*migrations, late(6)])


def late(version: int) -> Migration:
    return Migration(version=version, name="late", sql="INSERT INTO children (p) VALUES (9)")
