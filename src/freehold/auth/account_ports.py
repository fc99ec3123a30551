"""What the care of an account needs of the central database, in its own words."""

from datetime import datetime
from typing import Protocol

from freehold.auth.proofs import Proof, Proved
from freehold.auth.types import Account, Credential, Session, User, UserChanges
from freehold.auth.verifications import OneTimeUse


class AccountStore(Protocol):
    """Users, their accounts and sessions. Every method is one transaction; all raise `CentralUnavailable`.

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

    async def prove(self, user: User, proof: Proof, now: datetime) -> Proved | None:
        """Write down that the address is theirs, and end what that ends; see `freehold.auth.proofs`.

        None if it is theirs no longer, or the session that asked has ended. Raises `EmailTaken`: somebody has the
        new address.
        """
        ...

    async def replace_password(
        self,
        user_id: str,
        old_hash: str,
        new_hash: str,
        now: datetime,
        session: Session | None,
        *,
        keeps_keys: bool,
    ) -> bool:
        """False if the old hash is theirs no longer.

        With a session, all others end and it is written; API keys end, too, unless they are kept.
        """
        ...

    async def delete_user(
        self, user_id: str, now: datetime, asked_by: str, ticket: OneTimeUse | None = None
    ) -> bool:
        """Delete user, accounts and sessions, and mark the tenant to be deleted.

        False if they are gone, or the session that asks has ended.
        """
        ...

    async def list_sessions(self, user_id: str, now: datetime) -> list[Session]:
        """The live ones that the user has begun, the oldest first."""
        ...

    async def delete_own_session(self, user_id: str, token: str) -> None:
        """Nothing happens if it is somebody else's, or nobody's."""
        ...

    async def delete_own_sessions(
        self, user_id: str, but_token: str | None = None, *, keeps_keys: bool
    ) -> None:
        """All of them, or all but one, and those in which the user acts as somebody else; API keys unless kept."""
        ...
