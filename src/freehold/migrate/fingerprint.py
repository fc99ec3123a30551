"""Queries about a database's schema, and which of its objects belong to it."""

import hashlib
from collections.abc import Sequence

import msgspec

from freehold.errors import Conflict
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.values import SqlValue, decode
from freehold.migrate.failures import circumstance
from freehold.migrate.target import Target
from freehold.sql.shadow import SUFFIXES

# The suffixes of the tables that a module keeps beside its virtual table; `rtree` also matches `rtree_i32`.
_ENDS_SQL = " UNION ALL ".join(
    f"SELECT '%{module}%' AS module, '_{end}' AS ending"
    for module in ("fts5", "fts4", "fts3", "rtree", "geopoly")
    for end in SUFFIXES[module]
)
# Read from the definitions, not from `pragma_table_list`: that expands every view first, and if views each name
# another one twice, as a user may have defined them, not even the engine's own interrupt stops it.
_SHADOWS_SQL = f"""SELECT lower(kept.name) || kinds.ending
  FROM sqlite_schema AS kept, ({_ENDS_SQL}) AS kinds
  WHERE kept.type = 'table' AND kept.sql LIKE 'create virtual table%' AND kept.sql LIKE kinds.module"""

# What migrations created, and nothing of Freehold's or the engine's own. Shadow tables follow from the virtual
# table they belong to, and may differ by engine.
OURS_SQL = f"""sql IS NOT NULL AND tbl_name <> 'freehold_ledger'
  AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'sqlite3_libsql_*'
  AND name NOT GLOB 'libsql_*' AND name NOT GLOB '_litestream_*' AND name NOT GLOB '__turso_internal_*'
  AND (type <> 'table' OR lower(name) NOT IN ({_SHADOWS_SQL}))"""


class SchemaUnreadable(Conflict):
    """The database's schema cannot be read."""

    code = "schema_unreadable"
    remedy = "Look at it with `freehold tenants sql`."


def fingerprint(values: Sequence[object]) -> str:
    """Hex SHA-256 that differs for any two different sequences of plain values."""
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()


async def ask(target: Target, *queries: str) -> list[list[list[SqlValue]]]:
    """The rows of each query, in one round trip. Raises `SchemaUnreadable` if one is refused, and `Unavailable`."""
    [answer] = await target.run([Batch(tuple(BatchStep(Stmt(sql=sql)) for sql in queries))])
    found = []
    for result, error in zip(answer.step_results, answer.step_errors, strict=True):
        if error is not None:
            raise circumstance(error) or SchemaUnreadable(f"the database cannot be read: {error.message}")
        found.append([[decode(value) for value in row] for row in result.rows] if result else [])
    return found
