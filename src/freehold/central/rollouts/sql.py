"""Rollouts' longer SQL statements, and those that workers run many times a second, which are compiled once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, and_, bindparam, text, true

from freehold.central.leases import Leases
from freehold.central.tables import rollout_step, tenant
from freehold.dates import from_iso
from freehold.rollouts.types import Ended, Progress, Rollout, RolloutState, StepState
from freehold.tenants.types import TenantState

# Tenants that were restored to before a rollout and are still below its version: other rollouts skip them unless told
# otherwise, since they would apply the same change. The joins are in this order because few steps are `restored`.
_HELD = """SELECT held_step.tenant_id FROM rollout AS held_by
  CROSS JOIN rollout_step AS held_step ON held_step.rollout_id = held_by.id AND held_step.state = 'restored'
  JOIN tenant AS held ON held.id = held_step.tenant_id
  WHERE held_by.to_version > held.schema_version"""
HELD_TENANTS, _FREE_TENANTS = text(f"tenant.id IN ({_HELD})"), text(f"tenant.id NOT IN ({_HELD})")

# Canaries first, then in the order of the databases' names, which are random. For each wave, `ends` has the total
# number of tenants up to its end.
START = text(f"""
INSERT INTO rollout_step
  (rollout_id, tenant_id, wave, state, from_version, attempts, requests, duration_ms, due_at_ms)
SELECT :rollout_id, id, 1 + (SELECT count(*) FROM json_each(:ends) WHERE value < place),
  'pending', schema_version, 0, 0, 0, :now_ms
FROM (
  SELECT id, schema_version, row_number() OVER (
    ORDER BY id IN (SELECT value FROM json_each(:canaries)) DESC, database_name
  ) AS place
  FROM tenant
  WHERE provider = :provider AND state = 'ready' AND schema_version < :to_version
    AND (:include_restored OR id NOT IN ({_HELD}))
)
""")

# Steps that were to be retried after the end of their rollout, and whose tenants a newer one includes. The stored cause
# tells which state they had.
TAKE_OVER = text("""
UPDATE rollout_step SET
  due_at_ms = NULL,
  state = CASE WHEN cause IS NULL THEN 'restored' WHEN cause IN (SELECT value FROM json_each(:drifts)) THEN 'drifted'
    ELSE 'failed' END
WHERE state = 'pending' AND due_at_ms IS NOT NULL
  AND rollout_id IN (
    SELECT id FROM rollout WHERE state = 'done' AND provider = :provider AND to_version <= :to_version
  )
  AND tenant_id IN (SELECT tenant_id FROM rollout_step WHERE rollout_id = :rollout_id)
""")

# In the order of the index, so that the cost of each page depends only on its rows.
NOT_MIGRATED = text("""
SELECT wave, rowid, tenant_id, cause, error FROM rollout_step
WHERE rollout_id = :rollout_id AND state = :state AND (wave, rowid) > (:wave, :after)
ORDER BY wave, rowid
LIMIT :page
""")

# The names in a step's `set_aside`, as rows: one for each time that the tenant was restored.
SET_ASIDE = """json_each('["' || replace(rollout_step.set_aside, ' ', '","') || '"]')"""

KEPT = text(f"""
WITH kept AS (
  SELECT copy.due_at_ms, 1 AS is_point FROM rollout_step
  JOIN unowned_database AS copy ON copy.name = rollout_step.restore_point AND copy.state = 'making'
  WHERE rollout_step.rollout_id = :rollout_id
  UNION ALL
  SELECT aside.due_at_ms, 0 FROM rollout_step
  CROSS JOIN {SET_ASIDE} AS each
  JOIN unowned_database AS aside ON aside.name = each.value AND aside.state = 'making'
  WHERE rollout_step.rollout_id = :rollout_id AND rollout_step.set_aside IS NOT NULL
)
SELECT ifnull(sum(is_point), 0), ifnull(sum(1 - is_point), 0), min(due_at_ms) FROM kept
""")

# The names in a step's `set_aside` that still exist, in order, joined by spaces.
STILL_ASIDE = f"""(
  SELECT group_concat(aside.name, ' ') FROM {SET_ASIDE} AS each
  JOIN unowned_database AS aside ON aside.name = each.value AND aside.state = 'making'
  WHERE rollout_step.set_aside IS NOT NULL
)"""

# All copies of a rollout.
COPIES = text(f"""unowned_database.state = 'making' AND (
  unowned_database.name IN (SELECT restore_point FROM rollout_step WHERE rollout_id = :copies_of)
  OR unowned_database.name IN (
    SELECT each.value FROM rollout_step CROSS JOIN {SET_ASIDE} AS each
    WHERE rollout_step.rollout_id = :copies_of AND rollout_step.set_aside IS NOT NULL
  )
)""")

# Other rollouts that included the tenant when it was restored now skip it. A worker that has claimed it cannot record
# its result, since its lease is gone.
LET_BE = text("""
UPDATE rollout_step SET state = 'restored', version = :version, error = NULL, cause = NULL, due_at_ms = NULL
WHERE tenant_id = :tenant_id AND rollout_id != :rollout_id AND state = 'pending' AND due_at_ms IS NOT NULL
  AND rollout_id IN (SELECT id FROM rollout WHERE state IN ('running', 'paused', 'done'))
""")

# The steps of one rollout; workers run these many times a second.
LEASES = Leases(
    rollout_step, rollout_step.c.tenant_id, rollout_step.c.rollout_id == bindparam("of_rollout", type_=Text)
)
_OF_WAVE = rollout_step.c.wave == bindparam("of_wave", type_=Integer)

# With each tenant's current database and version; nothing unless the rollout is running.
CLAIM = LEASES.claim(
    and_(_OF_WAVE, text("EXISTS (SELECT 1 FROM rollout WHERE id = :of_rollout AND state = 'running')")),
    due_by_ms=bindparam("now_ms"),
    lease_until_ms=bindparam("lease_until_ms"),
    limit=bindparam("limit"),
).returning(
    rollout_step.c.tenant_id,
    rollout_step.c.attempts,
    rollout_step.c.restore_point,
    text("(SELECT database_name FROM tenant WHERE id = rollout_step.tenant_id)"),
    text("(SELECT schema_version FROM tenant WHERE id = rollout_step.tenant_id)"),
)
NEXT_DUE = LEASES.next_due(_OF_WAVE)

# Only under the lease of the claim.
RECORD = text("""
UPDATE rollout_step SET
  state = :state, version = :version, error = :error, cause = :cause, attempts = attempts + :failures,
  requests = requests + :requests, duration_ms = :duration_ms, due_at_ms = :due_at_ms
WHERE rollout_id = :rollout_id AND tenant_id = :tenant_id AND due_at_ms = :lease_until_ms
""")

# The tenant may have another database in the meantime.
MOVE = text("""
UPDATE tenant SET schema_version = :version, updated_at = :now
WHERE id = :tenant_id AND database_name = :database_name AND schema_version < :version
""")

STANDING = text("""
SELECT state, wave,
  (SELECT count(*) FROM rollout_step WHERE rollout_id = :rollout_id AND state = 'failed'),
  EXISTS (
    SELECT 1 FROM rollout_step AS step
    WHERE step.rollout_id = :rollout_id AND step.wave = rollout.wave AND step.due_at_ms IS NOT NULL
  )
FROM rollout WHERE id = :rollout_id
""")

# Not while a step of the wave is being worked on or will be retried. This also prevents a second extension, since the
# first adds due steps.
EXTEND = text("""
UPDATE rollout_step SET wave = :wave
WHERE rollout_id = :rollout_id AND tenant_id IN (
  SELECT tenant_id FROM rollout_step
  WHERE rollout_id = :rollout_id AND wave > :wave AND state = 'pending'
  ORDER BY wave, tenant_id
  LIMIT :tenants
)
AND EXISTS (SELECT 1 FROM rollout WHERE id = :rollout_id AND state = 'running' AND wave = :wave)
AND NOT EXISTS (
  SELECT 1 FROM rollout_step AS step
  WHERE step.rollout_id = :rollout_id AND step.wave = :wave AND step.due_at_ms IS NOT NULL
)
""")

DRIFTED = text("""
SELECT count(*) FROM rollout_step AS step JOIN tenant ON tenant.id = step.tenant_id
WHERE step.rollout_id = (SELECT id FROM rollout ORDER BY created_at DESC, id LIMIT 1) AND step.state = 'drifted'
  AND tenant.provider = :provider AND tenant.state = 'ready' AND tenant.schema_version < :to_version
""")


def is_behind(provider: str, to_version: int, *, include_restored: bool = False) -> ColumnElement[bool]:
    """Whether a rollout to this version would include a tenant."""
    return and_(
        tenant.c.provider == provider,
        tenant.c.state == TenantState.READY.value,
        tenant.c.schema_version < to_version,
        true() if include_restored else _FREE_TENANTS,
    )


def progress_of(rollout: Rollout, rows: Iterable[Sequence[Any]], now: datetime) -> Progress:
    """The progress from rows of wave, state, number of steps, and number of requests."""
    waves: list[dict[StepState, int]] = [{} for _ in range(rollout.waves)]
    counts: dict[StepState, int] = {"pending": 0, "migrated": 0, "skipped": 0, "failed": 0, "drifted": 0}
    requests = 0
    for wave, state, count, asked in rows:
        waves[wave - 1][state] = count
        counts[state] = counts.get(state, 0) + count
        requests += asked or 0
    until = now if rollout.state is RolloutState.RUNNING else from_iso(rollout.updated_at)
    return Progress(
        rollout=rollout,
        counts=counts,
        waves=tuple(waves),
        requests=requests,
        seconds=round((until - from_iso(rollout.created_at)).total_seconds(), 1),
    )


def step_values(rollout_id: str, ended: Ended) -> dict[str, Any]:
    """The parameters of `RECORD`."""
    return {
        "rollout_id": rollout_id,
        "tenant_id": ended.step.tenant_id,
        "lease_until_ms": ended.step.lease_until_ms,
        "state": ended.state,
        "version": ended.version,
        "error": ended.error,
        "cause": ended.cause,
        "failures": 0 if ended.error is None else 1,
        "requests": ended.requests,
        "duration_ms": ended.duration_ms,
        "due_at_ms": ended.due_at_ms,
    }


def tenant_values(ended: Ended, now: str) -> dict[str, Any]:
    """The parameters of `MOVE`."""
    step = ended.step
    return {"tenant_id": step.tenant_id, "database_name": step.database_name, "version": ended.version, "now": now}
