"""What a client may do on a connection, as a worker thread asks it."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from freehold.errors import Unavailable
from freehold.libsql.protocol import Batch
from freehold.profiles import Profile
from freehold.providers.published import RegistryBatches
from freehold.providers.tokens import Grant

_REGISTRY_S = 10.0


class Rights(Struct, frozen=True):
    """As the token's profile says, and besides it what the registry says of the schema.

    `is_of_registry` may wait. It is asked only about batches that the profile does not cover.
    """

    profile: Profile
    is_of_registry: Callable[[Batch], bool]


def rights_of(grant: Grant, registry: RegistryBatches) -> Rights:
    """To be called on the event loop, to be asked in another thread."""
    if grant.access_level == "read_only":
        return Rights(grant.profile, _is_none)
    loop = asyncio.get_running_loop()

    def is_of_registry(batch: Batch) -> bool:
        asked = asyncio.run_coroutine_threadsafe(registry.includes(batch), loop)
        try:
            return asked.result(_REGISTRY_S)
        except TimeoutError as error:
            asked.cancel()
            raise Unavailable("the registry cannot be looked at now; try again later") from error

    return Rights(grant.profile, is_of_registry)


def _is_none(_batch: Batch) -> bool:
    """With a token for reading the registry's batches do not pass either."""
    return False
