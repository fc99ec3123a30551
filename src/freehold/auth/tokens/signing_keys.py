"""The keys that sign JWTs: stored in the central database with encrypted private keys, rotated by age or on demand.

A key signs until it is retired, and stays published until the last token signed with it has expired. All processes
follow a rotation through the change feed. A key that cannot sign here (encrypted with another secret, or of another
type, in an imported database) is published too, so that its tokens can be verified.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt import InvalidKeyError
from jwt.algorithms import OKPAlgorithm
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt
from nacl.exceptions import CryptoError

from freehold.auth.random_ids import random_id
from freehold.auth.types import StoredKey
from freehold.changes import Changes
from freehold.dates import from_iso, to_iso, utc_now
from freehold.errors import CentralUnavailable, Unavailable
from freehold.feed_cache import FeedCell
from freehold.log import get_logger

# Encrypted texts in better-auth's format, so that its rows can be read.
#
# XChaCha20-Poly1305 with SHA-256 of the secret as key; the hex of nonce (24 bytes), ciphertext and tag (16 bytes).

_NONCE_BYTES = 24


class Unreadable(Exception):
    """The text was encrypted with another secret or in another format, or was changed."""


class SecretBox:
    """Encrypts and decrypts with one secret."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(secret.encode()).digest()

    def close(self, text: str) -> str:
        """The encrypted text; different each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(text.encode(), None, nonce, self._key)
        return (nonce + sealed).hex()

    def open(self, sealed: str) -> str:
        """The decrypted text. Raises `Unreadable`."""
        try:
            whole = bytes.fromhex(sealed)
            nonce, ciphertext = whole[:_NONCE_BYTES], whole[_NONCE_BYTES:]
            return crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, None, nonce, self._key).decode()
        except (ValueError, TypeError, CryptoError) as error:
            raise Unreadable("it was sealed with another secret, or changed") from error


ALGORITHM, CURVE = "EdDSA", "Ed25519"

Jwk = dict[str, Any]


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that can sign."""

    key_id: str
    private_key: Ed25519PrivateKey
    created_at: datetime

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


def new_key(box: SecretBox, now: datetime) -> StoredKey:
    """A row with a new key."""
    private: Jwk = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    public = {name: private[name] for name in ("crv", "x", "kty")}
    sealed = box.close(msgspec.json.encode(private).decode())
    return StoredKey(
        key_id=random_id(),
        public_key=msgspec.json.encode(public).decode(),
        private_key=msgspec.json.encode(sealed).decode(),  # better-auth stores a JSON string
        created_at=to_iso(now),
        alg=ALGORITHM,
        crv=CURVE,
    )


def signing_key(row: StoredKey, box: SecretBox) -> SigningKey | None:
    """The row's private key; None if it was encrypted with another secret, or is of another type."""
    if public_key(row) is None:
        return None
    try:
        jwk = msgspec.json.decode(box.open(msgspec.json.decode(row.private_key, type=str)), type=Jwk)
        private_key = OKPAlgorithm.from_jwk(jwk)
    except (Unreadable, msgspec.MsgspecError, InvalidKeyError):
        return None
    if not isinstance(private_key, Ed25519PrivateKey):
        return None
    return SigningKey(key_id=row.key_id, private_key=private_key, created_at=from_iso(row.created_at))


def public_key(row: StoredKey) -> Ed25519PublicKey | None:
    """The row's public key; None if it is of another type."""
    try:
        found = OKPAlgorithm.from_jwk(msgspec.json.decode(row.public_key, type=Jwk))
    except (msgspec.MsgspecError, InvalidKeyError):
        return None
    return found if isinstance(found, Ed25519PublicKey) else None


def published_jwk(row: StoredKey) -> Jwk:
    """The public key that others verify signatures with."""
    jwk = msgspec.json.decode(row.public_key, type=Jwk)
    return {"alg": row.alg or ALGORITHM, **jwk, "kid": row.key_id}


# The lifetime of a token plus a margin for differing clocks.
STAYS_PUBLISHED = timedelta(minutes=20)
MAX_AGE = timedelta(days=90)
_TRIES = 5
_PAUSE = timedelta(seconds=30)

log = get_logger()


class KeyRing(msgspec.Struct, frozen=True, kw_only=True):
    """All keys at one moment, newest first. `current` are those not retired, even if they cannot be used here."""

    rows: tuple[StoredKey, ...]
    current: tuple[StoredKey, ...]
    signer: SigningKey | None
    verifying: Mapping[str, Ed25519PublicKey]


class SigningKeyStore(Protocol):
    """The keys that sign JWTs. Every method raises `CentralUnavailable` when the database does not answer."""

    async def load_keys(self) -> tuple[Sequence[StoredKey], int]:
        """All rows, newest first; and the position of the change feed in the same snapshot."""

    async def replace_keys(
        self, new: StoredKey, *, seen: Sequence[StoredKey], retired: Sequence[StoredKey], removed: Sequence[StoredKey]
    ) -> bool:
        """Add a key, retire some as of its creation and remove others, in one transaction.

        Returns False and changes nothing if the rows are no longer those in `seen`.
        """


class SigningKeys:
    """Returns the keys for signing and verifying. One per process."""

    def __init__(
        self,
        store: SigningKeyStore,
        changes: Changes,
        secret: str,
        *,
        max_age: timedelta = MAX_AGE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._changes = changes
        self._box = SecretBox(secret)
        self._max_age = max_age
        self._clock = clock
        self._ring: FeedCell[KeyRing] = FeedCell(changes, "jwks")
        self._not_before = datetime.min.replace(tzinfo=UTC)

    @property
    def signer_in_memory(self) -> SigningKey | None:
        """The latest known signing key, or None; it may be too old by now."""
        return None if self._ring.held is None else self._ring.held.signer

    async def signer(self) -> SigningKey:
        """The key to sign with; created if there is none, replaced if it is too old.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        for _ in range(_TRIES):
            ring = self._ring.held or await self._load()
            if ring.signer is not None and not self._is_too_old(ring.signer.created_at):
                return ring.signer
            try:
                await self._make_signer(ring)
            except CentralUnavailable as error:
                if ring.signer is None:
                    raise
                log.warning("signing_key.not_replaced", reason=str(error))
                return ring.signer
        raise Unavailable("the signing keys keep changing; try again in a moment")

    async def rotate(self, *, at_once: bool = False) -> str:
        """Sign with a new key from now on; returns its id.

        With `at_once` the old keys are also no longer published, so that every token signed with them is rejected: for
        a key that may have leaked.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        for _ in range(_TRIES):
            ring = await self._load()
            key_id = await self._replace(
                ring, retired=ring.current, removed=ring.rows if at_once else self._ended(ring)
            )
            if key_id is not None:
                log.info("signing_key.rotated", key_id=key_id, at_once=at_once)
                return key_id
        raise Unavailable("the signing keys keep changing; try again in a moment")

    async def verifying(self) -> Mapping[str, Ed25519PublicKey]:
        """The keys that verify signatures now, by id.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        return (await self._newest()).verifying

    async def published(self) -> Sequence[Jwk]:
        """The public keys, newest first. The first key is created if there is none.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        if (await self._newest()).signer is None:
            await self.signer()
        return [published_jwk(row) for row in await self.listed()]

    async def listed(self) -> Sequence[StoredKey]:
        """The rows of all published keys, newest first. Raises `CentralUnavailable`."""
        return self._living((await self._newest()).rows)

    async def _newest(self) -> KeyRing:
        if not self._changes.is_current():
            await self._changes.catch_up()
        return self._ring.held or await self._load()

    async def _load(self) -> KeyRing:
        begun = self._ring.begin()
        rows, seen = await self._store.load_keys()
        now = self._clock()
        current = [row for row in rows if row.expires_at is None or from_iso(row.expires_at) > now]
        usable = (signing_key(row, self._box) for row in current)
        found = {row.key_id: public_key(row) for row in self._living(rows)}
        ring = KeyRing(
            rows=tuple(rows),
            current=tuple(current),
            signer=next((key for key in usable if key is not None), None),
            verifying={key_id: key for key_id, key in found.items() if key is not None},
        )
        self._ring.keep(ring, begun, seen)
        return ring

    async def _make_signer(self, ring: KeyRing) -> None:
        """Fail fast for a while after a failed write: `signer` is called on every get-session."""
        if self._clock() < self._not_before:
            raise CentralUnavailable("the central database could not write a moment ago; try again")
        # A recent key encrypted with another secret may be in use by another service.
        too_old = [row for row in ring.current if self._is_too_old(from_iso(row.created_at))]
        try:
            await self._replace(ring, retired=too_old)
        except CentralUnavailable:
            self._not_before = self._clock() + _PAUSE
            raise

    async def _replace(
        self, ring: KeyRing, *, retired: Sequence[StoredKey], removed: Sequence[StoredKey] = ()
    ) -> str | None:
        """Add a key; None if the keys have changed since the ring was read."""
        new = new_key(self._box, self._clock())
        done = await self._store.replace_keys(new, seen=ring.rows, retired=retired, removed=removed)
        self._ring.forget()
        return new.key_id if done else None

    def _is_too_old(self, created_at: datetime) -> bool:
        return self._clock() - created_at >= self._max_age

    def _living(self, rows: Sequence[StoredKey]) -> list[StoredKey]:
        ended = self._clock() - STAYS_PUBLISHED
        return [row for row in rows if row.expires_at is None or from_iso(row.expires_at) > ended]

    def _ended(self, ring: KeyRing) -> list[StoredKey]:
        living = self._living(ring.rows)
        return [row for row in ring.rows if row not in living]
