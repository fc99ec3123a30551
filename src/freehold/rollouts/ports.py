"""What rollouts need of the outside."""

from collections.abc import Sequence
from typing import Protocol

from freehold.rollouts.types import (
    Census,
    Ended,
    Failure,
    Kept,
    Options,
    Progress,
    RestorePoint,
    Rollout,
    RolloutState,
    Standing,
    Step,
    StepState,
)


class RolloutStore(Protocol):
    """Rollouts in the central database. Each method is one short transaction; what changes one is in the audit trail.

    All raise `CentralUnavailable` when the database does not answer.
    """

    async def census(self, provider: str, *, include_restored: bool = False) -> Census:
        """Where the provider's tenants are. Those taken back from a rollout are left out, unless they are wanted."""
        ...

    async def behind(self, provider: str, to_version: int, limit: int) -> Sequence[tuple[str, str]]:
        """Id and database of some ready tenants below the version, none of them taken back from a rollout."""
        ...

    async def drifted(self, provider: str, to_version: int) -> int:
        """How many of the ready tenants below the version the newest rollout found drifted."""
        ...

    async def start(self, provider: str, to_version: int, options: Options) -> Rollout:
        """A new, running rollout over all ready tenants below the version.

        It takes along those that were to be tried again in rollouts that are over. Raises `RolloutOpen`,
        `BadRollout`, and `NobodyBehind` if there is no such tenant: then nothing is made.
        """
        ...

    async def find(self, rollout_id: str | None = None) -> Rollout:
        """This one, or the newest. Raises `NotFound`."""
        ...

    async def newest(self, limit: int) -> Sequence[Rollout]:
        """The newest first."""
        ...

    async def move(
        self, rollout_id: str, sources: Sequence[RolloutState], target: RolloutState, reason: str | None
    ) -> bool:
        """Change its state. False if it is in none of `sources`."""
        ...

    async def advance(self, rollout_id: str, wave: int) -> Rollout | None:
        """The running rollout as it goes on from this wave, which has ended, to the next, or is done after the last.

        None if something is left to do in the wave, or someone else went on.
        """
        ...

    async def extend(self, rollout_id: str, wave: int, tenants: int) -> int:
        """Take this many that wait in later waves into this one, which has ended; how many there were."""
        ...

    async def claim(
        self, rollout_id: str, wave: int, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> Sequence[Step]:
        """Steps of this wave that are due, nobody else's until then; none unless the rollout is running."""
        ...

    async def renew(self, rollout_id: str, steps: Sequence[Step], lease_until_ms: int) -> Sequence[Step]:
        """Those that are still ours, with the longer lease."""
        ...

    async def record(self, rollout_id: str, ended: Sequence[Ended]) -> Standing:
        """Write down what came of steps, unless they were lost; and the tenants' versions."""
        ...

    async def note_restore_point(self, rollout_id: str, step: Step, database_name: str) -> None:
        """Where the copy of the database from before its change is."""
        ...

    async def next_due_ms(self, rollout_id: str, wave: int) -> int | None:
        """When the next step of the wave is due; None when all have ended."""
        ...

    async def sample(self, rollout_id: str, wave: int, limit: int) -> Sequence[str]:
        """Names of databases that this wave migrated."""
        ...

    async def progress(self, rollout_id: str) -> Progress:
        """How far it is, without failures."""
        ...

    async def failures(self, rollout_id: str, state: StepState) -> Sequence[Failure]:
        """Tenants in this state by cause, the most first: a bounded number of causes."""
        ...

    async def retry(self, rollout_id: str, now_ms: int, states: Sequence[StepState]) -> int:
        """Steps in these states are due again, with the rollout back at the first of their waves; how many.

        One that is over stays so: see `reopen`. Raises `RolloutEnded` if it was aborted, and `RolloutOpen` if it is
        over and another one is not.
        """
        ...

    async def reopen(self, rollout_id: str) -> Rollout | None:
        """A rollout that is done runs again, as some of its tenants are due again; None if it is not, or none are.

        Raises `RolloutOpen` if another one is running or paused.
        """
        ...


class WorkerStore(Protocol):
    """The workers that run rollouts. All raise `CentralUnavailable`."""

    async def is_at_work(self, rollout_id: str, worker_id: str, until_ms: int) -> None:
        """Say so; it is believed until then."""
        ...

    async def has_left(self, worker_id: str, now_ms: int) -> None:
        """This one is no longer at work."""
        ...

    async def count(self, rollout_id: str, now_ms: int) -> int:
        """How many are."""
        ...


class RestorePointStore(Protocol):
    """Copies of tenants' databases from before a rollout changed them.

    Each method is one short transaction. All raise `CentralUnavailable`.
    """

    async def kept(self, rollout_id: str) -> Kept:
        """How many there are."""
        ...

    async def page(
        self, rollout_id: str, states: Sequence[StepState], *, after: str, limit: int
    ) -> Sequence[RestorePoint]:
        """Those of tenants whose steps are in these states, in order of `tenant_id`, after the given one."""
        ...

    async def find(self, rollout_id: str, tenant_id: str) -> RestorePoint:
        """One tenant's. Raises `NotFound` if it has no part in the rollout."""
        ...

    async def put_back(self, point: RestorePoint, database_name: str, schema_version: int, keep_until_ms: int) -> bool:
        """The tenant has this reserved database; what it had is set aside until then, and no token opens that.

        False if the tenant, the name or the step is not as it was found.
        """
        ...

    async def discard(self, rollout_id: str, now_ms: int) -> int:
        """Its copies, and what was set aside, are not needed any more; how many that are."""
        ...
