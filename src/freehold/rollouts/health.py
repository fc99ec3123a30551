"""Whether migrated databases still answer as an operator expects."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.values import decode
from freehold.migrate.target import Target
from freehold.rollouts.errors import BadRollout
from freehold.tenants.drift import OwnChange


class Health(Struct, frozen=True):
    """`reason` is why the wave is unhealthy. `set_aside` databases do not count: their users changed the schema."""

    reason: str | None = None
    well: int = 0
    set_aside: int = 0


async def health_of(
    open_database: Callable[[str], Awaitable[Target]],
    names: Sequence[str],
    sql: str,
    own_change: Callable[[Target], Awaitable[OwnChange | None]],
) -> Health:
    """Check the wave: the query's first value must be true in each database that its user has not changed."""
    well = set_aside = 0
    for name in names:
        reason = await _unwell(open_database, name, sql)
        if reason is None:
            well += 1
        elif await _is_changed(open_database, name, own_change):
            set_aside += 1
        else:
            return Health(reason, well, set_aside)
    return Health(None, well, set_aside)


async def try_health(target: Target, sql: str) -> bool:
    """Return whether the query is true in this unchanged database. Raises `BadRollout` if it fails or is empty."""
    (answer,) = await target.run([Batch(_look(sql))])
    if error := answer.step_errors[1]:
        raise BadRollout(f"the health query fails on an empty database of that version: {error.message}")
    result = answer.step_results[1]
    if result is None or not result.cols:
        raise BadRollout("the health query returns no value; write one like SELECT count(*) > 0 FROM settings")
    return bool(result.rows and decode(result.rows[0][0]))


def _look(sql: str) -> tuple[BatchStep, ...]:
    """Return steps that run the query and roll back whatever it does."""
    return (BatchStep(Stmt(sql="BEGIN")), BatchStep(Stmt(sql=sql)), BatchStep(Stmt(sql="ROLLBACK")))


async def _unwell(open_database: Callable[[str], Awaitable[Target]], name: str, sql: str) -> str | None:
    try:
        (answer,) = await (await open_database(name)).run([Batch(_look(sql))])
    except FreeholdError as error:
        return f"the health query could not be run on {name}: {error}"
    if error_ := answer.step_errors[1]:
        return f"the health query failed on {name}: {error_.message}"
    result = answer.step_results[1]
    if result is None or not result.rows or not result.rows[0] or not decode(result.rows[0][0]):
        return f"the health query is not true on {name}"
    return None


async def _is_changed(
    open_database: Callable[[str], Awaitable[Target]],
    name: str,
    own_change: Callable[[Target], Awaitable[OwnChange | None]],
) -> bool:
    try:
        return await own_change(await open_database(name)) is not None
    except FreeholdError:
        return False
