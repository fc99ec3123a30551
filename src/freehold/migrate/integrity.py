"""Whether a database is whole: what its engine's own checks find, where they can be believed."""

import re
from collections.abc import Sequence

from freehold.migrate.fingerprint import ask
from freehold.migrate.full_text import Fit, fault_of, unfit_indexes
from freehold.migrate.names import quoted
from freehold.migrate.schema import Schema, orphan_queries
from freehold.migrate.target import Target

# Newer engines look at full-text indexes there too, and find fault with one that the app fills when it likes.
OF_INDEX = re.compile(r"(malformed|unable to validate the) inverted index for FTS\d table ", re.IGNORECASE)


async def unsoundness(target: Target, schema: Schema, before: Fit = Fit()) -> list[str]:  # noqa: B008 - frozen
    """What is wrong with the database, in sentences; empty when nothing is. It reads everything.

    `before` is how full-text indexes fitted what they index at an earlier time.

    Raises:
        SchemaUnreadable: the database refuses the question.
        Unavailable: no answer, or busy.
    """
    # Orphans both ways: Turso's engine answers nothing to the second PRAGMA, whatever is in the database.
    integrity, orphans, *counts = await ask(
        target, "PRAGMA integrity_check", "PRAGMA foreign_key_check", *orphan_queries(schema)
    )
    found = []
    complaints = [str(row[0]) for row in integrity if row != ["ok"] and not OF_INDEX.match(str(row[0]))]
    if complaints and (real := await _without_false_nulls(target, schema, complaints)):
        found.append(f"integrity_check says: {'; '.join(real[:3])}")
    missing = len(orphans) or sum(int(str(rows[0][0])) for rows in counts)
    if missing:
        found.append(f"foreign_key_check finds {missing} row(s) without their parent")
    return [*found, *map(fault_of, await unfit_indexes(target, schema, before))]


async def _without_false_nulls(target: Target, schema: Schema, complaints: Sequence[str]) -> list[str]:
    """Those that are true: SQLite 3.45, in libSQL and sqld, finds NULL in a REAL column added with a default."""
    queries = {
        f"null value in {table.name}.{column.name}".lower(): (
            f"SELECT 1 FROM {quoted(table.name)} WHERE {quoted(column.name)} IS NULL LIMIT 1"
        )
        for table in schema.tables.values()
        for column in table.columns
    }
    found = []
    for complaint in dict.fromkeys(complaints):
        query = queries.get(complaint.lower())
        if query is None or any(await ask(target, query)):
            found.append(complaint)
    return found
