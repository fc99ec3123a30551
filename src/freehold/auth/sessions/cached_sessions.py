"""The text of sessions' copies in a shared cache. When one may be believed is in `auth.sessions.invalidations`."""

import hmac

import msgspec

from freehold.auth.sessions.sessions import extend_from
from freehold.auth.types import Session, SignedIn, User
from freehold.dates import from_iso

_encode = msgspec.json.Encoder().encode


class _Stored(msgspec.Struct, frozen=True):
    session: Session
    user: User
    seen: int


_decode = msgspec.json.Decoder(_Stored).decode
_MAC = b',"mac":"'


class CachedSessionCodec:
    """The text of a copy in a shared cache: better-auth's `{"session", "user"}`, and what makes it ours.

    It carries a code that only who knows our secret can make: who can write to the cache, or shares it with another
    installation, still cannot make sessions.
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
        """The copy of the session with this token; None if it is not ours."""
        body, found, rest = text.rpartition(_MAC)
        if not found or not hmac.compare_digest(rest, self._code(body) + b'"}'):
            return None
        try:
            stored = _decode(body + b"}")
        except msgspec.MsgspecError:  # of another release
            return None
        return copy_of(stored.session, stored.user, stored.seen, token)

    def _code(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256").hex().encode()


def copy_of(session: Session, user: User, seen: int, token: str) -> SignedIn | None:
    """A copy, if it is what it should be a copy of."""
    if not hmac.compare_digest(session.token.encode(), token.encode()) or session.user_id != user.user_id:
        return None
    try:
        expires_at, updated_at = from_iso(session.expires_at), from_iso(session.updated_at)
    except ValueError:
        return None
    return SignedIn(
        user=user,
        session=session,
        expires_at=expires_at,
        extend_from=extend_from(expires_at, updated_at),
        seen=seen,
    )
