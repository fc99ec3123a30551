"""What social sign-in needs of the outside, in its own words."""

from datetime import datetime
from typing import Protocol

from freehold.auth.social.types import Attempt, Identity, Question
from freehold.auth.types import SignedIn, User


class IdentityProvider(Protocol):
    """A place that knows who somebody is. Every call is limited in time and size."""

    @property
    def provider_id(self) -> str:
        """Its name in URLs and in accounts."""
        ...

    async def authorize_url(self, question: Question) -> str:
        """Where to send the browser. Raises `IdentityProviderUnavailable`."""
        ...

    async def identify(self, code: str, issuer: str, question: Question) -> Identity:
        """Who the code stands for; `issuer` is who the answer says it comes from (RFC 9207), or empty.

        Raises:
            SocialRefusal: `issuer_mismatch`, `issuer_missing`, `invalid_code`, `unable_to_get_user_info`,
                `email_not_found`.
            IdentityProviderUnavailable: no answer within the limits.
        """
        ...


class AttemptStore(Protocol):
    """Tries that wait for their browser to come back. All methods raise `CentralUnavailable`."""

    async def save(self, key: str, attempt: Attempt, now: datetime, expires_at: datetime) -> None:
        """Keep it until then."""
        ...

    async def find(self, key: str, now: datetime) -> Attempt | None:
        """The attempt, if it has not expired or been taken."""
        ...

    async def take(self, key: str, now: datetime) -> bool:
        """Use it up. Of two callers only one gets True."""
        ...


class SocialAccountStore(Protocol):
    """Which identities belong to which users. All methods raise `CentralUnavailable`."""

    async def find_user(self, provider_id: str, subject: str) -> User | None:
        """The user who has this identity."""
        ...

    async def link_vouched(self, identity: Identity, user_id: str, now: datetime) -> User | None:
        """Add the identity to the user who has its address, for which its issuer vouches.

        Gives the user as they are then; None if their address is another by now.
        Where nobody had proved the address, its owner arrives by this: see `freehold.auth.proofs`.

        Raises:
            IdentityTaken: somebody has it by now.
        """
        ...

    async def link(self, identity: Identity, asking: SignedIn, now: datetime) -> None:
        """Add the identity to the user who asked for it; nothing happens if they have it.

        Its issuer vouches for the user's address, so this proves it: see `freehold.auth.proofs`.

        Raises:
            SocialRefusal: `account_already_linked_to_different_user`, or `state_mismatch` as the session has ended.
        """
        ...

    async def prove(self, identity: Identity, user: User, now: datetime) -> bool:
        """The address is the user's: the issuer of their identity vouches for it. False if either is another's."""
        ...

    async def owns(self, account_row_id: str, user_id: str) -> bool:
        """Whether this is one of the user's accounts."""
        ...

    async def unlink(self, account_row_id: str, user_id: str) -> None:
        """Remove one of the user's accounts.

        Raises:
            LastAccount: it is the only one.
            AccountNotFound: the user has no such account.
        """
        ...
