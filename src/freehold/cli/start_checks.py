"""What a service looks at before it starts: whether the servers that its settings name take what they say.

Where tenants' databases do not answer, that is reported in the log, and the service starts: people sign in
without them, and databases are made once they are back. A token that is wrong will not become right by itself.
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

# Started together with it, Redis may take a moment longer.
_CACHE_PATIENCE_S = 5.0
_PROVIDER_PATIENCE_S = 8.0


async def check_central(settings: Settings) -> None:
    """Return if a central database on a server takes our token; it need not be made yet.

    Raises:
        BadSettings: it does not, or cannot be there.
        CentralUnavailable: no answer.
    """
    if settings.has_remote_central:
        await missing_central(settings)


async def check_servers(services: Services) -> None:
    """Return if Redis answers, and the provider takes our credentials as far as it answers.

    Raises:
        BadSettings: one of them refuses; which variable is wrong.
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
            meanwhile="people sign up and in; databases are made when it answers",
        )
