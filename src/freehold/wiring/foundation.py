"""What all features are built on: settings, secrets, the central database, its audit trail, the cache, the limiter."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from freehold.audit.chain import mac_key
from freehold.audit.service import Audit
from freehold.cache.memory_limiter import MemoryLimiter
from freehold.central.audit_store import CentralAudit
from freehold.central.changes import ChangeFeed
from freehold.central.engine import Central
from freehold.http_worker import ALONE, HttpWorker
from freehold.keys import load_or_create_secret
from freehold.limiting import Limiter
from freehold.settings.fields import Settings
from freehold.wiring.central import open_central_of
from freehold.wiring.key_files import make_folder, registry_key, require_access

if TYPE_CHECKING:
    from freehold.cache.redis import RedisLink


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """`signing_key` is None if the registry is signed elsewhere. `worker` is which process of a service this is."""

    settings: Settings
    worker: HttpWorker
    secret: str
    signing_key: Ed25519PrivateKey | None
    central: Central
    changes: ChangeFeed
    audit: Audit
    cache: "RedisLink | None"
    limiter: Limiter
    stack: AsyncExitStack


async def open_foundation(
    settings: Settings, stack: AsyncExitStack, *, creates: bool, worker: HttpWorker = ALONE
) -> Foundation:
    """The foundation for these settings, closed with the stack.

    Raises:
        BadSettings, BadKeyFile: DATA_DIR or a key file cannot be used.
        CentralUnavailable: the central database does not answer.
    """
    keys = settings.data_dir / "keys"
    await asyncio.to_thread(make_folder if creates else require_access, keys)
    secret = settings.better_auth_secret.reveal() or await asyncio.to_thread(
        load_or_create_secret, keys / "auth-secret"
    )
    signing_key = await asyncio.to_thread(registry_key, settings, keys, creates=creates)
    central, changes = await open_central_of(settings, stack, mac_key(secret))
    cache = open_cache(settings, stack)
    return Foundation(
        settings=settings,
        worker=worker,
        secret=secret,
        signing_key=signing_key,
        central=central,
        changes=changes,
        audit=Audit(CentralAudit(central)),
        cache=cache,
        limiter=_limiter(cache),
        stack=stack,
    )


def open_cache(settings: Settings, stack: AsyncExitStack) -> "RedisLink | None":
    """Redis, if there is one; closed with the stack."""
    if not settings.cache_url:
        return None
    from freehold.cache.redis import RedisLink

    link = RedisLink(settings.cache_url, settings.cache_token)
    stack.push_async_callback(link.close)
    return link


def _limiter(cache: "RedisLink | None") -> Limiter:
    if cache is None:
        return MemoryLimiter()
    from freehold.cache.redis_limiter import RedisLimiter

    return RedisLimiter(cache, MemoryLimiter())
