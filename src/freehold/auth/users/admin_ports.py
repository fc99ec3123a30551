"""What the administration of users needs of the central database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from freehold.auth.types import Session, User
from freehold.auth.users.admin_types import UserEdit, UserPage, UserQuery


class AdminStore(Protocol):
    """Every method is one transaction, with its entry in the audit trail. All raise `CentralUnavailable`."""

    async def find_user(self, user_id: str) -> User | None:
        """The user, if there is one."""
        ...

    async def list_users(self, query: UserQuery) -> UserPage:
        """Raises `NoSuchField`: the query names a field that users do not have."""
        ...

    async def create_user(self, user: User, password_hash: str | None) -> None:
        """Write user, account and tenant. Raises `EmailTaken`."""
        ...

    async def edit_user(self, user_id: str, edit: UserEdit, now: datetime) -> User | None:
        """The user as changed; None if there is none. A ban ends their sessions.

        Whoever is banned or no administrator any more acts as nobody else from then on.

        Raises:
            EmailTaken: somebody else has the address.
        """
        ...

    async def replace_password(self, user_id: str, password_hash: str, now: datetime) -> bool:
        """Set the password, or give them one, and end all their sessions and API keys; False if there is no user."""
        ...

    async def list_sessions(self, user_id: str, now: datetime) -> Sequence[Session]:
        """The live ones, the oldest first."""
        ...

    async def end_session(self, token: str) -> None:
        """No error if there is none."""
        ...

    async def end_sessions(self, user_id: str, *, keeps_keys: bool) -> None:
        """All of them, and those in which the user acts as somebody else; API keys, too, unless kept."""
        ...

    async def begin_impersonation(self, session: Session) -> None:
        """Write a session in which one user acts as another. Raises `NotFound`: one of them is gone."""
        ...

    async def remove_user(self, user_id: str, now: datetime) -> bool:
        """Delete the user, and mark their tenant to be deleted; False if there is no such user."""
        ...
