"""Turns migrations into Hrana batches: their statements and their ledger rows, all or nothing."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from freehold.libsql.protocol import Batch, BatchStep, Cond, CondAnd, CondError, CondIsAutocommit, CondNot, CondOk, Stmt
from freehold.migrate.ledger import CREATE_SQL, LAST_SQL, insert_stmt
from freehold.migrate.types import Migration

# An orphan takes the value from a NOT NULL column, and that stops the commit.
CHECK_SQL = """UPDATE freehold_ledger SET previous_chain =
  CASE WHEN EXISTS (SELECT 1 FROM pragma_foreign_key_check) THEN NULL ELSE previous_chain END
WHERE version = (SELECT max(version) FROM freehold_ledger)"""
_ORPHANS_SQL = 'SELECT "table", "parent", count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 LIMIT 5'

# Sent in one round trip; more than this goes in several, so that no server's limit on a body is met.
ROUND_TRIP_CHARS = 512 * 1024
_TOGETHER = 100  # may share a transaction: their rows are one statement


class Planned(Struct, frozen=True, kw_only=True):
    """One transaction as a batch: one migration, or several that follow each other.

    The numbers say which steps are what; the statements follow the ledger's. `state` reads the ledger's last row,
    should the ledger have refused. `look`, if any, lets the others begin only where nobody made views.
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

    With `together`, migrations that follow each other share a transaction where that makes no difference but the
    time it takes: none of them is long, and none leaves anything to be looked at when its transaction ends.
    """
    pending = migrations[after:to]
    is_strict = not together or any(migration.defers for migration in migrations[:to])
    groups = [[migration] for migration in pending] if is_strict else list(_groups(pending))
    return [_transaction(group, chains) for group in groups]


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
    """The batch that takes a database from the version before the first to the last, or changes nothing."""
    is_off = migrations[0].foreign_keys_off  # then it is alone
    steps: list[BatchStep] = []

    def add(stmt: Stmt | str, condition: Cond | None = None) -> int:
        # Each step runs only if the one before it did, unless it says otherwise.
        if condition is None and steps:
            condition = CondOk(len(steps) - 1)
        stmt = Stmt(sql=stmt, want_rows=False) if isinstance(stmt, str) else stmt
        steps.append(BatchStep(stmt, condition))
        return len(steps) - 1

    # Said both ways, since a connection's default differs by engine. It has no effect inside a transaction.
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
    # Some errors have rolled back already, and then there is nothing to end.
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
