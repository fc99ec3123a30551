"""What is long about rollouts' SQL: a whole fleet is written down by one statement."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from freehold.auth.dates import from_iso
from freehold.rollouts.types import Progress, Rollout, RolloutState, StepState

# Canaries first, then in the order of the databases' names, which are random. `ends` has, for each wave, how many
# tenants there are in all after it.
START_SQL = """
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
)
"""


# `held` are pairs of tenant and lease: one statement, and one round trip, for however many there are.
RENEW_SQL = """
UPDATE rollout_step SET due_at_ms = :lease_until_ms
WHERE rollout_id = :rollout_id AND (tenant_id, due_at_ms) IN
  (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:held))
RETURNING tenant_id
"""


def progress_of(rollout: Rollout, rows: Iterable[Sequence[Any]], now: datetime) -> Progress:
    """From rows of wave, state, how many, and their requests."""
    waves: list[dict[StepState, int]] = [{} for _ in range(rollout.waves)]
    counts: dict[StepState, int] = {"pending": 0, "migrated": 0, "skipped": 0, "failed": 0}
    requests = 0
    for wave, state, count, asked in rows:
        waves[wave - 1][state] = count
        counts[state] += count
        requests += asked or 0
    until = now if rollout.state is RolloutState.RUNNING else from_iso(rollout.updated_at)
    return Progress(
        rollout=rollout,
        counts=counts,
        waves=tuple(waves),
        requests=requests,
        seconds=round((until - from_iso(rollout.created_at)).total_seconds(), 1),
    )
