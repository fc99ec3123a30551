"""Copies of sessions outside the database: in a second cookie, and in a shared cache.

The cookie cache has better-auth's format. Others who know the secret, such as a front end's server, read it without
asking this service, and accept that it may be five minutes old. Here it is treated like any other copy: it saves a read
of the database if the session is not in memory. A copy is not accepted once its session or user has changed, see
`freehold.auth.sessions.sessions`.
"""

import base64
import binascii
import hmac
from datetime import datetime
from typing import Any, Literal

import jwt
import msgspec

from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.sessions import signed_in_by
from freehold.auth.types import Session, SignedIn, User

_encode = msgspec.json.Encoder().encode

Strategy = Literal["compact", "jwt"]

MAX_AGE_S = 300
_UNREMEMBERED_AGE_S = 60
_VERSION = "1"
# The most that one cookie holds; better-auth would split it. Larger sessions are read from the database.
_MAX_LENGTH = 4050


class _Payload(msgspec.Struct, frozen=True, rename="camel"):
    """`seen` is the position of the change feed; cookies that better-auth wrote lack it."""

    session: Session
    user: User
    updated_at: int
    version: str
    seen: int = -1


class _Compact(msgspec.Struct, frozen=True, rename="camel"):
    session: msgspec.Raw
    expires_at: int
    signature: str


_decode_compact = msgspec.json.Decoder(_Compact).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class SessionData:
    """Writes and reads the cookie cache."""

    def __init__(self, secret: str, cookies: SessionCookies, strategy: Strategy) -> None:
        self._secret = secret
        self._key = secret.encode()
        self._cookies = cookies
        self._strategy = strategy

    def setting(self, found: SignedIn, now: datetime, *, is_remembered: bool = True) -> tuple[str, ...]:
        """`Set-Cookie` values; none if the copy does not fit into a cookie."""
        age_s = MAX_AGE_S if is_remembered else _UNREMEMBERED_AGE_S
        now_ms = int(now.timestamp() * 1000)
        payload = _Payload(found.session, found.user, now_ms, _VERSION, found.seen)
        value = self._compact(payload, now_ms, age_s) if self._strategy == "compact" else self._jwt(payload, age_s)
        if len(value) > _MAX_LENGTH:
            return ()
        return (self._cookies.data_setting(value, MAX_AGE_S if is_remembered else None),)

    def read(self, value: str, token: str, now: datetime) -> SignedIn | None:
        """The copy in the cookie; None if it is not signed by us, has expired, or is of another session."""
        now_ms = int(now.timestamp() * 1000)
        text = self._from_compact(value, now_ms) if self._strategy == "compact" else self._from_jwt(value, now_ms)
        if text is None:
            return None
        try:
            payload = _decode_payload(text)
        except msgspec.MsgspecError:
            return None
        return _copy_of(payload.session, payload.user, payload.seen, token)

    def _compact(self, payload: _Payload, now_ms: int, age_s: int) -> str:
        text, expires_at = _encode(payload), now_ms + age_s * 1000
        compact = {
            "session": msgspec.Raw(text),
            "expiresAt": expires_at,
            "signature": self._signature(text, expires_at),
        }
        return base64.urlsafe_b64encode(_encode(compact)).decode().rstrip("=")

    def _from_compact(self, value: str, now_ms: int) -> bytes | None:
        try:
            raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
            compact = _decode_compact(raw)
        except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
            return None
        text = bytes(compact.session)
        expected = self._signature(text, compact.expires_at)
        is_ours = hmac.compare_digest(expected.encode(), compact.signature.encode("utf-8", "replace"))
        return text if is_ours and compact.expires_at > now_ms else None

    def _signature(self, text: bytes, expires_at: int) -> str:
        """Over the payload's members and the expiry in one object, byte for byte as they are sent."""
        signed = b'%b,"expiresAt":%d}' % (text[:-1], expires_at)
        return base64.urlsafe_b64encode(hmac.digest(self._key, signed, "sha256")).decode().rstrip("=")

    def _jwt(self, payload: _Payload, age_s: int) -> str:
        issued_at = payload.updated_at // 1000
        claims: dict[str, Any] = {**msgspec.to_builtins(payload), "iat": issued_at, "exp": issued_at + age_s}
        return jwt.encode(claims, self._secret, algorithm="HS256", headers={"typ": None})

    def _from_jwt(self, value: str, now_ms: int) -> bytes | None:
        try:
            # The expiry is checked below, by our clock.
            options: Any = {"verify_exp": False, "verify_iat": False, "require": ["exp"]}
            claims = jwt.decode(value, self._secret, algorithms=["HS256"], options=options)
        except (jwt.PyJWTError, ValueError):
            return None
        is_valid = isinstance(claims["exp"], int) and claims["exp"] * 1000 > now_ms
        return _encode(claims) if is_valid else None


class _Stored(msgspec.Struct, frozen=True):
    session: Session
    user: User
    seen: int


_decode_stored = msgspec.json.Decoder(_Stored).decode
_MAC = b',"mac":"'


class CachedSessionCodec:
    """Encodes copies for a shared cache: better-auth's `{"session", "user"}`, the feed position and a MAC.

    The MAC needs our secret, so that someone who can write to the cache, or another installation that shares it, cannot
    forge sessions.
    """

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"freehold session copy", "sha256")

    def encode(self, copy: SignedIn) -> bytes:
        session = msgspec.to_builtins(copy.session)
        if session["impersonatedBy"] is None:
            del session["impersonatedBy"]
        text = _encode({"session": session, "user": copy.user, "seen": copy.seen})[:-1]
        return text + _MAC + self._code(text) + b'"}'

    def decode(self, text: bytes, token: str) -> SignedIn | None:
        """The copy of the session with this token; None if its MAC is not ours."""
        body, found, rest = text.rpartition(_MAC)
        if not found or not hmac.compare_digest(rest, self._code(body) + b'"}'):
            return None
        try:
            stored = _decode_stored(body + b"}")
        except msgspec.MsgspecError:  # from another release
            return None
        return _copy_of(stored.session, stored.user, stored.seen, token)

    def _code(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256").hex().encode()


def _copy_of(session: Session, user: User, seen: int, token: str) -> SignedIn | None:
    """The copy, or None if it is not of this token or is inconsistent."""
    if not hmac.compare_digest(session.token.encode(), token.encode()) or session.user_id != user.user_id:
        return None
    try:
        return signed_in_by(user, session, seen)
    except ValueError:
        return None
