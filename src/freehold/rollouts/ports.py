"""What rollouts need from the outside."""

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
    """Rollouts in the central database. Each method is one short transaction; changes are audited.

    All raise `CentralUnavailable` when the database does not answer.
    """

    async def census(self, provider: str, *, include_restored: bool = False) -> Census:
        """Return the versions of the provider's tenants, without those taken back from a rollout unless requested."""

    async def behind(self, provider: str, to_version: int, limit: int) -> Sequence[tuple[str, str]]:
        """Return id and database of some ready tenants below the version, none of them taken back from a rollout."""

    async def drifted(self, provider: str, to_version: int) -> int:
        """Return how many of the ready tenants below the version the newest rollout found drifted."""

    async def start(self, provider: str, to_version: int, options: Options) -> Rollout:
        """Create a running rollout over all ready tenants below the version.

        Includes tenants due for retry in finished rollouts. Raises `RolloutOpen`, `BadRollout`, and `NobodyBehind` if
        there is no such tenant; then nothing is created.
        """

    async def find(self, rollout_id: str | None = None) -> Rollout:
        """Return this rollout, or the newest. Raises `NotFound`."""

    async def newest(self, limit: int) -> Sequence[Rollout]:
        """Return rollouts, newest first."""

    async def move(
        self, rollout_id: str, sources: Sequence[RolloutState], target: RolloutState, reason: str | None
    ) -> bool:
        """Change its state. False if it is in none of `sources`."""

    async def advance(self, rollout_id: str, wave: int) -> Rollout | None:
        """Move the running rollout from this ended wave to the next, or to done after the last; return it.

        None if something is left to do in the wave, or another worker moved it.
        """

    async def extend(self, rollout_id: str, wave: int, tenants: int) -> int:
        """Move this many waiting tenants from later waves into this ended one; return how many there were."""

    async def claim(
        self, rollout_id: str, wave: int, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> Sequence[Step]:
        """Claim due steps of this wave, exclusively until `lease_until_ms`; none unless the rollout is running."""

    async def renew(self, rollout_id: str, steps: Sequence[Step], lease_until_ms: int) -> Sequence[Step]:
        """Return those that are still ours, with the longer lease."""

    async def record(self, rollout_id: str, ended: Sequence[Ended]) -> Standing:
        """Record the outcomes of steps that were not lost, and the tenants' versions."""

    async def note_restore_point(self, rollout_id: str, step: Step, database_name: str) -> None:
        """Record the name of the copy from before the database's change."""

    async def next_due_ms(self, rollout_id: str, wave: int) -> int | None:
        """Return when the next step of the wave is due; None when all have ended."""

    async def sample(self, rollout_id: str, wave: int, limit: int) -> Sequence[str]:
        """Return names of databases that this wave migrated."""

    async def progress(self, rollout_id: str) -> Progress:
        """Return its progress, without failures."""

    async def failures(self, rollout_id: str, state: StepState) -> Sequence[Failure]:
        """Return the number of tenants in this state by cause, largest first: a limited number of causes."""

    async def retry(self, rollout_id: str, now_ms: int, states: Sequence[StepState]) -> int:
        """Make steps in these states due again and return the rollout to the first of their waves; return how many.

        A finished rollout stays finished: see `reopen`. Raises `RolloutEnded` if it was aborted, and `RolloutOpen` if
        it is finished and another one is not.
        """

    async def reopen(self, rollout_id: str) -> Rollout | None:
        """Resume a finished rollout with tenants due again and return it; None if it is not finished, or none are due.

        Raises `RolloutOpen` if another one is running or paused.
        """


class WorkerStore(Protocol):
    """The workers that run rollouts. All raise `CentralUnavailable`."""

    async def is_at_work(self, rollout_id: str, worker_id: str, until_ms: int) -> None:
        """Record that this worker is active; valid until then."""

    async def has_left(self, worker_id: str, now_ms: int) -> None:
        """Record that this worker is no longer active."""

    async def count(self, rollout_id: str, now_ms: int) -> int:
        """Return the number of active workers."""


class RestorePointStore(Protocol):
    """Copies of databases from before a rollout. All methods are short transactions and raise `CentralUnavailable`."""

    async def kept(self, rollout_id: str) -> Kept:
        """Return how many there are."""

    async def page(
        self, rollout_id: str, states: Sequence[StepState], *, after: str, limit: int
    ) -> Sequence[RestorePoint]:
        """Return those of tenants with steps in these states, in order of `tenant_id`, after the given one."""

    async def find(self, rollout_id: str, tenant_id: str) -> RestorePoint:
        """Return one tenant's. Raises `NotFound` if it is not part of the rollout."""

    async def put_back(self, point: RestorePoint, database_name: str, schema_version: int, keep_until_ms: int) -> bool:
        """Give the tenant this reserved database; its previous one is set aside until then, and no token opens that.

        False if the tenant, the name or the step has changed since it was read.
        """

    async def discard(self, rollout_id: str, now_ms: int) -> int:
        """Schedule its copies, and databases set aside, for deletion; return how many."""
