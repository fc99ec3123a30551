"""Which versions are in use: what apps say of themselves when they pull, and where the tenants' databases are."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog
from msgspec import Struct

from freehold.audit.types import Event, Facts
from freehold.errors import Conflict, FreeholdError
from freehold.migrate.types import Migration
from freehold.registry.release import app_version, contracts

log = structlog.get_logger()

LIVE_DAYS = 30
# A report costs nothing at the pull; it is written with all others, so often. A killed process loses as much.
_FLUSH_EVERY_S = 15.0
# Beyond this, further devices wait for the next round: memory must not grow with what strangers send.
_MAX_WAITING = 10_000
_KEEP_DAYS = 180
_DAY_MS = 86_400_000


class ContractTooEarly(Conflict):
    """Apps that the contract migration `version` would break are still in use."""

    code = "contract_too_early"

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version


class ClientReport(Struct, frozen=True):
    """What one device said last. `device` is a hash of the id that it sent; `app_version` is empty if unsaid."""

    device: str
    app_version: str
    schema_version: int
    seen_at_ms: int


class AppCount(Struct, frozen=True):
    """So many devices run this app on a database at this version."""

    app_version: str
    schema_version: int
    devices: int


class TenantCount(Struct, frozen=True):
    """So many tenants' databases are in this state and at this version, as last seen in their ledgers."""

    state: str
    schema_version: int
    tenants: int


class Census(Struct, frozen=True, kw_only=True):
    """Everything in use; `days` is how far back a device counts as live."""

    days: int
    newest: int
    apps: Sequence[AppCount]
    tenants: Sequence[TenantCount]


class CensusStore(Protocol):
    """Reports and tenants in the central database. Every method raises `CentralUnavailable`."""

    async def save(self, reports: Sequence[ClientReport], forget_before_ms: int) -> None:
        """Write the reports, one row a device, and drop those that were not seen since."""
        ...

    async def apps(self, since_ms: int) -> Sequence[AppCount]:
        """Devices seen since, by app and schema version."""
        ...

    async def tenants(self) -> Sequence[TenantCount]:
        """Tenants by state and version; deleted ones are left out."""
        ...


class Reports:
    """Takes down what clients say, and counts. One for each process."""

    def __init__(self, store: CensusStore, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now
        self._waiting: dict[str, ClientReport] = {}

    def note(self, device: str, app: str, schema_version: int) -> None:
        """Take down a report; takes microseconds and never waits. Without a device nothing is counted."""
        if not device:
            return
        key = hashlib.sha256(device.encode()).hexdigest()[:32]
        if len(self._waiting) < _MAX_WAITING or key in self._waiting:
            said = app if app_version(app) is not None else ""
            self._waiting[key] = ClientReport(key, said, schema_version, self._now_ms())

    async def flush(self) -> None:
        """Write what is waiting. Raises `CentralUnavailable`; it waits on then."""
        if not self._waiting:
            return
        taken, self._waiting = self._waiting, {}
        try:
            await self._store.save(list(taken.values()), self._now_ms() - _KEEP_DAYS * _DAY_MS)
        except BaseException:
            self._waiting = {**taken, **self._waiting}
            raise

    async def run(self) -> None:
        """Write what is waiting now and then, until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_EVERY_S)
                try:
                    await self.flush()
                except FreeholdError as error:
                    log.warning("census.not_written", code=error.code, reason=str(error))
        finally:
            await asyncio.shield(self._last())

    async def _last(self) -> None:
        try:
            await self.flush()
        except FreeholdError as error:
            log.warning("census.not_written", code=error.code, reason=str(error))

    async def census(self, newest: int, days: int = LIVE_DAYS) -> Census:
        """What is in use now, the oldest versions first."""
        await self.flush()
        apps = await self._store.apps(self._now_ms() - days * _DAY_MS)
        return Census(
            days=days,
            newest=newest,
            apps=sorted(apps, key=lambda each: (app_version(each.app_version) or (), each.schema_version)),
            tenants=sorted(await self._store.tenants(), key=lambda each: (each.schema_version, each.state)),
        )

    async def require_no_older_apps(self, new: Sequence[Migration], *, force: bool) -> list[Event]:
        """What to record when contract migrations are published although older apps are live; mostly nothing.

        A device that did not say its app's version counts for none: it cannot be known.

        Raises:
            ContractTooEarly: such apps are live, and it is not forced.
        """
        wanted = contracts(new)
        if not wanted:
            return []
        await self.flush()
        apps = await self._store.apps(self._now_ms() - LIVE_DAYS * _DAY_MS)
        events = []
        for contract in wanted:
            older = [each for each in apps if each.app_version and _is_older(each, contract.needs)]
            devices = sum(each.devices for each in older)
            if not devices:
                continue
            versions = ", ".join(sorted({each.app_version for each in older})[:5])
            if not force:
                raise ContractTooEarly(
                    f"migration {contract.version} needs app {contract.min_app}, and {devices} device(s) with older "
                    f"ones ({versions}) were seen in the last {LIVE_DAYS} days; wait, or say --force and break them",
                    contract.version,
                )
            facts: Facts = {"min_app": contract.min_app, "older_devices": devices}
            events.append(Event("registry.contract_forced", f"migration:{contract.version}", facts))
        return events

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)


def _is_older(each: AppCount, needs: tuple[int, ...]) -> bool:
    numbers = app_version(each.app_version)
    return numbers is not None and numbers < needs
