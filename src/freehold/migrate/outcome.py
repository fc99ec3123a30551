"""Reads what a database answered to a planned transaction."""

from freehold.errors import Forbidden, FreeholdError, Unavailable
from freehold.libsql.protocol import BatchResult, Error
from freehold.libsql.values import decode
from freehold.migrate.failures import FailedTogether, LedgerRefused, MigrationFailed, circumstance
from freehold.migrate.faults import shortened
from freehold.migrate.ledger import FRESH, is_missing, state_of
from freehold.migrate.plan import Planned
from freehold.migrate.types import LedgerState

_REFUSED = {"PROFILE_NEEDED", "SQLITE_AUTH"}


def is_committed(planned: Planned, answer: BatchResult) -> bool:
    """Whether its migrations are in the database now."""
    return answer.step_results[planned.commit] is not None


def failure(planned: Planned, answer: BatchResult) -> FreeholdError:
    """The error to raise for a transaction that was not committed."""
    # The first error is the cause: every later step waited for the one before it.
    failed = next((at for at, error in enumerate(answer.step_errors) if error is not None), None)
    error = answer.step_errors[failed] if failed is not None else None
    if failed is None or error is None:
        return Unavailable("the database neither ran the migration nor said why not; try again")
    if not_its_fault := circumstance(error) or _refused_whole(planned, failed, error):
        return not_its_fault
    migration = planned.migrations[0]
    if failed == planned.ledger:
        return LedgerRefused(
            migration=migration,
            reason=f"the ledger refused it ({error.message})",
            state=_state(planned, answer),
        )
    if len(planned.migrations) > 1:
        return FailedTogether(migration=migration, reason=shortened(error.message))
    if failed == planned.check:
        return MigrationFailed(migration=migration, reason=_orphans(planned, answer))
    return _failed_statement(planned, failed, error.message)


def _refused_whole(planned: Planned, failed: int, error: Error) -> Forbidden | None:
    """The error where the token is refused what every migration does, not a statement of these."""
    count = sum(len(one.pieces) for one in planned.migrations)
    if planned.ledger < failed <= planned.ledger + count or error.code not in _REFUSED:
        return None
    return Forbidden(f"this token may not migrate the database ({error.message}); ask for one that may")


def _failed_statement(planned: Planned, failed: int, message: str) -> MigrationFailed:
    [migration] = planned.migrations
    number = failed - planned.ledger - 1
    if not 0 <= number < len(migration.pieces):
        step = planned.batch.steps[failed].stmt.sql or ""
        return MigrationFailed(migration=migration, reason=f"{message} at {step.split(None, 1)[0]}")
    piece = migration.pieces[number]
    return MigrationFailed(
        migration=migration,
        statement=number + 1,
        line=piece.line,
        sql=shortened(piece.sql),
        reason=shortened(message),
    )


def _state(planned: Planned, answer: BatchResult) -> LedgerState | None:
    """Where the ledger that refused stands, or None when that must be asked for."""
    result, error = answer.step_results[planned.state], answer.step_errors[planned.state]
    if result is not None:
        return state_of(result)
    return FRESH if error is not None and is_missing(error) else None


def _orphans(planned: Planned, answer: BatchResult) -> str:
    result = answer.step_results[planned.orphans] if planned.orphans is not None else None
    rows = [[decode(value) for value in row] for row in result.rows] if result else []
    found = ", ".join(
        f"{count!s} in {child!s} without a parent in {parent!s}" for child, parent, count in rows
    )
    return f"rows would be left that reference a row that is not there ({found or 'see foreign_key_check'})"
