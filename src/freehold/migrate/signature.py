"""What is signed in the schema registry and how a signature is checked, for the service and its clients alike."""

import base64
import binascii
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from freehold.errors import FreeholdError

ALGORITHM: Final = "ed25519"

# These make a signature for any other purpose invalid here.
_CONTEXT = b"freehold-registry-v1"
_MANIFEST = b"freehold-registry-v2"
_KEY = b"freehold-registry-key-v1"


class RegistryTampered(FreeholdError):
    """The published migrations do not match their checksums, chain or signatures; they must not be applied."""

    code = "registry_tampered"
    kind = "unavailable"
    remedy = "Restore the registry from a backup; it is not served until then."


class RegistryExpired(RegistryTampered):
    """The newest state of the registry was signed too long ago."""

    code = "registry_expired"
    remedy = "The operator has to sign it again; or correct this machine's clock."


class RegistryReplayed(RegistryTampered):
    """The registry is older than one that this client has already seen."""

    code = "registry_replayed"
    remedy = "Check the URL and the network path: someone may be replaying it."


def manifest_text(version: int, chain: str, counter: int, expires_at_s: int) -> bytes:
    """The exact bytes under a page's signature. `counter` grows with each one; `expires_at_s` is seconds since 1970."""
    return b"%s\n%d\n%s\n%d\n%d\n" % (_MANIFEST, version, chain.encode("ascii"), counter, expires_at_s)


def endorsement_text(public_key: str) -> bytes:
    """What a trusted key signs to say that this one speaks for the registry too."""
    return b"%s\nendorsed\n%s\n" % (_KEY, public_key.encode("ascii"))


def retirement_text(key_id: str) -> bytes:
    """What a key signs to say that its predecessor no longer speaks for the registry."""
    return b"%s\nretired\n%s\n" % (_KEY, key_id.encode("ascii"))


def signed_text(version: int, chain: str) -> bytes:
    """The exact bytes under the signature of one row. The chain covers all SQL up to the version."""
    return b"%s\n%d\n%s\n" % (_CONTEXT, version, chain.encode("ascii"))


def key_id_of(public_key: bytes) -> str:
    """The short name of a raw public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def is_named_after(key_id: str, public_key: str) -> bool:
    """Whether the public key, as text, has this short name."""
    try:
        return key_id_of(from_text(public_key)) == key_id
    except ValueError:
        return False


def to_text(data: bytes) -> str:
    """A key or signature as it is stored and sent: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_text(text: str) -> bytes:
    """The inverse of `to_text`. Raises `ValueError` for any other text."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("expected base64url") from error
    if to_text(data) != text:  # one key or signature has one text only
        raise ValueError("expected base64url without padding")
    return data


def is_signed(version: int, chain: str, signature: str, public_key: str) -> bool:
    """Whether the signature is the key's, over this version and chain. False for malformed text too."""
    return is_text_signed(signed_text(version, chain), signature, public_key)


def is_text_signed(text: bytes, signature: str, public_key: str) -> bool:
    """Whether the signature is the key's, over this text. False for malformed signatures and keys too."""
    try:
        Ed25519PublicKey.from_public_bytes(from_text(public_key)).verify(from_text(signature), text)
    except (ValueError, InvalidSignature):
        return False
    return True
