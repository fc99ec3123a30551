"""Turns migrations into Hrana batches that apply all statements and ledger rows, or nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct

from freehold.libsql.protocol import Batch, BatchStep, Cond, CondAnd, CondError, CondIsAutocommit, CondNot, CondOk, Stmt
from freehold.migrate.ledger import CREATE_SQL, LAST_SQL, insert_stmt
from freehold.migrate.types import Migration

# If there is an orphan, this sets a NOT NULL column to NULL, which prevents the commit.
CHECK_SQL = """UPDATE freehold_ledger SET previous_chain =
  CASE WHEN EXISTS (SELECT 1 FROM pragma_foreign_key_check) THEN NULL ELSE previous_chain END
WHERE version = (SELECT max(version) FROM freehold_ledger)"""
_ORPHANS_SQL = 'SELECT "table", "parent", count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 LIMIT 5'

# Sent in one round trip. More is sent in several, so that it stays below every server's limit on a body.
ROUND_TRIP_CHARS = 512 * 1024
_TOGETHER = 100  # migrations may share a transaction: their rows are one statement

T = TypeVar("T")


class Planned(Struct, frozen=True, kw_only=True):
    """One transaction as a batch: one migration, or several consecutive ones.

    The numbers are indexes of steps; the statements follow step `ledger`. Step `state` reads the ledger's last row if
    the ledger has refused. Step `look`, if any, lets the others begin only if the database has no views or triggers.
    """

    migrations: tuple[Migration, ...]
    batch: Batch
    ledger: int
    commit: int
    state: int
    check: int | None
    orphans: int | None
    look: int | None = None

    @property
    def chars(self) -> int:
        return sum(len(migration.sql) for migration in self.migrations)


def plan(
    migrations: Sequence[Migration], chains: Sequence[str], after: int, to: int, *, together: bool = False
) -> list[Planned]:
    """Batches for the versions above `after` up to `to`; both sequences start at version 1.

    With `together`, consecutive migrations share a transaction if that changes nothing but the time it takes: none of
    them is long, and none defers a check to the end of its transaction.
    """
    pending = migrations[after:to]
    is_strict = not together or any(migration.defers for migration in migrations[:to])
    groups = [[migration] for migration in pending] if is_strict else list(_groups(pending))
    return [_transaction(group, chains) for group in groups]


def divided(items: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Parts whose sizes add up to the most at most, or that are one item."""
    part: list[T] = []
    size = 0
    for item in items:
        size += size_of(item)
        if part and size > most:
            yield part
            part, size = [], size_of(item)
        part.append(item)
    if part:
        yield part


def _groups(pending: Sequence[Migration]) -> Iterator[list[Migration]]:
    group: list[Migration] = []
    chars = 0
    for migration in pending:
        chars += len(migration.sql)
        is_room = chars <= ROUND_TRIP_CHARS and len(group) < _TOGETHER
        if group and not (is_room and migration.is_brief and group[-1].is_brief):
            yield group
            group, chars = [], len(migration.sql)
        group.append(migration)
    if group:
        yield group


def _transaction(migrations: Sequence[Migration], chains: Sequence[str]) -> Planned:
    """The batch that brings a database from the version before the first to the last, or changes nothing."""
    is_off = migrations[0].foreign_keys_off  # then it is alone
    steps: list[BatchStep] = []

    def add(stmt: Stmt | str, condition: Cond | None = None) -> int:
        # Each step runs only if the one before it succeeded, unless it has a condition of its own.
        if condition is None and steps:
            condition = CondOk(len(steps) - 1)
        stmt = Stmt(sql=stmt, want_rows=False) if isinstance(stmt, str) else stmt
        steps.append(BatchStep(stmt, condition))
        return len(steps) - 1

    # Set in both cases, since a connection's default differs by engine. It has no effect inside a transaction.
    add(f"PRAGMA foreign_keys = {'OFF' if is_off else 'ON'}")
    begin = add("BEGIN IMMEDIATE")
    if migrations[0].version == 1:
        add(CREATE_SQL)
    ledger = add(insert_stmt(migrations, chains))
    for migration in migrations:
        for sql in migration.statements:
            add(sql)
    check = orphans = None
    before_commit = CondOk(len(steps) - 1)
    if is_off:
        check = add(CHECK_SQL)
        before_commit = CondOk(check)
        orphans = add(Stmt(sql=_ORPHANS_SQL), CondError(check))
    commit = add("COMMIT", before_commit)
    # After some errors the engine has already rolled back, and no transaction is open.
    add("ROLLBACK", CondAnd((CondOk(begin), CondNot(CondOk(commit)), CondNot(CondIsAutocommit()))))
    state = add(Stmt(sql=LAST_SQL), CondError(ledger))
    if is_off:
        steps.append(BatchStep(Stmt(sql="PRAGMA foreign_keys = ON", want_rows=False)))
    return Planned(
        migrations=tuple(migrations),
        batch=Batch(tuple(steps)),
        ledger=ledger,
        commit=commit,
        state=state,
        check=check,
        orphans=orphans,
    )
