"""Types of the audit trail. Things are named `user:ID`, `tenant:ID`, `migration:7`, `operator:LOGIN`."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.errors import FreeholdError, InvalidInput

Facts = Mapping[str, str | int | bool | None]

# Instead of an actor's name: someone who is not signed in, and the service itself.
ANONYMOUS = "anonymous"
SYSTEM = "system"

STARTED = "audit.started"
RESEALED = "audit.resealed"

MAX_DETAILS_CHARS = 4_000

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?Z)?")


class Event(msgspec.Struct, frozen=True):
    """An action to record. `details` must not contain a secret, code, token or password.

    If `actor` is None, it is the actor of the current request, command or background work, see `origin.py`.
    """

    action: str
    target: str = ""
    details: Facts = {}
    actor: str | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An entry without its place in the trail. `at` is UTC with three fractional digits, `details` a JSON object."""

    at: str
    action: str
    actor: str
    target: str
    ip_address: str
    request_id: str
    details: str


class Entry(Draft, frozen=True, kw_only=True):
    """One row of the trail; `hash` covers this entry and the hash of the previous one."""

    seq: int
    hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """The details, decoded."""
        text = _readable(self.details)
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:  # only a forger writes that
            return {"unreadable": text}

    def shown(self) -> dict[str, Any]:
        """All fields, with the details decoded, to be displayed or serialised."""
        fields = {
            name: _readable(value) if isinstance(value, str) else value
            for name, value in msgspec.structs.asdict(self).items()
        }
        return {**fields, "details": self.facts}


def _readable(text: str) -> str:
    """The text with invalid UTF-8, which is preserved for verification, replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest entry. `is_authentic`: the record of it was written with the service's secret."""

    seq: int
    hash: str
    is_authentic: bool = True


class Anchor(msgspec.Struct, frozen=True):
    """An entry and its hash, kept outside the database. Written `SEQ:HASH`."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects entries; None matches any. `since` is inclusive, `until` exclusive; see `moment`."""

    action: str | None = None
    actor: str | None = None
    target: str | None = None
    since: str | None = None
    until: str | None = None


def moment(text: str | None) -> str | None:
    """A UTC timestamp, or the start of a day, in a form that compares with `at` as text.

    Raises:
        BadMoment: not `2026-01-31`, `2026-01-31T10:20:30Z` or a precision in between.
    """
    if text is None:
        return None
    if not _MOMENT.fullmatch(text):
        raise BadMoment(f"`{text[:40]}` is not a UTC timestamp; write 2026-01-31 or 2026-01-31T10:20:30Z")
    return text.removesuffix("Z")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `verify`. `broken_at` is the first entry that cannot be trusted; None if the trail is intact."""

    entries: int
    head: Anchor
    broken_at: int | None = None
    reason: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.broken_at is None


class AuditDetailsTooLarge(FreeholdError):
    """The details of an event are too long: they are facts, not documents."""


class BadMoment(InvalidInput):
    """The text is not a UTC timestamp."""

    code = "bad_moment"
    remedy = "Write `2026-01-31` or `2026-01-31T10:20:30Z`."
