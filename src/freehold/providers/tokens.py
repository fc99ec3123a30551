"""Database tokens: EdDSA JWTs as sqld accepts them, so that one signer serves every self-hosted provider.

Claims: `a` (`rw` or `ro`) and `id` (the database), or `p` (`{"rw": {"ns": [names]}, "ro": ...}`) in their place.
Stricter than sqld: `exp` is required, and a token without `a` or `id` opens nothing (there it opens everything).
`profile` narrows what `a` allows; a token without it, as older versions minted, allows all that `a` does.
"""

import hashlib
import math
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from freehold.errors import NotFound, Unauthenticated
from freehold.lru import Lru
from freehold.profiles import PROFILES, Profile, narrowed
from freehold.providers.grants import Grant
from freehold.tenants.types import AccessLevel, DatabaseToken, level_of

LEEWAY_S = 5.0
_MAX_TOKEN_LENGTH = 4096
_PROFILES: dict[object, Profile] = {"rw": "full", "ro": "read_only"}
_CLAIMS: dict[AccessLevel, str] = {"full": "rw", "read_only": "ro"}


class BadToken(Unauthenticated):
    """The database token is missing, malformed, forged, expired or revoked."""

    code = "bad_database_token"
    message = "the token is not valid"
    remedy = "Ask for a new one."


class Verifier(Protocol):
    """Says what a token allows, without waiting."""

    def verify(self, token: str, database_name: str) -> Grant:
        """What the token allows on the database.

        Raises:
            BadToken: it opens nothing.
            NotFound: it is for another database; whether this one exists is not revealed.
        """

    def verify_only(self, token: str) -> Grant:
        """What the token allows on the one database that it names. Raises `BadToken`."""


class TokenSigner:
    """Mints database tokens with at most the profile `most`. Signing takes some 50 µs and never waits."""

    def __init__(
        self, private_key: Ed25519PrivateKey, *, most: Profile = "full", now: Callable[[], float] = time.time
    ) -> None:
        self._private_key = private_key
        self._most = most
        self._now = now

    def mint(
        self, database_name: str, asked: Profile, subject: str, lifetime_s: int, generation: int = 0
    ) -> DatabaseToken:
        """A new token that opens this database only; `subject` says for whom it is minted."""
        profile = narrowed(asked, self._most)
        issued_at = int(self._now())
        expires_at = issued_at + lifetime_s
        claims = {
            "a": _CLAIMS[level_of(profile)],
            "profile": profile,
            "id": database_name,
            "sub": subject,
            "jti": uuid.uuid4().hex,
            "iat": issued_at,
            "exp": expires_at,
            **({"gen": generation} if generation else {}),
        }
        return DatabaseToken(
            text=jwt.encode(claims, self._private_key, algorithm="EdDSA"),
            profile=profile,
            expires_at=datetime.fromtimestamp(expires_at, UTC),
        )


class TokenVerifier:
    """Implements `Verifier`. A token seen before costs microseconds, and still expires on time.

    Whatever a token says, its profile is at most `most`: an operator who narrows the setting need not wait for tokens
    to expire. For the event loop's thread.
    """

    def __init__(
        self,
        public_key: Ed25519PublicKey,
        *,
        most: Profile = "full",
        cached: int = 10_000,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._public_key = public_key
        self._most = most
        self._now = now
        # Keyed by hash: what is kept in memory opens nothing, and a lookup compares no secret byte by byte.
        self._known: Lru[bytes, _Verified] = Lru(cached)

    def verify(self, token: str, database_name: str) -> Grant:
        """What the token allows on the database.

        Raises:
            BadToken: malformed, forged, expired, or without the claims that bind it to a database.
            NotFound: valid, but for another database; whether this one exists is not revealed.
        """
        verified, digest = self._verified(token)
        profile = verified.profiles.get(database_name)
        if profile is None:
            raise NotFound(f"database `{database_name}` does not exist")
        return Grant(database_name, profile, digest, verified.subject, verified.generation)

    def verify_only(self, token: str) -> Grant:
        """What the token allows on the one database that it names.

        Raises:
            BadToken: as `verify`, or it names none or several.
        """
        verified, digest = self._verified(token)
        if len(verified.profiles) != 1:
            raise BadToken("the token is not valid here: it must name one database")
        ((database_name, profile),) = verified.profiles.items()
        return Grant(database_name, profile, digest, verified.subject, verified.generation)

    def _verified(self, token: str) -> "tuple[_Verified, bytes]":
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        verified = self._known.get(digest)
        if verified is None:
            verified = _read(token, self._public_key, self._most)
            self._remember(digest, verified)
        if self._now() > verified.expires_at + LEEWAY_S:
            self._known.pop(digest, None)
            raise BadToken("the token has expired; ask for a new one")
        return verified, digest

    def _remember(self, digest: bytes, verified: "_Verified") -> None:
        self._known[digest] = verified


class _Verified(Struct, frozen=True):
    profiles: Mapping[str, Profile]
    expires_at: float
    subject: str
    generation: int


def _read(token: str, public_key: Ed25519PublicKey, most: Profile) -> _Verified:
    if len(token) > _MAX_TOKEN_LENGTH:
        raise BadToken("the token is not valid: it is too long")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            public_key,
            algorithms=["EdDSA"],  # the header's `alg` chooses nothing: no `none`, no HMAC with the public key
            options={
                "verify_exp": False,  # checked at each use, on our clock
                "verify_iat": False,  # like sqld: two machines' clocks differ
                "verify_aud": False,
                "verify_sub": False,
                "verify_jti": False,
            },
            leeway=LEEWAY_S,
        )
    except jwt.ImmatureSignatureError as error:
        raise BadToken("the token is not valid yet") from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadToken("the token is not valid: ask for a new one") from error
    subject, generation = claims.get("sub"), claims.get("gen")
    return _Verified(
        profiles={name: narrowed(profile, most) for name, profile in _profiles(claims).items()},
        expires_at=_expiry(claims),
        subject=subject if isinstance(subject, str) else "",
        generation=generation if isinstance(generation, int) else 0,
    )


def _expiry(claims: Mapping[str, Any]) -> float:
    expires_at = claims.get("exp")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float) or not math.isfinite(expires_at):
        raise BadToken("the token is not valid: it has no `exp` claim")
    return float(expires_at)


def _profiles(claims: Mapping[str, Any]) -> Mapping[str, Profile]:
    """Profiles by database name. If `p` is present sqld ignores `id` and `a`, so we must too."""
    narrower = claims.get("profile", "full")
    if not isinstance(narrower, str) or narrower not in PROFILES:
        raise BadToken("the token is not valid: its `profile` claim is none of ours")
    if "p" in claims:
        return {name: narrowed(profile, narrower) for name, profile in _permissions(claims["p"]).items()}
    profile = _PROFILES.get(claims["a"]) if isinstance(claims.get("a"), str) else None
    if profile is None:
        raise BadToken("the token is not valid: its `a` claim must be `rw` or `ro`")
    database_name = claims.get("id")
    if not isinstance(database_name, str) or not database_name:
        raise BadToken("the token is not valid: its `id` claim must name a database")
    return {database_name: narrowed(profile, narrower)}


def _permissions(permissions: Any) -> Mapping[str, Profile]:
    profiles: dict[str, Profile] = {}
    for claim in ("ro", "rw"):  # `rw` last: it wins
        for database_name in _names(permissions, claim):
            profiles[database_name] = _PROFILES[claim]
    return profiles


def _names(permissions: Any, claim: str) -> list[str]:
    scope = permissions.get(claim, {}) if isinstance(permissions, dict) else None
    names = scope.get("ns", []) if isinstance(scope, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadToken("the token is not valid: its `p` claim has another form than sqld's")
    return names
