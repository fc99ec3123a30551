"""What the care of an account needs of the central database, in its own words."""

from datetime import datetime
from typing import Protocol

from freehold.auth.pending import Ticket
from freehold.auth.types import Account, Credential, Session, User, UserChanges


class AccountStore(Protocol):
    """Users and accounts. Every method is one transaction, and raises `CentralUnavailable` without an answer.

    Where a ticket is to be used and has been used meanwhile, nothing is changed and the answer is None or False.
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

    async def prove_email(self, user: User, now: datetime) -> User | None:
        """The user with the address verified, for the first time; None if it is theirs no more.

        Whoever signed up with it may have been somebody else, so all accounts (the password is one) and sessions of
        the user end.
        """
        ...

    async def verify_email(self, user: User, now: datetime, ticket: Ticket | None = None) -> User | None:
        """The user with the address verified; None if it is theirs no more."""
        ...

    async def change_email(
        self, user: User, new_email: str, now: datetime, ticket: Ticket | None = None
    ) -> User | None:
        """The user with the new, verified address; None if the old one is theirs no more. Raises `EmailTaken`."""
        ...

    async def replace_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, session: Session | None
    ) -> bool:
        """False if the old hash is theirs no more. With a session, all others end and it is written."""
        ...

    async def reset_password(
        self, user: User, new_hash: str, now: datetime, ticket: Ticket, *, verifies_email: bool
    ) -> bool:
        """Set it, or make a password account. If the address was not verified, all sessions end."""
        ...

    async def delete_user(self, user_id: str, now: datetime, ticket: Ticket | None = None) -> bool:
        """Delete user, accounts and sessions, and mark the tenant to be deleted."""
        ...


class OwnSessionStore(Protocol):
    """A user's own sessions."""

    async def list_sessions(self, user_id: str, now: datetime) -> list[Session]:
        """The live ones that the user has begun, the oldest first."""
        ...

    async def delete_own_session(self, user_id: str, token: str) -> None:
        """Nothing happens if it is somebody else's, or nobody's."""
        ...

    async def delete_own_sessions(self, user_id: str, but_token: str | None = None) -> None:
        """All of them, or all but one."""
        ...
