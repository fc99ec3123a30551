"""Checks before the service starts: do the servers named in its settings accept its credentials?

If the tenants' provider does not answer, the service logs that and starts anyway: people can still sign in, and
databases are created once it is back. A refused token stops the start, since waiting does not help.
"""

import asyncio
from urllib.parse import urlsplit

from freehold.cache.redis import CacheRefuses, CacheUnavailable, RedisLink
from freehold.cli.installation import missing_central
from freehold.errors import ProviderRefuses, ProviderUnavailable, Unavailable
from freehold.log import get_logger
from freehold.settings.fields import BadSettings, Settings
from freehold.wiring.services import Services

log = get_logger()

# Redis may be starting at the same time, and take a little longer.
_CACHE_PATIENCE_S = 5.0
_PROVIDER_PATIENCE_S = 8.0


async def check_central(settings: Settings) -> None:
    """Check that a central database on a server accepts our token; the database need not exist yet.

    Raises:
        BadSettings: the token is refused, or the URL cannot be used.
        CentralUnavailable: the server does not answer.
    """
    if settings.has_remote_central:
        await missing_central(settings)


async def check_servers(services: Services) -> None:
    """Check that Redis answers, and that the provider accepts our credentials if it answers.

    Raises:
        BadSettings: one of them refuses; names the variable that is wrong.
        Unavailable: Redis does not answer.
    """
    await asyncio.gather(_check_cache(services.cache, services.settings), _check_provider(services))


async def _check_cache(cache: RedisLink | None, settings: Settings) -> None:
    if cache is None:
        return
    name = "UPSTASH_REDIS_REST" if settings.upstash_redis_rest_url else "REDIS"
    place = urlsplit(settings.cache_url).netloc
    try:
        await cache.reach(_CACHE_PATIENCE_S)
    except CacheRefuses as error:
        raise BadSettings([f"{name}_TOKEN, {name}_URL: at {place}: {error}"]) from error
    except CacheUnavailable as error:
        raise Unavailable(
            f"{name}_URL: Redis does not answer at {place} ({error}); start it, or set no {name}_URL to go without"
        ) from error


async def _check_provider(services: Services) -> None:
    try:
        async with asyncio.timeout(_PROVIDER_PATIENCE_S):
            await services.provider.check()
    except ProviderRefuses as error:
        raise BadSettings([str(error)]) from error
    except (ProviderUnavailable, TimeoutError) as error:
        log.warning(
            "provider.does_not_answer",
            provider=services.provider.name,
            reason=str(error) or "no answer in time",
            meanwhile="people can sign up and sign in; databases are created when it answers",
        )
