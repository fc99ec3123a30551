"""JWTs: those that describe the user to other services, as in better-auth, and access tokens for this one.

Both use EdDSA and are valid for 15 minutes. They cannot be confused: an access token has `at+jwt` in its header (RFC
9068, section 2.1) and names its session, which must still exist whenever it is used.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec

from freehold.auth.errors import BadAccessToken
from freehold.auth.tokens.signing_keys import ALGORITHM, SigningKey, SigningKeys
from freehold.auth.types import SignedIn, User
from freehold.dates import utc_now
from freehold.lru import Lru

LIFETIME = timedelta(minutes=15)
_ACCESS_TYPE = "at+jwt"
_MAX_LENGTH = 4096
_REQUIRED = ["iss", "aud", "sub", "sid", "jti", "iat", "exp"]
# How long `of_user` may return the same text; the remaining validity is still long enough for clients.
_REUSED_FOR = timedelta(seconds=60)
_REMEMBERED = 5_000


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that this service accepts instead of a session token."""

    text: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AccessToken(text='***', expires_at={self.expires_at!r})"


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a genuine access token. Its session may have ended."""

    user_id: str
    session_id: str
    expires_at: datetime


class Jwts:
    """Signs and verifies JWTs. `issuer` is the public origin, which is also the audience."""

    def __init__(self, keys: SigningKeys, issuer: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._known: Lru[str, tuple[User, SigningKey, datetime, str]] = Lru(_REMEMBERED)

    async def of_user(self, user: User) -> str:
        """A JWT that describes the user, signed at most a minute ago.

        Raises:
            CentralUnavailable: there is no key in memory and the central database does not answer.
        """
        now = self._clock()
        if (known := self._known.get(user.user_id)) is not None:
            known_user, key, made_at, text = known
            is_same = known_user is user or known_user == user
            if is_same and key is self._keys.signer_in_memory and now - made_at < _REUSED_FOR:
                return text
        key = await self._keys.signer()
        claims = {**msgspec.to_builtins(user), **self._standard(user.user_id, now)}
        text = jwt.encode(claims, key.private_key, ALGORITHM, headers={"kid": key.key_id, "typ": None})
        self._known[user.user_id] = (user, key, now, text)
        return text

    async def access_token(self, signed_in: SignedIn) -> AccessToken:
        """A token for this session. Raises `CentralUnavailable` as `of_user` does."""
        key = await self._keys.signer()
        now = self._clock()
        claims = {**self._standard(signed_in.user_id, now), "sid": signed_in.session_id, "jti": uuid.uuid4().hex}
        text = jwt.encode(claims, key.private_key, ALGORITHM, headers={"kid": key.key_id, "typ": _ACCESS_TYPE})
        return AccessToken(text=text, expires_at=datetime.fromtimestamp(claims["exp"], UTC))

    async def read_access_token(self, text: str) -> AccessClaims:
        """The token's claims, after checking its signature, type, issuer, audience and expiry.

        Raises:
            BadAccessToken: a check failed; the error does not say which.
            CentralUnavailable: the central database does not answer.
        """
        verifying = await self._keys.verifying()
        try:
            if len(text) > _MAX_LENGTH:
                raise jwt.InvalidTokenError
            header = jwt.get_unverified_header(text)
            # The header selects one of our keys by its exact id, and nothing else: no `alg`, `jwk`, `jku` or `x5u`.
            key = verifying.get(header.get("kid", ""))
            if key is None or header.get("typ") != _ACCESS_TYPE or "crit" in header:
                raise jwt.InvalidTokenError
            claims: Mapping[str, Any] = jwt.decode(
                text,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._issuer,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "strict_aud": True},
            )
            found = msgspec.convert(claims, _Claims)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise BadAccessToken("this access token is not valid; sign in again") from error
        expires_at = datetime.fromtimestamp(found.exp, UTC)
        if expires_at <= self._clock():
            raise BadAccessToken("this access token has expired; get a new one with the refresh token")
        return AccessClaims(user_id=found.sub, session_id=found.sid, expires_at=expires_at)

    def _standard(self, user_id: str, now: datetime) -> dict[str, Any]:
        issued_at = int(now.timestamp())
        return {
            "iat": issued_at,
            "exp": issued_at + int(LIFETIME.total_seconds()),
            "sub": user_id,
            "iss": self._issuer,
            "aud": self._issuer,
        }


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    sid: str
    exp: int
