"""What auth needs of the outside, in its own words."""

from collections.abc import Sequence
from typing import Protocol

from freehold.auth.outgoing_email import Language, OutgoingEmail
from freehold.auth.proofs import Chosen
from freehold.auth.social.types import Identity
from freehold.auth.types import (
    Credential,
    Session,
    SignedIn,
    StoredKey,
    StoredRefreshToken,
    UsedRefreshToken,
    User,
)


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
            IdentityTaken: the identity belongs to somebody else.
        """
        ...

    async def upgrade_guest(
        self, user: User, password_hash: str | None, session: Session, *, identity: Identity | None = None
    ) -> bool:
        """Make the guest with this id this user; they keep their tenant, and have this session and no API keys.

        False, and nothing is changed, if there is no such guest, or they have signed in to an account they had.

        Raises:
            EmailTaken: the address is in use.
            IdentityTaken: the identity belongs to somebody else.
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

    async def lift_ban(self, user_id: str, updated_at: str) -> None:
        """The user is no longer banned."""
        ...

    async def set_role(self, user_id: str, role: str, updated_at: str) -> None:
        """Replace the user's roles."""
        ...


class SigningKeyStore(Protocol):
    """The keys that sign JWTs. Every method raises `CentralUnavailable` when there is no answer."""

    async def load_keys(self) -> tuple[Sequence[StoredKey], int]:
        """All rows, the newest first; and how far the change feed was in the same view."""
        ...

    async def replace_keys(
        self,
        new: StoredKey,
        *,
        seen: Sequence[StoredKey],
        retired: Sequence[StoredKey],
        removed: Sequence[StoredKey],
    ) -> bool:
        """Add a key, retire some when it was made and remove others, in one transaction.

        False, with nothing changed, when the rows are not (any more) those `seen`.
        """
        ...


class RefreshTokenStore(Protocol):
    """Refresh tokens by their hashes. Every method raises `CentralUnavailable` when there is no answer."""

    async def add_refresh_token(self, new: StoredRefreshToken, session_id: str) -> None:
        """Raises `NotFound` when the session is gone."""
        ...

    async def use_refresh_token(
        self, token_hash: str, successor: StoredRefreshToken, *, repeatable_since: str, now: str
    ) -> UsedRefreshToken | None:
        """Mark it used and add its successor; None if it is unknown or expired. All in one transaction.

        One that was used already gives REPEATED if that was after `repeatable_since`; before, its session is deleted.
        """
        ...

    async def session_token_of_refresh(self, token_hash: str) -> str | None:
        """The token of the session that it belongs to."""
        ...

    async def session_token_of_id(self, session_id: str) -> str | None:
        """The token of the session with this id."""


class VerificationMail(Protocol):
    """Letters with links that verify an address."""

    async def mail_sign_up_link(
        self, email: str, chosen: Chosen, callback_url: str, language: Language, source: str
    ) -> None:
        """Mail one, if a user has not verified this address; it gives the account what was chosen.

        Raises as `Mailer` does, and `RateLimited`.
        """
        ...


class Mailer(Protocol):
    """Where letters go out. Both methods raise alike, and take about as long.

    Raises:
        MailUnavailable: the mail did not go out, or would not have.
        MailRefused: no mail is taken for this address.
    """

    async def send(self, letter: OutgoingEmail) -> None:
        """Hand the letter over; when this returns, a server has it."""
        ...

    async def rehearse(self, letter: OutgoingEmail) -> None:
        """All but sending it: for an address that gets no mail, which nobody may see from outside."""
        ...
