"""How a sqld stands, in numbers, for metrics and for whoever asks whether the service is ready."""

from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

Supervision = Literal["supervised", "unsupervised", "unreachable"]


class Standing(Struct, frozen=True, kw_only=True):
    """What is known of sqld, and of the calls that it runs for us. Counts are since this process began."""

    is_up: bool
    supervision: Supervision
    restarts: int | None  # by its supervisor, since that began
    memory_bytes: int | None
    places: int
    running: int
    waiting: int
    lingering: int  # broken off, and not known to have ended
    stopped: int
    stuck: int
    slowed: int
    logs_forced: int


@runtime_checkable
class HasStanding(Protocol):
    """A provider with a server of its own, of which more is known than whether it answers."""

    @property
    def supervision(self) -> Supervision:
        """Whether somebody starts the server again when it ends, as of the last look."""
        ...

    async def standing(self) -> Standing:
        """How it stands now."""
        ...
