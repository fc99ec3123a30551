"""All that is derived from the one private key of a self-hosted installation. Nothing of it is stored.

sqld checks replication against a key, not against the namespace that a token names. So each namespace has a key of
its own: what opens one opens no other, whatever path or header it comes with.
"""

import base64
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from freehold.lru import Lru
from freehold.providers.tokens import TokenSigner
from freehold.tenants.types import AccessLevel

_TOKEN_LIFE_S = 3600
_RENEW_BEFORE_S = 600
_CACHED = 20_000


class Credentials(Struct, frozen=True):
    """What a request to sqld for one namespace carries; good for some minutes at least."""

    namespace: str
    token: str
    good_until: float


class NamespaceKeys:
    """Keys and tokens by namespace. For one thread, the event loop's; a new one takes some 200 µs."""

    def __init__(self, private_key: Ed25519PrivateKey, *, now: Callable[[], float] = time.time) -> None:
        self._seed = private_key.private_bytes_raw()
        self._now = now
        self._known: Lru[tuple[str, AccessLevel], Credentials] = Lru(_CACHED)

    def public_text(self, database_name: str) -> str:
        """The namespace's public key as sqld's `jwt_key` takes it: URL-safe base64 without padding."""
        raw = self._key(database_name).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def credentials(self, database_name: str, access_level: AccessLevel) -> Credentials:
        """Our own credentials for the namespace. They go to sqld and to nobody else."""
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
            # sqld wants base64 without padding here.
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
