"""Databases that guests leave behind when they sign in to an existing account, kept until the user decides.

Nothing is merged here, because only the app knows what its rows mean. It opens the guest's database, copies what it
wants into the user's own, and then deletes the guest's, or keeps it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from freehold.dates import utc_now
from freehold.errors import NotFound
from freehold.log import get_logger
from freehold.profiles import Profile
from freehold.tenants.service import Tenants
from freehold.tenants.types import Tenant, UserDatabase

log = get_logger()


class GuestLink(msgspec.Struct, frozen=True, kw_only=True):
    """A guest who signed in to an existing account, and when."""

    guest_id: str
    linked_at: str


class GuestLinks(Protocol):
    """Which guests belong to which users. All methods raise `CentralUnavailable`."""

    async def of_user(self, user_id: str) -> Sequence[GuestLink]:
        """Return this user's guests, oldest first."""

    async def has(self, user_id: str, guest_id: str) -> bool:
        """Return whether this guest is this user's."""

    async def delete(self, user_id: str, guest_id: str, now: datetime) -> bool:
        """Delete the guest and schedule their database for deletion, in one transaction. False if not this user's."""


@dataclass(frozen=True, slots=True)
class GuestDatabases:
    """What users may do with the databases that they filled as guests."""

    links: GuestLinks
    tenants: Tenants
    clock: Callable[[], datetime] = utc_now

    async def of_user(self, user_id: str) -> Sequence[tuple[GuestLink, Tenant]]:
        """Return the user's guest databases, oldest link first."""
        links = await self.links.of_user(user_id)
        return [(link, await self.tenants.store.of_user(link.guest_id)) for link in links]

    async def open(self, user_id: str, guest_id: str, subject: str, asked: Profile) -> UserDatabase:
        """Return the guest's database with a token for the user's session.

        Raises:
            NotFound: the user has no such guest.
            DatabaseSuspended, DatabaseDeleting, DatabaseDeleted, ProviderUnavailable: as for the user's own.
        """
        if not await self.links.has(user_id, guest_id):
            raise NotFound("you have no such guest database")
        return await self.tenants.database_of(guest_id, subject, asked)

    async def delete(self, user_id: str, guest_id: str) -> None:
        """Delete the guest and their database permanently. Raises `NotFound` if the user has no such guest."""
        if not await self.links.delete(user_id, guest_id, self.clock()):
            raise NotFound("you have no such guest database")
        log.info("tenant.guest_database_given_up", user_id=user_id, guest_id=guest_id)
