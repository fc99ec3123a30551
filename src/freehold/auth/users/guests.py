"""Guests use the app before they sign up. They have a user row and a database like other users.

A guest who signs up becomes the new user and keeps both. A guest who signs in to an existing account is linked to it,
and the guest's database is kept until that user decides; see `freehold.tenants.guests`.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from freehold.auth.errors import IsGuest, NotAGuest
from freehold.auth.service import Auth
from freehold.auth.types import USER_ROLE, Client, NewUser, SignedIn
from freehold.log import get_logger

_NAME = "Anonymous"
_DOMAIN = "anonymous.placeholder.invalid"  # RFC 2606: never delivered to anyone

log = get_logger()


@dataclass(frozen=True, slots=True)
class Guests:
    """Signs guests in and deletes them."""

    auth: Auth

    async def sign_in(self, client: Client) -> SignedIn:
        """A new guest with a session.

        Raises:
            IsGuest: the caller is already a guest.
        """
        if client.guest_id:
            raise IsGuest
        auth = self.auth
        address = f"{auth.new_id().lower()}@{_DOMAIN}"
        user = auth.new_user(NewUser(name=_NAME, email=address, password=""), USER_ROLE, auth.clock())
        return await auth.start_user(replace(user, is_anonymous=True), client)

    async def delete(self, guest: SignedIn) -> None:
        """Delete the guest, their sessions, and their database.

        Raises:
            NotAGuest: the user has an account, or is getting one at the same time.
        """
        is_deleted = guest.user.is_anonymous and await self.auth.store.delete_user(
            guest.user_id, self.auth.clock(), guest_in=guest.session_id
        )
        if not is_deleted:
            raise NotAGuest
        log.info("user.guest_deleted", user_id=guest.user_id)
