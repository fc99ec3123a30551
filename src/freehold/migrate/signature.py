"""What is signed of the schema registry and how a signature is checked: the same for the service and its clients."""

import base64
import binascii
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from freehold.errors import FreeholdError

ALGORITHM: Final = "ed25519"

_CONTEXT = b"freehold-registry-v1"  # so that a signature made for anything else is worth nothing here


class RegistryTampered(FreeholdError):
    """Published migrations do not fit their checksum, chain or signature. They must not be applied."""

    code = "registry_tampered"


def signed_text(version: int, chain: str) -> bytes:
    """The exact bytes under a signature. The chain stands for all SQL up to the version."""
    return b"%s\n%d\n%s\n" % (_CONTEXT, version, chain.encode("ascii"))


def key_id_of(public_key: bytes) -> str:
    """Short name of a raw public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def to_text(data: bytes) -> str:
    """Keys and signatures as they are stored and sent: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_text(text: str) -> bytes:
    """The bytes behind `to_text`. Raises `ValueError` for anything else."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("expected base64url") from error
    if to_text(data) != text:  # one key or signature has one text only
        raise ValueError("expected base64url without padding")
    return data


def is_signed(version: int, chain: str, signature: str, public_key: str) -> bool:
    """Whether the signature is the key's, over this version and chain. False for malformed text too."""
    try:
        key = Ed25519PublicKey.from_public_bytes(from_text(public_key))
        key.verify(from_text(signature), signed_text(version, chain))
    except (ValueError, InvalidSignature):
        return False
    return True
