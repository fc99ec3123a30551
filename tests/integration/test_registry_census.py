"""Which versions are in use, and what waits for it: contract migrations."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from freehold.audit.types import Filter
from freehold.central.audit import CentralAudit
from freehold.central.census import CentralCensus
from freehold.central.engine import Central
from freehold.client import FreeholdClient
from freehold.errors import CentralUnavailable
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.registry import registry_routes
from freehold.registry.census import AppCount, ContractTooEarly, Reports
from freehold.registry.service import Registry
from tests.integration.registry_parts import by_hand, open_registry
from tests.integration.test_client_pull import SERVICE
from tests.integration.test_registry_cli import Freehold, freehold, objects  # noqa: F401 - a fixture
from tests.integration.test_registry_signed import with_changes, with_contract


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "central.db"


@pytest.fixture
async def registry(path: Path) -> AsyncIterator[Registry]:
    async with open_registry(path) as opened:
        yield with_changes(opened, reports=Reports(CentralCensus(central_of(opened))))


def central_of(registry: Registry) -> Central:
    return registry.store.central  # type: ignore[attr-defined,no-any-return]


def app_of(registry: Registry) -> Litestar:
    return Litestar(
        [registry_routes(registry, registry.reports)],
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
    )


async def pull(registry: Registry, after: int = 0, **headers: str) -> int:
    named = {f"Freehold-{name.replace('_', '-')}": value for name, value in headers.items()}
    transport = httpx.ASGITransport(app_of(registry))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=SERVICE) as calls:
        return (await calls.get(f"/migrations?after={after}", headers=named)).status_code


async def apps(registry: Registry, days: int = 30) -> list[AppCount]:
    assert registry.reports is not None
    return list((await registry.reports.census(0, days)).apps)


async def test_devices_are_counted_once_as_they_spoke_last(registry: Registry) -> None:
    await registry.publish(with_contract()[:2])
    for device in ("one", "two", "three"):
        await pull(registry, Device=device, App_Version="1.0")
    await pull(registry, 2, Device="two", App_Version="1.10")
    await pull(registry, 1, Device="four")
    await pull(registry, 1, App_Version="1.0")  # without a device nothing is counted
    await pull(registry, 2, Device="five", App_Version="<script>")
    assert await apps(registry) == [
        AppCount("", 1, 1),
        AppCount("", 2, 1),
        AppCount("1.0", 0, 2),
        AppCount("1.10", 2, 1),
    ]


async def test_nothing_that_names_a_device_is_kept(registry: Registry, path: Path) -> None:
    await pull(registry, Device="amal's phone", App_Version="1.0")
    await apps(registry)
    assert b"amal" not in path.read_bytes() + Path(f"{path}-wal").read_bytes()


async def test_devices_not_seen_for_long_count_no_more_and_are_dropped(
    registry: Registry, path: Path
) -> None:
    await pull(registry, Device="old", App_Version="1.0")
    await apps(registry)
    by_hand(path, f"UPDATE client_report SET seen_at_ms = seen_at_ms - {31 * 86_400_000}")
    await pull(registry, Device="new", App_Version="2.0")
    assert await apps(registry) == [AppCount("2.0", 0, 1)]
    assert len(await apps(registry, days=60)) == 2
    by_hand(path, f"UPDATE client_report SET seen_at_ms = seen_at_ms - {181 * 86_400_000}")
    await pull(registry, Device="newer", App_Version="2.0")
    assert await apps(registry, days=10_000) == [AppCount("2.0", 0, 1)]


async def test_processes_that_hear_the_same_device_agree_on_the_last_word(registry: Registry) -> None:
    store = CentralCensus(central_of(registry))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one, two = (Reports(store, now) for now in (lambda: at + timedelta(seconds=5), lambda: at))
    one.note("a", "2.0", 3)
    two.note("a", "1.0", 1)
    await asyncio.gather(one.flush(), two.flush())
    assert await store.apps(0) == [AppCount("2.0", 3, 1)]


async def test_reports_wait_while_the_central_database_is_away_and_fill_no_memory() -> None:
    class Away:
        saved = 0

        async def save(self, reports: Any, _before: int) -> None:
            if not self.saved:
                self.saved = -1
                raise CentralUnavailable("away")
            self.saved = len(reports)

    store = Away()
    reports = Reports(store)  # type: ignore[arg-type]
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
    assert await CentralCensus(central_of(registry)).apps(0) == [AppCount("1.0", 1, 1)]


async def test_a_contract_waits_for_older_apps_and_force_is_recorded(registry: Registry) -> None:
    await registry.publish(with_contract()[:2])
    transport = httpx.ASGITransport(app_of(registry))  # type: ignore[arg-type]
    old = FreeholdClient(SERVICE, httpx.AsyncClient(transport=transport), app_version="1.9", device="a")
    await old.pull()
    await pull(registry, Device="silent")  # says no version, so nobody can wait for it
    with pytest.raises(ContractTooEarly, match=r"needs app 2\.0, and 1 device\(s\) with older ones \(1\.9\)"):
        await registry.publish(with_contract()[:3])
    with pytest.raises(ContractTooEarly):
        await registry.register("-- phase: contract\n-- min_app: 2\nALTER TABLE t DROP COLUMN a;", "drop a")
    assert (await registry.snapshot()).version == 2

    await pull(registry, Device="a", App_Version="2.0")  # it was updated
    await registry.publish(with_contract()[:4])
    with pytest.raises(ContractTooEarly, match="migration 5 needs app 3"):
        await registry.publish(with_contract())
    report = await registry.publish(with_contract(), force=True)
    assert report.published == (5,)
    audit = CentralAudit(central_of(registry))
    [entry] = await audit.page(after=0, limit=9, matching=Filter(action="registry.contract_forced"))
    assert (entry.target, entry.facts) == ("migration:5", {"min_app": "3", "older_devices": 1})


def test_the_command_shows_the_census_and_forces(freehold: Freehold) -> None:  # noqa: F811
    freehold.run("publish")
    insert = "INSERT INTO client_report VALUES (?, ?, ?, ?)"
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    for device, app in (("a", "1.2"), ("b", "1.2"), ("c", "")):
        by_hand(freehold.data_dir / "central.db", insert, (device, app, 2, now_ms))
    shown = freehold.run("status", "--census")
    assert "2 devices at version 2 with app 1.2" in shown.stdout
    assert "1 devices at version 2 with an app that did not say" in shown.stdout
    [census] = [
        line["census"] for line in objects(freehold.run("status", "--census", "--json")) if "census" in line
    ]
    assert census["newest"] == 2  # type: ignore[index]
    freehold.write(_0003_drop_b="-- phase: contract\n-- min_app: 2\nDROP TABLE b;\n")
    refused = freehold.run("publish")
    assert (refused.exit_code, "2 device(s) with older ones" in refused.stderr) == (1, True)
    assert freehold.run("publish", "--force").exit_code == 0
