"""Users and their sessions. Encoded, they are exactly better-auth's objects."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

import msgspec

from freehold.auth.outgoing_email import Language
from freehold.dates import from_iso

ADMIN_ROLE = "admin"
USER_ROLE = "user"

# Prefix of a session's id in the subject of a database token; such a token ends with its session.
SESSION_SUBJECT = "session:"


def wire_names(own_id: str) -> Callable[[str], str]:
    """Rename to camelCase, with the struct's own id as `id`, like the columns of the tables."""

    def rename(field: str) -> str:
        if field == own_id:
            return "id"
        first, *rest = field.split("_")
        return first + "".join(part.capitalize() for part in rest)

    return rename


class User(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("user_id")):
    """A person. `email` is lower case; `role` may be several roles, joined by commas."""

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
        """Whether a ban is in force at this moment."""
        return self.banned and (self.ban_expires is None or from_iso(self.ban_expires) > moment)


class Session(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("session_id")):
    """One sign-in. `token` is a secret, `session_id` is not."""

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
    """A live session and its user."""

    user: User
    session: Session
    expires_at: datetime
    # When a read may extend the session; None: never.
    extend_from: datetime | None = None
    # This read extended the session: the client's cookie must be sent again.
    is_extended: bool = False
    # The change feed had reached at least this position when this was read; -1: unknown.
    seen: int = -1

    @property
    def user_id(self) -> str:
        return self.user.user_id

    @property
    def session_id(self) -> str:
        return self.session.session_id

    @property
    def reference(self) -> str:
        """The subject of database tokens of this session. Not a secret."""
        return f"{SESSION_SUBJECT}{self.session_id}"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """The client that signs in; fields are empty when unknown.

    `guest_id`: the guest who has used the app there so far, whose database must not be lost.
    `source`: the network address that wrong passwords are counted for; it is not stored.
    `language`: the language of e-mails to the user; it is not stored.
    `replaces`: the tokens of the sessions that the browser sent, which end when it signs in again.
    """

    ip_address: str = ""
    user_agent: str = ""
    guest_id: str = ""
    source: str = ""
    language: Language = "en"
    replaces: tuple[str, ...] = ()


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("key_id")):
    """A stored signing key: `public_key` is a JWK, `private_key` an encrypted one; retired from `expires_at` on."""

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
    """A stored refresh token."""

    token_hash: str
    created_at: str
    expires_at: str


class RefreshUse(StrEnum):
    """How a refresh token was used."""

    FIRST = "first"
    REPEATED = "repeated"  # again within the grace window
    REUSED = "reused"  # after the grace window: the session has been ended


class UsedRefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """A known refresh token after its use, and its session."""

    outcome: RefreshUse
    session_id: str
    session_token: str

    def __repr__(self) -> str:
        return f"UsedRefreshToken({self.outcome}, session_id={self.session_id!r})"


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """What a person enters to sign up. `callback_url` is where a link in an e-mail to them leads."""

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
    """What users may change about themselves; unset fields stay as they are."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType | None = msgspec.UNSET


class Account(msgspec.Struct, frozen=True, kw_only=True, rename=wire_names("row_id")):
    """One way to sign in: with a password (`credential`), or with another provider."""

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
