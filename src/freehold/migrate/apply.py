"""Brings one database to a version, exactly once, even if several appliers try at the same time."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from freehold.backoff import Backoff
from freehold.errors import Forbidden, FreeholdError, InvalidInput, Unavailable
from freehold.libsql.protocol import BatchResult, Error
from freehold.libsql.values import decode
from freehold.migrate.failures import (
    DatabaseBusy,
    FailedTogether,
    HistoryDiverged,
    LedgerRefused,
    MigrationFailed,
    circumstance,
)
from freehold.migrate.faults import shortened
from freehold.migrate.history import History
from freehold.migrate.ledger import FRESH, is_missing, ledger_rows, read_ledger, state_of
from freehold.migrate.plan import Planned
from freehold.migrate.target import Target
from freehold.migrate.types import LedgerState, Migration
from freehold.migrate.views import require_bounded_views


class Applied(Struct, frozen=True):
    """The version that the database is at now, and the versions that this call applied."""

    version: int
    applied: tuple[int, ...]


class Retries(Struct, frozen=True):
    """How often and at what intervals to retry while another writer holds the lock."""

    attempts: int = 6
    backoff: Backoff = Backoff(base_s=0.05, cap_s=2.0, steady=0.5)


class _HasViewsError(Exception):
    """The database has views or triggers, so no transaction has begun."""


async def apply(  # noqa: PLR0912 - one branch for each obstacle
    target: Target,
    migrations: Sequence[Migration] | History,
    *,
    to: int | None = None,
    recorded: int | None = None,
    retries: Retries = Retries(),  # noqa: B008 - frozen
    distrusts: bool = False,
) -> Applied:
    """Bring the database to version `to`, the newest by default; a database at a later version is left alone.

    `migrations` are all migrations from version 1, as a `History` if many databases get them. `recorded` is the
    version that the caller believes the database is at: the ledger is then not read first, and a wrong value costs
    one round trip and nothing else. `distrusts` says that someone else may have created views in it that no engine
    may be made to expand.

    Safe to repeat after any error: a migration is applied together with its ledger row, or not at all. Those before
    a failed one stay applied. Several short ones may share a transaction; if it fails, they are sent one by one.

    Raises:
        BadMigration: a pending migration is not sound, or a version is missing; nothing was sent.
        MigrationFailed: the database refused a migration; it is at the version before.
        HistoryDiverged: its ledger holds another history; nothing was sent, or nothing was changed.
        Unavailable: no answer, or it stayed busy; some migrations may have been applied.
    """
    history = migrations if isinstance(migrations, History) else History(migrations)
    newest = len(history.migrations)
    wanted = newest if to is None else to
    if not 0 <= wanted <= newest:
        raise InvalidInput(f"there is no version {to}; versions go up to {newest}")
    if recorded is not None and recorded < 0:
        raise InvalidInput("the recorded version is 0 or more")
    at, last_read = recorded, -1
    refusal: LedgerRefused | None = None
    applied: list[int] = []
    tries = 0
    together = True
    while True:
        try:
            if at is None:
                state = refusal.state if refusal else None
                at = await _version(target, state or await read_ledger(target), history)
                if refusal and at <= last_read:
                    raise refusal  # nobody else advanced the ledger, so another try would fail in the same way
                last_read, refusal = at, None
            if at >= wanted:
                return Applied(at, tuple(applied))
            for planned in history.round_trips(at, wanted, together=together, looks=distrusts):
                await _send(target, planned, applied)
            at = wanted
        except LedgerRefused as error:
            if error is refusal:
                raise
            at, refusal = None, error
        except _HasViewsError:
            at = applied[-1] if applied else at
            assert at is not None
            await require_bounded_views(target, history.migrations[at:wanted])
            distrusts = False
        except FailedTogether:
            at, together = applied[-1] if applied else at, False
        except DatabaseBusy:
            together = False
            tries += 1
            if tries >= retries.attempts:
                raise
            at = None
            await asyncio.sleep(retries.backoff.delay_s(tries))


async def _send(target: Target, planned: Sequence[Planned], applied: list[int]) -> None:
    """Send the batches and add the committed versions to `applied`; raise for the first that was not committed."""
    answers = await target.run([one.batch for one in planned])
    if [len(answer.step_errors) for answer in answers] != [len(one.batch.steps) for one in planned]:
        raise Unavailable("the database's answer does not fit what was sent; try again")
    outcomes = [(one, answer, is_committed(one, answer)) for one, answer in zip(planned, answers, strict=True)]
    applied += [migration.version for one, _, committed in outcomes if committed for migration in one.migrations]
    for one, answer, committed in outcomes:
        if one.look is not None and answer.step_errors[one.look] is not None:
            raise _HasViewsError
        if not committed:
            raise failure(one, answer)


async def _version(target: Target, state: LedgerState, history: History) -> int:
    """The version that the ledger is at. Raises `HistoryDiverged` unless it got there through these migrations."""
    links = history.links
    if state.version == 0 or (state.version <= len(links) and state.chain == links[state.version - 1]):
        return state.version
    rows = await ledger_rows(target)
    for row, migration, link in zip(rows, history.migrations, links, strict=False):
        if row.version != migration.version or row.chain != link:
            raise HistoryDiverged(
                version=migration.version,
                recorded=f"{row.version} `{row.name}` ({row.checksum[:12]})",
                given=f"`{migration.name}` ({migration.checksum[:12]})",
            )
    return state.version


# How a database's answer to a planned transaction is read.

_REFUSED = {"PROFILE_NEEDED", "SQLITE_AUTH"}


def is_committed(planned: Planned, answer: BatchResult) -> bool:
    """Whether the transaction's migrations are now in the database."""
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
            migration=migration, reason=f"the ledger refused it ({error.message})", state=_state(planned, answer)
        )
    if len(planned.migrations) > 1:
        return FailedTogether(migration=migration, reason=shortened(error.message))
    if failed == planned.check:
        return MigrationFailed(migration=migration, reason=_orphans(planned, answer))
    return _failed_statement(planned, failed, error.message)


def _refused_whole(planned: Planned, failed: int, error: Error) -> Forbidden | None:
    """The error if the token is refused a step that every migration has, not one of the migrations' statements."""
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
        migration=migration, statement=number + 1, line=piece.line, sql=shortened(piece.sql), reason=shortened(message)
    )


def _state(planned: Planned, answer: BatchResult) -> LedgerState | None:
    """The state of the ledger that refused, or None if it has to be read."""
    result, error = answer.step_results[planned.state], answer.step_errors[planned.state]
    if result is not None:
        return state_of(result)
    return FRESH if error is not None and is_missing(error) else None


def _orphans(planned: Planned, answer: BatchResult) -> str:
    result = answer.step_results[planned.orphans] if planned.orphans is not None else None
    rows = [[decode(value) for value in row] for row in result.rows] if result else []
    found = ", ".join(f"{count!s} in {child!s} without a parent in {parent!s}" for child, parent, count in rows)
    return f"rows would be left that reference a row that is not there ({found or 'see foreign_key_check'})"
