"""The keys that sign JWTs: kept in the central database, the private half sealed; rotated by age and on demand.

A key signs until it is retired, and stays published until the last token signed with it has expired. All processes
follow a rotation by the change feed. A key that cannot be used here (sealed with another secret, or of another
kind, in a database that moved in) is published too, so that its tokens can be checked.
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

# Texts that are kept encrypted, as better-auth keeps them, so that its rows can be read.
#
# XChaCha20-Poly1305 with SHA-256 of the secret as key; the hex of nonce (24 bytes), ciphertext and tag (16 bytes).

_NONCE_BYTES = 24


class Unreadable(Exception):
    """The text was sealed with another secret, in another form, or was changed."""


class SecretBox:
    """Encrypts and decrypts with one secret."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(secret.encode()).digest()

    def close(self, text: str) -> str:
        """The sealed form; another one each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(text.encode(), None, nonce, self._key)
        return (nonce + sealed).hex()

    def open(self, sealed: str) -> str:
        """The text again. Raises `Unreadable`."""
        try:
            whole = bytes.fromhex(sealed)
            nonce, ciphertext = whole[:_NONCE_BYTES], whole[_NONCE_BYTES:]
            return crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, None, nonce, self._key).decode()
        except (ValueError, TypeError, CryptoError) as error:
            raise Unreadable("it was sealed with another secret, or changed") from error


# One key as a row and as a JWK (RFC 7517): making, sealing and reading it.

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
    """A row with a key that nobody has."""
    private: Jwk = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    public = {name: private[name] for name in ("crv", "x", "kty")}
    sealed = box.close(msgspec.json.encode(private).decode())
    return StoredKey(
        key_id=random_id(),
        public_key=msgspec.json.encode(public).decode(),
        private_key=msgspec.json.encode(sealed).decode(),  # better-auth keeps it as a JSON string
        created_at=to_iso(now),
        alg=ALGORITHM,
        crv=CURVE,
    )


def signing_key(row: StoredKey, box: SecretBox) -> SigningKey | None:
    """The row's private key; None if it was sealed with another secret, or is of another kind."""
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
    """The row's public key; None if it is of another kind."""
    try:
        found = OKPAlgorithm.from_jwk(msgspec.json.decode(row.public_key, type=Jwk))
    except (msgspec.MsgspecError, InvalidKeyError):
        return None
    return found if isinstance(found, Ed25519PublicKey) else None


def published_jwk(row: StoredKey) -> Jwk:
    """What others need to check signatures."""
    jwk = msgspec.json.decode(row.public_key, type=Jwk)
    return {"alg": row.alg or ALGORITHM, **jwk, "kid": row.key_id}


# Longer than any token lives, by as much as clocks may differ.
STAYS_PUBLISHED = timedelta(minutes=20)
MAX_AGE = timedelta(days=90)
_TRIES = 5
_PAUSE = timedelta(seconds=30)

log = get_logger()


class KeyRing(msgspec.Struct, frozen=True, kw_only=True):
    """All keys at one moment, the newest first. `current` are those that are not retired, usable or not."""

    rows: tuple[StoredKey, ...]
    current: tuple[StoredKey, ...]
    signer: SigningKey | None
    verifying: Mapping[str, Ed25519PublicKey]


class SigningKeyStore(Protocol):
    """The keys that sign JWTs. Every method raises `CentralUnavailable` when there is no answer."""

    async def load_keys(self) -> tuple[Sequence[StoredKey], int]:
        """All rows, the newest first; and how far the change feed was in the same view."""
        ...

    async def replace_keys(
        self, new: StoredKey, *, seen: Sequence[StoredKey], retired: Sequence[StoredKey], removed: Sequence[StoredKey]
    ) -> bool:
        """Add a key, retire some when it was made and remove others, in one transaction.

        False, with nothing changed, when the rows are not (any more) those `seen`.
        """
        ...


class SigningKeys:
    """Hands out the key that signs and those that verify. One for each process."""

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
        """The key that signed last, unless news of another came; it may be too old by now."""
        return None if self._ring.held is None else self._ring.held.signer

    async def signer(self) -> SigningKey:
        """The key to sign with; made if there is none, replaced if it is too old.

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

        With `at_once` the old keys are no longer published either, so that every token signed with them is
        refused: for a key that someone else may have.

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
        """The keys by id whose signatures count now.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        return (await self._newest()).verifying

    async def published(self) -> Sequence[Jwk]:
        """The public keys, the newest first. A first one is made if there is none.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        if (await self._newest()).signer is None:
            await self.signer()
        return [published_jwk(row) for row in await self.listed()]

    async def listed(self) -> Sequence[StoredKey]:
        """The rows of all published keys, the newest first. Raises `CentralUnavailable`."""
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
        """Nobody waits for a database that has just failed to write: `signer` is asked at every get-session."""
        if self._clock() < self._not_before:
            raise CentralUnavailable("the central database could not write a moment ago; try again")
        # A young key that another secret has sealed may be the signer of another service.
        too_old = [row for row in ring.current if self._is_too_old(from_iso(row.created_at))]
        try:
            await self._replace(ring, retired=too_old)
        except CentralUnavailable:
            self._not_before = self._clock() + _PAUSE
            raise

    async def _replace(
        self, ring: KeyRing, *, retired: Sequence[StoredKey], removed: Sequence[StoredKey] = ()
    ) -> str | None:
        """Add a key, unless others were added or retired since the ring was read: then None."""
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
