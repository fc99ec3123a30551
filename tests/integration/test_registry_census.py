"""Which versions are in use, and what waits for it: contract migrations."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
from alembic import command
from litestar import Litestar

from freehold.audit.types import Filter
from freehold.auth.sessions.cookies import SessionCookies
from freehold.central.audit_store import CentralAudit
from freehold.central.engine import Central, open_central
from freehold.central.registry import CentralClientVersions
from freehold.central.upgrade import migration_config, upgrade_central
from freehold.client import FreeholdClient
from freehold.errors import CentralUnavailable
from freehold.http.client_address import ClientAddresses
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.registry.routes import ClientReports, registry_routes
from freehold.registry.client_versions import AnonymousCount, AppCount, ClientVersions, ContractTooEarly, OlderApps
from freehold.registry.release import app_order
from freehold.registry.service import Registry
from freehold.registry.taken_down import Credential
from tests.integration.registry_parts import by_hand, open_registry
from tests.integration.test_client_pull import SERVICE
from tests.integration.test_registry_cli import Freehold, freehold, objects  # noqa: F401 - a fixture
from tests.integration.test_registry_signed import with_changes, with_contract
from tests.support.central_place import KINDS, new_place, servers

ADD_USER = (
    "INSERT INTO user (id, name, email, emailVerified, createdAt, updatedAt, isAnonymous) "
    "VALUES (?, 'x', ?, 0, '2026', '2026', ?)"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "central.db"


@pytest.fixture
async def registry(path: Path) -> AsyncIterator[Registry]:
    async with open_registry(path) as opened:
        for number in range(12):
            by_hand(path, ADD_USER, (f"user-{number}", f"{number}@example.com", None))
        by_hand(path, ADD_USER, ("guest-1", "guest@example.com", 1))
        reports = ClientVersions(CentralClientVersions(central_of(opened)), who=who, place_key=b"key")
        yield with_changes(opened, reports=reports)


async def who(shown: Credential) -> str | None:
    """Sessions here are named like their users."""
    if shown.text == "away":
        raise CentralUnavailable("away")
    return shown.text if shown.text.startswith(("user-", "guest-")) else None


def central_of(registry: Registry) -> Central:
    return registry.store.central  # type: ignore[attr-defined,no-any-return]


def app_of(registry: Registry) -> Litestar:
    assert registry.reports is not None
    cookies, addresses = SessionCookies("secret", SERVICE), ClientAddresses(["127.0.0.1"])
    return Litestar(
        [registry_routes(registry, ClientReports(registry.reports, cookies, addresses))],
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
    )


async def pull(registry: Registry, after: int = 0, *, session: str = "", place: str = "", **headers: str) -> int:
    named = {f"Freehold-{name.replace('_', '-')}": value for name, value in headers.items()}
    named |= {"Authorization": f"Bearer {session}"} if session else {}
    named |= {"X-Forwarded-For": place} if place else {}
    transport = httpx.ASGITransport(app_of(registry))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=SERVICE) as calls:
        return (await calls.get(f"/migrations?after={after}", headers=named)).status_code


async def apps(registry: Registry, days: int = 30) -> list[AppCount]:
    assert registry.reports is not None
    return list((await registry.reports.census(0, days)).apps)


async def anonymous(registry: Registry, days: int = 30) -> list[AnonymousCount]:
    assert registry.reports is not None
    return list((await registry.reports.census(0, days)).anonymous)


async def test_devices_are_counted_once_as_they_spoke_last(registry: Registry) -> None:
    await registry.publish(with_contract()[:2])
    for device in ("one", "two", "three"):
        await pull(registry, Device=device, App_Version="1.0")
    await pull(registry, 2, Device="two", App_Version="1.10")
    await pull(registry, 1, Device="four")
    await pull(registry, 1, App_Version="1.0")  # without a device nothing is counted
    await pull(registry, 2, Device="five", App_Version="<script>")
    assert await anonymous(registry) == [
        AnonymousCount("", 1, 1),
        AnonymousCount("", 2, 1),
        AnonymousCount("1.0", 0, 2),
        AnonymousCount("1.10", 2, 1),
    ]
    assert await apps(registry) == []


async def test_a_user_counts_once_by_their_oldest_app_however_much_they_report(registry: Registry) -> None:
    await registry.publish(with_contract()[:2])
    for number in range(100):
        await pull(registry, session="user-1", Device=f"d{number}", App_Version=f"{number + 1}.0")
    await pull(registry, 1, session="user-2", Device="old", App_Version="1.9")
    await pull(registry, 2, session="user-2", Device="new", App_Version="1.10")
    await pull(registry, 2, session="user-3", App_Version="1.10")  # no device is needed where there is a user
    await pull(registry, 2, session="user-4", Device="silent")
    await pull(registry, 2, session="guest-1", Device="x", App_Version="1.10")
    await pull(registry, 2, session="nobody's", Device="y", App_Version="0.1")
    assert await apps(registry) == [
        AppCount("", 2, 1),
        AppCount("1.9", 1, 1),
        AppCount("1.10", 2, 1, 1),
        AppCount("93.0", 0, 1),  # of so many devices the last few are kept
    ]
    assert await anonymous(registry) == [AnonymousCount("0.1", 2, 1)]


async def test_a_flood_of_nobody_displaces_no_report_of_a_user_and_blocks_nothing(
    registry: Registry, path: Path
) -> None:
    await registry.publish(with_contract()[:2])
    await pull(registry, session="user-1", Device="one", App_Version="2.0")
    assert registry.reports is not None
    await registry.reports.flush()
    reports = registry.reports
    for number in range(12_000):
        place = f"10.{number % 250}.{number % 4}.1"
        reports.note(f"d{number}", "0.0.1", 0, address=place)
        shown = Credential("session", f"made up {number}")
        reports.note(f"e{number}", "0.0.1", 0, address="192.0.2.7", credential=shown)
    await pull(registry, session="user-2", place="198.51.100.1", Device="two", App_Version="2.0")
    assert await apps(registry) == [AppCount("2.0", 0, 2)]
    # The contract needs app 2.0: thousands of older ones that nobody signed do not hold it up.
    await registry.publish(with_contract()[:4])
    [flood] = await anonymous(registry)
    assert 0 < flood.devices <= 10_000


async def test_one_address_counts_for_few_devices_of_nobody(registry: Registry, path: Path) -> None:
    for turn in range(3):
        for number in range(100):
            await pull(registry, place="192.0.2.7", Device=f"d{turn} {number}", App_Version="0.1")
        await pull(registry, place="198.51.100.1", Device="other", App_Version="0.1")
        assert await anonymous(registry) == [AnonymousCount("0.1", 0, 33)]
    assert b"192.0.2.7" not in path.read_bytes() + Path(f"{path}-wal").read_bytes()


async def test_reports_of_users_who_are_gone_are_dropped_and_stop_no_others(registry: Registry, path: Path) -> None:
    for session in ("user-1", "user-2"):
        await pull(registry, session=session, Device="one", App_Version="1.0")
    await pull(registry, session="user-99", Device="one", App_Version="1.0")
    assert await apps(registry) == [AppCount("1.0", 0, 2)]
    async with central_of(registry).write() as db:
        await db.execute(sqlalchemy.text("DELETE FROM user WHERE id = 'user-2'"))
    assert await apps(registry) == [AppCount("1.0", 0, 1)]


async def test_whose_a_report_is_can_be_found_out_later(registry: Registry) -> None:
    assert registry.reports is not None
    await pull(registry, session="away", Device="one", App_Version="1.0")
    await pull(registry, session="user-1", Device="two", App_Version="1.0")
    with pytest.raises(CentralUnavailable):
        await registry.reports.flush()
    with pytest.raises(CentralUnavailable):
        await registry.reports.flush()
    assert registry.reports._taken._claims_waiting == 2


async def test_reports_from_before_are_kept_as_those_of_nobody(tmp_path: Path) -> None:
    central = open_central(tmp_path / "old.db", b"")
    try:
        async with central.write() as db:
            await db.run_sync(lambda connection: command.upgrade(migration_config(connection), "0012"))
            at_ms = int(datetime.now(UTC).timestamp() * 1000)
            said = sqlalchemy.text("INSERT INTO client_report VALUES ('a', '1.0', 2, :at)")
            await db.execute(said, {"at": at_ms})
        await upgrade_central(central)
        census = await ClientVersions(CentralClientVersions(central)).census(0)
    finally:
        await central.close()
    assert (census.anonymous, census.apps) == ([AnonymousCount("1.0", 2, 1)], [])


async def test_nothing_that_names_a_device_is_kept(registry: Registry, path: Path) -> None:
    await pull(registry, Device="amal's phone", App_Version="1.0")
    await apps(registry)
    assert b"amal" not in path.read_bytes() + Path(f"{path}-wal").read_bytes()


async def test_devices_not_seen_for_long_count_no_more_and_are_dropped(registry: Registry, path: Path) -> None:
    await pull(registry, Device="old", App_Version="1.0")
    await apps(registry)
    by_hand(path, f"UPDATE client_report SET seen_at_ms = seen_at_ms - {31 * 86_400_000}")
    await pull(registry, Device="new", App_Version="2.0")
    assert await anonymous(registry) == [AnonymousCount("2.0", 0, 1)]
    assert len(await anonymous(registry, days=60)) == 2
    by_hand(path, f"UPDATE client_report SET seen_at_ms = seen_at_ms - {181 * 86_400_000}")
    await pull(registry, Device="newer", App_Version="2.0")
    assert await anonymous(registry, days=10_000) == [AnonymousCount("2.0", 0, 1)]


async def test_processes_that_hear_the_same_device_agree_on_the_last_word(registry: Registry) -> None:
    store = CentralClientVersions(central_of(registry))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one, two = (ClientVersions(store, now) for now in (lambda: at + timedelta(seconds=5), lambda: at))
    one.note("a", "2.0", 3)
    two.note("a", "1.0", 1)
    await asyncio.gather(one.flush(), two.flush())
    assert await store.anonymous(0) == [AnonymousCount("2.0", 3, 1)]


async def test_reports_wait_while_the_central_database_is_away_and_fill_no_memory() -> None:
    class Away:
        saved = 0

        async def save_anonymous(self, reports: Any, _before: int) -> None:
            if not self.saved:
                self.saved = -1
                raise CentralUnavailable("away")
            self.saved = len(reports)

    store = Away()
    reports = ClientVersions(store)  # type: ignore[arg-type]
    for device in range(10_500):
        reports.note(f"device {device}", "1.0", 1)
    with pytest.raises(CentralUnavailable):
        await reports.flush()
    reports.note("device 1", "1.0", 2)
    await reports.flush()
    assert store.saved == 10_000


async def test_what_waits_is_written_when_the_service_ends(registry: Registry) -> None:
    assert registry.reports is not None
    running = asyncio.create_task(registry.reports.run())
    await asyncio.sleep(0)
    registry.reports.note("a", "1.0", 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await CentralClientVersions(central_of(registry)).anonymous(0) == [AnonymousCount("1.0", 1, 1)]


async def test_a_contract_waits_for_older_apps_and_force_is_recorded(registry: Registry) -> None:
    await registry.publish(with_contract()[:2])
    transport = httpx.ASGITransport(app_of(registry))  # type: ignore[arg-type]
    http = httpx.AsyncClient(transport=transport)
    old = FreeholdClient(SERVICE, http, app_version="1.9", device="a", session_token="user-1")
    await old.pull()
    await pull(registry, session="user-2", Device="silent")  # says no version, so nobody can wait for it
    await pull(registry, session="guest-1", Device="g", App_Version="1.0")
    await pull(registry, Device="nobody's", App_Version="1.0")
    with pytest.raises(ContractTooEarly, match=r"needs app 2\.0, and 1 signed-in user\(s\) with older ones \(1\.9\)"):
        await registry.publish(with_contract()[:3])
    with pytest.raises(ContractTooEarly):
        await registry.register("-- phase: contract\n-- min_app: 2\nALTER TABLE t DROP COLUMN a;", "drop a")
    assert (await registry.snapshot()).version == 2

    await pull(registry, session="user-1", Device="a", App_Version="2.0")  # it was updated
    await registry.publish(with_contract()[:4])
    with pytest.raises(ContractTooEarly, match="migration 5 needs app 3"):
        await registry.publish(with_contract())
    report = await registry.publish(with_contract(), force=True)
    assert report.published == (5,)
    audit = CentralAudit(central_of(registry))
    [entry] = await audit.page(after=0, limit=9, matching=Filter(action="registry.contract_forced"))
    assert (entry.target, entry.facts) == ("migration:5", {"min_app": "3", "older_users": 1})


def test_the_command_shows_the_census_and_forces(freehold: Freehold) -> None:  # noqa: F811
    freehold.run("publish")
    central = freehold.data_dir / "central.db"
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    for user, app in (("a", "1.2"), ("b", "1.2"), ("c", "")):
        by_hand(central, ADD_USER, (user, f"{user}@example.com", None))
        order = "000000001.000000002" if app else "~"
        by_hand(central, "INSERT INTO user_report VALUES (?, '', ?, ?, 2, ?)", (user, app, order, now_ms))
    by_hand(central, "INSERT INTO client_report VALUES ('d', '1.0', 2, ?, '')", (now_ms,))
    shown = freehold.run("status", "--census")
    assert "2 users at version 2 with app 1.2" in shown.stdout
    assert "1 users at version 2 with an app that did not say" in shown.stdout
    assert "1 devices of nobody signed in at version 2 with app 1.0" in shown.stdout
    [census] = [line["census"] for line in objects(freehold.run("status", "--census", "--json")) if "census" in line]
    assert census["newest"] == 2  # type: ignore[index]
    freehold.write(_0003_drop_b="-- phase: contract\n-- min_app: 2\nDROP TABLE b;\n")
    refused = freehold.run("publish")
    assert (refused.exit_code, "2 signed-in user(s) with older ones" in refused.stderr) == (1, True)
    assert freehold.run("publish", "--force").exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_the_store_counts_alike_wherever_the_central_database_is(kind: str, tmp_path: Path) -> None:
    with servers(kind) as server:
        place = new_place(server, tmp_path)
        async with place.opened() as (central, _):
            for number, is_guest in enumerate((0, 0, 1)):
                place.by_hand(ADD_USER, (f"user-{number}", f"{number}@example.com", is_guest))
            reports = ClientVersions(CentralClientVersions(central), who=who)
            for number in range(4):
                shown = Credential("session", f"user-{number}")
                for device in range(12):
                    reports.note(f"{device}", f"1.{device}", 1, credential=shown, address="192.0.2.7")
            for device in range(100):
                reports.note(f"{device}", "0.1", 0, address="192.0.2.7")
                if device % 30 == 29:
                    await reports.flush()
            census = await reports.census(1)
            assert census.apps == [AppCount("1.4", 1, 2, 1)]
            assert census.anonymous == [AnonymousCount("0.1", 0, 32)]
            assert await CentralClientVersions(central).older_apps(0, app_order("1.6")) == OlderApps(2, ("1.4", "1.5"))
