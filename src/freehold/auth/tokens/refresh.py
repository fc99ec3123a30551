"""Access and refresh tokens of a session, for clients that keep tokens instead of cookies.

A refresh token is used once and replaced by the next. All tokens of a session form a family; if one is reused, it has
leaked, and the session ends with all its tokens. Concurrent requests are not treated as theft: for a short time after
its use, a token returns the same successor, which is derived from it because only hashes are stored.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from freehold.auth.errors import BadAccessToken, BadRefreshToken, Banned
from freehold.auth.sessions.sessions import LIFETIME, Sessions
from freehold.auth.tokens.jwts import AccessToken, Jwts
from freehold.auth.types import RefreshUse, SignedIn, StoredRefreshToken, UsedRefreshToken
from freehold.dates import to_iso, utc_now
from freehold.log import get_logger
from freehold.lru import Lru

GRACE = timedelta(seconds=30)
_TOKEN_BYTES = 32
_PURPOSE = b"freehold refresh token"
_KNOWN_SESSIONS = 20_000

log = get_logger()


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a client without cookies."""

    signed_in: SignedIn
    access: AccessToken
    refresh_token: str

    def __repr__(self) -> str:
        return f"TokenPair(session_id={self.signed_in.session_id!r})"


class RefreshTokenStore(Protocol):
    """Refresh tokens by hash. Every method raises `CentralUnavailable` when the database does not answer."""

    async def add_refresh_token(self, new: StoredRefreshToken, session_id: str) -> None:
        """Raises `NotFound` when the session is gone."""

    async def use_refresh_token(
        self, token_hash: str, successor: StoredRefreshToken, *, repeatable_since: str, now: str
    ) -> UsedRefreshToken | None:
        """Mark the token as used and add its successor, in one transaction; None if it is unknown or expired.

        For one that was already used, the outcome is REPEATED if that was after `repeatable_since`; otherwise its
        session is deleted.
        """

    async def session_token_of_refresh(self, token_hash: str) -> str | None:
        """The token of the session that the refresh token belongs to."""

    async def session_token_of_id(self, session_id: str) -> str | None:
        """The token of the session with this id."""


class TokenPairs:
    """Starts, refreshes and reads token pairs. One per process."""

    def __init__(
        self,
        store: RefreshTokenStore,
        sessions: Sessions,
        jwts: Jwts,
        secret: str,
        *,
        grace: timedelta = GRACE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._jwts = jwts
        self._key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
        self._grace = grace
        self._clock = clock
        # A session's id and token never change, so an entry may be stale but is never wrong.
        self._token_of: Lru[str, str] = Lru(_KNOWN_SESSIONS)

    async def start(self, signed_in: SignedIn) -> TokenPair:
        """The first pair of a new session.

        Raises:
            NotFound: the session has ended.
        """
        refresh_token = _text(secrets.token_bytes(_TOKEN_BYTES))
        access = await self._jwts.access_token(signed_in)
        await self._store.add_refresh_token(self._stored(refresh_token), signed_in.session_id)
        return TokenPair(signed_in=signed_in, access=access, refresh_token=refresh_token)

    async def refresh(self, refresh_token: str) -> TokenPair:
        """The next pair; extends the session.

        Raises:
            BadRefreshToken: unknown, expired, or reused; if reused, the session has been ended.
            Banned: the user is banned.
        """
        successor = _text(hmac.digest(self._key, refresh_token.encode(errors="surrogatepass"), "sha256"))
        now = self._clock()
        found = await self._store.use_refresh_token(
            _hash(refresh_token), self._stored(successor), repeatable_since=to_iso(now - self._grace), now=to_iso(now)
        )
        if found is None:
            raise BadRefreshToken
        if found.outcome is RefreshUse.REUSED:
            log.warning("refresh_token.reused", session_id=found.session_id)
            raise BadRefreshToken
        signed_in = await self._sessions.current(found.session_token)
        if signed_in is None:
            raise BadRefreshToken
        if signed_in.user.is_banned_at(now):
            raise Banned
        access = await self._jwts.access_token(signed_in)
        return TokenPair(signed_in=signed_in, access=access, refresh_token=successor)

    async def read(self, access_token: str) -> SignedIn:
        """The session of this access token, which stops working as soon as the session ends.

        Raises:
            BadAccessToken: forged, expired, of another type, or its session has ended.
        """
        return (await self.read_with_expiry(access_token))[0]

    async def read_with_expiry(self, access_token: str) -> tuple[SignedIn, datetime]:
        """As `read`, and the token's expiry."""
        claims = await self._jwts.read_access_token(access_token)
        token = await self._session_token(claims.session_id)
        found = await self._sessions.current(token) if token is not None else None
        if found is None or found.user_id != claims.user_id or found.user.is_banned_at(self._clock()):
            self._token_of.pop(claims.session_id, None)
            raise BadAccessToken("this session has ended; sign in again")
        return found, claims.expires_at

    async def session_of(self, refresh_token: str) -> str | None:
        """The token of the session that this refresh token belongs to, used or not; None if it is unknown."""
        return await self._store.session_token_of_refresh(_hash(refresh_token))

    async def _session_token(self, session_id: str) -> str | None:
        token = self._token_of.get(session_id) or await self._store.session_token_of_id(session_id)
        if token is not None:
            self._token_of[session_id] = token
        return token

    def _stored(self, refresh_token: str) -> StoredRefreshToken:
        now = self._clock()
        return StoredRefreshToken(
            token_hash=_hash(refresh_token), created_at=to_iso(now), expires_at=to_iso(now + LIFETIME)
        )


def _hash(refresh_token: str) -> str:
    """256 random bits need no salt and no slow hash. Looking up by hash compares no secret."""
    return hashlib.sha256(refresh_token.encode(errors="surrogatepass")).hexdigest()


def _text(token: bytes) -> str:
    return token.hex()
