"""Which versions are in use: what apps report when they pull, and where the tenants' databases are.

Reports count per signed-in user. Anonymous reports are kept apart, because anyone can send any number of them.
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
# Reports are written in batches, so a pull costs nothing. A killed process loses at most this much.
_FLUSH_EVERY_S = 15.0
# Users are identified sooner, because their credentials stay in memory until then.
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
    """The users, and guests, of an app on databases at a version; each counts once, by the oldest of their apps."""

    app_version: str
    schema_version: int
    users: int
    guests: int = 0


class AnonymousCount(Struct, frozen=True):
    """The devices that reported this without a session; one address may have made them all up."""

    app_version: str
    schema_version: int
    devices: int


class TenantCount(Struct, frozen=True):
    """The tenants whose databases are in this state and at this version, as last seen in their ledgers."""

    state: str
    schema_version: int
    tenants: int


class OlderApps(Struct, frozen=True):
    """The number of users (not guests) with a device on an older app, and some of those app versions."""

    users: int
    app_versions: Sequence[str] = ()


class Census(Struct, frozen=True, kw_only=True):
    """Everything in use; a device counts if seen within `days`. `anonymous` never blocks a publication."""

    days: int
    newest: int
    apps: Sequence[AppCount]
    anonymous: Sequence[AnonymousCount]
    tenants: Sequence[TenantCount]


class ClientVersionStore(Protocol):
    """Reports and tenants in the central database. Every method raises `CentralUnavailable`."""

    async def save_users(self, reports: Sequence[UserReport], forget_before_ms: int) -> None:
        """Write the reports of users who exist, and delete those last seen before `forget_before_ms`.

        Keeps only the `DEVICES_OF_USER` most recently seen devices of each user.
        """

    async def save_anonymous(self, reports: Sequence[ClientReport], forget_before_ms: int) -> None:
        """Write the reports, one row per device, and delete those last seen before `forget_before_ms`.

        Keeps only the `DEVICES_OF_PLACE` most recently seen devices of each place, and a limited number overall.
        """

    async def apps(self, since_ms: int) -> Sequence[AppCount]:
        """Return the users seen since then, each by their oldest app."""

    async def older_apps(self, since_ms: int, before: str) -> OlderApps:
        """Return the users seen since then with an app whose `app_order` is below `before`, and some of those apps."""

    async def anonymous(self, since_ms: int) -> Sequence[AnonymousCount]:
        """Return the anonymous devices seen since then, by app and schema version."""

    async def tenants(self) -> Sequence[TenantCount]:
        """Return the tenants by state and version, without deleted ones."""


class ClientVersions:
    """Collects and counts client reports. One per process.

    `who` identifies a credential's user; without it, all reports are anonymous. `place_key` hides addresses.
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
        """Queue a report, without waiting. Without a device id, it counts only with a credential and an app version."""
        self._taken.note(
            device,
            app if app_version(app) is not None else "",
            schema_version,
            address=address,
            credential=credential,
            now_ms=self._now_ms(),
        )

    async def flush(self) -> None:
        """Write the queued reports. Raises `CentralUnavailable`; they stay queued then."""
        await self._taken.settle()
        before_ms = self._now_ms() - _KEEP_DAYS * _DAY_MS
        # Users' reports first, so that nothing delays them.
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
        """Write queued reports periodically until cancelled, and once more then."""
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
        """Return what is in use now, oldest versions first."""
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
        """Return the events to record if contract migrations are published although older apps are live; usually none.

        Only signed-in users block: anonymous clients can report anything, anyone can create guests, and an app that
        does not report its version is unknown.

        Raises:
            ContractTooEarly: users have such apps, and `force` is not set.
        """
        wanted = contracts(new)
        if wanted:
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
