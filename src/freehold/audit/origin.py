"""The origin of the running work. The edge sets it once; every event recorded in that context carries it."""

from contextvars import ContextVar

from freehold.audit.types import SYSTEM
from freehold.limiting import site_of


class Origin:
    """Where a piece of work came from. The edge may use a subclass that determines the values on demand."""

    __slots__ = ("actor", "acts_as")

    def __init__(self, actor: str = SYSTEM) -> None:
        self.actor = actor
        # The user whom the actor, an administrator, is impersonating.
        self.acts_as: str | None = None

    @property
    def ip_address(self) -> str:
        """Empty if there is none."""
        return ""

    @property
    def site(self) -> str:
        """The key for fair queueing: the address, or the site (/48) of an IPv6 address."""
        address = self.ip_address
        return site_of(address) or address

    @property
    def request_id(self) -> str:
        """Empty if there is none."""
        return ""


_current: ContextVar[Origin | None] = ContextVar("audit_origin", default=None)


def current_origin() -> Origin:
    """The origin that was set last; the service itself if none was."""
    return _current.get() or Origin()


def work_begins(origin: Origin) -> None:
    """Set the origin for this task and the tasks that it starts."""
    _current.set(origin)


def acting(user_id: str, impersonated_by: str | None = None) -> None:
    """Attribute the current request to this user; during an impersonation, to the administrator."""
    origin = _current.get()
    if origin is None:
        return
    if impersonated_by is None:
        origin.actor, origin.acts_as = f"user:{user_id}", None
    else:
        origin.actor, origin.acts_as = f"user:{impersonated_by}", f"user:{user_id}"
