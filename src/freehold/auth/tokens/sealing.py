"""Texts that are kept encrypted, as better-auth keeps them, so that its rows can be read.

XChaCha20-Poly1305 with SHA-256 of the secret as key; the hex of nonce (24 bytes), ciphertext and tag (16 bytes).
"""

import hashlib
import secrets

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

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
