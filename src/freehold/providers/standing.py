"""How a sqld stands, in numbers, for metrics and for whoever asks whether the service is ready."""

from typing import Literal

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
