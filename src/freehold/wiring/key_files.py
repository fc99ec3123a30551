"""The key files in DATA_DIR, and those that the settings name."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.keys import BadKeyFile, load_key, load_or_create_key
from freehold.settings.fields import BadSettings, Settings

if TYPE_CHECKING:  # the service's parent makes the folder, and needs no key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_folder(keys: Path) -> None:
    """Create DATA_DIR and its folder for keys, accessible to their owner only. Blocks.

    Raises:
        BadSettings: they cannot be created, or what exists cannot be read and written.
    """
    try:
        keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it also holds users and hashes
        keys.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadSettings(
            [f"DATA_DIR: cannot make the folder `{keys}` ({reason}); {_what_to_do(keys, error)}"]
        ) from error
    require_access(keys)


def require_access(keys: Path) -> None:
    """Check that what exists of DATA_DIR can be read and written. Blocks. Raises `BadSettings`.

    SQLite would only say that it cannot open its file.
    """
    if not os.path.exists(keys.parent):  # noqa: PTH110 - unlike Path.exists, it never raises
        return
    for each in (keys.parent, keys, *sorted(keys.parent.glob("central.db*"))):
        if os.path.exists(each) and not os.access(  # noqa: PTH110
            each, os.R_OK | os.W_OK | (os.X_OK if each.is_dir() else 0)
        ):
            what = _what_to_do(each, PermissionError())
            raise BadSettings([f"DATA_DIR: `{each}` cannot be read and written; {what}"])


def registry_key(settings: Settings, keys: Path, *, creates: bool = True) -> "Ed25519PrivateKey | None":
    """The key that signs the registry; None if that is kept elsewhere, or is missing and not created. Blocks.

    Raises:
        BadSettings: REGISTRY_SIGNING_KEY_FILE cannot be used.
    """
    if settings.registry_signing == "external":
        return None
    if settings.registry_signing_key_file is None:
        path = keys / "registry.pem"
        return load_or_create_key(path) if creates or path.exists() else None
    try:
        return load_key(settings.registry_signing_key_file)
    except BadKeyFile as error:
        raise BadSettings([f"REGISTRY_SIGNING_KEY_FILE: {error}"]) from error


def tokens_key(settings: Settings, *, creates: bool) -> "Ed25519PrivateKey":
    """The key that signs tokens of tenants' databases in files. Blocks."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = settings.data_dir / "keys" / "database-tokens.pem"
    # Without `creates`, no token is issued either, so any key will do.
    return load_or_create_key(path) if creates or path.exists() else Ed25519PrivateKey.generate()


def sqld_key(settings: Settings) -> "Ed25519PrivateKey":
    """The key by which sqld recognises us. Blocks. Raises `BadSettings`."""
    assert settings.sqld_jwt_key_file is not None  # the settings were checked
    try:
        return load_key(settings.sqld_jwt_key_file)
    except BadKeyFile as error:
        raise BadSettings([f"SQLD_JWT_KEY_FILE: {error}"]) from error


def _what_to_do(wanted: Path, error: OSError) -> str:
    """Advice for a folder that we cannot write to: mostly a volume created by root, or the service's."""
    if not isinstance(error, PermissionError) or not hasattr(os, "geteuid"):
        return "choose another"
    # Unlike Path.exists, this is False for what cannot be accessed.
    places = (wanted.absolute(), *wanted.absolute().parents)
    place = next(each for each in places if os.path.exists(each))  # noqa: PTH110
    user, owner = os.geteuid(), place.stat().st_uid
    if user == owner:
        return f"let its owner with `chmod -R u+rwX {place}`, or choose another that is not mounted read-only"
    everything = "-R " if place == wanted.absolute() else ""  # an empty volume has nothing in it yet
    return (
        f"`{place}` belongs to user {owner}, and this runs as {user}: run it as that user, as the service runs,"
        f" hand it over with `chown {everything}{user} {place}`, or choose another"
    )
