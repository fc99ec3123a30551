"""What auth needs of the outside, in its own words."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from freehold.auth.outgoing_email import OutgoingEmail
from freehold.auth.proofs import Proof, Proved
from freehold.auth.social.types import Identity
from freehold.auth.types import Account, Credential, Session, SignedIn, User, UserChanges
from freehold.auth.verifications import OneTimeUse


class PasswordHasher(Protocol):
    """Hashes passwords away from the event loop."""

    async def hash(self, password: str) -> str:
        """A new salted hash. Raises `Unavailable` when too many are waiting."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is this password's hash; takes as long when there is none (None).

        Raises:
            Unavailable: too many are waiting.
        """
        ...


class SessionStore(Protocol):
    """The sessions in the central database. Every method raises `CentralUnavailable` when it does not answer."""

    async def find_session(self, token: str) -> tuple[SignedIn | None, int]:
        """The session, expired or not, with its user; and how far the change feed was in the same view."""
        ...

    async def extend_session(self, token: str, expires_at: str, updated_at: str) -> bool:
        """Set a new end; False if the session is gone."""
        ...

    async def delete_session(self, token: str) -> None:
        """No error if it is already gone."""
        ...


class UserStore(SessionStore, Protocol):
    """Users, their accounts and sessions in the central database."""

    async def add_user(
        self,
        user: User,
        password_hash: str | None,
        session: Session | None,
        *,
        identity: Identity | None = None,
        replaces: Sequence[str] = (),
    ) -> None:
        """Write user, accounts, session and tenant in one transaction, in which sessions with these tokens end.

        Raises:
            EmailTaken: the address is in use.
            IdentityTaken: the identity belongs to someone else.
        """
        ...

    async def upgrade_guest(
        self, user: User, password_hash: str | None, session: Session, *, identity: Identity | None = None
    ) -> bool:
        """Make the guest with this id this user; they keep their tenant, and have this session and no API keys.

        False, and nothing is changed, if there is no such guest, or they have signed in to an account they had.

        Raises:
            EmailTaken: the address is in use.
            IdentityTaken: the identity belongs to someone else.
        """
        ...

    async def add_session(
        self,
        session: Session,
        *,
        method: str = "password",
        email: str = "",
        guest_id: str = "",
        password_hash: str | None = None,
        identity: Identity | None = None,
        replaces: Sequence[str] = (),
    ) -> None:
        """Write the session, and to the audit trail how the user signed in.

        Also links this guest, whose sessions and API keys end, to the user, and ends the sessions with these tokens.

        Raises:
            NotFound: the user is gone, or has not this address, password or identity any more.
        """
        ...

    async def sign_out(self, token: str) -> None:
        """End the session; no error if there is none."""
        ...

    async def find_credential(self, email: str) -> Credential | None:
        """The user with this address (in lower case)."""
        ...

    async def delete_user(self, user_id: str, now: datetime, *, guest_in: str = "") -> bool:
        """Delete the user and have their database deleted, in one transaction.

        `guest_in`: only while they are a guest, and this session of theirs is there.
        """
        ...

    async def lift_ban(self, user_id: str, updated_at: str) -> None:
        """The user is no longer banned."""
        ...

    async def set_role(self, user_id: str, role: str, updated_at: str) -> None:
        """Replace the user's roles."""
        ...


class Mailer(Protocol):
    """Where messages go out. Both methods raise alike, and take about as long.

    Raises:
        MailUnavailable: the mail did not go out, or would not have.
        MailRefused: no mail is taken for this address.
    """

    async def send(self, message: OutgoingEmail) -> None:
        """Hand the message over; when this returns, a server has it."""
        ...

    async def rehearse(self, message: OutgoingEmail) -> None:
        """All but sending it: for an address that gets no mail, which nobody may see from outside."""
        ...


class AccountStore(Protocol):
    """Users, their accounts and sessions. Every method is one transaction; all raise `CentralUnavailable`.

    Where a one-time use has been used up meanwhile, nothing is changed and the answer is None or False.
    """

    async def find_credential(self, email: str) -> Credential | None:
        """The user with this address (in lower case), and their password's hash."""
        ...

    async def find_credential_of(self, user_id: str) -> Credential | None:
        """The user and their password's hash."""
        ...

    async def list_accounts(self, user_id: str) -> list[Account]:
        """The ways to sign in as this user, the oldest first."""
        ...

    async def update_user(self, user_id: str, changes: UserChanges, now: datetime) -> bool:
        """False if there is no such user."""
        ...

    async def prove(self, user: User, proof: Proof, now: datetime) -> Proved | None:
        """Write down that the address is theirs, and end what that ends; see `freehold.auth.proofs`.

        None if it is theirs no longer, or the session that asked has ended. Raises `EmailTaken`: someone has the
        new address.
        """
        ...

    async def replace_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, session: Session | None, *, keeps_keys: bool
    ) -> bool:
        """False if the old hash is theirs no longer.

        With a session, all others end and it is written; API keys end, too, unless they are kept.
        """
        ...

    async def delete_user(
        self, user_id: str, now: datetime, asked_by: str, one_time_use: OneTimeUse | None = None
    ) -> bool:
        """Delete user, accounts and sessions, and mark the tenant to be deleted.

        False if they are gone, or the session that asks has ended.
        """
        ...

    async def list_sessions(self, user_id: str, now: datetime) -> list[Session]:
        """The live ones that the user has begun, the oldest first."""
        ...

    async def delete_own_session(self, user_id: str, token: str) -> None:
        """Nothing happens if it is someone else's, or nobody's."""
        ...

    async def delete_own_sessions(self, user_id: str, but_token: str | None = None, *, keeps_keys: bool) -> None:
        """All of them, or all but one, and those in which the user acts as someone else; API keys unless kept."""
        ...
