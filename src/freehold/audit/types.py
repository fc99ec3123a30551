"""What the audit trail holds. Names of things are `user:ID`, `tenant:ID`, `migration:7`, `operator:LOGIN`."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.errors import FreeholdError, InvalidInput

Facts = Mapping[str, str | int | bool | None]

# In place of an actor: someone who has not signed in, and the service by itself.
ANONYMOUS = "anonymous"
SYSTEM = "system"

STARTED = "audit.started"
RESEALED = "audit.resealed"

MAX_DETAILS_CHARS = 4_000

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?Z)?")


class Event(msgspec.Struct, frozen=True):
    """Something that was done, to be recorded. `details` holds no secret, code, token or password.

    Without an `actor` it is whoever the request, command or background work belongs to, see `origin.py`.
    """

    action: str
    target: str = ""
    details: Facts = {}
    actor: str | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """All of an entry but its place in the trail. `at` is UTC with three digits, `details` a JSON object."""

    at: str
    action: str
    actor: str
    target: str
    ip_address: str
    request_id: str
    details: str


class Entry(Draft, frozen=True, kw_only=True):
    """One row of the trail; `hash` is over this entry and the hash of the one before."""

    seq: int
    hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """The details, decoded."""
        text = _readable(self.details)
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:  # nobody but a forger writes that
            return {"unreadable": text}

    def shown(self) -> dict[str, Any]:
        """For people and programs: all fields, with the details decoded."""
        fields = {
            name: _readable(value) if isinstance(value, str) else value
            for name, value in msgspec.structs.asdict(self).items()
        }
        return {**fields, "details": self.facts}


def _readable(text: str) -> str:
    """What is not UTF-8 in the database, and was kept as it is for checking, replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """How far the trail goes. `is_authentic`: the record of it was written by whoever holds the service's secret."""

    seq: int
    hash: str
    is_authentic: bool = True


class Anchor(msgspec.Struct, frozen=True):
    """An entry and its hash, noted outside the database. Written `SEQ:HASH`."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are asked for; None asks for any. `since` is included, `until` is not; see `moment`."""

    action: str | None = None
    actor: str | None = None
    target: str | None = None
    since: str | None = None
    until: str | None = None


def moment(text: str | None) -> str | None:
    """A UTC timestamp, or the beginning of a day, in a form that compares with `at` as text does.

    Raises:
        BadMoment: it is neither `2026-01-31` nor `2026-01-31T10:20:30Z`, nor anything between.
    """
    if text is None:
        return None
    if not _MOMENT.fullmatch(text):
        raise BadMoment(f"`{text[:40]}` is not a UTC timestamp; write 2026-01-31 or 2026-01-31T10:20:30Z")
    return text.removesuffix("Z")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found. `broken_at` is the first entry that cannot be trusted; None: all is as it was written."""

    entries: int
    head: Anchor
    broken_at: int | None = None
    reason: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.broken_at is None


class AuditDetailsTooLarge(FreeholdError):
    """Details of an event are facts, not documents."""


class BadMoment(InvalidInput):
    """The text is not a UTC timestamp."""

    code = "bad_moment"
    remedy = "Write `2026-01-31` or `2026-01-31T10:20:30Z`."
