"""The Ed25519 key that signs the registry: a PEM file that only its owner may read."""

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from freehold.migrate.signature import key_id_of, to_text
from freehold.registry.types import BadSigningKey


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Signer:
    """Implements `ports.Signer` with a key held in memory."""

    private_key: Ed25519PrivateKey
    key_id: str
    public_key: str

    def sign(self, text: bytes) -> str:
        return to_text(self.private_key.sign(text))


def signer_of(private_key: Ed25519PrivateKey) -> Ed25519Signer:
    """A signer with this key."""
    raw = private_key.public_key().public_bytes_raw()
    return Ed25519Signer(private_key, key_id_of(raw), to_text(raw))


async def load_signer(path: Path) -> Ed25519Signer:
    """The signer whose private key is in this PEM file.

    Raises:
        BadSigningKey: no such file, or not an Ed25519 private key without password.
    """
    return await asyncio.to_thread(_load, path)


async def load_or_create_signer(path: Path) -> Ed25519Signer:
    """The signer of this file; the file is made (mode 0600) if it is missing.

    The folder must exist. Of several processes that start together one makes the key and all use it.

    Raises:
        BadSigningKey: as `load_signer`, or the file cannot be written.
    """
    return await asyncio.to_thread(_load_or_create, path)


def _load(path: Path) -> Ed25519Signer:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise BadSigningKey(f"cannot read the registry's signing key {path}: {error.strerror}") from error
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadSigningKey(f"{path} holds no private key in PEM form without password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadSigningKey(
            f"{path} holds a key of another kind; make one with `openssl genpkey -algorithm ed25519`"
        )
    return signer_of(key)


def _load_or_create(path: Path) -> Ed25519Signer:
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            _write_once(path, pem)
        except OSError as error:
            raise BadSigningKey(
                f"cannot write the registry's signing key {path}: {error.strerror}"
            ) from error
    return _load(path)


def _write_once(path: Path, data: bytes) -> None:
    """Put the file there whole, unless another process was first; a crash leaves no half file behind the name."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
