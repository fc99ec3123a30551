"""Keys and secrets in files that only their owner may read.

`cryptography` is imported where it is used: commands, and the service's parent, need only this module's error.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MIN_SECRET_CHARS = 32


class BadKeyFile(FreeholdError):
    """A key file cannot be read, written or used."""

    code = "bad_key_file"
    remedy = "Check the file that the message names; exit code 3."
    where = "cli"


def load_key(path: Path) -> "Ed25519PrivateKey":
    """The private key in this file. Blocking.

    Raises:
        BadKeyFile: no such file, or not an Ed25519 private key in PEM form without password.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        pem = path.read_bytes()
    except OSError as error:
        raise BadKeyFile(f"cannot read the key file {path}: {error.strerror}") from error
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKeyFile(f"{path} holds no private key in PEM form without password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeyFile(f"{path} holds a key of another kind; an Ed25519 key is needed")
    return key


def load_or_create_key(path: Path) -> "Ed25519PrivateKey":
    """The private key in this file, created (mode 0600) if there is none. Blocking.

    If several processes start together, one creates the key and all use it; a crash leaves a whole file or none.

    Raises:
        BadKeyFile: as `load_key`, or the file cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    try:
        return load_key(path)
    except BadKeyFile as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
    _write_once(path, Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return load_key(path)


def replace_key(path: Path, successor: Path) -> None:
    """Replace a key file by its successor; the old one is kept beside it under a new name. Blocking.

    Raises:
        BadKeyFile: it cannot be written.
    """
    try:
        kept = path.with_name(f"{path.stem}.retired-{secrets.token_hex(4)}{path.suffix}")
        os.link(path, kept)
        successor.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise BadKeyFile(f"cannot replace the key file {path}: {error.strerror}") from error


def load_or_create_secret(path: Path) -> str:
    """The random text in this file, created (43 characters, mode 0600) if there is none. Blocking.

    Raises:
        BadKeyFile: the file cannot be read or written, or its text is too short.
    """
    try:
        if not path.exists():
            _write_once(path, secrets.token_urlsafe(32).encode())
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"cannot read the key file {path}: {error}") from error
    if len(secret) < _MIN_SECRET_CHARS:
        raise BadKeyFile(f"{path} holds too short a secret; remove it and start again, which signs everyone out")
    return secret


def _write_once(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the one that another process wrote first."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(draft, content)
            # A link, not a rename: it fails if another process was first, and then that one's file counts.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise BadKeyFile(f"cannot write the key file {path}: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
