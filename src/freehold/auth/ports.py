"""The interfaces that auth needs."""

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
        """A new salted hash. Raises `Unavailable` when the queue is full."""

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether it is this password's hash; False for None, after the same time.

        Raises:
            Unavailable: the queue is full.
        """


class SessionStore(Protocol):
    """The sessions in the central database. Every method raises `CentralUnavailable` when it does not answer."""

    async def find_session(self, token: str) -> tuple[SignedIn | None, int]:
        """The session, even if expired, with its user; and the position of the change feed in the same snapshot."""

    async def extend_session(self, token: str, expires_at: str, updated_at: str) -> bool:
        """Set a new expiry; False if the session is gone."""

    async def delete_session(self, token: str) -> None:
        """Delete the session; no error if it is already gone."""


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
        """Write user, accounts, session and tenant, and delete the sessions in `replaces` (tokens), in one transaction.

        Raises:
            EmailTaken: the address is in use.
            IdentityTaken: the identity belongs to someone else.
        """

    async def upgrade_guest(
        self, user: User, password_hash: str | None, session: Session, *, identity: Identity | None = None
    ) -> bool:
        """Turn the guest with this id into this user, who keeps the tenant; only this session remains, and no API keys.

        Returns False and changes nothing if there is no such guest, or the guest has signed in to an existing account.

        Raises:
            EmailTaken: the address is in use.
            IdentityTaken: the identity belongs to someone else.
        """

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
        """Write the session, and record in the audit trail how the user signed in.

        Also links this guest to the user, ends the guest's sessions and API keys, and ends the sessions in `replaces`.

        Raises:
            NotFound: the user is gone, or no longer has this address, password or identity.
        """

    async def sign_out(self, token: str) -> None:
        """End the session; no error if there is none."""

    async def find_credential(self, email: str) -> Credential | None:
        """The user with this address (in lower case)."""

    async def delete_user(self, user_id: str, now: datetime, *, guest_in: str = "") -> bool:
        """Delete the user and schedule the deletion of their database, in one transaction.

        With `guest_in`, only if the user is a guest and still has the session with this id.
        """

    async def lift_ban(self, user_id: str, updated_at: str) -> None:
        """Remove the user's ban."""

    async def set_role(self, user_id: str, role: str, updated_at: str) -> None:
        """Replace the user's roles."""


class Mailer(Protocol):
    """Sends e-mails. Both methods raise the same errors and take about the same time.

    Raises:
        MailUnavailable: the mail was not, or would not have been, sent.
        MailRefused: the server does not accept mail for this address.
    """

    async def send(self, message: OutgoingEmail) -> None:
        """Send the message; on return, a mail server has accepted it."""

    async def rehearse(self, message: OutgoingEmail) -> None:
        """Do everything but send: for an address that gets no mail, without an observable difference."""


class AccountStore(Protocol):
    """Users, their accounts and sessions. Every method is one transaction and may raise `CentralUnavailable`.

    If the one-time use has already been used up, nothing is changed and the result is None or False.
    """

    async def find_credential(self, email: str) -> Credential | None:
        """The user with this address (in lower case), and their password's hash."""

    async def find_credential_of(self, user_id: str) -> Credential | None:
        """The user and their password's hash."""

    async def list_accounts(self, user_id: str) -> list[Account]:
        """The ways to sign in as this user, oldest first."""

    async def update_user(self, user_id: str, changes: UserChanges, now: datetime) -> bool:
        """Apply the changes; False if there is no such user."""

    async def prove(self, user: User, proof: Proof, now: datetime) -> Proved | None:
        """Record that the address belongs to the user, and revoke what this proof ends; see `freehold.auth.proofs`.

        None if the user no longer has the address, or the session that asked has ended. Raises `EmailTaken` if someone
        has the new address.
        """

    async def replace_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, session: Session | None, *, keeps_keys: bool
    ) -> bool:
        """Replace the password; False if `old_hash` is no longer current.

        With a session, all others end and it is written; API keys end too, unless `keeps_keys`.
        """

    async def delete_user(
        self, user_id: str, now: datetime, asked_by: str, one_time_use: OneTimeUse | None = None
    ) -> bool:
        """Delete the user, their accounts and sessions, and mark the tenant to be deleted.

        False if the user is gone, or the session that asks has ended.
        """

    async def list_sessions(self, user_id: str, now: datetime) -> list[Session]:
        """The live sessions that the user started, oldest first."""

    async def delete_own_session(self, user_id: str, token: str) -> None:
        """Delete the user's session with this token; does nothing if there is none."""

    async def delete_own_sessions(self, user_id: str, but_token: str | None = None, *, keeps_keys: bool) -> None:
        """Delete the user's sessions (all, or all but one) and impersonations, and API keys unless `keeps_keys`."""
