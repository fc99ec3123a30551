"""Views of a database's owner that no engine may be asked to work out, as it does for each of them at ALTER TABLE."""

from collections.abc import Sequence

from freehold.libsql.facts import FACTS_SQL
from freehold.libsql.guard import read_facts
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.fingerprint import SchemaUnreadable, ask
from freehold.migrate.target import Target
from freehold.migrate.types import Migration


async def require_bounded_views(target: Target, migrations: Sequence[Migration]) -> None:
    """Return unless the database has views that grow in each other beyond bounds, and a migration looks at them.

    One round trip if some migration has the word ALTER.

    Raises:
        MigrationFailed: it has, for the first such migration; nothing was sent.
        Unavailable: no answer, or busy.
    """
    migration = next((each for each in migrations if "alter" in each.sql.lower()), None)
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
