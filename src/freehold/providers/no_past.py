"""The answer of providers that keep a database only as it is now."""

from typing import NoReturn

from freehold.errors import Conflict, NotFound
from freehold.tenants.errors import NoPointInTime
from freehold.tenants.ports import DatabaseProvider


async def refuse_fork_at(provider: DatabaseProvider, source_name: str, target_name: str) -> NoReturn:
    """Raises `NotFound`, `Conflict` or `NoPointInTime`, as `DatabaseProvider.fork_at` has it."""
    if await provider.find(source_name) is None:
        raise NotFound(f"database `{source_name}` does not exist")
    if await provider.find(target_name) is not None:
        raise Conflict(f"database `{target_name}` exists already; choose another name")
    raise NoPointInTime(
        f"the provider `{provider.name}` keeps databases only as they are now; restore from an export"
    )
