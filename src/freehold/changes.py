"""How a process notices at once what another one committed to the central database."""

from collections.abc import Callable
from typing import Literal, Protocol

Topic = Literal["session", "user", "registry", "jwks", "token_rotation", "apikey"]

# Called with what changed: a session's token, a user's id, a migration's version, the id of a key that signs JWTs, a
# database's name.
# None: assume everything did.
Listener = Callable[[str | None], None]


class Changes(Protocol):
    """The feed of committed changes; caches in memory stay right by asking it before each use.

    The pattern for a cached read is: `if not changes.is_current(): await changes.catch_up()`, then look in the
    cache. What is put into a cache must have been read no earlier than `position` says, see there.
    """

    def is_current(self) -> bool:
        """Whether nothing was committed since the last `catch_up`. Takes microseconds and never waits."""
        ...

    async def catch_up(self) -> None:
        """Tell the listeners all that was committed before this call.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        ...

    @property
    def position(self) -> int:
        """How far listeners have been told. A row read before the position moved must not enter a cache."""
        ...

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        """Call `listener` from now on for each change of the topic."""
        ...


class RecentChanges(Changes, Protocol):
    """A feed for those who may be a little late with what other processes did."""

    def is_recent(self, within_s: float) -> bool:
        """Whether all is told that this process committed, and all that others did until `within_s` ago.

        Never waits. Where `is_current` can tell for nothing, it is the same.
        """
        ...
