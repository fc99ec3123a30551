"""One tenant's part of a rollout."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from freehold.backoff import Backoff
from freehold.errors import FreeholdError, Unavailable
from freehold.libsql.protocol import Batch, BatchResult
from freehold.log import get_logger
from freehold.migrate.apply import apply
from freehold.migrate.failures import DatabaseFull
from freehold.migrate.fingerprint import ask
from freehold.migrate.history import History
from freehold.migrate.target import Target
from freehold.rollouts.types import Ended, Step
from freehold.tenants.drift import OwnChange
from freehold.tenants.ports import Clock

log = get_logger()

_MOST_ATTEMPTS = 8
_ERROR_CHARS = 500
_BACKOFF = Backoff(base_s=0.5, cap_s=30.0)


@dataclass(slots=True)
class _Counting:
    """A target that counts its round trips."""

    target: Target
    requests: int = 0

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        self.requests += 1
        return await self.target.run(batches)


@dataclass(frozen=True, slots=True)
class MigrateOne:
    """Migrates a tenant to the version, safely even if others do the same. Never raises.

    `prepare` runs before the tenant's change. `own_change` returns what the user changed in the schema; it is called
    only if the migration failed.
    """

    open: Callable[[str], Awaitable[Target]]
    migrations: History
    to_version: int
    clock: Clock
    random: Callable[[], float]
    prepare: Callable[[Step], Awaitable[Step]]
    own_change: Callable[[Target], Awaitable[OwnChange | None]]

    async def run(self, step: Step) -> Ended:
        """Apply what is missing, in one round trip if the recorded version was right."""
        began_ms = self.clock.now_ms()
        counting: _Counting | None = None
        try:
            step = await self.prepare(step)
            counting = _Counting(await self.open(step.database_name))
            done = await apply(
                counting, self.migrations, to=self.to_version, recorded=step.recorded_version, distrusts=True
            )
            ended = Ended(step=step, state="migrated" if done.applied else "skipped", version=done.version)
        except Exception as error:  # no tenant's error may stop the others
            ended = self._failed(step, error)
            # A database that failed to answer once is retried before its user's own change is looked for.
            may_be_its_own = ended.state == "failed" or ended.step.attempts > 0 or ended.cause == DatabaseFull.code
            if counting is not None and may_be_its_own:
                ended = await self._told_apart(ended, counting)
        return msgspec.structs.replace(
            ended, requests=0 if counting is None else counting.requests, duration_ms=self.clock.now_ms() - began_ms
        )

    async def _told_apart(self, ended: Ended, target: Target) -> Ended:
        """Return `drifted` if its user changed the schema or filled the database, else `ended` as it is."""
        if ended.cause == DatabaseFull.code and (full := await fullness(target)) is not None:
            return _drifted(ended, full, "full")
        try:
            found = await self.own_change(target)
        except FreeholdError as error:
            log.info("rollout.drift_unknown", tenant_id=ended.step.tenant_id, code=error.code, reason=str(error))
            return ended
        except Exception:  # whatever someone put into a schema must not stop the others
            log.exception("rollout.drift_unknown", tenant_id=ended.step.tenant_id)
            return ended
        if found is None:
            return ended
        return _drifted(ended, f"its own schema is not that of its version: {found.summary}", found.verdict)

    def _failed(self, step: Step, error: Exception) -> Ended:
        failures = step.attempts + 1
        if not isinstance(error, FreeholdError):
            log.error("rollout.tenant_failed", tenant_id=step.tenant_id, exc_info=error)
        cause = error.code if isinstance(error, FreeholdError) else "internal"
        text = str(error)[:_ERROR_CHARS] if isinstance(error, FreeholdError) else type(error).__name__
        if isinstance(error, Unavailable) and failures < _MOST_ATTEMPTS:
            due_at_ms = self.clock.now_ms() + int(_BACKOFF.delay_s(failures, self.random) * 1000)
            return Ended(step=step, state="pending", error=text, cause=cause, due_at_ms=due_at_ms)
        return Ended(step=step, state="failed", error=text, cause=cause)


def _drifted(ended: Ended, why: str, cause: str) -> Ended:
    return Ended(step=ended.step, state="drifted", error=f"{why}; {ended.error}"[:_ERROR_CHARS], cause=cause)


# A migration may need as much space again as there is data. No user may stop a release by using it up.
_FULL = 0.5


async def fullness(target: Target) -> str | None:
    """Return how full the database is, in words, if it is at least half full; None if less, or unknown."""
    try:
        [[[pages]], [[unused]], [[most]]] = await ask(
            target, "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA max_page_count"
        )
        share = (int(str(pages)) - int(str(unused))) / int(str(most))
    except (FreeholdError, ValueError, ZeroDivisionError):
        return None
    return f"{share:.0%} of the room for it is taken" if share >= _FULL else None
