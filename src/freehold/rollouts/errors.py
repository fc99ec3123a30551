"""Why a rollout can be refused."""

from freehold.errors import Conflict, InvalidInput


class RolloutOpen(Conflict):
    """Another rollout is running or paused."""

    code = "rollout_open"
    remedy = "Resume it, or abort it first."


class RolloutEnded(Conflict):
    """The rollout is done or aborted."""

    code = "rollout_ended"
    remedy = "Start another one; if it is done, `rollout retry` retries the tenants that failed."


class BadRollout(InvalidInput):
    """The waves, the budget, a canary or the version of a rollout make no sense."""

    code = "bad_rollout"
    remedy = "Change what the message names."
    where = "cli"


class NobodyBehind(Conflict):
    """No tenant is behind the version: a rollout would have nothing to do, so none was created."""

    code = "nobody_behind"
    remedy = "There is nothing to do; `rollout start` exits with 0."
    where = "cli"

    def __init__(self, to_version: int, restored: int) -> None:
        besides = f" but {restored} that were taken back; --include-restored takes them along" if restored else ""
        super().__init__(f"nobody is behind version {to_version}{besides}: there is nothing to do")
        self.to_version = to_version


class NoRestorePoint(Conflict):
    """No copy of the tenant's database from before the rollout is left, or it cannot be put back."""

    code = "no_restore_point"
    remedy = "The message says why: restore from an export."
    where = "cli"


class RolloutRunning(Conflict):
    """Tenants cannot be taken back while the rollout starts more."""

    code = "rollout_running"
    remedy = "Pause it first."
    where = "cli"
