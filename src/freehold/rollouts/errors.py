"""What a rollout can be refused for."""

from freehold.errors import Conflict, InvalidInput


class RolloutOpen(Conflict):
    """Another rollout is running or paused; one at a time."""

    code = "rollout_open"


class RolloutEnded(Conflict):
    """The rollout is done or aborted."""

    code = "rollout_ended"


class BadRollout(InvalidInput):
    """The waves, the budget or the version make no sense."""

    code = "bad_rollout"


class NobodyBehind(Conflict):
    """No tenant is behind, so that a rollout would have nothing to do; none was made."""

    code = "nobody_behind"

    def __init__(self, to_version: int, restored: int) -> None:
        besides = (
            f" but {restored} that were taken back; --include-restored takes them along" if restored else ""
        )
        super().__init__(f"nobody is behind version {to_version}{besides}: there is nothing to do")
        self.to_version = to_version


class NoRestorePoint(Conflict):
    """There is no copy of the tenant's database from before its change (any more)."""

    code = "no_restore_point"


class RolloutRunning(Conflict):
    """A rollout that runs takes on tenants while others are taken back."""

    code = "rollout_running"
