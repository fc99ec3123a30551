"""Turns a migration into one Hrana batch: its statements and its ledger row, all or nothing."""

from collections.abc import Sequence

from msgspec import Struct

from freehold.libsql.protocol import (
    Batch,
    BatchStep,
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    Stmt,
)
from freehold.migrate.ledger import CREATE_SQL, insert_stmt
from freehold.migrate.types import GENESIS, Migration

# An orphan takes the value from a NOT NULL column, and that stops the commit.
CHECK_SQL = """UPDATE freehold_ledger SET previous_chain =
  CASE WHEN EXISTS (SELECT 1 FROM pragma_foreign_key_check) THEN NULL ELSE previous_chain END
WHERE version = (SELECT max(version) FROM freehold_ledger)"""
_ORPHANS_SQL = 'SELECT "table", "parent", count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 LIMIT 5'


class Planned(Struct, frozen=True):
    """A migration as a batch, and where in the batch its parts are. Indices count from 0."""

    migration: Migration
    batch: Batch
    ledger: int
    first_statement: int
    commit: int
    check: int | None
    orphans: int | None


def plan(migrations: Sequence[Migration], chains: Sequence[str], after: int, to: int) -> list[Planned]:
    """Batches for the versions above `after` up to `to`; both sequences start at version 1."""
    return [
        plan_one(migrations[at], chains[at - 1] if at else GENESIS, chains[at]) for at in range(after, to)
    ]


def plan_one(migration: Migration, previous_chain: str, chain: str) -> Planned:
    """The batch that takes a database from the version before to this one, or changes nothing."""
    steps: list[BatchStep] = []

    def add(stmt: Stmt | str, condition: Cond | None = None) -> int:
        # Each step runs only if the one before it did, unless it says otherwise.
        if condition is None and steps:
            condition = CondOk(len(steps) - 1)
        stmt = Stmt(sql=stmt, want_rows=False) if isinstance(stmt, str) else stmt
        steps.append(BatchStep(stmt, condition))
        return len(steps) - 1

    # Said both ways, since a connection's default differs by engine. It has no effect inside a transaction.
    add(f"PRAGMA foreign_keys = {'OFF' if migration.foreign_keys_off else 'ON'}")
    begin = add("BEGIN IMMEDIATE")
    add(CREATE_SQL)
    ledger = add(insert_stmt(migration, previous_chain, chain))
    first_statement = len(steps)
    for sql in migration.statements:
        add(sql)
    check = orphans = None
    before_commit = CondOk(len(steps) - 1)
    if migration.foreign_keys_off:
        check = add(CHECK_SQL)
        before_commit = CondOk(check)
        orphans = add(Stmt(sql=_ORPHANS_SQL), CondError(check))
    commit = add("COMMIT", before_commit)
    # Some errors have rolled back already, and then there is nothing to end.
    add("ROLLBACK", CondAnd((CondOk(begin), CondNot(CondOk(commit)), CondNot(CondIsAutocommit()))))
    if migration.foreign_keys_off:
        steps.append(BatchStep(Stmt(sql="PRAGMA foreign_keys = ON", want_rows=False)))
    return Planned(migration, Batch(tuple(steps)), ledger, first_statement, commit, check, orphans)
