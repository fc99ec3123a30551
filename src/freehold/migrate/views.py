"""Views of a database's owner that no engine may be asked to work out, as it does for each of them at ALTER TABLE."""

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

# An error where there is any: only then is it worth a round trip to read them.
_LOOK_SQL = """SELECT json(CASE WHEN EXISTS (SELECT 1 FROM sqlite_schema WHERE type IN ('view', 'trigger'))
  THEN '' ELSE '0' END)"""


def with_look(planned: Planned) -> Planned:
    """The same transaction, which does not begin if it has the word ALTER and the database has views or triggers."""
    if planned.migrations[0].version == 1 or not any(map(_alters, planned.migrations)):
        return planned  # nobody but us has been in a database that is new
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
    """The condition when all steps come one later."""
    match condition:
        case CondOk(step):
            return CondOk(step + 1)
        case CondError(step):
            return CondError(step + 1)
        case CondNot(cond):
            return CondNot(_moved(cond))
        case CondAnd(conds):
            return CondAnd(tuple(map(_moved, conds)))
        case CondOr(conds):
            return CondOr(tuple(map(_moved, conds)))
    return condition


async def require_bounded_views(target: Target, migrations: Sequence[Migration]) -> None:
    """Return unless the database has views that grow in each other beyond bounds, and a migration looks at them.

    One round trip if some migration has the word ALTER; `with_look` tells whether it is worth it.

    Raises:
        MigrationFailed: it has, for the first such migration; nothing was sent.
        Unavailable: no answer, or busy.
    """
    migration = next(filter(_alters, migrations), None)
    if migration is None or migrations[0].version == 1:  # nobody but us has been in one that is new
        return
    try:
        [rows] = await ask(target, FACTS_SQL)
    except SchemaUnreadable:  # then the migration itself will tell why
        return
    for name, cost in read_facts(rows).costs.items():
        if not cost.is_bounded:
            raise MigrationFailed(
                migration=migration,
                reason=f"the database's own view `{name}` is too large once the views and queries in it are written "
                "out, and ALTER looks at all of them; drop it",
            )
