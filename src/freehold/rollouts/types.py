"""A rollout: migrating many tenants to one version, in waves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from freehold.tenants.types import Tenant


class RolloutState(StrEnum):
    """`running` and `paused` alternate; `done` and `aborted` are final."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    ABORTED = "aborted"


OPEN = (RolloutState.RUNNING, RolloutState.PAUSED)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout is run.

    `waves` are cumulative: the total of tenants after each wave, as a number or a percentage; the rest is the last
    wave. `canaries` are ids of tenants that come first. `failure_budget` is how many may fail, a number or a
    percentage; one more pauses the rollout. `health_sql` is run on some databases of each finished wave; unless the
    first value of its first row is true, the rollout pauses. `restore_points` keeps a copy of each database from before
    its change, for `keep_days`. `include_restored` includes tenants that were taken back from a rollout.
    """

    waves: tuple[str, ...] = ("1", "10%")
    canaries: tuple[str, ...] = ()
    failure_budget: str = "0"
    health_sql: str | None = None
    restore_points: bool = False
    keep_days: int = 7
    include_restored: bool = False


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """The central row. `wave` is the current one, from 1; `budget` is the failure budget in tenants."""

    rollout_id: str
    to_version: int
    provider: str
    state: RolloutState
    reason: str | None
    wave: int
    waves: int
    tenants: int
    budget: int
    options: Options
    created_at: str
    updated_at: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's part, claimed until `lease_until_ms`, which also distinguishes this claim from later ones.

    `recorded_version` is the version in the central database; only the tenant's ledger is authoritative.
    """

    tenant_id: str
    database_name: str
    recorded_version: int
    attempts: int
    lease_until_ms: int
    restore_point: str | None = None

    @property
    def key(self) -> str:
        """Identifies the step among other tenants' steps."""
        return self.tenant_id


# `drifted`: it could not be migrated because its user had changed its schema or ledger, or filled it. `restored`: it
# was taken back to before the rollout, and stays there until someone decides otherwise.
StepState = Literal["pending", "migrated", "skipped", "failed", "drifted", "restored"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one attempt. `pending` is retried at `due_at_ms`; `skipped` had nothing to do."""

    step: Step
    state: StepState
    version: int | None = None
    error: str | None = None
    cause: str | None = None
    requests: int = 0
    duration_ms: int = 0
    due_at_ms: int | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout's state after a record. `ended_wave` is its wave once that has ended."""

    state: RolloutState
    failed: int
    ended_wave: int | None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants that were not migrated for one cause: its code, the first error, and some tenants as examples.

    Two causes may have the same code; then their errors differ.
    """

    cause: str
    tenants: int
    error: str
    examples: tuple[str, ...]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Copies kept for a while: `restore_points`, and what restored tenants had before, `set_aside`.

    `until` is when the first of them is deleted, None without any.
    """

    restore_points: int = 0
    set_aside: int = 0
    until: str | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout's progress. `waves` has the number of tenants by state for each wave; `workers` is how many work."""

    rollout: Rollout
    counts: Mapping[StepState, int]
    waves: tuple[Mapping[StepState, int], ...]
    requests: int
    seconds: float
    failures: tuple[Failure, ...] = ()
    drifted: tuple[Failure, ...] = ()
    kept: Kept = Kept()
    workers: int = 0

    @property
    def waiting(self) -> int:
        """The number of tenants that `retry` made due although the rollout is done."""
        return self.counts["pending"] if self.rollout.state is RolloutState.DONE else 0

    @property
    def is_fine(self) -> bool:
        """Whether it is running or done and none failed. Not if it is done and all tenants drifted."""
        is_on = self.rollout.state in (RolloutState.RUNNING, RolloutState.DONE) and not self.waiting
        is_done = self.rollout.state is RolloutState.DONE
        has_proved_nothing = self.counts["drifted"] and not (self.counts["migrated"] or self.counts["skipped"])
        return is_on and not self.counts["failed"] and not (is_done and has_proved_nothing)

    @property
    def ended(self) -> int:
        return sum(count for state, count in self.counts.items() if state != "pending")


class RestorePoint(msgspec.Struct, frozen=True, kw_only=True):
    """The copy `name` of a tenant's database from before its change, kept until `until_ms`; None if it is gone.

    `state` is its step's. There may be no copy at all. `set_aside` lists what the tenant had each time it was taken
    back, oldest first, as long as it is kept.
    """

    rollout_id: str
    tenant: Tenant
    state: StepState
    name: str | None
    until_ms: int | None
    set_aside: tuple[str, ...] = ()


TakenBackAs = Literal["restored", "unchanged", "failed"]


class TakenBack(msgspec.Struct, frozen=True, kw_only=True):
    """The result of taking a tenant back. `reason` explains `unchanged` and `failed`.

    `version` is its database's. What it had before is kept as `kept_as` until `kept_until`.
    """

    tenant_id: str
    outcome: TakenBackAs
    database_name: str
    version: int
    kept_as: str | None = None
    kept_until: str | None = None
    reason: str | None = None
    code: str | None = None


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants of one provider by recorded version, and those that rollouts leave out, by state."""

    ready: Mapping[int, int]
    left_out: Mapping[str, int]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout would do.

    `behind` is tenants by version; `rebuilds` are versions that rewrite whole tables. `estimated_rows` is the total
    over all tenants for each table that migrations rewrite or scan, `estimated_bytes` the size of restore points; None
    if no database answered. `drifted` is how many the newest rollout found drifted.
    """

    to_version: int
    tenants: int
    behind: Mapping[int, int]
    left_out: Mapping[str, int]
    migrations: tuple[str, ...]
    statements: int
    rebuilds: tuple[str, ...]
    estimated_rows: Mapping[str, int] | None
    waves: tuple[int, ...]
    budget: int
    drifted: int = 0
    estimated_bytes: int | None = None
