"""Users and their sessions. Encoded, they are exactly the objects that better-auth's clients know."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

import msgspec

from freehold.auth.outgoing_email import Language
from freehold.dates import from_iso

ADMIN_ROLE = "admin"
USER_ROLE = "user"

# Before a session's id in the subject of a database token; such a token ends with its session.
SESSION_SUBJECT = "session:"


def wire_names(own_id: str) -> Callable[[str], str]:
    """camelCase, with the struct's own id as plain `id`. The tables' columns have the same names."""

    def rename(field: str) -> str:
        if field == own_id:
            return "id"
        first, *rest = field.split("_")
        return first + "".join(part.capitalize() for part in rest)

    return rename


class User(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("user_id")):
    """A person. `email` is lower case; `role` may be several, joined by commas."""

    user_id: str
    name: str
    email: str
    email_verified: bool = False
    image: str | None = None
    created_at: str
    updated_at: str
    role: str = USER_ROLE
    banned: bool = False
    ban_reason: str | None = None
    ban_expires: str | None = None
    is_anonymous: bool = False

    @property
    def is_admin(self) -> bool:
        return ADMIN_ROLE in (role.strip() for role in self.role.split(","))

    def is_banned_at(self, moment: datetime) -> bool:
        """Whether a ban is in force then; one that has run out is not."""
        return self.banned and (self.ban_expires is None or from_iso(self.ban_expires) > moment)


class Session(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("session_id")):
    """One sign-in. `token` is its secret, `session_id` is not."""

    session_id: str
    token: str
    user_id: str
    expires_at: str
    created_at: str
    updated_at: str
    ip_address: str = ""
    user_agent: str = ""
    impersonated_by: str | None = None


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A live session and its user: who is asking."""

    user: User
    session: Session
    expires_at: datetime
    # From when on a read makes the session live longer; None: it never does.
    extend_from: datetime | None = None
    # This read did so: the client's cookie must be sent again.
    is_extended: bool = False
    # The change feed was at least so far when this was read; -1: not known.
    seen: int = -1

    @property
    def user_id(self) -> str:
        return self.user.user_id

    @property
    def session_id(self) -> str:
        return self.session.session_id

    @property
    def reference(self) -> str:
        """For whom database tokens are made: they end with this session. No secret."""
        return f"{SESSION_SUBJECT}{self.session_id}"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sign-in comes from; empty when unknown.

    `guest_id`: the guest who has used the app there until now, and whose database must not be lost.
    `source`: the network address that is held to account for wrong passwords; it is not kept.
    `language`: what mail to them is written in; it is not kept.
    `replaces`: the tokens of the sessions that a browser has brought, which end when it signs in again.
    """

    ip_address: str = ""
    user_agent: str = ""
    guest_id: str = ""
    source: str = ""
    language: Language = "en"
    replaces: tuple[str, ...] = ()


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("key_id")):
    """A signing key as it is kept: `public_key` a JWK, `private_key` a sealed one; retired from `expires_at` on."""

    key_id: str
    public_key: str
    private_key: str
    created_at: str
    expires_at: str | None = None
    alg: str | None = None
    crv: str | None = None

    def __repr__(self) -> str:
        return f"StoredKey({self.key_id})"


class StoredRefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token as it is kept."""

    token_hash: str
    created_at: str
    expires_at: str


class RefreshUse(StrEnum):
    """What it meant to use a refresh token."""

    FIRST = "first"
    REPEATED = "repeated"  # again within the grace window
    REUSED = "reused"  # again after it: the session has been ended


class UsedRefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token that was known when it was used, and its session."""

    outcome: RefreshUse
    session_id: str
    session_token: str

    def __repr__(self) -> str:
        return f"UsedRefreshToken({self.outcome}, session_id={self.session_id!r})"


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """What a person gives to sign up. `callback_url` is where a link in a mail to them leads."""

    name: str
    email: str
    password: str
    image: str | None = None
    callback_url: str = ""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A user and the hash of their password, None if they have none."""

    user: User
    password_hash: str | None


class UserChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may change of themselves; what is unset stays."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType | None = msgspec.UNSET


class Account(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("row_id")):
    """One way to sign in: with a password (`credential`), or through someone else's service."""

    row_id: str
    account_id: str
    provider_id: str
    user_id: str
    created_at: str
    updated_at: str
    scopes: list[str]


class AdminOutcome(StrEnum):
    """What `ensure_admin` had to do."""

    CREATED = "created"
    PROMOTED = "promoted"
    UNCHANGED = "unchanged"
