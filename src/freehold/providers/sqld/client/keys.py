"""Everything derived from the one private key of a self-hosted installation. None of it is stored.

sqld checks replication against a key, not against the namespace that a token names. So each namespace has a key of
its own: a token for one opens no other, whatever path or header it is sent with.
"""

import base64
import binascii
import secrets
import struct
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from freehold.lru import Lru
from freehold.providers.failures import BadBaton
from freehold.providers.grants import Grant
from freehold.providers.tokens import TokenSigner
from freehold.tenants.types import AccessLevel

_TOKEN_LIFE_S = 3600
_RENEW_BEFORE_S = 600
_CACHED = 20_000


class Credentials(Struct, frozen=True):
    """The credentials of a request to sqld for one namespace; valid for some minutes at least."""

    namespace: str
    token: str
    good_until: float


class NamespaceKeys:
    """Keys and tokens by namespace. For the event loop's thread; a new one takes some 200 µs."""

    def __init__(self, private_key: Ed25519PrivateKey, *, now: Callable[[], float] = time.time) -> None:
        self._seed = private_key.private_bytes_raw()
        self._now = now
        self._known: Lru[tuple[str, AccessLevel], Credentials] = Lru(_CACHED)

    def public_text(self, database_name: str) -> str:
        """The namespace's public key in the form of sqld's `jwt_key`: URL-safe base64 without padding."""
        raw = self._key(database_name).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def credentials(self, database_name: str, access_level: AccessLevel) -> Credentials:
        """Our own credentials for the namespace. They are sent to sqld only."""
        found = self._known.get((database_name, access_level))
        if found is None or found.good_until < self._now():
            found = self._mint(database_name, access_level)
            self._known[database_name, access_level] = found
        return found

    def secret(self, purpose: str) -> bytes:
        """32 bytes for one purpose, the same in every process of the installation."""
        return _derive(self._seed, b"freehold/sqld/secret/" + purpose.encode())

    def _mint(self, database_name: str, access_level: AccessLevel) -> Credentials:
        signer = TokenSigner(self._key(database_name), now=self._now)
        token = signer.mint(database_name, access_level, "freehold", _TOKEN_LIFE_S)
        return Credentials(
            # sqld requires base64 without padding here.
            namespace=base64.b64encode(database_name.encode()).rstrip(b"=").decode(),
            token=token.text,
            good_until=self._now() + _TOKEN_LIFE_S - _RENEW_BEFORE_S,
        )

    def _key(self, database_name: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(
            _derive(self._seed, b"freehold/sqld/namespace/" + database_name.encode())
        )


def _derive(seed: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(seed)


# Batons that work only with the token and the database that they were issued for.
#
# sqld only checks that it made a baton: with a leaked one, another tenant's valid token reaches into the stream. So
# clients get sqld's baton encrypted and bound to the token's digest and the database's name. No state is kept: any
# process of the installation decrypts what another encrypted.

_NONCE_BYTES = 12
_MAX_LENGTH = 4096
_MARK = b"\x01"  # occurs in no baton of sqld's
_SINCE = struct.Struct("!cd")


class BatonCipher:
    """Encrypts and decrypts batons with a key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, baton: str, grant: Grant, since: float) -> str:
        """The client's baton for sqld's: ASCII without characters that JSON escapes.

        It includes `since`: when the stream is known to have been in no transaction, in seconds of `time.time`.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = self._cipher.encrypt(nonce, _SINCE.pack(_MARK, since) + baton.encode(), _bound_to(grant))
        return base64.urlsafe_b64encode(nonce + encrypted).decode()

    def open(self, baton: str, grant: Grant) -> tuple[str, float]:
        """sqld's baton for the client's, and the `since` encrypted with it.

        Raises:
            BadBaton: not one of ours, or issued for another token or database.
        """
        if len(baton) > _MAX_LENGTH:
            raise BadBaton
        try:
            encrypted = base64.b64decode(baton.encode("ascii"), altchars=b"-_", validate=True)
            text = self._cipher.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], _bound_to(grant))
            if text[:1] != _MARK:  # made by an earlier version, which included no time
                return text.decode(), time.time()
            return text[_SINCE.size :].decode(), _SINCE.unpack_from(text)[1]
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise BadBaton from error


def _bound_to(grant: Grant) -> bytes:
    return b"\0".join((grant.token_digest, grant.profile.encode(), grant.database_name.encode()))
