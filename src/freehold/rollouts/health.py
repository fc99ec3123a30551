"""Whether migrated databases still answer as an operator expects."""

from collections.abc import Awaitable, Callable, Sequence

from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.libsql.values import decode
from freehold.migrate.target import Target


async def unhealthy(
    open_database: Callable[[str], Awaitable[Target]], names: Sequence[str], sql: str
) -> str | None:
    """Why the wave is not well, or None. The first value of the first row must be true in each database."""
    for name in names:
        try:
            target = await open_database(name)
            # A look, whatever it says: nothing of it is kept.
            steps = (BatchStep(Stmt(sql="BEGIN")), BatchStep(Stmt(sql=sql)), BatchStep(Stmt(sql="ROLLBACK")))
            (answer,) = await target.run([Batch(steps)])
        except FreeholdError as error:
            return f"the health query could not be run on {name}: {error}"
        if error_ := answer.step_errors[1]:
            return f"the health query failed on {name}: {error_.message}"
        result = answer.step_results[1]
        if result is None or not result.rows or not result.rows[0] or not decode(result.rows[0][0]):
            return f"the health query is not true on {name}"
    return None
