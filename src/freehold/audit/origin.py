"""On whose behalf the running code acts. The edge says it once; every event recorded meanwhile carries it."""

from contextvars import ContextVar

from freehold.audit.types import SYSTEM
from freehold.limiting import site_of


class Origin:
    """Where a piece of work came from. The edge may give a subclass that finds things out when asked."""

    __slots__ = ("actor", "acts_as")

    def __init__(self, actor: str = SYSTEM) -> None:
        self.actor = actor
        # Set while an administrator acts as someone else: that user.
        self.acts_as: str | None = None

    @property
    def ip_address(self) -> str:
        """Empty when there is none."""
        return ""

    @property
    def site(self) -> str:
        """What fair turns are counted by: the address, or the site (/48) that an IPv6 address is part of."""
        address = self.ip_address
        return site_of(address) or address

    @property
    def request_id(self) -> str:
        """Empty when there is none."""
        return ""


_current: ContextVar[Origin | None] = ContextVar("audit_origin", default=None)


def current_origin() -> Origin:
    """The origin that was told last; the service itself if none was."""
    return _current.get() or Origin()


def work_begins(origin: Origin) -> None:
    """From here on, in this task and those it starts, work is done for this origin."""
    _current.set(origin)


def acting(user_id: str, impersonated_by: str | None = None) -> None:
    """The origin's request is this user's. While someone impersonates them, that someone is who acts."""
    origin = _current.get()
    if origin is None:
        return
    if impersonated_by is None:
        origin.actor, origin.acts_as = f"user:{user_id}", None
    else:
        origin.actor, origin.acts_as = f"user:{impersonated_by}", f"user:{user_id}"
