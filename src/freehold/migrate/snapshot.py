"""The schema and seed rows of the newest version in one batch, for fresh databases.

Its cost does not depend on the number of migrations. See docs/decisions/0006-snapshots.md.
"""

import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from freehold.errors import Conflict, FreeholdError, Unavailable
from freehold.libsql.protocol import (
    Batch,
    BatchResult,
    BatchStep,
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    Stmt,
)
from freehold.migrate.apply import apply
from freehold.migrate.determinism import ONE, OTHER, freeze
from freehold.migrate.dump import CannotBeDumped, Dump, dump
from freehold.migrate.failures import circumstance
from freehold.migrate.fingerprint import OURS_SQL, SchemaUnreadable, ask
from freehold.migrate.ledger import CREATE_SQL, LAST_SQL, is_missing, ledger_rows, state_of
from freehold.migrate.plan import CHECK_SQL
from freehold.migrate.schema import read_schema
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.target import Target
from freehold.migrate.types import GENESIS, LedgerState, Migration, chains

# Above this the statements would cost a server more memory than they save time.
_MAX_CHARS = 8 * 1024 * 1024
_SCRATCH_S = 60.0

# Provides a new empty database that is removed at the end.
Scratch = Callable[[], AbstractAsyncContextManager[Target]]


class SnapshotUnfit(Conflict):
    """New tenants cannot start from a snapshot of these migrations."""

    code = "snapshot_unfit"
    remedy = "There is nothing to do: they replay the migrations."
    where = "cli"


class Snapshot(Struct, frozen=True, kw_only=True, dict=True):
    """What all migrations up to `version` leave in a fresh database. Only `build_snapshot` should create one.

    `fingerprint` is that of the schema, `rows_fingerprint` that of every value in it.
    """

    version: int
    chain: str
    statements: tuple[str, ...]
    ledger: tuple[tuple[int, str, str, str], ...]  # version, name, checksum, chain
    fingerprint: str
    rows_fingerprint: str

    @cached_property
    def batch(self) -> Batch:
        """The batch that reads the ledger and, if there is none and the database is empty, creates everything."""
        steps = [BatchStep(Stmt(sql=LAST_SQL))]

        def add(sql: str, condition: Cond | None = None) -> int:
            steps.append(BatchStep(Stmt(sql=sql, want_rows=False), condition or CondOk(len(steps) - 1)))
            return len(steps) - 1

        # The order of rows does not follow foreign keys. The build has checked them, and so does `CHECK_SQL`.
        off = add("PRAGMA foreign_keys = OFF", CondError(_READ))
        begin = add("BEGIN IMMEDIATE")
        add(CREATE_SQL)
        add(_ledger_sql(self.ledger))
        for sql in self.statements:
            add(sql)
        add(CHECK_SQL)
        commit = add("COMMIT")
        add("ROLLBACK", CondAnd((CondOk(begin), CondNot(CondOk(commit)), CondNot(CondIsAutocommit()))))
        add("PRAGMA foreign_keys = ON", CondOk(off))
        return Batch(tuple(steps))


_READ, _LEDGER, _FIRST = 0, 4, 5  # steps of the batch; `COMMIT` is the third from its end
_COMMIT = -3


async def load(target: Target, snapshot: Snapshot) -> LedgerState | None:
    """Load the snapshot into a fresh database, or leave any other database alone, in one round trip.

    Returns the version that the database is now at, or None if it has no ledger and is not empty, or if someone else
    was first; `apply` handles both. Safe to run at the same time as `apply` and as itself.

    Raises:
        SnapshotUnfit: the database refuses one of its statements; nothing was changed.
        DatabaseBusy, Unavailable: as `apply`.
    """
    [answer] = await target.run([snapshot.batch])
    if len(answer.step_errors) != len(snapshot.batch.steps):
        raise Unavailable("the database's answer does not fit what was sent; try again")
    read = answer.step_results[_READ]
    if read is not None:
        return state_of(read)
    if answer.step_results[_COMMIT] is not None:
        return LedgerState(snapshot.version, snapshot.chain)
    error = answer.step_errors[_READ]
    if error is not None and is_missing(error):
        _raise_refusal(answer, snapshot)
    return None  # `apply` reports what is wrong with the ledger


def _raise_refusal(answer: BatchResult, snapshot: Snapshot) -> None:
    """Raise the reason for the refusal; return if it is that the database is not fresh."""
    failed = next((at for at, error in enumerate(answer.step_errors) if at > _READ and error), None)
    error = answer.step_errors[failed] if failed is not None else None
    if failed is None or error is None:
        raise Unavailable("the database neither took the snapshot nor said why not; try again")
    if circumstances := circumstance(error):
        raise circumstances
    if failed != _LEDGER:
        step = (snapshot.batch.steps[failed].stmt.sql or "").split("\n", 1)[0][:100]
        raise SnapshotUnfit(f"the database refuses the snapshot: {error.message} at `{step}`")


async def is_result_of(target: Target, snapshot: Snapshot) -> bool:
    """Whether a database to which all migrations were applied one by one equals one loaded from the snapshot.

    Raises:
        CannotBeDumped, SchemaUnreadable, Unavailable: the two cannot be compared.
    """
    if (await read_schema(target)).fingerprint != snapshot.fingerprint:
        return False
    return (await dump(target)).rows_fingerprint == snapshot.rows_fingerprint


async def build_snapshot(migrations: Sequence[Migration], scratch: Scratch) -> Snapshot:
    """Replay the migrations, dump the result, load it elsewhere and compare the two.

    `scratch` should provide databases on the engine that the snapshot is for: engines differ in what the same SQL
    does. Takes about as long as creating four tenants without a snapshot; runs on the calling thread.

    Raises:
        SnapshotUnfit: the message says why. The migrations themselves may be sound.
        Unavailable: no scratch database is available.
    """
    if not migrations:
        raise SnapshotUnfit("there are no migrations")
    try:
        async with scratch() as replayed:
            await apply(replayed, migrations)
            made = await dump(replayed)
            schema = (await read_schema(replayed)).fingerprint
            ledger = await _ledger(replayed)
        await _require_no_chance(migrations, made, scratch)
        snapshot = _snapshot(migrations, made, ledger, schema)
        async with scratch() as loaded:
            await load(loaded, snapshot)
            await _require_equal(loaded, made, snapshot)
    except (SchemaUnreadable, CannotBeDumped) as error:
        raise SnapshotUnfit(str(error)) from error
    except (SnapshotUnfit, Unavailable):
        raise
    except FreeholdError as error:
        raise SnapshotUnfit(f"the migrations cannot be replayed here: {error}") from error
    return snapshot


def _snapshot(
    migrations: Sequence[Migration], made: Dump, ledger: tuple[tuple[int, str, str, str], ...], schema: str
) -> Snapshot:
    statements = (*made.tables, *made.rows, *made.rest)
    if (chars := sum(map(len, statements))) > _MAX_CHARS:
        raise SnapshotUnfit(f"it would have {chars:,} characters, over the limit of {_MAX_CHARS:,}")
    return Snapshot(
        version=len(migrations),
        chain=chains(migrations)[-1],
        statements=statements,
        ledger=ledger,
        fingerprint=schema,
        rows_fingerprint=made.rows_fingerprint,
    )


async def _ledger(target: Target) -> tuple[tuple[int, str, str, str], ...]:
    return tuple((row.version, row.name, row.checksum, row.chain) for row in await ledger_rows(target))


async def _require_no_chance(migrations: Sequence[Migration], made: Dump, scratch: Scratch) -> None:
    if not made.rows:
        return
    rows = []
    for frozen in (ONE, OTHER):
        if (changed := freeze(migrations, frozen)) is None:
            return
        async with scratch() as target:
            try:
                await apply(target, changed)
            except Unavailable:
                raise
            except FreeholdError as error:
                raise SnapshotUnfit(f"it cannot be told whether seed rows depend on the time: {error}") from error
            rows.append((await dump(target)).rows)
    if rows[0] != rows[1]:
        raise SnapshotUnfit(
            "seed rows depend on the time or on chance, so each database has to get its own; give the migrations "
            "fixed values instead"
        )


async def _require_equal(loaded: Target, made: Dump, snapshot: Snapshot) -> None:
    if (await read_schema(loaded)).fingerprint != snapshot.fingerprint:
        raise SnapshotUnfit("its schema comes out other than by replaying")
    if await dump(loaded) != made:
        raise SnapshotUnfit("its rows come out other than by replaying")
    if await _ledger(loaded) != snapshot.ledger:
        raise SnapshotUnfit("its ledger comes out other than by replaying")
    orphans, faults = await ask(
        loaded, "SELECT 1 FROM pragma_foreign_key_check", "SELECT * FROM pragma_integrity_check"
    )
    if orphans or faults != [["ok"]]:
        raise SnapshotUnfit("the database that it makes is not sound")


def _ledger_sql(rows: Sequence[tuple[int, str, str, str]]) -> str:
    """The INSERT of all rows as single migrations would have left them.

    If the database is not empty, the first row gets NULL for `previous`, which the ledger refuses.
    """
    anything = f"SELECT 1 FROM freehold_ledger UNION ALL SELECT 1 FROM sqlite_schema WHERE {OURS_SQL}"
    first = f"CASE WHEN EXISTS ({anything}) THEN NULL ELSE 0 END"
    lines = []
    before = GENESIS
    for version, name, checksum, chain in rows:
        previous = str(version - 1) if version > 1 else first
        lines.append(
            f"({version}, {previous}, '{name}', '{checksum}', '{chain}', '{before}', "
            "strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
        )
        before = chain
    columns = "version, previous, name, checksum, chain, previous_chain, applied_at"
    return f"INSERT INTO freehold_ledger ({columns}) VALUES\n" + ",\n".join(lines)


@asynccontextmanager
async def sqlite_scratch() -> AsyncIterator[Target]:
    """A scratch database on the SQLite of the standard library."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        path = Path(folder) / "scratch.db"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA synchronous = OFF")
            end = time.monotonic() + _SCRATCH_S
            connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
            return connection

        yield SqliteTarget(connect)
