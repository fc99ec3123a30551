"""SQL that an operator runs in a tenant's database: with the same guard and limits as its user's, and audited."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from freehold.audit.types import Event, Facts
from freehold.errors import Conflict, Forbidden, InvalidInput
from freehold.libsql.protocol import Batch, BatchResult, BatchStep, CondIsAutocommit, CondNot, CondOk, Stmt, StmtResult
from freehold.migrate.faults import BadMigration
from freehold.migrate.split import split
from freehold.profiles import Profile
from freehold.sql import guard, profiles
from freehold.sql.statements import Verb, verb
from freehold.tenants.drift import Checked
from freehold.tenants.lifecycle import Lifecycle
from freehold.tenants.types import Tenant

_MOST_STATEMENTS = 1_000
_RECORDED_CHARS = 1_500
# How `freehold tenants check` begins the script for one database.
_MADE_FOR = re.compile(r"^-- (t-[a-z0-9-]+), version \d+", re.MULTILINE)

RunAsClient = Callable[[str, Batch, Profile], Awaitable[BatchResult]]


class SqlRefused(Forbidden):
    """`tenants sql` does not run this: it writes without `--write`, is meant for another database, or no user may run
    it.
    """

    code = "sql_refused"
    remedy = "The message says which: change the command."
    where = "cli"


class SqlFailed(Conflict):
    """A statement of `tenants sql` failed; the message says which, and whether what came before it was undone."""

    code = "sql_failed"
    remedy = "Correct it, and run the rest."
    where = "cli"


class Ran(msgspec.Struct, frozen=True):
    """The result of each statement, and if they may write, the state of the schema afterwards."""

    results: Sequence[StmtResult]
    checked: Checked | None


@dataclass(frozen=True, slots=True)
class OperatorSql:
    """`run_as_client` runs a batch like one from a client whose token has that profile."""

    lifecycle: Lifecycle
    run_as_client: RunAsClient
    check: Callable[[Tenant], Awaitable[Checked]]
    record: Callable[[Event], Awaitable[None]]

    async def run(self, reference: str, script: str, *, writes: bool = False) -> Ran:
        """Run the statements in order and stop at the first error.

        They run in one transaction, except in scripts with their own transactions or settings. The audit event is
        recorded before they run.

        Raises:
            InvalidInput: no SQL, or too much.
            SqlRefused: it writes without `writes`, is made for another database, or no client may run it.
            SqlFailed: a statement failed.
            NotFound, WrongState, DatabaseDeleting, DatabaseDeleted, ProviderUnavailable: the database is not available.
        """
        statements = _statements(script)
        tenant = await self.lifecycle.usable(reference, "asked; resume it first")
        profile: Profile = "full" if writes else "read_only"
        _require_allowed(statements, profile)
        if others := sorted(set(_MADE_FOR.findall(script)) - {tenant.database_name}):
            raise SqlRefused(f"the script was made for {', '.join(others[:3])}, not for {tenant.database_name}")
        details: Facts = {
            "database": tenant.database_name,
            "writes": writes,
            "statements": len(statements),
            "sql": script[:_RECORDED_CHARS],
            "sha256": hashlib.sha256(script.encode()).hexdigest(),
        }
        await self.record(Event("tenant.sql_run", f"tenant:{tenant.tenant_id}", details))
        # A setting such as foreign keys off has an effect outside a transaction only.
        ours = writes and len(statements) > 1 and all(verb(each) is Verb.OTHER for each in statements)
        steps = ["BEGIN IMMEDIATE", *statements, "COMMIT"] if ours else statements
        done = await self.run_as_client(tenant.database_name, _batch(steps), profile)
        _require_done(done, steps, ours=ours)
        results = [each for each in done.step_results[: len(steps)] if each is not None]
        checked = await self.check(tenant) if writes else None
        return Ran(results[1:-1] if ours else results, checked)


def _statements(script: str) -> list[str]:
    try:
        found = [statement.sql for statement in split(script)]
    except BadMigration as error:
        raise InvalidInput("; ".join(map(str, error.faults))) from error
    if not found:
        raise InvalidInput("there is no statement in it")
    if len(found) > _MOST_STATEMENTS:
        raise InvalidInput(f"these are {len(found)} statements; {_MOST_STATEMENTS} run at once, so divide them")
    return found


def _require_allowed(statements: Sequence[str], profile: Profile) -> None:
    """Apply our rules even if a provider's engine is less strict. Raises `SqlRefused`."""
    for number, sql in enumerate(statements, start=1):
        if fault := guard.verdict(sql):
            raise SqlRefused(f"statement {number}: {fault}")
        need = profiles.need_of(sql)
        if need.profile is not None and not profiles.covers(profile, need):
            raise SqlRefused(f"statement {number}: {need.words or 'this'} changes the database; use --write")
        if refused := profiles.refusal(sql, profile):
            raise SqlRefused(f"statement {number}: {refused}")


def _batch(steps: Sequence[str]) -> Batch:
    """Run each step if the one before succeeded; roll back a transaction that is open at the end."""
    run = [BatchStep(Stmt(sql), CondOk(at - 1) if at else None) for at, sql in enumerate(steps)]
    return Batch((*run, BatchStep(Stmt("ROLLBACK"), CondNot(CondIsAutocommit()))))


def _require_done(done: BatchResult, steps: Sequence[str], *, ours: bool) -> None:
    for number, error in enumerate(done.step_errors[: len(steps)], start=0 if ours else 1):
        if error is not None:
            code = f" ({error.code})" if error.code else ""
            undone = "; nothing was changed" if ours else ""
            raise SqlFailed(f"statement {max(number, 1)} failed: {error.message}{code}{undone}")
    if done.step_results[len(steps)] is not None:
        raise SqlFailed("the script leaves its transaction open, so it was undone; end it with COMMIT")
