"""JWTs: the user as better-auth tells other services, and access tokens for this one.

Both are EdDSA and live 15 minutes. They cannot be mistaken for each other: an access token says `at+jwt` in its
header (RFC 9068, section 2.1) and names its session, which must still be there whenever it is shown.
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
# How long `of_user` may give the same text again; the rest of its life is still what a client needs.
_REUSED_FOR = timedelta(seconds=60)
_REMEMBERED = 5_000


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """For this service, instead of a session's token."""

    text: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AccessToken(text='***', expires_at={self.expires_at!r})"


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a genuine access token says. Whether its session is still there it does not know."""

    user_id: str
    session_id: str
    expires_at: datetime


class Jwts:
    """Signs and checks. `issuer` is the public origin: who issues, and for whom."""

    def __init__(self, keys: SigningKeys, issuer: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._known: Lru[str, tuple[User, SigningKey, datetime, str]] = Lru(_REMEMBERED)

    async def of_user(self, user: User) -> str:
        """A JWT that tells who the user is, made at most a minute ago.

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
        """A token for this session. Raises `CentralUnavailable` as `of_user`."""
        key = await self._keys.signer()
        now = self._clock()
        claims = {**self._standard(signed_in.user_id, now), "sid": signed_in.session_id, "jti": uuid.uuid4().hex}
        text = jwt.encode(claims, key.private_key, ALGORITHM, headers={"kid": key.key_id, "typ": _ACCESS_TYPE})
        return AccessToken(text=text, expires_at=datetime.fromtimestamp(claims["exp"], UTC))

    async def read_access_token(self, text: str) -> AccessClaims:
        """What the token says, once its signature, kind, issuer, audience and time are right.

        Raises:
            BadAccessToken: any of them is not; which is not told.
            CentralUnavailable: the central database does not answer.
        """
        verifying = await self._keys.verifying()
        try:
            if len(text) > _MAX_LENGTH:
                raise jwt.InvalidTokenError
            header = jwt.get_unverified_header(text)
            # The header chooses one of our keys by its exact id, and nothing else: no `alg`, `jwk`, `jku` or `x5u`.
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
