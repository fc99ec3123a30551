"""The databases of one group as Turso's Platform API shows them, and the last state seen of each."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence

from freehold.backoff import Backoff
from freehold.errors import ProviderRefuses, ProviderUnavailable
from freehold.lru import Lru
from freehold.providers.turso.api import (
    DatabaseAnswer,
    DatabasesAnswer,
    GroupsAnswer,
    PlatformApi,
    RemoteDatabase,
    decoded,
)
from freehold.tenants.types import Database

# A host name of Turso's form; the local twin's may have a port and a path.
_HOSTNAME = re.compile(r"[a-z0-9][a-z0-9.-]*(:\d{1,5})?(/[a-z0-9/-]*)?", re.IGNORECASE)
_KNOWN = 50_000
_SHOWN_GROUPS = 5
# While something does not exist yet.
POLLS = Backoff(base_s=0.05, cap_s=1.0, steady=1.0)


class RemoteDatabases:
    """For one event loop. `forget_tokens` is called for a database that is gone, or was created again."""

    def __init__(
        self, api: PlatformApi, organization: str, group: str, *, scheme: str, forget_tokens: Callable[[str], None]
    ) -> None:
        self.path = f"/v1/organizations/{organization}/databases"
        self._group_path = f"/v1/organizations/{organization}/groups/{group}"
        self._api = api
        self._group = group
        self._scheme = scheme
        self._forget_tokens = forget_tokens
        self._known: Lru[str, tuple[RemoteDatabase, float]] = Lru(_KNOWN)

    async def show(self, database_name: str) -> RemoteDatabase | None:
        """The database as it is now, or None. Raises `ProviderUnavailable`."""
        answer = await self._api.call("GET", f"{self.path}/{database_name}")
        if answer.is_missing:
            self.forget(database_name)
            return None
        if not answer.is_done:
            raise ProviderUnavailable(f"Turso did not show `{database_name}`: {answer.error}")
        found = decoded(answer.body, DatabaseAnswer).database
        self.remember(found)
        return found

    async def eventually(self, database_name: str, limit_s: float) -> RemoteDatabase | None:
        """A database that is known to exist but may not be shown yet."""
        until = time.monotonic() + limit_s
        tries = 0
        while (found := await self.show(database_name)) is None and time.monotonic() < until:
            tries += 1
            await asyncio.sleep(POLLS.delay_s(tries))
        return found

    async def names(self) -> AsyncIterator[Sequence[str]]:
        """The names of all databases in our group, one page at a time."""
        params = {"group": self._group}
        while True:
            answer = await self._api.call("GET", self.path, params=params)
            if not answer.is_done:
                raise ProviderUnavailable(f"Turso did not list databases: {answer.error}")
            page = decoded(answer.body, DatabasesAnswer)
            # In case the filter is ignored: databases in another group are not ours.
            yield [each.name for each in page.databases or () if each.group in {"", self._group}]
            if page.pagination is None or not page.pagination.next:
                return
            params = {"group": self._group, "cursor": page.pagination.next}

    async def require_group(self) -> None:
        """Return if Turso has our group. Raises `ProviderRefuses`, which names the groups that exist."""
        answer = await self._api.call("GET", self._group_path)
        if not answer.is_done:
            raise ProviderRefuses(
                f"TURSO_GROUP: Turso has no group `{self._group}` in TURSO_ORGANIZATION ({answer.error});"
                f" {await self._groups()}"
            )

    async def _groups(self) -> str:
        answer = await self._api.call("GET", self._group_path.rpartition("/")[0])
        groups = decoded(answer.body, GroupsAnswer).groups or () if answer.is_done else ()
        names = sorted(each.name for each in groups)
        if not names:
            return f"make it with `turso group create {self._group}`"
        more = f" and {len(names) - _SHOWN_GROUPS} more" if len(names) > _SHOWN_GROUPS else ""
        return f"there are {', '.join(names[:_SHOWN_GROUPS])}{more}"

    def remember(self, found: RemoteDatabase) -> None:
        """Note that the database exists."""
        known = self._known.get(found.name)
        if known is not None and known[0].db_id != found.db_id:
            self._forget_tokens(found.name)  # created again: tokens of the one before are invalid
        self._known[found.name] = (found, time.monotonic())

    def forget(self, database_name: str) -> None:
        """Note that the database is gone, or will be."""
        self._known.pop(database_name, None)
        self._forget_tokens(database_name)

    def seen(self, database_name: str) -> RemoteDatabase | None:
        """The database as it was last seen, or None."""
        known = self._known.get(database_name)
        return None if known is None else known[0]

    def seen_within(self, database_name: str, within_s: float) -> Database | None:
        """The database if it was seen within this time, or None."""
        known = self._known.get(database_name)
        if known is None or known[1] < time.monotonic() - within_s:
            return None
        return self.database_of(known[0])

    def database_of(self, found: RemoteDatabase) -> Database:
        """The database in our words. Raises `ProviderUnavailable` if its host name is not valid."""
        if not _HOSTNAME.fullmatch(found.hostname):
            raise ProviderUnavailable("Turso gave a host name that is none")
        hostname = found.hostname.rstrip("/")
        return Database(
            db_id=found.db_id,
            name=found.name,
            hostname=hostname,
            url=f"{self._scheme}://{hostname}/",
            is_suspended=found.block_reads and found.block_writes,
        )
