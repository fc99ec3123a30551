"""Database tokens minted by Turso: checked, requested once, and kept in memory until shortly before they expire.

Turso's tokens name no session, so one serves all sessions of a user. A session that ends gets no new one, and its
current one expires within the lifetime. A token is never written anywhere.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import jwt
from msgspec import Struct

from freehold.errors import ProviderUnavailable
from freehold.log import get_logger
from freehold.lru import Lru
from freehold.tenants.types import AccessLevel, DatabaseToken

log = get_logger()

_CLAIM: dict[AccessLevel, str] = {"full": "rw", "read_only": "ro"}
_CACHED = 50_000
_TRIES = 3
_LEAST_LIFE_S = 30.0
# How far its clock and ours may differ.
_SKEW_S = 300.0

# Returns the token's text and the id of its database.
Mint = Callable[[str, AccessLevel], Awaitable[tuple[str, str]]]
_Key = tuple[str, AccessLevel]


class _Kept(Struct, frozen=True):
    token: DatabaseToken
    generation: int


class TokenCache:
    """Tokens by database and level. For one event loop.

    `generation` counts a database's rotations: a token of an earlier one is revoked and not issued again, whichever
    process rotated.
    """

    def __init__(
        self, mint: Mint, *, lifetime_s: int, now: Callable[[], float] = time.time, capacity: int = _CACHED
    ) -> None:
        self._mint = mint
        self._lifetime_s = lifetime_s
        self._margin_s = min(300.0, lifetime_s / 3)
        self._now = now
        self._kept: Lru[_Key, _Kept] = Lru(capacity)
        self._coming: dict[tuple[_Key, int], asyncio.Task[DatabaseToken]] = {}

    async def get(self, database_name: str, level: AccessLevel, generation: int = 0) -> DatabaseToken:
        """A token that is valid for at least the margin.

        Raises:
            NotFound: no such database.
            ProviderUnavailable: none is available, or only ones with other rights than requested.
        """
        key = (database_name, level)
        kept = self._kept.get(key)
        if kept is not None and kept.generation >= generation and self._is_fresh(kept.token):
            self._kept.move_to_end(key)
            return kept.token
        coming = self._coming.get((key, generation))
        if coming is None:
            coming = asyncio.create_task(self._new(key, generation))
            self._coming[key, generation] = coming
            coming.add_done_callback(lambda task: self._arrived(key, generation, task))
        # Shielded: a caller that is cancelled does not cancel it for others that wait for the same token.
        return await asyncio.shield(coming)

    def forget(self, database_name: str) -> None:
        """Drop the tokens of a database, including those on their way."""
        for level in _CLAIM:
            self._kept.pop((database_name, level), None)
        for key, generation in [each for each in self._coming if each[0][0] == database_name]:
            del self._coming[key, generation]

    def _arrived(self, key: _Key, generation: int, task: asyncio.Task[DatabaseToken]) -> None:
        if self._coming.get((key, generation)) is not task:
            return  # dropped meanwhile: it may have been minted before a rotation
        del self._coming[key, generation]
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[key] = _Kept(task.result(), generation)

    def _is_fresh(self, token: DatabaseToken) -> bool:
        return token.expires_at.timestamp() - self._now() > self._margin_s

    async def _new(self, key: _Key, generation: int) -> DatabaseToken:
        database_name, level = key
        fault = ""
        for _ in range(_TRIES):
            text, db_id = await self._mint(database_name, level)
            claims = _claims(text)
            fault = self._fault(claims, level, db_id)
            if not fault:
                return DatabaseToken(text=text, profile=level, expires_at=datetime.fromtimestamp(claims["exp"], UTC))
            log.warning("token.refused", database=database_name, fault=fault, generation=generation)
        raise ProviderUnavailable(f"Turso minted a token that {fault}")

    def _fault(self, claims: dict[str, Any], level: AccessLevel, db_id: str) -> str:
        """What is wrong with the claims, or "". Without this check, rights that nobody requested might be issued."""
        if "gid" in claims or "p" in claims:
            return "may open more than one database"
        if claims.get("a") != _CLAIM[level]:
            return "does not say in its `a` claim what was asked for"
        if claims.get("id", db_id) != db_id:
            return "is for another database"
        return self._fault_of_time(claims.get("exp"))

    def _fault_of_time(self, expires_at: object) -> str:
        if not isinstance(expires_at, int | float) or isinstance(expires_at, bool):
            return "does not expire"
        left_s = expires_at - self._now()
        if left_s < min(_LEAST_LIFE_S, self._lifetime_s / 2):
            return "has expired already; are the clocks right?"
        if left_s > self._lifetime_s + 60 + _SKEW_S:
            return "lives longer than was asked for"
        return ""


def expiration(lifetime_s: int) -> str:
    """The lifetime for the API, in whole minutes; it documents weeks, days and minutes only."""
    return f"{max(1, -(-lifetime_s // 60))}m"


def _claims(text: str) -> dict[str, Any]:
    """The token's claims. Only the database can check its signature: the key is Turso's."""
    try:
        claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False, "verify_exp": False})
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise ProviderUnavailable("Turso minted something that is not a token") from error
    return claims
