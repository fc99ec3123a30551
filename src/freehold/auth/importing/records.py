"""Users to import: as other programs store them, and as they are stored here.

Column names are better-auth's. Dates may be ISO 8601 texts, or seconds or milliseconds since 1970, as its adapters
write them; booleans may be numbers.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from freehold.auth.emails import is_email
from freehold.auth.random_ids import random_id
from freehold.auth.types import USER_ROLE, Session, User
from freehold.dates import from_iso, to_iso
from freehold.errors import InvalidInput, Unavailable


class WayIn(msgspec.Struct, frozen=True, kw_only=True):
    """A way to sign in: a password (`provider_id` is `credential`), or an identity at another provider."""

    provider_id: str
    subject: str
    password_hash: str | None = None
    scope: str | None = None


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """A user to be stored. `has_own_id`: the id is from the source, not made here."""

    user: User
    has_own_id: bool = True
    ways_in: Sequence[WayIn] = ()
    sessions: Sequence[Session] = ()
    notes: Sequence[str] = ()


class Ending(StrEnum):
    """What happened to an imported user."""

    ADDED = "added"
    KNOWN = "known"
    CONFLICT = "conflict"
    UNUSABLE = "unusable"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one record. `user_id` and `email` are from the source, as far as they can be read."""

    user_id: str
    email: str
    ending: Ending
    reasons: Sequence[str] = ()
    accounts: int = 0
    sessions: int = 0


class MoveReport(msgspec.Struct, kw_only=True):
    """The totals of an import; each user is counted once, as `added`, `known`, `conflict` or `unusable`."""

    endings: Counter[str] = msgspec.field(default_factory=Counter)
    accounts: int = 0
    sessions: int = 0
    notes: int = 0

    def count(self, outcome: Outcome) -> None:
        self.endings[outcome.ending.value] += 1
        self.accounts += outcome.accounts
        self.sessions += outcome.sessions
        self.notes += outcome.ending is Ending.ADDED and bool(outcome.reasons)

    @property
    def is_whole(self) -> bool:
        """Whether every user of the source exists here now."""
        return not (self.endings[Ending.CONFLICT] or self.endings[Ending.UNUSABLE])


class UnusableSource(InvalidInput):
    """The source of the users is not a suitable file or database."""

    code = "unusable_source"
    remedy = "The message says why: use another one."
    where = "cli"


class SourceUnavailable(Unavailable):
    """The database to import users from is not responding."""

    code = "source_unavailable"
    message = "the database to import users from does not answer"
    remedy = "Try again later; exit code 4."
    where = "cli"


CREDENTIAL = "credential"

_HASH = re.compile(r"[0-9a-fA-F]{8,128}:[0-9a-fA-F]{128}")
_MAX_TEXT = 2_000
_MILLISECONDS_FROM = 100_000_000_000  # as seconds, the year 5138
_TRUE = {"1", "true", "t", "yes"}

Fields = Mapping[str, Any]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A user with accounts and sessions, as read from the source. `fault`: why the record could not be read."""

    user: Fields
    accounts: Sequence[Fields] = ()
    sessions: Sequence[Fields] = ()
    fault: str | None = None


class Unusable(Exception):
    """The user, account or session cannot be imported."""


def newcomer(record: Record, now: datetime) -> Newcomer:
    """The user to store. Accounts and sessions that cannot be used are left out, with a note.

    Raises:
        Unusable: the user itself cannot be used.
    """
    if record.fault is not None:
        raise Unusable(record.fault)
    user = _user(record.user, now)
    notes: list[str] = []
    ways_in: list[WayIn] = []
    for account in record.accounts:
        try:
            ways_in.append(_way_in(account, user.user_id))
        except Unusable as error:
            notes.append(str(error))
    sessions: list[Session] = []
    # Sessions of banned users are left out: reads rely on a ban having ended them.
    for session in () if user.banned else record.sessions:
        try:
            if (found := _session(session, user.user_id, now)) is not None:
                sessions.append(found)
        except Unusable as error:
            notes.append(str(error))
    return Newcomer(
        user=user, has_own_id=record.user.get("id") not in {None, ""}, ways_in=ways_in, sessions=sessions, notes=notes
    )


def _user(fields: Fields, now: datetime) -> User:
    email = _text(fields, "email").strip()
    if not is_email(email):  # before lowering the case, which makes some letters ASCII
        raise Unusable("`email` is not an e-mail address")
    created_at = _date(fields, "createdAt") or now
    ends = _date(fields, "banExpires")
    return User(
        user_id=_text(fields, "id") or random_id(),
        name=_text(fields, "name"),
        email=email.lower(),
        email_verified=_flag(fields, "emailVerified"),
        image=_text(fields, "image") or None,
        created_at=to_iso(created_at),
        updated_at=to_iso(_date(fields, "updatedAt") or created_at),
        role=_text(fields, "role") or USER_ROLE,
        banned=_flag(fields, "banned"),
        ban_reason=_text(fields, "banReason") or None,
        ban_expires=to_iso(ends) if ends else None,
        is_anonymous=_flag(fields, "isAnonymous"),
    )


def _way_in(fields: Fields, user_id: str) -> WayIn:
    provider_id = _text(fields, "providerId")
    if provider_id == CREDENTIAL:
        password_hash = _text(fields, "password")
        if not _HASH.fullmatch(password_hash):
            raise Unusable("the format of the password hash is unknown; a new password has to be set")
        return WayIn(provider_id=CREDENTIAL, subject=user_id, password_hash=password_hash.lower())
    subject = _text(fields, "accountId")
    if not provider_id or not subject:
        raise Unusable("an account has no provider or no subject")
    return WayIn(provider_id=provider_id, subject=subject, scope=_text(fields, "scope") or None)


def _session(fields: Fields, user_id: str, now: datetime) -> Session | None:
    """The session; None if it has ended or is an impersonation."""
    token, ends = _text(fields, "token"), _date(fields, "expiresAt")
    if not token or ends is None:
        raise Unusable("a session has no token or no expiry")
    if ends <= now or fields.get("impersonatedBy"):
        return None
    begun = _date(fields, "createdAt") or now
    return Session(
        session_id=_text(fields, "id") or random_id(),
        token=token,
        user_id=user_id,
        expires_at=to_iso(ends),
        created_at=to_iso(begun),
        updated_at=to_iso(_date(fields, "updatedAt") or begun),
        ip_address=_text(fields, "ipAddress"),
        user_agent=_text(fields, "userAgent"),
    )


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # ids may be numbers
    if not isinstance(value, str):
        raise Unusable(f"`{name}` is not text")
    if len(value) > _MAX_TEXT or "\0" in value or not _is_unicode(value):
        raise Unusable(f"`{name}` is too long, or not valid text")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    return str(value).lower() in _TRUE if isinstance(value, int | str) else False


def _date(fields: Fields, name: str) -> datetime | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str) and not value.isdecimal():
            return from_iso(value)
        seconds = float(value)
        return datetime.fromtimestamp(seconds / 1000 if seconds >= _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise Unusable(f"`{name}` is not a date") from error
