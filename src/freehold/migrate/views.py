"""Views of a database's owner that no engine may be made to expand, as ALTER TABLE does with every view."""

from collections.abc import Sequence

import msgspec

from freehold.libsql.protocol import Batch, BatchStep, Cond, CondAnd, CondError, CondNot, CondOk, CondOr, Stmt
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.fingerprint import SchemaUnreadable, ask
from freehold.migrate.plan import Planned
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.sql.facts import FACTS_SQL
from freehold.sql.guard import read_facts

# Fails if there are any: only then is a round trip to read them worthwhile.
_LOOK_SQL = """SELECT json(CASE WHEN EXISTS (SELECT 1 FROM sqlite_schema WHERE type IN ('view', 'trigger'))
  THEN '' ELSE '0' END)"""


def with_look(planned: Planned) -> Planned:
    """The same transaction; with the word ALTER in it, it does not begin if the database has views or triggers."""
    if planned.migrations[0].version == 1 or not any(map(_alters, planned.migrations)):
        return planned  # nobody else has used a database that is new
    first, *others = planned.batch.steps
    steps = [
        BatchStep(Stmt(sql=_LOOK_SQL, want_rows=False)),
        BatchStep(first.stmt, CondOk(0)),
        *(BatchStep(step.stmt, step.condition and _moved(step.condition)) for step in others),
    ]
    return msgspec.structs.replace(
        planned,
        batch=Batch(tuple(steps)),
        ledger=planned.ledger + 1,
        commit=planned.commit + 1,
        state=planned.state + 1,
        check=None if planned.check is None else planned.check + 1,
        orphans=None if planned.orphans is None else planned.orphans + 1,
        look=0,
    )


def _alters(migration: Migration) -> bool:
    return "alter" in migration.sql.lower()


def _moved(condition: Cond) -> Cond:
    """The condition after all steps have moved by one."""
    match condition:
        case CondOk(step) | CondError(step):
            return type(condition)(step + 1)
        case CondNot(cond):
            return CondNot(_moved(cond))
        case CondAnd(conds) | CondOr(conds):
            return type(condition)(tuple(map(_moved, conds)))
    return condition


async def require_bounded_views(target: Target, migrations: Sequence[Migration]) -> None:
    """Return unless the database has views that expand without bounds, and a migration makes the engine expand them.

    One round trip if a migration has the word ALTER; `with_look` says whether it is worthwhile.

    Raises:
        MigrationFailed: it has such views; the error names the first such migration, and nothing was sent.
        Unavailable: no answer, or busy.
    """
    migration = next(filter(_alters, migrations), None)
    if migration is None or migrations[0].version == 1:  # nobody else has used a database that is new
        return
    try:
        [rows] = await ask(target, FACTS_SQL)
    except SchemaUnreadable:  # the migration itself will then report why
        return
    for name, cost in read_facts(rows).costs.items():
        if not cost.is_bounded:
            raise MigrationFailed(
                migration=migration,
                reason=f"the database's own view `{name}` is too large once the views and queries in it are written "
                "out, and ALTER looks at all of them; drop it",
            )
