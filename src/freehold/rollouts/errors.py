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
