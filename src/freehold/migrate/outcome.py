"""Reads what a database answered to a planned migration."""

from freehold.errors import FreeholdError, Unavailable
from freehold.libsql.protocol import BatchResult
from freehold.libsql.values import decode
from freehold.migrate.failures import LedgerRefused, MigrationFailed, circumstance
from freehold.migrate.faults import shortened
from freehold.migrate.plan import Planned


def is_committed(planned: Planned, answer: BatchResult) -> bool:
    """Whether the migration is in the database now."""
    return answer.step_results[planned.commit] is not None


def failure(planned: Planned, answer: BatchResult) -> FreeholdError:
    """The error to raise for a migration that was not committed."""
    # The first error is the cause: every later step waited for the one before it.
    failed = next((at for at, error in enumerate(answer.step_errors) if error is not None), None)
    error = answer.step_errors[failed] if failed is not None else None
    if failed is None or error is None:
        return Unavailable("the database neither ran the migration nor said why not; try again")
    if circumstances := circumstance(error):
        return circumstances
    if failed == planned.ledger:
        return LedgerRefused(migration=planned.migration, reason=f"the ledger refused it ({error.message})")
    if failed == planned.check:
        return MigrationFailed(migration=planned.migration, reason=_orphans(planned, answer))
    number = failed - planned.first_statement
    if not 0 <= number < len(planned.migration.pieces):
        step = planned.batch.steps[failed].stmt.sql or ""
        return MigrationFailed(
            migration=planned.migration, reason=f"{error.message} at {step.split(None, 1)[0]}"
        )
    piece = planned.migration.pieces[number]
    return MigrationFailed(
        migration=planned.migration,
        statement=number + 1,
        line=piece.line,
        sql=shortened(piece.sql),
        reason=shortened(error.message),
    )


def _orphans(planned: Planned, answer: BatchResult) -> str:
    result = answer.step_results[planned.orphans] if planned.orphans is not None else None
    rows = [[decode(value) for value in row] for row in result.rows] if result else []
    found = ", ".join(f"{count!s} in {child!s} to {parent!s}" for child, parent, count in rows)
    return f"rows would be left that reference a row that is not there ({found or 'see foreign_key_check'})"
