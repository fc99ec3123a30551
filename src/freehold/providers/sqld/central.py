"""A namespace for the central database on the sqld that holds the tenants, with a key of its own like theirs.

No token for it is ever issued to a client, and the gateway does not serve it.
"""

from collections.abc import Callable
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.errors import Conflict, FreeholdError, ProviderUnavailable
from freehold.log import get_logger
from freehold.providers.sqld.client.admin import NamespaceConfig, SqldAdmin
from freehold.providers.sqld.client.keys import NamespaceKeys
from freehold.providers.sqld.process.log_files import LogFiles
from freehold.providers.sqld.provider import DURABILITY
from freehold.tenants.errors import DatabaseDamaged

log = get_logger()

_MOST_FILES = 3  # beside the data of one database


async def open_central_namespace(
    admin_url: str, admin_key: str, private_key: Ed25519PrivateKey, name: str, *, data_dir: Path | None = None
) -> Callable[[], str]:
    """Create the namespace if needed; return a function that makes tokens for it. Commits there are synced to disk.

    With `data_dir`, sqld's own, a file truncated by a power failure is set aside, as `tenants repair` does.

    Raises:
        ProviderUnavailable: sqld's admin API does not answer.
        Conflict: the namespace exists and has another key, so it is not ours.
    """
    keys = NamespaceKeys(private_key)
    own_key = keys.public_text(name)
    async with aiohttp.ClientSession() as session:
        admin = SqldAdmin(session, admin_url, admin_key)
        if not await admin.create(name, {"jwt_key": own_key, "durability_mode": DURABILITY}):
            config = await _config(admin, name, data_dir)
            if config is None:
                raise ProviderUnavailable(f"the namespace `{name}` was deleted while it was looked at")
            if config.jwt_key != own_key:
                raise Conflict(
                    f"the namespace `{name}` on sqld has another key; set DATABASE_AUTH_TOKEN, or choose another name"
                )
    return lambda: keys.credentials(name, "full").token


async def find_central_namespace(
    admin_url: str, admin_key: str, private_key: Ed25519PrivateKey, name: str, *, data_dir: Path | None = None
) -> Callable[[], str] | None:
    """A function that makes tokens for an existing namespace with our key; None if it does not exist or is not ours.

    `data_dir` is that of `open_central_namespace`.

    Raises:
        ProviderUnavailable: sqld's admin API does not answer.
    """
    keys = NamespaceKeys(private_key)
    async with aiohttp.ClientSession() as session:
        config = await _config(SqldAdmin(session, admin_url, admin_key), name, data_dir)
    if config is None or config.jwt_key != keys.public_text(name):
        return None
    return lambda: keys.credentials(name, "full").token


async def _config(admin: SqldAdmin, name: str, data_dir: Path | None) -> NamespaceConfig | None:
    """The namespace's configuration, repaired if need be: without it no command could start to repair anything."""
    for _ in range(_MOST_FILES):
        try:
            return await admin.config(name)
        except DatabaseDamaged as error:
            what = f"sqld does not open the central database: {error.file} is damaged ({error.reason})"
            if data_dir is None:
                raise ProviderUnavailable(
                    f"{what}; set SQLD_DATA_DIR and start this on sqld's machine, which sets that file aside"
                ) from error
            try:
                kept = await LogFiles(data_dir).set_aside(name, error.file)
            except FreeholdError as refused:
                raise ProviderUnavailable(f"{what}, and it is not set aside: {refused}") from error
            log.warning("central.file_set_aside", namespace=name, kept=kept, reason=error.reason)
    return await admin.config(name)
