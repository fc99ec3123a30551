"""One signing key as a row and as a JWK (RFC 7517): making, sealing and reading it."""

import hashlib
import secrets
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt import InvalidKeyError
from jwt.algorithms import OKPAlgorithm
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from freehold.auth.random_ids import random_id
from freehold.auth.types import StoredKey
from freehold.dates import from_iso, to_iso

# Texts that are kept encrypted, as better-auth keeps them, so that its rows can be read.
#
# XChaCha20-Poly1305 with SHA-256 of the secret as key; the hex of nonce (24 bytes), ciphertext and tag (16 bytes).

_NONCE_BYTES = 24


class Unreadable(Exception):
    """The text was sealed with another secret, in another form, or was changed."""


class Seal:
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


ALGORITHM, CURVE = "EdDSA", "Ed25519"

Jwk = dict[str, Any]


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that can sign."""

    key_id: str
    private_key: Ed25519PrivateKey
    created_at: datetime

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


def new_key(seal: Seal, now: datetime) -> StoredKey:
    """A row with a key that nobody has."""
    private: Jwk = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    public = {name: private[name] for name in ("crv", "x", "kty")}
    sealed = seal.close(msgspec.json.encode(private).decode())
    return StoredKey(
        key_id=random_id(),
        public_key=msgspec.json.encode(public).decode(),
        private_key=msgspec.json.encode(sealed).decode(),  # better-auth keeps it as a JSON string
        created_at=to_iso(now),
        alg=ALGORITHM,
        crv=CURVE,
    )


def signing_key(row: StoredKey, seal: Seal) -> SigningKey | None:
    """The row's private key; None if it was sealed with another secret, or is of another kind."""
    if public_key(row) is None:
        return None
    try:
        jwk = msgspec.json.decode(seal.open(msgspec.json.decode(row.private_key, type=str)), type=Jwk)
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
