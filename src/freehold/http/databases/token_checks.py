"""What a valid database token is asked besides: does its session live, and was it minted since the last rotation?"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freehold.providers.tokens import BadToken, Grant

SESSION_ENDED = "the session that this token was handed out to has ended; sign in again"
ROTATED = "this token was revoked by its operator; ask for a new one"


@dataclass(frozen=True, slots=True)
class TokenChecks:
    """`is_live` tells whether a token's subject is still there, `generation` at which one a database is."""

    is_live: Callable[[str], Awaitable[bool]]
    generation: Callable[[str], Awaitable[int]]

    async def check(self, grant: Grant) -> None:
        """Return if the token may be used.

        Raises:
            BadToken: it may not (any more).
            CentralUnavailable: that is not known.
        """
        if not await self.is_live(grant.subject):
            raise BadToken(SESSION_ENDED)
        if grant.generation < await self.generation(grant.database_name):
            raise BadToken(ROTATED)
