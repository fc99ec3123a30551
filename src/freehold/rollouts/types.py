"""A rollout: bringing many tenants to one version, in waves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec


class RolloutState(StrEnum):
    """`running` and `paused` turn into each other; `done` and `aborted` are the end."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    ABORTED = "aborted"


OPEN = (RolloutState.RUNNING, RolloutState.PAUSED)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout is run.

    `waves` are cumulative: tenants in all after each wave, as a number or a percentage; the rest is the last wave.
    `canaries` are tenants by id that come first. `failure_budget` is how many may fail, a number or a percentage;
    with one more the rollout pauses. `health_sql` is run on some of each finished wave, and pauses it unless the
    first value of its first row is true.
    """

    waves: tuple[str, ...] = ("1", "10%")
    canaries: tuple[str, ...] = ()
    failure_budget: str = "0"
    health_sql: str | None = None
    restore_points: bool = False


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """The central row. `wave` is the one at work, from 1; `budget` is the failure budget in tenants."""

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
    """One tenant's part, claimed until `lease_until_ms`, which also tells this claim from a later one.

    `recorded_version` is where the central database believes it is; its ledger knows.
    """

    tenant_id: str
    database_name: str
    recorded_version: int
    attempts: int
    lease_until_ms: int
    restore_point: str | None = None


# `drifted`: it could not be migrated, and its user had changed its schema or ledger, or filled it: no fault of the
# migration's.
StepState = Literal["pending", "migrated", "skipped", "failed", "drifted"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one try. `pending` with `due_at_ms` is tried again then; `skipped` had nothing to do."""

    step: Step
    state: StepState
    version: int | None = None
    error: str | None = None
    cause: str | None = None
    requests: int = 0
    duration_ms: int = 0
    due_at_ms: int | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the rollout stands after something was recorded. `ended_wave` is its wave once that has ended."""

    state: RolloutState
    failed: int
    ended_wave: int | None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants that were not migrated for one cause, with one of the errors and some of the tenants."""

    cause: str
    tenants: int
    error: str
    examples: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rollout is. `waves` has, for each wave in order, how many are in each state."""

    rollout: Rollout
    counts: Mapping[StepState, int]
    waves: tuple[Mapping[StepState, int], ...]
    requests: int
    seconds: float
    failures: tuple[Failure, ...] = ()
    drifted: tuple[Failure, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Whether it is under way or done and none failed; unless it is done and all there were are drifted."""
        is_on = self.rollout.state in (RolloutState.RUNNING, RolloutState.DONE)
        is_done = self.rollout.state is RolloutState.DONE
        has_proved_nothing = self.counts["drifted"] and not (
            self.counts["migrated"] or self.counts["skipped"]
        )
        return is_on and not self.counts["failed"] and not (is_done and has_proved_nothing)

    @property
    def ended(self) -> int:
        return sum(count for state, count in self.counts.items() if state != "pending")


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """Tenants of one provider by recorded version, and those that no rollout touches by their state."""

    ready: Mapping[int, int]
    left_out: Mapping[str, int]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout would do.

    `behind` is tenants by version; `rebuilds` are versions that rewrite whole tables. `estimated_rows` are those in
    all tenants of each table that migrations rewrite or go through; None if no database answered. `drifted` of them
    were found so by the newest rollout.
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
