"""The ledger: one row in the tenant's database for each migration applied to it.

Its constraints, not its writers, ensure that versions come in order, once, and on the history they were made for. See
docs/decisions/0001-ledger.md.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from freehold.libsql.protocol import Batch, BatchStep, Error, Stmt, StmtResult
from freehold.libsql.values import SqlValue, decode, encode
from freehold.migrate.failures import LedgerUnreadable, circumstance
from freehold.migrate.target import Target
from freehold.migrate.types import GENESIS, LedgerState, Migration

LEDGER_TABLE = "freehold_ledger"

CREATE_SQL = """CREATE TABLE IF NOT EXISTS freehold_ledger (
  version INTEGER PRIMARY KEY,
  previous INTEGER NOT NULL,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  chain TEXT NOT NULL,
  previous_chain TEXT NOT NULL,
  applied_at TEXT NOT NULL,
  CHECK (version = previous + 1)
)"""

# `previous` is read in the statement that writes it: a second writer, or one that leaves a version out, violates the
# CHECK. `previous_chain` is NULL, which its NOT NULL refuses, unless the version before is the expected one.
INSERT_START = "INSERT INTO freehold_ledger"
_INSERT_SQL = f"""{INSERT_START}
  (version, previous, name, checksum, chain, previous_chain, applied_at)
SELECT ?, coalesce((SELECT max(version) FROM freehold_ledger), 0), ?, ?, ?, {{previous_chain}},
  strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"""
_FIRST_SQL = _INSERT_SQL.format(previous_chain="?")
_NEXT_SQL = _INSERT_SQL.format(previous_chain="(SELECT chain FROM freehold_ledger WHERE version = ? AND chain = ?)")
# Further rows in the same statement refer to the row before them there.
_MORE_SQL = " UNION ALL SELECT ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

# Recognised by its text: engines have no error code of its own for a missing table.
_MISSING = re.compile(rf"no such table: {LEDGER_TABLE}\b")

LAST_SQL = "SELECT version, chain FROM freehold_ledger ORDER BY version DESC LIMIT 1"
_ROWS_SQL = "SELECT version, name, checksum, chain, applied_at FROM freehold_ledger ORDER BY version"


class LedgerRow(Struct, frozen=True):
    """One migration as it was applied. `applied_at` is UTC by the database's own clock."""

    version: int
    name: str
    checksum: str
    chain: str
    applied_at: str


FRESH = LedgerState(0, GENESIS)


async def read_ledger(target: Target) -> LedgerState:
    """The newest version applied, and its chain.

    Raises:
        LedgerUnreadable: the table exists but is not a ledger; only a missing table means a fresh database.
        Unavailable: no answer, or busy.
    """
    return _state(await _read(target, LAST_SQL))


def state_of(answer: StmtResult) -> LedgerState:
    """The state in the answer to `LAST_SQL`. Raises `LedgerUnreadable`."""
    return _state(_decoded(answer))


def is_missing(error: Error) -> bool:
    """Whether the error says that the database has no ledger; no other error may count as that."""
    return _MISSING.search(error.message) is not None


async def ledger_rows(target: Target) -> list[LedgerRow]:
    """Every migration applied, oldest first. Raises as `read_ledger` does."""
    found = []
    for version, *texts in await _read(target, _ROWS_SQL):
        if not isinstance(version, int):
            raise LedgerUnreadable("a row has no number for its version")
        found.append(LedgerRow(version, *map(str, texts)))
    return found


def insert_stmt(migrations: Sequence[Migration], chains: Sequence[str]) -> Stmt:
    """The INSERT for consecutive migrations; it fails unless the database is at the version before. `chains`: all."""
    first, *others = migrations
    sql = _FIRST_SQL if first.version == 1 else _NEXT_SQL
    values: list[SqlValue] = [first.version, first.name, first.checksum, chains[first.version - 1]]
    values += [GENESIS] if first.version == 1 else [first.version - 1, chains[first.version - 2]]
    for migration in others:
        sql += _MORE_SQL
        before, own = chains[migration.version - 2 : migration.version]
        values += [migration.version, migration.version - 1, migration.name, migration.checksum, own, before]
    return Stmt(sql=sql, args=tuple(encode(value) for value in values), want_rows=False)


async def _read(target: Target, sql: str) -> list[list[SqlValue]]:
    [answer] = await target.run([Batch((BatchStep(Stmt(sql=sql)),))])
    [error], [result] = answer.step_errors, answer.step_results
    if error is not None and not is_missing(error):
        raise circumstance(error) or LedgerUnreadable(error.message)
    return _decoded(result) if result else []


def _state(rows: list[list[SqlValue]]) -> LedgerState:
    if not rows:
        return FRESH
    version, chain = rows[0]
    if not isinstance(version, int) or not isinstance(chain, str):
        raise LedgerUnreadable("its last row holds values of other types")
    return LedgerState(version, chain)


def _decoded(result: StmtResult) -> list[list[SqlValue]]:
    return [[decode(value) for value in row] for row in result.rows]
