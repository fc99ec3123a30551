"""Which versions are in use: what apps say of themselves when they pull, and where the tenants' databases are.

Reports count by signed-in user. What nobody signed is kept apart: anyone can send as many as they like.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import Struct

from freehold.audit.types import Event, Facts
from freehold.errors import Conflict, FreeholdError
from freehold.log import get_logger
from freehold.migrate.types import Migration
from freehold.registry.release import app_order, app_version, contracts
from freehold.registry.taken_down import ClientReport, Credential, TakenDown, UserReport, Who

log = get_logger()

LIVE_DAYS = 30
# A report costs nothing at the pull; it is written with all others, so often. A killed process loses as much.
_FLUSH_EVERY_S = 15.0
# Whose they are is asked sooner: until then what proves it is in memory.
_SETTLE_EVERY_S = 1.0
_KEEP_DAYS = 180
_DAY_MS = 86_400_000
_VERSIONS_NAMED = 5


class ContractTooEarly(Conflict):
    """Apps that a contract migration would break are still in use."""

    code = "contract_too_early"
    remedy = "Wait, or `registry publish --force`."

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version


class AppCount(Struct, frozen=True):
    """This many users, and this many guests besides, have this app on a database at this version.

    Each counts once, by the oldest app among their devices.
    """

    app_version: str
    schema_version: int
    users: int
    guests: int = 0


class AnonymousCount(Struct, frozen=True):
    """This many devices said so without a session; some address may have made them all up."""

    app_version: str
    schema_version: int
    devices: int


class TenantCount(Struct, frozen=True):
    """This many tenants' databases are in this state and at this version, as last seen in their ledgers."""

    state: str
    schema_version: int
    tenants: int


class OlderApps(Struct, frozen=True):
    """Users, no guests, of whom some device has an app before a version; and some of those apps."""

    users: int
    app_versions: Sequence[str] = ()


class Census(Struct, frozen=True, kw_only=True):
    """Everything in use; `days` is how far back a device counts as live. `anonymous` blocks nothing."""

    days: int
    newest: int
    apps: Sequence[AppCount]
    anonymous: Sequence[AnonymousCount]
    tenants: Sequence[TenantCount]


class ClientVersionStore(Protocol):
    """Reports and tenants in the central database. Every method raises `CentralUnavailable`."""

    async def save_users(self, reports: Sequence[UserReport], forget_before_ms: int) -> None:
        """Write the reports of users who are there, and drop those that were not seen since.

        Of a user's devices only the `DEVICES_OF_USER` that were seen last are kept.
        """
        ...

    async def save_anonymous(self, reports: Sequence[ClientReport], forget_before_ms: int) -> None:
        """Write the reports, one row a device, and drop those that were not seen since.

        Of one place only the `DEVICES_OF_PLACE` that were seen last are kept, and of all of them a bounded number.
        """
        ...

    async def apps(self, since_ms: int) -> Sequence[AppCount]:
        """Users seen since, each by their oldest app."""
        ...

    async def older_apps(self, since_ms: int, before: str) -> OlderApps:
        """Users seen since with an app whose `app_order` is before this one, and some of those apps."""
        ...

    async def anonymous(self, since_ms: int) -> Sequence[AnonymousCount]:
        """Devices of nobody seen since, by app and schema version."""
        ...

    async def tenants(self) -> Sequence[TenantCount]:
        """Tenants by state and version; deleted ones are left out."""
        ...


class ClientVersions:
    """Takes down what clients say, and counts. One for each process.

    `who` says whose a credential is; where there is none, all are anonymous. `place_key` hides addresses.
    """

    def __init__(
        self,
        store: ClientVersionStore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        who: Who | None = None,
        place_key: bytes = b"",
    ) -> None:
        self._store = store
        self._now = now
        self._taken = TakenDown(who, place_key)

    def note(
        self, device: str, app: str, schema_version: int, *, address: str = "", credential: Credential | None = None
    ) -> None:
        """Take down a report; takes microseconds and never waits.

        Without a device only those count who show a credential and say their app.
        """
        self._taken.note(
            device,
            app if app_version(app) is not None else "",
            schema_version,
            address=address,
            credential=credential,
            now_ms=self._now_ms(),
        )

    async def flush(self) -> None:
        """Write what is waiting. Raises `CentralUnavailable`; it waits on then."""
        await self._taken.settle()
        before_ms = self._now_ms() - _KEEP_DAYS * _DAY_MS
        # Users' own first: whatever else there is must not keep them waiting.
        if users := self._taken.take_users():
            try:
                await self._store.save_users(users, before_ms)
            except BaseException:
                self._taken.put_users_back(users)
                raise
        if anonymous := self._taken.take_anonymous():
            try:
                await self._store.save_anonymous(self._taken.hidden(anonymous), before_ms)
            except BaseException:
                self._taken.put_anonymous_back(anonymous)
                raise

    async def run(self) -> None:
        """Write what is waiting now and then, until cancelled, and once more then."""
        waited_s = 0.0
        try:
            while True:
                await asyncio.sleep(_SETTLE_EVERY_S)
                waited_s += _SETTLE_EVERY_S
                if waited_s >= _FLUSH_EVERY_S or self._taken.is_full:
                    waited_s = 0.0
                    await self._try(self.flush)
                else:
                    await self._try(self._taken.settle)
        finally:
            await asyncio.shield(self._try(self.flush))

    async def _try(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except FreeholdError as error:
            log.warning("census.not_written", code=error.code, reason=str(error))

    async def census(self, newest: int, days: int = LIVE_DAYS) -> Census:
        """What is in use now, the oldest versions first."""
        await self.flush()
        since_ms = self._now_ms() - days * _DAY_MS
        return Census(
            days=days,
            newest=newest,
            apps=sorted(await self._store.apps(since_ms), key=_age),
            anonymous=sorted(await self._store.anonymous(since_ms), key=_age),
            tenants=sorted(await self._store.tenants(), key=lambda each: (each.schema_version, each.state)),
        )

    async def require_no_older_apps(self, new: Sequence[Migration], *, force: bool) -> list[Event]:
        """What to record when contract migrations are published although older apps are live; mostly nothing.

        Only users are waited for. Whoever did not sign in can say anything, as often as they like, and guests are
        made by whoever wants one; an app that did not say its version cannot be known.

        Raises:
            ContractTooEarly: users have such apps, and it is not forced.
        """
        wanted = contracts(new)
        if not wanted:
            return []
        await self.flush()
        since_ms = self._now_ms() - LIVE_DAYS * _DAY_MS
        events = []
        for contract in wanted:
            older = await self._store.older_apps(since_ms, app_order(contract.min_app))
            if not older.users:
                continue
            if not force:
                versions = ", ".join(older.app_versions[:_VERSIONS_NAMED])
                raise ContractTooEarly(
                    f"migration {contract.version} needs app {contract.min_app}, and {older.users} signed-in user(s) "
                    f"with older ones ({versions}) were seen in the last {LIVE_DAYS} days; wait, or use --force and "
                    "break them",
                    contract.version,
                )
            facts: Facts = {"min_app": contract.min_app, "older_users": older.users}
            events.append(Event("registry.contract_forced", f"migration:{contract.version}", facts))
        return events

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)


def _age(each: AppCount | AnonymousCount) -> tuple[tuple[int, ...], int]:
    return (app_version(each.app_version) or (), each.schema_version)
