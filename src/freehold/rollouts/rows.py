"""Rows in tenants' databases: counted in one, estimated for all."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.values import decode
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import quoted
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.sql.tokens import Kind, tokens

SAMPLE = 5
_PATIENCE_S = 10.0
_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND name NOT LIKE '\\_litestream%' ESCAPE '\\' AND name <> 'freehold_ledger' ORDER BY name"
)


async def row_counts(target: Target, among: frozenset[str] | None = None) -> dict[str, int]:
    """Return the rows of each table, or only of those whose lower-case names are in `among`."""
    [tables] = await ask(target, _TABLES)
    names = [str(row[0]) for row in tables if among is None or str(row[0]).lower() in among]
    if not names:
        return {}
    steps = tuple(BatchStep(Stmt(sql=f"SELECT count(*) FROM {quoted(name)}")) for name in names)
    (answer,) = await target.run([Batch(steps)])
    counts = [decode(result.rows[0][0]) if result is not None else None for result in answer.step_results]
    # A virtual table module may be unable to count.
    return {name: count for name, count in zip(names, counts, strict=True) if isinstance(count, int)}


async def estimated_rows(
    open_target: Callable[[str], Awaitable[Target]], sample: Sequence[str], tenants: int, pending: Sequence[Migration]
) -> dict[str, int] | None:
    """Estimate the rows, in all these tenants, of tables named by migrations whose duration depends on the rows.

    Based on the sample's databases, which are only read; None if none of them answers.
    """
    # Everything that may be a table's name.
    kinds = {Kind.WORD, Kind.QUOTED}
    found_in = (tokens(each.sql) for each in pending if not each.is_brief)
    names = frozenset(token.text.lower() for found in found_in for token in found if token.kind in kinds)
    if not names or not tenants:
        return {}

    async def count(database_name: str) -> dict[str, int] | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await row_counts(await open_target(database_name), names)
        except (FreeholdError, TimeoutError):
            return None

    found = [one for one in await asyncio.gather(*map(count, sample)) if one is not None]
    if not found:
        return None
    summed: Counter[str] = Counter()
    for one in found:
        summed.update(one)
    return {table: round(rows * tenants / len(found)) for table, rows in sorted(summed.items())}


async def estimated_bytes(
    open_target: Callable[[str], Awaitable[Target]], sample: Sequence[str], tenants: int
) -> int | None:
    """Estimate the total size of these tenants' databases from the sample; None if none of those answers."""

    async def size(database_name: str) -> int | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                target = await open_target(database_name)
                [[[pages]], [[page_bytes]]] = await ask(target, "PRAGMA page_count", "PRAGMA page_size")
                return int(str(pages)) * int(str(page_bytes))
        except (FreeholdError, TimeoutError, ValueError):
            return None

    if not tenants:
        return 0
    found = [one for one in await asyncio.gather(*map(size, sample)) if one is not None]
    return round(sum(found) * tenants / len(found)) if found else None
