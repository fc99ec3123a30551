"""A namespace for the central database on the sqld that holds the tenants, with a key of its own like theirs.

No token for it is ever given to a client, and the gateway knows no such database.
"""

from collections.abc import Callable

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.errors import Conflict, ProviderUnavailable
from freehold.providers.sqld.admin import SqldAdmin
from freehold.providers.sqld.keys import NamespaceKeys
from freehold.providers.sqld.provider import DURABILITY


async def open_central_namespace(
    admin_url: str, admin_key: str, private_key: Ed25519PrivateKey, name: str
) -> Callable[[], str]:
    """Make the namespace if there is none; gives what gives a token for it. Commits there are synced to disk.

    Raises:
        ProviderUnavailable: sqld's admin API does not answer.
        Conflict: the namespace is there and has another key, so it is not ours.
    """
    keys = NamespaceKeys(private_key)
    own_key = keys.public_text(name)
    async with aiohttp.ClientSession() as session:
        admin = SqldAdmin(session, admin_url, admin_key)
        if not await admin.create(name, {"jwt_key": own_key, "durability_mode": DURABILITY}):
            config = await admin.config(name)
            if config is None:
                raise ProviderUnavailable(f"the namespace `{name}` was deleted while it was looked at")
            if config.jwt_key != own_key:
                raise Conflict(
                    f"the namespace `{name}` on sqld has another key; set DATABASE_AUTH_TOKEN, or choose another name"
                )
    return lambda: keys.credentials(name, "full").token


async def find_central_namespace(
    admin_url: str, admin_key: str, private_key: Ed25519PrivateKey, name: str
) -> Callable[[], str] | None:
    """What gives a token for a namespace that is there and has our key; None if there is none, or not ours.

    Raises:
        ProviderUnavailable: sqld's admin API does not answer.
    """
    keys = NamespaceKeys(private_key)
    async with aiohttp.ClientSession() as session:
        config = await SqldAdmin(session, admin_url, admin_key).config(name)
    if config is None or config.jwt_key != keys.public_text(name):
        return None
    return lambda: keys.credentials(name, "full").token
